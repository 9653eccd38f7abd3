"""containers-policy.json and OpenShift's image policies: the most specific scope, kinds of keys, strictness."""

import base64
import json

import pytest
import yaml

from tests.helpers.imports import CA, A, B, codes, governing, read, tree, trees
from verifier.errors import PolicyError
from verifier.policy.importers.notes import WeakeningImport
from verifier.policy.importers.scopes import nested

OWN = {"type": "matchRepository"}
REJECT = {"type": "reject"}
ANYTHING = {"type": "insecureAcceptAnything"}
RING = b"\x99\x01\x0d" + bytes(80)
"""Looks like a binary key ring: what is in it is read when it is used."""


def data(text):
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def signed(*pems, **more):
    keys = {"keyData": data(pems[0])} if len(pems) == 1 else {"keyDatas": [data(pem) for pem in pems]}
    return {"type": "sigstoreSigned", "signedIdentity": OWN, **(keys if pems else {}), **more}


def file(default=(REJECT,), **scopes):
    found: dict[str, object] = {"default": list(default)}
    if scopes:
        found["transports"] = {"docker": {name: list(value) for name, value in scopes["docker"].items()}}
    return json.dumps(found)


def docker(scopes, default=(REJECT,)):
    return file(default, docker=scopes)


def first(text, **options):
    return read("containers-policy", text, **options).policies[0]


def test_only_the_most_specific_scope_counts():
    scopes = {
        "r.example": [signed(A)],
        "r.example/team": [signed(B)],
        "r.example/team/open": [ANYTHING],
        "*.example": [REJECT],
    }
    result = read("containers-policy", docker(scopes))
    assert governing(result, "r.example/app:1") == ["containers.r.example"]
    assert governing(result, "r.example/team/app:1") == ["containers.r.example.team"]
    assert governing(result, "r.example/team/open/app:1") == []
    assert governing(result, "x.example/app:1") == ["containers.any.example"]
    assert governing(result, "elsewhere.invalid/app:1") == ["containers.default"]


def test_a_reference_is_more_specific_than_its_repository():
    result = read("containers-policy", docker({"r.example/a": [signed(A)], "r.example/a:1": [REJECT]}))
    assert governing(result, "r.example/a:1") == ["containers.r.example.a-1"]
    assert governing(result, "r.example/a:2") == ["containers.r.example.a"]


def test_two_scopes_never_share_an_id():
    result = read("containers-policy", docker({"r.example/a.b": [signed(A)], "r.example/a/b": [signed(B)]}))
    assert len({policy.id for policy in result.policies}) == 3


def test_requirements_hold_together_and_reject_denies():
    result = read(
        "containers-policy", docker({"r.example": [signed(A), signed(B, A)], "s.example": [signed(A), REJECT]})
    )
    found = trees(result)
    assert found["containers.default"] == "denied: rejected by the containers policy"
    assert found["containers.r.example"] == ("all", "A", "B+A")
    assert found["containers.s.example"] == ("all", "A", "denied: rejected by the containers policy")


def test_accepting_anything_is_no_policy():
    result = read("containers-policy", file([ANYTHING]))
    assert result.policies == ()
    assert codes(result) == ["accepts-anything"]
    assert trees(read("containers-policy", docker({"r.example": [ANYTHING, signed(A)]}, [ANYTHING]))) == {
        "containers.r.example": "A"
    }


def test_the_transports_own_default_goes_before_the_files():
    result = read("containers-policy", docker({"": [signed(A)], "r.example": [ANYTHING]}))
    assert trees(result) == {"containers.default": "A"}
    assert governing(result, "r.example/a:1") == []
    assert governing(result, "x.example/a:1") == ["containers.default"]


def test_other_transports_are_left_out_and_still_checked():
    other = json.dumps({"default": [ANYTHING], "transports": {"dir": {"": [REJECT]}}})
    assert codes(read("containers-policy", other)) == ["transport", "accepts-anything"]
    with pytest.raises(PolicyError, match="type is one of"):
        read("containers-policy", json.dumps({"default": [ANYTHING], "transports": {"dir": {"": [{"type": "x"}]}}}))


def attestor(requirement, **options):
    policy = first(file([requirement]), **options)
    return policy.attestors[policy.require.attestor]


def test_the_signature_names_the_repository():
    assert attestor(signed(A)).repository_claim


def test_an_openpgp_ring():
    found = attestor({"type": "signedBy", "keyType": "GPGKeys", "keyData": data(RING), "signedIdentity": OWN})
    (ring,) = found.openpgp.keyrings
    assert ring.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n")
    assert base64.b64decode("".join(ring.splitlines()[2:-1])) == RING
    assert found.repository_claim
    text = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"
    found = attestor({"type": "signedBy", "keyType": "GPGKeys", "keyData": data(text), "signedIdentity": OWN})
    assert found.openpgp.keyrings == (text,)
    paths = {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["/etc/a.gpg", "/etc/b.gpg"], "signedIdentity": OWN}
    assert attestor(paths).openpgp.keyrings == ("etc-a.gpg", "etc-b.gpg")


def test_keys_of_the_nodes_files():
    assert attestor(signed(keyPath="/etc/pki/dev.pub")).keys == ("etc-pki-dev.pub",)
    assert attestor(signed(keyPath="/etc/pki/dev.pub"), keys={"/etc/pki/dev.pub": A}).keys == (A,)
    assert attestor(signed(keyPaths=["/a", "/b"])).keys == ("a", "b")


def test_a_log_beside_a_key_is_demanded():
    assert attestor(signed(A)).log == "optional"
    assert attestor(signed(A, rekorPublicKeyData=data(B))).log == "required"


FULCIO = {"caData": data(CA), "oidcIssuer": "https://issuer.example", "subjectEmail": "a@example.com"}


def test_an_identity_of_fulcio_is_exact():
    found = attestor(signed(fulcio=FULCIO, rekorPublicKeyPath="/etc/rekor.pub")).keyless
    (identity,) = found.identities
    assert (identity.issuer, identity.subject) == ("https://issuer.example", "a@example.com")
    assert (found.roots, found.log, found.sct) == ((CA,), "required", "optional")


def test_a_certificate_of_ones_own_authority():
    pki = {"caRootsData": data(CA), "caIntermediatesPath": "/etc/int.pem", "subjectEmail": "a@example.com"}
    found = attestor(signed(pki=pki)).certificates
    assert found.roots == ("etc-int.pem", CA)
    assert [identity.subject for identity in found.identities] == ["a@example.com"]


def test_two_subjects_are_two_demands():
    pki = {"caRootsData": data(CA), "subjectEmail": "a@example.com", "subjectHostname": "h.example"}
    with pytest.raises(WeakeningImport) as caught:
        first(file([signed(pki=pki)]))
    assert caught.value.codes == ("two-subjects",)
    assert tree(first(file([signed(pki=pki)]), accept_weaker={"two-subjects"})) == ("all", "pki", "pki-2")


IDENTITIES = [
    (None, ("signed-tag",)),
    ({"type": "matchRepoDigestOrExact"}, ("signed-tag",)),
    ({"type": "matchExact"}, ("signed-tag",)),
    ({"type": "exactReference", "dockerReference": "r.example/a:1"}, ("signed-tag",)),
    ({"type": "remapIdentity", "prefix": "r.example", "signedPrefix": "s.example"}, ("signed-tag",)),
    ({"type": "matchRepository"}, ()),
    ({"type": "exactRepository", "dockerRepository": "s.example/a"}, ()),
]


@pytest.mark.parametrize(("identity", "weaker"), IDENTITIES)
def test_the_tag_in_a_signature_is_not_compared(identity, weaker):
    requirement = {"type": "sigstoreSigned", "keyData": data(A)} | ({"signedIdentity": identity} if identity else {})
    if weaker:
        with pytest.raises(WeakeningImport) as caught:
            first(file([requirement]))
        assert caught.value.codes == weaker
    found = first(file([requirement]), accept_weaker=weaker)
    assert found.attestors[found.require.attestor].repository_claim


def test_another_repository_is_a_note_unless_it_is_the_scopes_own():
    identity = {"type": "exactRepository", "dockerRepository": "r.example/a"}
    other = read("containers-policy", docker({"r.example": [signed(A, signedIdentity=identity)]}, [ANYTHING]))
    assert "signed-identity" in codes(other)
    own = read("containers-policy", docker({"r.example/a": [signed(A, signedIdentity=identity)]}, [ANYTHING]))
    assert "signed-identity" not in codes(own)


def test_json_may_be_indented_by_tabs():
    assert first('{\n\t"default":\t[\n\t\t{"type": "reject"}\n\t]\n}').id == "containers.default"


BROKEN = [
    (
        "an unknown member at the top",
        '{"default": [{"type": "reject"}], "transport": {}}',
        "makes the whole file invalid",
    ),
    ("an unknown member of a requirement", file([REJECT | {"why": "x"}]), "makes the whole file invalid"),
    ("an unknown member without a value", file([REJECT | {"why": None}]), "makes the whole file invalid"),
    (
        "an unknown member deep inside",
        file([signed(fulcio=FULCIO | {"x": 1}, rekorPublicKeyPath="/r")]),
        "whole file invalid",
    ),
    ("a member twice", '{"default": [{"type": "reject"}], "default": [{"type": "reject"}]}', "twice"),
    ("a scope twice", '{"default": [{"type": "reject"}], "transports": {"docker": {"a.b": [], "a.b": []}}}', "twice"),
    ("no default", '{"transports": {}}', "expected default"),
    ("no requirements", file([]), "without requirements"),
    ("a kind of tomorrow", file([{"type": "signedBaseLayer"}]), "type is one of"),
    ("no key", file([signed()]), "exactly one of"),
    ("two sources of keys", file([signed(A, keyPath="/a")]), "exactly one of"),
    ("two sources of log keys", file([signed(A, rekorPublicKeyPath="/a", rekorPublicKeyData=data(B))]), "only one of"),
    ("fulcio without a log", file([signed(fulcio=FULCIO)]), "Rekor"),
    (
        "fulcio without an address",
        file([signed(fulcio=FULCIO | {"subjectEmail": ""}, rekorPublicKeyPath="/a")]),
        "subjectEmail",
    ),
    ("pki without a subject", file([signed(pki={"caRootsData": data(CA)})]), "subject"),
    ("a key that is none", file([signed("x")]), "PUBLIC KEY|add it|PEM"),
    ("no base64", file([signed(keyData="!")]), "expected base64"),
    ("an empty list of paths", file([signed(keyPaths=[])]), "without entries"),
    (
        "x509 keys",
        file([{"type": "signedBy", "keyType": "X509Certificates", "keyPath": "/a", "signedIdentity": OWN}]),
        "GPGKeys",
    ),
    (
        "a ring that is none",
        file([{"type": "signedBy", "keyType": "GPGKeys", "keyData": data("x"), "signedIdentity": OWN}]),
        "ring",
    ),
    ("a scope that is none", docker({"r.example/*": [REJECT]}), "a scope is"),
    ("the star as a scope", docker({"*": [REJECT]}), "not a scope"),
    ("an identity of tomorrow", file([signed(A, signedIdentity={"type": "x"})]), "type is one of"),
    (
        "an identity with another's member",
        file([signed(A, signedIdentity=OWN | {"prefix": "x"})]),
        "whole file invalid",
    ),
    ("a list instead of members", '[{"default": []}]', "expected members"),
]


@pytest.mark.parametrize(("_sentence", "text", "message"), BROKEN, ids=[row[0] for row in BROKEN])
def test_what_invalidates_the_file_is_refused_with_its_place(_sentence, text, message):
    with pytest.raises(PolicyError, match=message) as caught:
        read("containers-policy", text)
    assert caught.value.file == "f1.yaml"
    assert caught.value.line >= 1


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("*", "r.example", True),
        ("r.example", "*", False),
        ("r.example", "r.example", False),
        ("r.example", "r.example/a", True),
        ("r.example/a", "r.example", False),
        ("r.example/a", "r.example/ab", False),
        ("r.example/a", "r.example/a:1", True),
        ("*.example", "r.example/a", True),
        ("*.example", "r.example:5000/a", True),
        ("*.example", "*.r.example", True),
        ("*.r.example", "*.example", False),
        ("*.example", "example/a", False),
        ("R.example", "r.example/a", True),
    ],
)
def test_which_scope_is_inside_which(outer, inner, expected):
    assert nested(outer, inner) is expected


# ------------------------------------------------------------------------------------------------------------ OpenShift


def openshift(name="p", scopes=("r.example",), root=None, namespace="", identity=None):
    kind = "ImagePolicy" if namespace else "ClusterImagePolicy"
    policy = {"rootOfTrust": root or {"policyType": "PublicKey", "publicKey": {"keyData": data(A)}}}
    policy["signedIdentity"] = identity or {"matchPolicy": "MatchRepository"}
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    spec = {"scopes": list(scopes), "policy": policy}
    return yaml.safe_dump({"apiVersion": "config.openshift.io/v1", "kind": kind, "metadata": metadata, "spec": spec})


def test_policies_of_a_cluster_take_scopes_from_each_other():
    result = read("openshift", openshift("a"), openshift("b", ["r.example/team", "s.example"]))
    assert governing(result, "r.example/app:1") == ["a"]
    assert governing(result, "r.example/team/app:1") == ["b.1"]
    assert governing(result, "s.example/app:1") == ["b.2"]
    assert governing(result, "t.example/app:1") == []


def test_a_scope_inside_another_of_the_same_policy():
    """a, a/b/c of one policy and a/b of another: what the other takes must not take a/b/c from the first."""
    result = read("openshift", openshift("p", ["r.example", "r.example/b/c"]), openshift("q", ["r.example/b"]))
    assert governing(result, "r.example/b/c/app:1") == ["p.2"]
    assert governing(result, "r.example/b/app:1") == ["q"]


def test_one_scope_in_two_policies_asks_for_both():
    result = read("openshift", openshift("a"), openshift("b"))
    assert governing(result, "r.example/app:1") == ["a", "b"]


def test_a_namespaces_policy_cannot_change_what_the_cluster_says():
    result = read(
        "openshift",
        openshift("c", ["r.example/team"]),
        openshift("n", ["r.example", "r.example/team/x"], namespace="dev"),
    )
    assert codes(result, "info") == ["overridden"]
    assert governing(result, "r.example/app:1", namespace="dev") == ["dev.n.1"]
    assert governing(result, "r.example/app:1", namespace="other") == []
    assert governing(result, "r.example/team/x/app:1", namespace="dev") == ["c"]


def test_the_roots_of_trust():
    fulcio = {
        "policyType": "FulcioCAWithRekor",
        "fulcioCAWithRekor": {
            "fulcioCAData": data(CA),
            "rekorKeyData": data(B),
            "fulcioSubject": {"oidcIssuer": "https://i.example", "signedEmail": "a@example.com"},
        },
    }
    pki = {
        "policyType": "PKI",
        "pki": {"caRootsData": data(CA), "pkiCertificateSubject": {"hostname": "h.example"}},
    }
    logged = {"policyType": "PublicKey", "publicKey": {"keyData": data(A), "rekorKeyData": data(B)}}
    found = [read("openshift", openshift(root=root)).policies[0] for root in (fulcio, pki, logged)]
    attestors = [policy.attestors[policy.require.attestor] for policy in found]
    assert attestors[0].keyless.roots == (CA,)
    assert attestors[1].certificates.identities[0].subject == "h.example"
    assert (attestors[2].keys, attestors[2].log) == ((A,), "required")
    assert all(attestor.repository_claim for attestor in attestors)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (openshift(scopes=[]), "expected scopes"),
        (openshift(scopes=["*"]), "not a scope"),
        (openshift(root={"policyType": "PKI", "publicKey": {}}), "stands beside pki"),
        (openshift(root={"policyType": "x"}), "policyType"),
        (openshift(identity={"matchPolicy": "x"}), "matchPolicy"),
        (openshift().replace("name: p", "nome: p"), "metadata.name"),
    ],
)
def test_what_openshift_refuses_is_refused(text, message):
    with pytest.raises(PolicyError, match=message):
        read("openshift", text)


def test_the_default_identity_is_a_loss():
    with pytest.raises(WeakeningImport) as caught:
        read("openshift", openshift(identity={"matchPolicy": "MatchRepoDigestOrExact"}))
    assert caught.value.codes == ("signed-tag",)
