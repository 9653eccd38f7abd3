"""What a survey says of pods and facts made by hand: who runs, who signed, what is only claimed, what is not known."""

from typing import Any

import msgspec
import pytest
import yaml

from streams.events import ObservedContainer, Owner, Pod
from streams.local import drafting
from streams.local.drafting import EXEMPTION_DAYS, Draft, Ring, RingKey, draft
from streams.local.survey import SCHEMA, Survey, sightings, signers_of, survey
from verifier.models import (
    ChainClaim,
    DigestClosure,
    EvidenceSet,
    Fact,
    LeafCertificate,
    PlaceAsked,
    Reason,
)
from verifier.policy.documents import ExemptionDocument, PolicyDocument, load_documents
from verifier.times import DAY
from verifier.verify import ImageEvidence

HOST = "registry.example.com"
NOW = 1_795_269_600_000_000
PEM = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""
DEV, OPS = "d" * 64, "0" * 64
NAMES = {DEV: "dev", OPS: "ops"}
RING = Ring({DEV: RingKey("dev", PEM), OPS: RingKey("ops", PEM)})
WORKFLOW = "https://github.com/example/app/.github/workflows/release.yml"
GITHUB = "https://token.actions.githubusercontent.com"


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def name_of(key_id: str) -> str:
    return NAMES.get(key_id, f"key:{key_id[:12]}")


def container(image: str, running: str = "", **members: Any) -> ObservedContainer:
    kind = "repo-digest" if running else "empty"
    given: dict[str, Any] = {
        "kind": "main",
        "name": "app",
        "image": image,
        "digest": running,
        "image_id_kind": kind,
        "state": "running",
    }
    return ObservedContainer(**(given | members))


def pod(*containers: ObservedContainer, name: str = "a", namespace: str = "shop", phase: str = "Running") -> Pod:
    return Pod(
        "c", namespace, name, f"uid-{namespace}-{name}", Owner("Deployment", name), phase=phase, containers=containers
    )


def fact(number: int, *keys: str, kind: str = "signature", form: str = "sigstore-bundle", **members: Any) -> Fact:
    given: dict[str, Any] = {
        "id": f"f{number}-{keys}-{members}",
        "evidence_id": f"e{number}",
        "format": form,
        "kind": kind,
        "repository": f"{HOST}/app",
        "subject": digest(number),
        "subjects": (digest(number),),
        "verified_by": keys,
        "keyset": "",
    }
    return Fact(**(given | members))


def leaf(subject: str, issuer: str = GITHUB, key: str = "1" * 64) -> LeafCertificate:
    return LeafCertificate("c" * 64, key, "1", "", 0, 1, issuer, (subject,) if subject else ())


CHAIN = (ChainClaim("fulcio", 0, 1),)


def image(number: int, *facts: Fact, outcome: Any = "found", repository: str = f"{HOST}/app") -> ImageEvidence:
    closure = DigestClosure(digest(number))
    place = PlaceAsked("sig-tag", digest(number), outcome, "registry-unauthorized" if outcome == "error" else "")
    kept = EvidenceSet(repository, digest(number), (), closure, (place,), outcome != "error", 0, "", "v")
    return ImageEvidence(repository, digest(number), kept, facts)


def surveyed(*entries: tuple[str, int, ImageEvidence]) -> Survey:
    """Of (repository, digest number, what is known)."""
    pods = [pod(container(f"{repository}:1", digest(n)), name=f"p{i}") for i, (repository, n, _) in enumerate(entries)]
    return survey(sightings(pods), {f"{r}@{digest(n)}": known for r, n, known in entries}, name_of)


def state_of(known: ImageEvidence) -> str:
    return surveyed((f"{HOST}/app", 1, known)).repositories[0].digests[0].state


# ----------------------------------------------------------------------------------------------------------- what runs


def test_one_image_of_many_pods_is_one_question():
    same = container(f"{HOST}/app:1", digest(1))
    seen = sightings(
        [pod(same, name="a"), pod(same, name="b", namespace="other"), pod(container(f"{HOST}/app:2", digest(1)))]
    )
    assert (seen.pods, seen.containers) == (2, 2), "the third is a later state of the first"
    seen = sightings([pod(same, name="a"), pod(same, name="b", namespace="other")])
    (sighting,) = seen.sightings
    assert (sighting.containers, sighting.namespaces) == (2, ("other", "shop"))
    assert seen.questions == (f"{HOST}/app@{digest(1)}",)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_runs_nothing(phase):
    assert sightings([pod(container(f"{HOST}/app:1", digest(1)), phase=phase)]).containers == 0


def test_a_container_that_waits_is_counted_and_not_asked_about():
    seen = sightings([pod(container(f"{HOST}/app:1"))])
    assert (seen.waiting, seen.sightings) == (1, ())


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (container(f"{HOST}/app:1", image_id_kind="config-digest"), "digest-not-addressable"),
        (container("NOT A REFERENCE", digest(1)), "reference-unparsable"),
        (container("", digest(1)), "reference-unparsable"),
    ],
)
def test_what_no_registry_can_be_asked_for_says_why(given, code):
    (sighting,) = sightings([pod(given)]).sightings
    assert sighting.problem is not None
    assert (sighting.problem.code, sighting.question) == (code, "")
    found = survey(sightings([pod(given)]), {}, name_of)
    assert [n.problem.code for n in found.not_asked] == [code]
    assert not found.complete


def test_an_image_volume_is_what_its_reference_pins():
    pinned = container(f"{HOST}/model@{digest(7)}", kind="image-volume")
    assert sightings([pod(pinned)]).questions == (f"{HOST}/model@{digest(7)}",)
    assert sightings([pod(container(f"{HOST}/model:1", kind="image-volume"))]).waiting == 1


def test_the_repository_is_that_of_the_spec_and_the_digest_that_which_runs():
    (sighting,) = sightings([pod(container("nginx", digest(1), image_repository="mirror.example.com/nginx"))]).sightings
    assert sighting.question == f"docker.io/library/nginx@{digest(1)}"


# ----------------------------------------------------------------------------------------------------------- who signed


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (fact(1, DEV), [("key", "dev", True)]),
        (fact(1, DEV, OPS), [("key", "dev", True), ("key", "ops", True)]),
        (fact(1, key_hint="ab12"), [("unknown", "unknown key ab12", False)]),
        (fact(1), [("unknown", "unknown key", False)]),
        (fact(1, problem="bundle-malformed"), []),
        (fact(1, certificate=leaf("a@example.com", "https://i")), [("keyless", "a@example.com by https://i", False)]),
        (
            fact(1, "1" * 64, certificate=leaf("a@example.com", "https://i"), chains=CHAIN),
            [("keyless", "a@example.com by https://i", True)],
        ),
        (
            fact(1, DEV, certificate=leaf("a@example.com", "https://i")),
            [("key", "dev", True), ("keyless", "a@example.com by https://i", False)],
        ),
        (fact(1, certificate=leaf("a@example.com", ""), chains=CHAIN), [("certificate", "a@example.com", True)]),
        (fact(1, certificate=leaf("", "")), [("certificate", "certificate cccccccccccc", False)]),
        (
            fact(1, form="notation-jws", certificate=msgspec.structs.replace(leaf("", ""), subject="CN=x,O=y,C=z")),
            [("notation", "CN=x,O=y,C=z", False)],
        ),
        (fact(1, form="openpgp-simplesigning", key_hint="0123ABCD"), [("openpgp", "key 0123ABCD", False)]),
        (fact(1, DEV, form="openpgp-simplesigning"), [("openpgp", f"key {DEV}", True)]),
        (fact(1, form="tuf-trust-data", chains=CHAIN), [("trust-data", "a key it does not name", True)]),
    ],
)
def test_signers(given, expected):
    assert [(s.kind, s.name, s.verified) for s in signers_of(given, name_of)] == expected


def test_a_keyless_signer_is_the_same_whatever_key_its_certificate_had():
    """The key is made anew for every signature; it must not make two signers of one workflow."""
    one, two = (signers_of(fact(1, certificate=leaf(WORKFLOW, key=k)), name_of) for k in ("1" * 64, "2" * 64))
    assert one == two


@pytest.mark.parametrize(
    ("known", "state"),
    [
        (image(1, fact(1, DEV)), "signed"),
        (image(1, fact(1, certificate=leaf(WORKFLOW))), "not-verified"),
        (image(1, fact(1)), "not-verified"),
        (image(1, fact(1, DEV, kind="attestation")), "attested"),
        (image(1), "unsigned"),
        (image(1, fact(1, DEV, subjects=(digest(2),))), "unsigned"),
        (image(1, fact(1, DEV, problem="signature-malformed")), "unsigned"),
        (image(1, outcome="error"), "unknown"),
        (image(1, fact(1, DEV, kind="attestation"), outcome="error"), "unknown"),
        (image(1, fact(1, DEV), outcome="error"), "signed"),
        (ImageEvidence(f"{HOST}/app", "", problem=Reason("registry-unavailable", "no answer")), "unknown"),
    ],
    ids=str,
)
def test_state(known, state):
    assert state_of(known) == state


def test_an_attestation_alone_never_signs_an_image():
    (repository,) = surveyed(
        (f"{HOST}/app", 1, image(1, fact(1, DEV, kind="attestation", predicate_type="sbom")))
    ).repositories
    (found,) = repository.digests
    assert (found.state, found.signatures, found.proven) == ("attested", (), frozenset())
    assert [(a.predicate_type, a.signer.name) for a in found.attestations] == [("sbom", "dev")]


def test_a_signature_copied_from_another_image_is_named_and_counts_for_nothing():
    found = surveyed((f"{HOST}/app", 1, image(1, fact(1, DEV, subjects=(digest(9),))))).repositories[0].digests[0]
    assert (found.state, [p.code for p in found.problems]) == ("unsigned", ["subject-mismatch"])


def test_a_signature_that_claims_a_known_key_and_does_not_hold_is_suspect():
    found = surveyed((f"{HOST}/app", 1, image(1, fact(1, key_hint=DEV)))).repositories[0].digests[0]
    assert (found.state, [p.code for p in found.problems], found.suspect) == (
        "not-verified",
        ["signature-invalid"],
        True,
    )


def test_what_a_stranger_wrote_about_another_image_proves_nothing():
    found = surveyed((f"{HOST}/app", 1, image(1, fact(1, subjects=(digest(9),), key_hint="e" * 64)))).repositories[0]
    assert (found.digests[0].problems, found.digests[0].suspect) == ((), False)


def test_places_that_did_not_answer_are_told_beside_what_was_found():
    found = surveyed((f"{HOST}/app", 1, image(1, fact(1, DEV), outcome="error"))).repositories[0].digests[0]
    assert [p.code for p in found.problems] == ["registry-unauthorized"]


def test_the_totals_are_those_of_the_parts():
    found = surveyed((f"{HOST}/a", 1, image(1, fact(1, DEV))), (f"{HOST}/a", 2, image(2)), (f"{HOST}/b", 3, image(3)))
    assert (found.schema, found.pods, found.containers) == (SCHEMA, 3, 3)
    assert found.digests == {"signed": 1, "not-verified": 0, "attested": 0, "unsigned": 2, "unknown": 0}
    assert [(r.repository, r.containers, len(r.digests)) for r in found.repositories] == [
        (f"{HOST}/a", 2, 2),
        (f"{HOST}/b", 1, 1),
    ]
    assert found.complete
    assert msgspec.json.decode(msgspec.json.encode(found))["digests"]["unsigned"] == 2


# ------------------------------------------------------------------------------------------------------------- drafting


def drafted(*entries: tuple[str, int, ImageEvidence], ring: Ring = RING) -> Draft:
    return draft(surveyed(*entries), ring, NOW, "team")


def bodies(made: Draft, kind: type) -> list:
    loaded = [load_documents(name, text) for name, text in made.files.items() if name.endswith(".yaml")]
    assert [errors for _, errors in loaded if errors] == []
    return [d.body for documents, _ in loaded for d in documents if isinstance(d.body, kind)]


def policies(made: Draft) -> dict[str, dict]:
    return {
        b.metadata.name: b.spec.model_dump(by_alias=True, exclude_defaults=True) for b in bodies(made, PolicyDocument)
    }


def test_a_draft_is_in_trial_and_asks_for_who_signed_everything():
    made = drafted((f"{HOST}/pay/a", 1, image(1, fact(1, DEV, OPS))), (f"{HOST}/pay/a", 2, image(2, fact(2, DEV))))
    ((name, spec),) = policies(made).items()
    assert (name, spec["mode"], spec["require"]) == ("signed-by-dev", "trial", {"signedBy": "dev"})
    assert (made.policies, made.exemptions, made.left_out) == (1, 0, 0)
    assert "#   key dev: 2 of 2" in made.files["policy-signed-by-dev.yaml"]


def test_who_signed_together_is_asked_for_together():
    made = drafted((f"{HOST}/pay/a", 1, image(1, fact(1, DEV, OPS))))
    assert policies(made)["signed-by-dev-ops"]["require"] == {"all": ({"signedBy": "dev"}, {"signedBy": "ops"})}


def test_digests_signed_by_different_people_need_any_of_them():
    made = drafted((f"{HOST}/pay/a", 1, image(1, fact(1, DEV))), (f"{HOST}/pay/a", 2, image(2, fact(2, OPS))))
    assert policies(made)["signed-by-dev-ops"]["require"] == {"any": ({"signedBy": "dev"}, {"signedBy": "ops"})}


def test_a_folder_with_one_answer_is_matched_whole_and_its_unsigned_image_is_exempted():
    made = drafted(
        (f"{HOST}/pay/a", 1, image(1, fact(1, DEV))),
        (f"{HOST}/pay/b", 2, image(2, fact(2, DEV))),
        (f"{HOST}/pay/c", 3, image(3)),
    )
    (spec,) = policies(made).values()
    assert spec["match"] == ({"images": (f"{HOST}/pay/**",)},)
    (exemption,) = bodies(made, ExemptionDocument)
    assert (exemption.spec.policy, exemption.spec.digests, exemption.spec.owner) == (
        "signed-by-dev",
        (digest(3),),
        "team",
    )
    assert exemption.spec.expires == NOW + EXEMPTION_DAYS * DAY


def test_a_folder_with_two_answers_is_matched_by_name():
    made = drafted(
        (f"{HOST}/pay/a", 1, image(1, fact(1, DEV))),
        (f"{HOST}/pay/b", 2, image(2, fact(2, DEV))),
        (f"{HOST}/pay/c", 3, image(3, fact(3, OPS))),
    )
    assert policies(made)["signed-by-dev"]["match"] == ({"images": (f"{HOST}/pay/a", f"{HOST}/pay/b")},)


def test_a_whole_registry_is_never_matched():
    made = drafted((f"{HOST}/a", 1, image(1, fact(1, DEV))), (f"{HOST}/b", 2, image(2, fact(2, DEV))))
    (spec,) = policies(made).values()
    assert spec["match"] == ({"images": (f"{HOST}/a", f"{HOST}/b")},)


def test_no_image_is_governed_by_two_drafted_policies():
    made = drafted(
        (f"{HOST}/pay/a", 1, image(1, fact(1, DEV))),
        (f"{HOST}/pay/b", 2, image(2, fact(2, DEV))),
        (f"{HOST}/pay/inner/c", 3, image(3, fact(3, OPS))),
        (f"{HOST}/pay/inner/d", 4, image(4, fact(4, OPS))),
    )
    specs = policies(made)
    assert specs["signed-by-ops"]["match"] == ({"images": (f"{HOST}/pay/inner/**",)},)
    assert specs["signed-by-dev"]["match"] == ({"images": (f"{HOST}/pay/a", f"{HOST}/pay/b")},)


def test_what_nobody_signs_is_asked_for_by_any_known_signer_and_exempted():
    made = drafted((f"{HOST}/pay/a", 1, image(1, fact(1, DEV))), (f"{HOST}/x/b", 2, image(2, fact(2))))
    spec = policies(made)["signed-by-nobody"]
    assert (spec["match"], spec["require"]) == (({"images": (f"{HOST}/x/b",)},), {"signedBy": "dev"})
    assert [e.spec.digests for e in bodies(made, ExemptionDocument)] == [(digest(2),)]
    assert "unknown key, not verified" in made.files["policy-signed-by-nobody.yaml"]


def test_where_nobody_signs_at_all_the_policy_says_so():
    made = drafted((f"{HOST}/x/b", 2, image(2)))
    text = yaml.safe_load(made.files["policy-signed-by-nobody.yaml"])
    assert list(text["spec"]["require"]) == ["denied"]


def test_what_only_names_itself_is_never_required():
    """Anybody can make a certificate that says it is the release workflow."""
    made = drafted((f"{HOST}/pay/a", 1, image(1, fact(1, certificate=leaf(WORKFLOW)))))
    assert "keyless" not in str(policies(made))
    assert WORKFLOW in made.files["policy-signed-by-nobody.yaml"]


def test_a_workflow_at_a_tag_is_asked_for_at_any_tag():
    made = drafted(
        *(
            (f"{HOST}/pay/a", n, image(n, fact(n, certificate=leaf(f"{WORKFLOW}@refs/tags/v{n}"), chains=CHAIN)))
            for n in (1, 2)
        )
    )
    (spec,) = policies(made).values()
    (attestor,) = spec["attestors"].values()
    assert attestor["keyless"]["identities"] == ({"issuer": GITHUB, "subjectPattern": f"{WORKFLOW}@refs/tags/*"},)
    assert made.exemptions == 0


SUBJECT = "C=US,ST=WA,O=Example,CN=release"
ROOTED = Ring({}, {"fulcio": "ca:corp"}, {"ca:corp": ("notation-ca", "PEM")})


@pytest.mark.parametrize(
    ("given", "ring", "attestor"),
    [
        (
            fact(1, certificate=leaf("a@example.com", ""), chains=CHAIN),
            Ring({}, {"fulcio": "corp"}),
            {"certificates": {"identities": ({"subject": "a@example.com"},), "roots": ("corp",)}},
        ),
        (
            fact(1, certificate=leaf("a@example.com"), chains=CHAIN),
            Ring({}, {"fulcio": "sigstore-public-good"}),
            {"keyless": {"identities": ({"issuer": GITHUB, "subject": "a@example.com"},)}},
        ),
        (
            fact(1, certificate=leaf("a@example.com"), chains=CHAIN),
            Ring({}, {"fulcio": "private"}),
            {"keyless": {"identities": ({"issuer": GITHUB, "subject": "a@example.com"},), "roots": ("private",)}},
        ),
        (
            fact(
                1,
                format="notation-jws",
                certificate=msgspec.structs.replace(leaf("", ""), subject=SUBJECT),
                chains=CHAIN,
            ),
            ROOTED,
            {"notary": {"stores": ("ca:corp",), "identities": (f"x509.subject: {SUBJECT}",)}},
        ),
        (
            fact(1, form="openpgp-simplesigning", key_hint="AB", chains=CHAIN),
            Ring({}, {"fulcio": "distro"}),
            {"openpgp": {"keyrings": ("distro",)}},
        ),
        (
            fact(1, form="tuf-trust-data", chains=CHAIN),
            Ring({}, {"fulcio": "hub"}),
            {"trustData": {"roots": ("hub",)}},
        ),
    ],
    ids=["certificates", "public-good", "private-sigstore", "notary", "openpgp", "trust-data"],
)
def test_signers_that_rest_on_a_root_are_drafted_with_it(given, ring, attestor):
    made = drafted((f"{HOST}/pay/a", 1, image(1, given)), ring=ring)
    (spec,) = policies(made).values()
    assert list(spec["attestors"].values()) == [attestor]
    assert (made.policies, made.exemptions) == (1, 0)


def test_a_notary_subject_that_a_trust_policy_may_not_name_is_not_drafted():
    """Trust policies demand country, state and organisation; a policy without them would be refused."""
    given = fact(
        1, format="notation-cose", certificate=msgspec.structs.replace(leaf("", ""), subject="CN=x"), chains=CHAIN
    )
    made = drafted((f"{HOST}/pay/a", 1, image(1, given)), ring=ROOTED)
    assert list(policies(made)) == ["signed-by-nobody"]


def test_a_store_is_drafted_under_its_bare_name():
    given = fact(
        1, format="notation-jws", certificate=msgspec.structs.replace(leaf("", ""), subject=SUBJECT), chains=CHAIN
    )
    made = drafted((f"{HOST}/pay/a", 1, image(1, given)), ring=ROOTED)
    text = yaml.safe_load(made.files["roots.yaml"])
    assert (text["metadata"], text["spec"]) == ({"name": "corp"}, {"format": "notation-ca", "content": "PEM"})


def test_a_subject_with_wildcards_of_its_own_is_never_made_a_pattern():
    given = leaf("https://github.com/*/.github/workflows/x.yml@refs/tags/v1")
    made = drafted((f"{HOST}/pay/a", 1, image(1, fact(1, certificate=given, chains=CHAIN))))
    (attestor,) = next(iter(policies(made).values()))["attestors"].values()
    assert attestor["keyless"]["identities"] == ({"issuer": GITHUB, "subject": given.sans[0]},)


def test_what_looks_like_tampering_is_never_exempted():
    """An exemption for a moved or forged signature would hide the one thing a survey must not hide."""
    moved, forged = fact(1, DEV, subjects=(digest(9),)), fact(2, key_hint=DEV)
    made = drafted((f"{HOST}/a", 1, image(1, moved)), (f"{HOST}/a", 2, image(2, forged)), (f"{HOST}/a", 3, image(3)))
    assert [e.spec.digests for e in bodies(made, ExemptionDocument)] == [(digest(3),)]
    text = made.files["policy-signed-by-nobody.yaml"]
    assert f"#   {HOST}/a@{digest(1)}" in text
    assert f"#   {HOST}/a@{digest(2)}" in text


def test_what_could_not_be_asked_is_left_out_and_listed():
    made = drafted((f"{HOST}/pay/a", 1, image(1, outcome="error")))
    assert (made.policies, made.left_out, list(made.files)) == (0, 1, ["not-known.txt"])
    assert f"{HOST}/pay/a@{digest(1)}: registry-unauthorized" in made.files["not-known.txt"]


HOSTILE = "https://evil.example/\n- images: ['**']\n\x1b[2J\u202e: &a *a"


def test_a_hostile_subject_stays_inside_its_comment_and_its_string():
    """A certificate's subject is a stranger's text: it must not become YAML of ours."""
    made = drafted((f"{HOST}/pay/a", 1, image(1, fact(1, certificate=leaf(HOSTILE)), fact(1, DEV))))
    for text in made.files.values():
        assert text.isascii()
        assert "\x1b" not in text
    (spec,) = policies(made).values()
    assert spec["match"] == ({"images": (f"{HOST}/pay/a",)},)
    verified = drafted((f"{HOST}/pay/a", 1, image(1, fact(1, certificate=leaf(HOSTILE), chains=CHAIN))))
    document = yaml.safe_load(verified.files[next(n for n in verified.files if n.startswith("policy-"))])
    assert document["spec"]["match"] == [{"images": [f"{HOST}/pay/a"]}]


def test_keys_keep_their_windows():
    ring = Ring({DEV: RingKey("dev", PEM, "platform", NOW, NOW + DAY)})
    text = yaml.safe_load(drafted((f"{HOST}/pay/a", 1, image(1, fact(1, DEV))), ring=ring).files["keys.yaml"])
    assert (text["spec"]["owner"], text["spec"]["validFrom"][:4]) == ("platform", "2026")


def test_many_repositories_fit_into_files_that_are_read(monkeypatch):
    monkeypatch.setattr(drafting, "MAX_REPOSITORIES", 200)
    entries = [(f"{HOST}/r{n}", n, image(n)) for n in range(510)]
    made = drafted((f"{HOST}/pay/a", 5_000, image(5_000, fact(5_000, DEV))), *entries)
    names = ("signed-by-nobody", "signed-by-nobody-2", "signed-by-nobody-3")
    assert [len(policies(made)[name]["match"][0]["images"]) for name in names] == [200, 200, 110]
    assert made.exemptions == len(bodies(made, ExemptionDocument)) == 510
    assert sorted(n for n in made.files if n.startswith("exemptions")) == ["exemptions-1.yaml", "exemptions-2.yaml"]


def test_many_digests_of_one_repository_fit_into_exemptions_that_are_read():
    made = drafted(*((f"{HOST}/a", n, image(n)) for n in range(1_001)))
    assert [len(e.spec.digests) for e in bodies(made, ExemptionDocument)] == [1_000, 1]


def test_a_key_that_is_not_in_the_ring_is_not_drafted():
    made = drafted((f"{HOST}/pay/a", 1, image(1, fact(1, "e" * 64))))
    assert "keys.yaml" not in made.files
