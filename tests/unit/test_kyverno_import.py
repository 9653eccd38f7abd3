"""Kyverno's verifyImages: what is carried over, and that no check gets weaker unseen."""

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.helpers.imports import A, B, C, public_key
from tests.helpers.kyverno import NO_LOG, block, chain, cluster_policy, keys, run, signatures, weakened
from verifier.errors import PolicyError, TrustError

COUNTS = [
    ("no count: all entries", [keys(A), keys(B)], None, ("all", "A", "B")),
    ("count 0: all entries", [keys(A), keys(B)], 0, ("all", "A", "B")),
    ("count 1: any entry", [keys(A), keys(B)], 1, ("any", "A", "B")),
    ("count 2 of 3", [keys(A), keys(B), keys(C)], 2, ("2 of", "A", "B", "C")),
    ("count of all", [keys(A), keys(B)], 2, ("all", "A", "B")),
    ("one entry", [keys(A)], None, "A"),
    ("several keys in one text are entries of their own", [keys(A + B)], None, ("all", "A", "B")),
    ("and count over them", [keys(A + B + C)], 2, ("2 of", "A", "B", "C")),
    (
        "a nested set",
        [keys(A), {"attestor": {"count": 1, "entries": [keys(B), keys(C)]}}],
        None,
        ("all", "A", ("any", "B", "C")),
    ),
]


@pytest.mark.parametrize(("_sentence", "entries", "count", "expected"), COUNTS, ids=[row[0] for row in COUNTS])
def test_attestor_sets_become_a_tree(_sentence, entries, count, expected):
    result = run(cluster_policy(block(*entries, count=count)))
    assert signatures(result) == expected
    assert not [n for n in result.notes if n.severity != "info"]


def test_all_sets_must_hold():
    two = block() | {"attestors": [{"entries": [keys(A)]}, {"entries": [keys(B)]}]}
    assert signatures(run(cluster_policy(two))) == ("all", "A", "B")


def test_annotations_of_an_entry_go_before_those_of_the_block():
    result = run(cluster_policy(block(keys(A, annotations={"env": "prod"}), keys(B), annotations={"env": "any"})))
    assert [leaf.annotations for leaf in result.policies[0].require.leaves()] == [{"env": "prod"}, {"env": "any"}]


@pytest.mark.parametrize(
    ("count", "entries"), [(3, [keys(A), keys(B)]), (-1, [keys(A)]), ("two", [keys(A)]), (None, [])]
)
def test_a_count_that_cannot_be_met_is_an_error(count, entries):
    with pytest.raises(PolicyError, match=r"k\.yaml:\d+:\d+: spec\.rules\[0\]\.verifyImages\[0\]\.attestors\[0\]"):
        run(cluster_policy(block(*entries, count=count)))


# ------------------------------------------------------------------------------------------------- the old form, modes


def old(**members):
    return {"image": "registry.example.com/*"} | members


def test_the_old_form_with_image_and_key():
    result = run(cluster_policy(old(key=A, annotations={"env": "prod"}), spec={"validationFailureAction": "enforce"}))
    policy = result.policies[0]
    assert (signatures(result), policy.mode, policy.match[0].images) == ("A", "enforce", ("registry.example.com/*",))
    assert policy.require.annotations == {"env": "prod"}
    assert [n.code for n in result.notes if n.severity != "info"] == ["transparency-log"]


def test_the_old_form_with_several_keys():
    assert signatures(run(cluster_policy(old(key=A + B)))) == ("all", "A", "B")


def test_the_old_form_where_it_would_get_weaker():
    assert weakened(cluster_policy(old(key=A, attestations=[{"predicateType": "https://x"}]))) == ("attestations",)


def test_the_old_form_of_a_keyless_identity():
    result = run(cluster_policy(old(issuer="https://issuer.example", subject="*@example.com", annotations={"a": "b"})))
    (attestor,) = result.policies[0].attestors.values()
    (identity,) = attestor.keyless.identities
    assert (identity.issuer_pattern, identity.subject_pattern) == ("https://issuer.example", "*@example.com")
    assert (attestor.keyless.log, attestor.keyless.sct) == ("required", "required")
    assert result.policies[0].require.annotations == {"a": "b"}


def test_the_old_form_with_a_key_that_is_elsewhere():
    result = run(cluster_policy(old(key="k8s://security/cosign")))
    assert signatures(result) == "k8s-security-cosign"
    assert {n.code for n in result.notes if n.severity == "loses"} == {"transparency-log", "key-reference"}


@pytest.mark.parametrize(
    ("in_block", "in_spec", "mode"),
    [(None, None, "audit"), ("Enforce", None, "enforce"), (None, "enforce", "enforce"), ("Audit", "Enforce", "audit")],
)
def test_modes(in_block, in_spec, mode):
    spec = {} if in_spec is None else {"validationFailureAction": in_spec}
    more = {} if in_block is None else {"failureAction": in_block}
    assert run(cluster_policy(block(keys(A), **more), spec=spec)).policies[0].mode == mode


# ------------------------------------------------------------------------------------------------------- what gets lost

SECRET = {"keys": {"secret": {"name": "cosign", "namespace": "security"}, "rekor": NO_LOG}}
KMS = {"keys": {"kms": "awskms:///arn", "rekor": NO_LOG}}
VARIABLE = {"keys": {"publicKeys": "{{ keys.data.org }}", "rekor": NO_LOG}}

WEAKER = [
    (
        "an attestation",
        block(keys(A), attestations=[{"type": "https://slsa.dev/provenance/v1", "conditions": []}]),
        ("attestations",),
    ),
    ("only an attestation", {"imageReferences": ["r/*"], "attestations": [{"type": "https://x"}]}, ("attestations",)),
    ("conditions on attestations", block(keys(A), validate={"deny": {}}), ("validate",)),
    (
        "conditions on the content",
        block(
            keys(A),
            attestations=[{"type": "https://x", "attestors": [{"entries": [keys(B)]}], "conditions": [{"all": []}]}],
        ),
        ("conditions",),
    ),
    (
        "annotations of an attestation's signature",
        block(
            keys(A),
            annotations={"a": "b"},
            attestations=[{"type": "https://x", "attestors": [{"entries": [keys(B)]}]}],
        ),
        ("annotations",),
    ),
    (
        "a timestamp beside a key",
        block({"keys": {"publicKeys": A, "rekor": NO_LOG, "ctlog": {"tsaCertChain": "x"}}}),
        ("timestamp",),
    ),
    ("a member of tomorrow's Kyverno", block(keys(A), quorum=2), ("unknown-member",)),
    ("the same in an entry", block(keys(A, threshold=2)), ("unknown-member",)),
    ("a variable among the patterns", block(keys(A), imageReferences=["r/*", "{{ images.a }}"]), ("variable",)),
]


@pytest.mark.parametrize(("_sentence", "lossy", "codes"), WEAKER, ids=[row[0] for row in WEAKER])
def test_a_loss_that_weakens_a_check_is_an_error(_sentence, lossy, codes):
    assert weakened(cluster_policy(lossy)) == codes


@pytest.mark.parametrize(("_sentence", "lossy", "codes"), WEAKER, ids=[row[0] for row in WEAKER])
def test_unless_that_kind_of_loss_is_accepted(_sentence, lossy, codes):
    assert run(cluster_policy(lossy), accept_weaker=True).notes == run(cluster_policy(lossy), accept_weaker=codes).notes
    assert weakened(cluster_policy(lossy), accept_weaker={"another"}) == codes


def test_the_error_says_where_and_is_one_of_ours():
    with pytest.raises(TrustError, match=r"^k\.yaml:\d+: spec\.rules\[0\]\.verifyImages\[0\]\.attestors\[0\]"):
        run(cluster_policy(block(keys(A, threshold=2))))


def test_an_accepted_loss_keeps_what_can_be_kept():
    lossy = block(keys(A), attestations=[{"type": "https://x", "attestors": []}])
    assert signatures(run(cluster_policy(lossy), accept_weaker=True)) == "A"
    only = {"imageReferences": ["r/*"], "attestations": [{"type": "https://x"}]}
    assert run(cluster_policy(only), accept_weaker=True).policies == ()


STRICTER = [
    ("a key in a secret", block(keys(A), SECRET), ("all", "A", "k8s-security-cosign"), ["key-reference"]),
    ("a key in a KMS", block(KMS), "awskms-arn", ["key-reference"]),
    ("a key from a variable", block(VARIABLE), "keys.data.org", ["key-reference"]),
    ("signatures in another repository", block(keys(A), repository="r.example/sigs"), "A", ["repository"]),
    ("another repository for an entry", block(keys(A, repository="r.example/sigs")), "A", ["repository"]),
    (
        "another hash",
        block({"keys": {"publicKeys": A, "rekor": NO_LOG, "signatureAlgorithm": "sha512"}}),
        "A",
        ["signature-algorithm"],
    ),
]


@pytest.mark.parametrize(("_sentence", "lossy", "expected", "codes"), STRICTER, ids=[row[0] for row in STRICTER])
def test_a_loss_that_asks_more_is_a_note(_sentence, lossy, expected, codes):
    result = run(cluster_policy(lossy))
    assert signatures(result) == expected
    assert [(n.severity, n.code) for n in result.notes] == [("loses", code) for code in codes]


def test_keys_that_are_elsewhere_can_be_given():
    given_keys = {"k8s://security/cosign": A, "awskms:///arn": B}
    assert signatures(run(cluster_policy(block(SECRET, KMS)), keys=given_keys)) == ("all", "A", "B")


def test_a_log_is_demanded_unless_the_original_ignores_it():
    for rekor, expected in (
        ({}, "required"),
        ({"rekor": {"url": "https://r.example"}}, "required"),
        ({"rekor": NO_LOG}, "optional"),
    ):
        (attestor,) = run(cluster_policy(block({"keys": {"publicKeys": A} | rekor}))).policies[0].attestors.values()
        assert attestor.log == expected


def test_an_attestation_is_demanded_of_its_own_attestors():
    slsa = {"type": "https://slsa.dev/provenance/v1", "attestors": [{"count": 1, "entries": [keys(B), keys(C)]}]}
    result = run(cluster_policy(block(keys(A), attestations=[slsa])))
    by = "https://slsa.dev/provenance/v1 by"
    assert signatures(result) == ("all", "A", ("any", f"{by} B", f"{by} C"))


def test_keyless_patterns_are_wildcards_and_expressions_match_anywhere():
    entry = {
        "issuer": "https://issuer.example",
        "subjectRegExp": "github",
        "ctlog": {"ignoreSCT": True},
        "rekor": NO_LOG,
    }
    extensions = {"additionalExtensions": {"githubWorkflowSha": "abc*", "1.3.6.1.4.1.57264.1.2": "push"}}
    result = run(cluster_policy(block({"keyless": entry | extensions})))
    (attestor,) = result.policies[0].attestors.values()
    (identity,) = attestor.keyless.identities
    assert (identity.issuer_pattern, identity.issuer, identity.subject_reg_exp) == (
        "https://issuer.example",
        "",
        "github",
    )
    assert identity.unanchored
    assert identity.extensions == {"githubWorkflowSHA": "abc*", "githubWorkflowTrigger": "push"}
    assert (attestor.keyless.log, attestor.keyless.sct) == ("optional", "optional")


def test_an_identity_without_issuer_stays_open_and_is_said():
    result = run(cluster_policy(block({"keyless": {"subject": "a@example.com"}})))
    (identity,) = next(iter(result.policies[0].attestors.values())).keyless.identities
    assert identity.issuer_pattern == "*"
    assert [n.code for n in result.notes] == ["open-identity"]


def test_an_extension_kyverno_does_not_know_is_an_error():
    with pytest.raises(PolicyError, match="extension"):
        run(cluster_policy(block({"keyless": {"subject": "a", "additionalExtensions": {"1.2.3": "x"}}})))


LEAF, ROOT = chain()


def test_a_certificate_alone_is_its_key():
    result = run(cluster_policy(block({"certificates": {"cert": LEAF, "rekor": NO_LOG}})))
    (attestor,) = result.policies[0].attestors.values()
    assert attestor.keys == (public_key(21),)


def test_a_certificate_with_its_chain_is_that_certificate_alone():
    result = run(cluster_policy(block({"certificates": {"cert": LEAF, "certChain": ROOT}})))
    (attestor,) = result.policies[0].attestors.values()
    der = x509.load_pem_x509_certificate(LEAF.encode()).public_bytes(Encoding.DER)
    assert attestor.certificates.fingerprints == (hashlib.sha256(der).hexdigest(),)
    assert attestor.certificates.roots == (ROOT,)
    assert (attestor.certificates.log, attestor.certificates.sct, attestor.certificates.anyone) == (
        "required",
        "required",
        False,
    )


def test_a_chain_alone_certifies_everybody_and_that_is_said():
    result = run(cluster_policy(block({"certificates": {"certChain": ROOT, "rekor": NO_LOG}})))
    (attestor,) = result.policies[0].attestors.values()
    assert attestor.certificates.anyone
    assert [n.code for n in result.notes] == ["anyone"]


@pytest.mark.parametrize(
    "text", ["", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_what_is_no_certificate_is_an_error(text):
    with pytest.raises(PolicyError, match=r"certificates\.cert|certificates: "):
        run(cluster_policy(block({"certificates": {"cert": text or " "}})))


def test_notary_signatures_are_those_of_a_named_store():
    result = run(cluster_policy(block({"certificates": {"cert": LEAF}}, type="Notary")))
    (attestor,) = result.policies[0].attestors.values()
    assert attestor.notary.stores == ("ca:signed.check.certificates",)
    assert [n.code for n in result.notes] == ["root-reference"]
    with pytest.raises(PolicyError, match="Notary takes certificates"):
        run(cluster_policy(block(keys(A), type="Notary")))


QUIET = {"mutateDigest": False, "verifyDigest": True, "required": False, "type": "SigstoreBundle", "useCache": True}


def test_what_changes_no_check_is_at_most_information():
    result = run(cluster_policy(block(keys(A), **QUIET), spec={"background": False, "failurePolicy": "Ignore"}))
    assert {n.severity for n in result.notes} == {"info"}
    assert {n.code for n in result.notes} == {"digest", "required", "format"}
