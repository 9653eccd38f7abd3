"""ClusterImagePolicy of policy-controller: authorities, logs, times, and what asks for nothing."""

import json

import pytest

from tests.helpers.imports import CA, A, B, codes, governing, read, tree
from verifier.errors import PolicyError
from verifier.policy.importers.notes import WeakeningImport


def policy(*authorities, name="p", globs=("ghcr.io/org/**",), **spec):
    body = {"images": [{"glob": glob} for glob in globs], "authorities": list(authorities)} | spec
    head = {"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy", "metadata": {"name": name}}
    return json.dumps(head | {"spec": body})


def key(pem, **more):
    return {"key": {"data": pem}} | more


def keyless(**more):
    identity = {"issuer": "https://issuer.example", "subject": "a@example.com"}
    return {"keyless": {"url": "https://fulcio.sigstore.dev", "identities": [identity]} | more}


def only(text, **options):
    result = read("cip", text, **options)
    (found,) = result.policies
    return found


def attestor(text):
    found = only(text)
    return found.attestors[found.require.attestor]


def test_any_authority_will_do():
    assert tree(only(policy(key(A), key(B)))) == ("any", "A", "B")
    assert tree(only(policy(key(A)))) == "A"


def test_every_policy_that_matches_must_hold():
    result = read("cip", policy(key(A), name="a"), policy(key(B), name="b", globs=["ghcr.io/**"]))
    assert governing(result, "ghcr.io/org/app:1") == ["a", "b"]
    assert governing(result, "ghcr.io/else/app:1") == ["b"]


def test_a_glob_keeps_its_meaning():
    result = read("cip", policy(key(A), globs=["ghcr.io/*"]))
    assert result.policies[0].dialect == "cip"
    assert governing(result, "ghcr.io/app:1") == ["p"]
    assert governing(result, "ghcr.io/org/app:1") == []


@pytest.mark.parametrize(("mode", "expected"), [(None, "enforce"), ("enforce", "enforce"), ("warn", "audit")])
def test_modes(mode, expected):
    assert only(policy(key(A), **({} if mode is None else {"mode": mode}))).mode == expected


def test_static_pass_asks_for_nothing_and_is_never_a_policy_that_accepts():
    for authorities in ([{"static": {"action": "pass"}}], [key(A), {"static": {"action": "pass"}}]):
        result = read("cip", policy(*authorities))
        assert result.policies == ()
        assert codes(result) == ["static-pass"]


def test_static_fail_denies_with_its_message():
    assert tree(only(policy({"static": {"action": "fail", "message": "not here"}}))) == "denied: not here"
    assert tree(only(policy({"static": {"action": "fail"}}))) == "denied: denied by the ClusterImagePolicy p"
    assert tree(only(policy({"static": {"action": "fail"}}, key(A)))) == "A"


LOGS = [
    ("a key alone", key(A), "optional"),
    ("a key and a log", key(A, ctlog={"url": "https://rekor.sigstore.dev"}), "required"),
    ("a key and a log of a trust root", key(A, ctlog={"trustRootRef": "own"}), "required"),
    ("a key and a log without address", key(A, ctlog={}), "optional"),
    ("an identity of the public instance", keyless(), "required"),
    ("an identity of a trust root, no log", keyless(trustRootRef="own"), "optional"),
    ("an identity and a timestamp", keyless() | {"rfc3161timestamp": {"trustRootRef": "own"}}, "optional"),
]


@pytest.mark.parametrize(("_sentence", "authority", "expected"), LOGS, ids=[row[0] for row in LOGS])
def test_when_a_log_is_demanded(_sentence, authority, expected):
    found = attestor(policy(authority))
    assert (found.keyless.log if found.keyless else found.log) == expected


def test_roots():
    assert attestor(policy(keyless())).keyless.roots == ("sigstore-public-good",)
    assert attestor(policy(keyless(trustRootRef="own"))).keyless.roots == ("own",)
    assert attestor(policy(keyless(**{"ca-cert": {"data": CA}, "url": None}))).keyless.roots == (CA,)
    assert attestor(policy(keyless(**{"ca-cert": {"secretRef": {"name": "ca"}}}))).keyless.roots == ("ca",)
    assert attestor(policy(keyless(insecureIgnoreSCT=True))).keyless.sct == "optional"


def test_expressions_match_anywhere():
    identity = {"issuerRegExp": "issuer", "subjectRegExp": "example"}
    (found,) = attestor(policy(keyless(identities=[identity]))).keyless.identities
    assert found.unanchored
    (found,) = attestor(policy(keyless())).keyless.identities
    assert (found.issuer, found.subject, found.unanchored) == ("https://issuer.example", "a@example.com", False)


def test_keys_elsewhere_get_a_name_and_a_note():
    result = read("cip", policy({"key": {"kms": "awskms:///alias/x"}}, {"key": {"secretRef": {"name": "s"}}}))
    assert tree(result.policies[0]) == ("any", "awskms-alias-x", "k8s-cosign-system-s")
    assert "`revet key add awskms-alias-x FILE`" in result.notes[0].message
    given = {"awskms:///alias/x": A, "k8s://cosign-system/s": B}
    elsewhere = policy({"key": {"kms": "awskms:///alias/x"}}, {"key": {"secretRef": {"name": "s"}}})
    assert tree(only(elsewhere, keys=given)) == ("any", "A", "B")


def test_two_references_never_share_a_name():
    result = read("cip", policy({"key": {"kms": "a://b"}}, {"key": {"kms": "a:/b"}}))
    names = [policy_key for found in result.policies[0].attestors.values() for policy_key in found.keys]
    assert len(set(names)) == 2


def test_attestations_stand_for_the_signature_and_all_must_be_there():
    wanted = [{"name": n, "predicateType": f"https://{n}.example"} for n in ("a", "b")]
    assert tree(only(policy(key(A, attestations=wanted)))) == (
        "all",
        "https://a.example by A",
        "https://b.example by A",
    )


WEAKER = [
    ("a rule over all authorities", policy(key(A), policy={"type": "cue", "data": "x"}), "policy-language"),
    (
        "a rule over the content",
        policy(key(A, attestations=[{"name": "a", "predicateType": "https://x", "policy": {"type": "rego"}}])),
        "policy-language",
    ),
    ("a timestamp beside a key", policy(key(A, rfc3161timestamp={"trustRootRef": "x"})), "timestamp"),
    ("a member of tomorrow", policy(key(A), quorum=2), "unknown-member"),
    ("the same in an authority", policy(key(A, quorum=2)), "unknown-member"),
]


@pytest.mark.parametrize(("_sentence", "text", "code"), WEAKER, ids=[row[0] for row in WEAKER])
def test_a_loss_that_weakens_is_an_error_until_accepted(_sentence, text, code):
    with pytest.raises(WeakeningImport) as caught:
        read("cip", text)
    assert caught.value.codes == (code,)
    assert tree(read("cip", text, accept_weaker={code}).policies[0])


def test_match_by_labels_of_pods_only():
    selector = {"matchLabels": {"app": "x"}}
    text = policy(key(A), match=[{"version": "v1", "resource": "pods", "selector": selector}])
    result = read("cip", text)
    assert governing(result, "ghcr.io/org/app:1", labels={"app": "x"}) == ["p"]
    assert governing(result, "ghcr.io/org/app:1") == []
    other = read("cip", policy(key(A), match=[{"group": "apps", "resource": "deployments", "selector": selector}]))
    assert governing(other, "ghcr.io/org/app:1") == ["p"]
    assert codes(other, "loses") == ["namespaces", "match"]


BROKEN = [
    ("no images", policy(key(A), globs=()), "expected images"),
    ("no authorities", policy(), "expected images and authorities"),
    ("two kinds", policy(key(A) | keyless()), "exactly one of key, keyless and static"),
    ("a glob that is none", policy(key(A), globs=["ghcr.io/[ab]"]), "letters, digits"),
    ("no key", policy({"key": {}}), "expected data, secretRef or kms"),
    ("a private key", policy(key("-----BEGIN PRIVATE KEY-----\n")), "PUBLIC KEY"),
    ("no identities", policy(keyless(identities=[])), "without identities"),
    ("an expression RE2 does not know", policy(keyless(identities=[{"issuer": "x", "subjectRegExp": "(?=a)"}])), "RE2"),
    ("a mode of tomorrow", policy(key(A), mode="shout"), "enforce or warn"),
    ("an action of tomorrow", policy({"static": {"action": "maybe"}}), "pass or fail"),
    ("a bad predicate type", policy(key(A, attestations=[{"name": "a", "predicateType": ""}])), "predicateType"),
]


@pytest.mark.parametrize(("_sentence", "text", "message"), BROKEN, ids=[row[0] for row in BROKEN])
def test_broken_input_names_its_place(_sentence, text, message):
    with pytest.raises(PolicyError, match=message) as caught:
        read("cip", text)
    assert (caught.value.file, caught.value.line) == ("f1.yaml", 1)
    assert caught.value.field.startswith("spec")
