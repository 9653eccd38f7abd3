"""containers-policy.json for nodes: scopes, what is said differently, and that nothing asks less unseen."""

import base64
import json

import pytest
import yaml

from tests.helpers.imports import CA, A, B, governing, read, trees
from tests.helpers.statefile import revet
from verifier.errors import PolicyError
from verifier.policy.documents import plain, policy_document
from verifier.policy.export import Material, WeakeningExport, export_containers
from verifier.policy.model import Policy

ARMOR = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"
OWN = {"type": "matchRepository"}


def data(text):
    return base64.b64encode(text.encode()).decode()


def key(pem):
    return {"type": "sigstoreSigned", "keyData": data(pem), "signedIdentity": OWN}


def a_policy(name="p", images=("r.example/**",), require=None, attestors=None, mode="enforce", exclude=(), **more):
    members = {
        "id": name,
        "mode": mode,
        "match": [{"images": list(images)} | more.pop("where", {})],
        "exclude": [{"images": list(exclude)}] if exclude else [],
        "attestors": attestors or {"a": {"keys": [A], "repositoryClaim": True}},
        "require": require or {"signedBy": "a"},
    }
    return Policy.model_validate(members | more)


def export(*policies, **options):
    return export_containers(policies, **options)


def docker(result):
    return result.document["transports"]["docker"]


def codes(result):
    return [(note.severity, note.code) for note in result.notes if note.code != "default"]


def test_a_repository_tree_is_a_scope():
    result = export(a_policy())
    assert result.document == {"default": [{"type": "reject"}], "transports": {"docker": {"r.example": [key(A)]}}}
    assert codes(result) == []


def test_more_specific_scopes_repeat_what_holds_around_them():
    """Only the most specific scope counts in the file; in revet every policy that matches does."""
    inner = a_policy("q", ["r.example/team/**"], attestors={"a": {"keys": [B], "repositoryClaim": True}})
    assert docker(export(a_policy(), inner)) == {"r.example": [key(A)], "r.example/team": [key(A), key(B)]}


def test_what_is_excluded_is_a_scope_of_its_own():
    result = export(a_policy(exclude=["r.example/open/**"]))
    assert docker(result) == {"r.example": [key(A)], "r.example/open": [{"type": "insecureAcceptAnything"}]}


def test_a_policy_for_every_image_is_the_default():
    result = export(a_policy(images=["**"]), a_policy("q", ["r.example/**"], {"denied": "no"}))
    assert result.document["default"] == [key(A)]
    assert docker(result) == {"r.example": [{"type": "reject"}]}


def test_images_that_no_policy_governs():
    assert export(a_policy()).document["default"] == [{"type": "reject"}]
    accepted = export(a_policy(), default="accept")
    assert accepted.document["default"] == [{"type": "insecureAcceptAnything"}]
    assert [note.code for note in accepted.notes] == ["default"]


def test_a_literal_repository_covers_what_is_below_it_and_says_so():
    result = export(a_policy(images=["r.example/app"]))
    assert set(docker(result)) == {"r.example/app"}
    assert codes(result) == [("loses", "scope")]
    assert set(docker(export(a_policy(exclude=["r.example/app"])))) == {"r.example"}, "excluding more would weaken"


def test_namespaces_and_labels_hold_for_everybody():
    result = export(a_policy(where={"namespaces": ["prod"]}))
    assert docker(result) == {"r.example": [key(A)]}
    assert codes(result) == [("loses", "match")]


@pytest.mark.parametrize("mode", ["audit", "trial"])
def test_only_what_enforces_is_exported(mode):
    result = export(a_policy(mode=mode))
    assert result.document == {"default": [{"type": "reject"}]}
    assert codes(result) == [("info", "mode")]


def test_all_any_of_keys_and_denied():
    two = {"a": {"keys": [A], "repositoryClaim": True}, "b": {"keys": [B], "repositoryClaim": True}}
    both = export(a_policy(require={"all": [{"signedBy": "a"}, {"signedBy": "b"}]}, attestors=two))
    assert docker(both)["r.example"] == [key(A), key(B)]
    either = export(a_policy(require={"any": [{"signedBy": "a"}, {"signedBy": "b"}]}, attestors=two))
    assert docker(either)["r.example"] == [
        {"type": "sigstoreSigned", "keyDatas": [data(A), data(B)], "signedIdentity": OWN}
    ]
    assert docker(export(a_policy(require={"denied": "no"})))["r.example"] == [{"type": "reject"}]


def test_a_signature_without_a_claim_must_have_one_on_nodes():
    result = export(a_policy(attestors={"a": {"keys": [A]}}))
    assert codes(result) == [("loses", "repository-claim")]


def test_names_become_their_text():
    named = a_policy(attestors={"a": {"keys": ["dev"], "repositoryClaim": True}})
    assert docker(export(named, material=Material({"dev": A}))) == {"r.example": [key(A)]}
    with pytest.raises(PolicyError, match="the text of the key 'dev' is needed"):
        export(named)


EMAIL = {"issuer": "https://i.example", "subject": "a@example.com"}


def one(attestor, **options):
    result = export(a_policy(attestors={"a": attestor | {"repositoryClaim": True}}), **options)
    return docker(result)["r.example"][0]


def test_other_kinds_of_signers():
    keyless = {"keyless": {"identities": [EMAIL], "roots": [CA], "sct": "optional"}}
    found = one(keyless, material=Material(log_key=B))
    assert found["fulcio"] == {"caData": data(CA), "oidcIssuer": "https://i.example", "subjectEmail": "a@example.com"}
    assert found["rekorPublicKeyData"] == data(B)
    pki = one(
        {"certificates": {"roots": ["corp"], "identities": [{"subject": "h.example"}]}},
        material=Material(roots={"corp": CA}),
    )
    assert pki["pki"] == {"caRootsData": data(CA), "subjectHostname": "h.example"}
    assert one({"openpgp": {"keyrings": [ARMOR]}}) == {
        "type": "signedBy",
        "keyType": "GPGKeys",
        "keyData": data(ARMOR),
        "signedIdentity": OWN,
    }
    assert one({"keys": [A], "log": "required"}, material=Material(log_key=B))["rekorPublicKeyData"] == data(B)


LOSSES = [
    ("n of m", {"require": {"atLeast": {"count": 1, "of": [{"signedBy": "a"}]}}}, "requirement"),
    ("a list of digests", {"require": {"digestIn": ["sha256:" + "a" * 64]}}, "requirement"),
    ("a list of registries", {"require": {"registryIn": ["r.example"]}}, "requirement"),
    ("annotations", {"require": {"signedBy": "a", "annotations": {"a": "b"}}}, "annotations"),
    ("an attestation", {"require": {"attestedBy": "a", "predicateType": "https://x.example"}}, "requirement"),
    (
        "alternatives of all",
        {"require": {"any": [{"signedBy": "a"}, {"digestIn": ["sha256:" + "a" * 64]}]}},
        "alternatives",
    ),
    ("a window", {"attestors": {"a": {"keys": [A], "validFrom": 1}}}, "window"),
    ("a log without its key", {"attestors": {"a": {"keys": [A], "log": "required"}}}, "log"),
    ("Notary", {"attestors": {"a": {"notary": {"stores": ["ca:x"], "identities": ["*"]}}}}, "signer"),
    ("trust data", {"attestors": {"a": {"trustData": {"roots": [A]}}}}, "signer"),
    ("anyone of a CA", {"attestors": {"a": {"certificates": {"roots": [CA], "anyone": True}}}}, "certificates"),
    ("an SCT", {"attestors": {"a": {"keyless": {"identities": [EMAIL], "roots": [CA]}}}}, "sct"),
    (
        "a pattern for the subject",
        {"attestors": {"a": {"keyless": {"identities": [{"issuer": "i", "subjectPattern": "*"}], "roots": [CA]}}}},
        "identity",
    ),
    (
        "a URI as the subject",
        {"attestors": {"a": {"keyless": {"identities": [{"issuer": "i", "subject": "https://x/a@b"}], "roots": [CA]}}}},
        "identity",
    ),
    (
        "two identities",
        {"attestors": {"a": {"keyless": {"identities": [EMAIL, EMAIL | {"subject": "b@c"}], "roots": [CA]}}}},
        "identity",
    ),
    (
        "single keys of a ring",
        {"attestors": {"a": {"openpgp": {"keyrings": [ARMOR], "fingerprints": ["a" * 40]}}}},
        "fingerprints",
    ),
    ("two rings", {"attestors": {"a": {"openpgp": {"keyrings": [ARMOR, ARMOR + "\n"]}}}}, "roots"),
    ("a tag", {"images": ["r.example/app:1"]}, "pattern"),
    ("a digest", {"images": ["r.example/app@sha256:" + "a" * 64]}, "pattern"),
    ("a wildcard inside a name", {"images": ["r.example/*/app"]}, "pattern"),
    ("one level", {"images": ["r.example/*"]}, "pattern"),
    ("patterns of another dialect", {"images": ["r.example/*"], "dialect": "kyverno"}, "pattern"),
]


@pytest.mark.parametrize(("_sentence", "members", "code"), LOSSES, ids=[row[0] for row in LOSSES])
def test_what_would_ask_less_is_refused_until_accepted(_sentence, members, code):
    with pytest.raises(WeakeningExport) as caught:
        export(a_policy(**members))
    assert caught.value.codes == (code,)
    with pytest.raises(WeakeningExport):
        export(a_policy(**members), accept_weaker={"another"})
    assert export(a_policy(**members), accept_weaker={code}).document["default"] == [{"type": "reject"}]


def test_what_was_exported_asks_the_same_when_it_is_imported():
    inner = a_policy("q", ["r.example/team/**"], attestors={"a": {"keys": [B], "repositoryClaim": True}})
    text = json.dumps(export(a_policy(exclude=["r.example/open/**"]), inner).document)
    result = read("containers-policy", text)
    assert trees(result)["containers.r.example.team"] == ("all", "A", "B")
    assert governing(result, "r.example/app:1") == ["containers.r.example"]
    assert governing(result, "r.example/open/app:1") == []
    assert governing(result, "r.example/team/app:1") == ["containers.r.example.team"]
    assert governing(result, "elsewhere.invalid/app:1") == ["containers.default"]


# --------------------------------------------------------------------------------------------------------- the command


def write(tmp_path, *policies):
    path = tmp_path / "policies.yaml"
    path.write_text(yaml.safe_dump_all([plain(policy_document(policy)) for policy in policies]))
    return path


def test_the_command_writes_json_and_says_what_differs(tmp_path):
    result = revet("policy", "export", write(tmp_path, a_policy(where={"namespaces": ["prod"]})))
    assert result.code == 0
    assert json.loads(result.out)["transports"]["docker"] == {"r.example": [key(A)]}
    assert "p: loses [match]: namespaces: nodes do not look at that" in result.err
    target = tmp_path / "policy.json"
    assert revet("policy", "export", write(tmp_path, a_policy()), "--file", target).code == 0
    assert json.loads(target.read_text())["default"] == [{"type": "reject"}]


def test_the_command_takes_keys_from_documents_and_files(tmp_path):
    named = write(tmp_path, a_policy(attestors={"a": {"keys": ["dev"], "repositoryClaim": True}}))
    (tmp_path / "dev.pub").write_text(A)
    assert revet("policy", "export", named).code == 2
    found = revet("policy", "export", named, "--key", f"dev={tmp_path / 'dev.pub'}")
    assert json.loads(found.out)["transports"]["docker"] == {"r.example": [key(A)]}
    document = {"apiVersion": "revet/v1", "kind": "Key", "metadata": {"name": "dev"}, "spec": {"pem": A}}
    (tmp_path / "key.yaml").write_text(yaml.safe_dump(document))
    assert json.loads(revet("policy", "export", named, tmp_path / "key.yaml").out) == json.loads(found.out)


def test_the_command_refuses_what_would_ask_less(tmp_path):
    path = write(tmp_path, a_policy(images=["r.example/*"]))
    refused = revet("policy", "export", path)
    assert (refused.code, refused.out) == (2, "")
    assert "p: weakens [pattern]" in refused.err
    assert revet("policy", "export", path, "--accept", "pattern").code == 0
