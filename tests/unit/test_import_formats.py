"""Which importer a document is for, and that no document makes any importer fail in another way than its own."""

import json
from contextlib import suppress
from time import process_time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.imports import A
from verifier.errors import PolicyError, TrustError
from verifier.policy.check import check_documents
from verifier.policy.documents import PolicyDocument, load_documents, plain, policy_document
from verifier.policy.importers.formats import IMPORTERS, detect, format_of, importer

CIP = {
    "apiVersion": "policy.sigstore.dev/v1beta1",
    "kind": "ClusterImagePolicy",
    "metadata": {"name": "p"},
    "spec": {"images": [{"glob": "r.example/**"}], "authorities": [{"key": {"data": A}}]},
}
NOTATION = {
    "version": "1.0",
    "trustPolicies": [
        {
            "name": "a",
            "registryScopes": ["*"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:x"],
            "trustedIdentities": ["*"],
        }
    ],
}
CONTAINERS = {"default": [{"type": "reject"}]}
OPENSHIFT = {
    "apiVersion": "config.openshift.io/v1",
    "kind": "ImagePolicy",
    "metadata": {"name": "p", "namespace": "n"},
    "spec": {
        "scopes": ["r.example"],
        "policy": {
            "rootOfTrust": {"policyType": "PublicKey", "publicKey": {"keyData": "QQ=="}},
            "signedIdentity": {"matchPolicy": "MatchRepository"},
        },
    },
}
CONNAISSEUR = {
    "validators": [{"name": "default", "type": "cosign", "trustRoots": [{"name": "default", "key": A}]}],
    "policy": [{"pattern": "*:*"}],
}
BINAUTHZ = {
    "name": "projects/p/policy",
    "defaultAdmissionRule": {"evaluationMode": "ALWAYS_DENY", "enforcementMode": "ENFORCED_BLOCK_AND_AUDIT_LOG"},
}
KYVERNO = {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "p"}, "spec": {"rules": []}}
EXAMPLES = {
    "kyverno": KYVERNO,
    "cip": CIP,
    "notation": NOTATION,
    "containers-policy": CONTAINERS,
    "openshift": OPENSHIFT,
    "connaisseur": CONNAISSEUR,
    "binary-authorization": BINAUTHZ,
}


def test_every_importer_has_an_example():
    assert EXAMPLES.keys() == IMPORTERS.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_format_is_told_from_its_document(name):
    assert format_of(EXAMPLES[name]) == name
    assert detect([("f.json", json.dumps(EXAMPLES[name]))]) == name


def test_other_forms_of_the_same():
    assert format_of({"application": CONNAISSEUR}) == "connaisseur"
    assert format_of({"apiVersion": "policies.kyverno.io/v1", "kind": "ImageValidatingPolicy"}) == "kyverno"
    assert format_of({"name": "projects/p/attestors/a", "userOwnedGrafeasNote": {}}) == "binary-authorization"
    listed = {"apiVersion": "v1", "kind": "List", "items": [CIP]}
    assert detect([("f.json", json.dumps(listed))]) == "cip"


@pytest.mark.parametrize("data", [None, [], 1, "x", {}, {"apiVersion": 1}, {"apiVersion": "v1", "default": []}])
def test_what_is_none_of_them(data):
    assert format_of(data) == ""


def test_two_formats_at_once_are_refused():
    with pytest.raises(PolicyError, match=r"b\.json.*this is notation, but a\.json is cip"):
        detect([("a.json", json.dumps(CIP)), ("b.json", json.dumps(NOTATION))])
    with pytest.raises(PolicyError, match="say which, one of kyverno, cip"):
        detect([("a.json", "{}")])
    with pytest.raises(PolicyError, match="no importer for 'x'"):
        importer("x")


@pytest.mark.parametrize("name", [n for n in EXAMPLES if n not in ("kyverno", "openshift")])
def test_what_is_imported_can_be_written_and_read_again(name):
    result = importer(name)([("f.json", json.dumps(EXAMPLES[name]))])
    assert result.policies
    text = yaml.safe_dump_all([plain(policy_document(policy)) for policy in result.policies])
    documents, errors = load_documents("policies.yaml", text)
    assert errors == ()
    assert [d.body.to_policy().require for d in documents if isinstance(d.body, PolicyDocument)] == [
        p.require for p in result.policies
    ]
    assert [p for p in check_documents(documents) if p.severity == "error"] == []


# ------------------------------------------------------------------------------------------------------------- hostile


def paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from paths(child, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


ODD: list[object] = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    " ",
    "x" * 600,
    "a b",
    "é",
    "\u202e",
    "*",
    "[",
    "{{x}}",
    [],
    [None],
    {},
    {"x": None},
    [[]],
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_odd_value_anywhere_makes_an_importer_fail_in_another_way(name):
    for path in paths(EXAMPLES[name]):
        for odd in ODD:
            text = json.dumps(replaced(EXAMPLES[name], path, odd))
            with suppress(PolicyError, TrustError):
                importer(name)([("f.json", text)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=60)
@given(st.sampled_from(sorted(EXAMPLES)), st.integers(0, 30), JSON)
def test_no_value_anywhere_makes_an_importer_fail_in_another_way(name, number, value):
    places = list(paths(EXAMPLES[name]))
    text = json.dumps(replaced(EXAMPLES[name], places[number % len(places)], value))
    with suppress(PolicyError, TrustError):
        importer(name)([("f.json", text)], accept_weaker=True)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("text", ["", "\x00", "[", "- - -", "&a [*a]", "a: &x [1]\nb: *x", '{"default": "\\ud800"}'])
def test_no_text_makes_an_importer_fail_in_another_way(name, text):
    with suppress(PolicyError, TrustError):
        importer(name)([("f.json", text)])
    with suppress(PolicyError):
        detect([("f.json", text)])


def test_many_scopes_take_no_long_time():
    scopes = {f"r.example/{number}": [{"type": "reject"}] for number in range(500)}
    start = process_time()
    result = importer("containers-policy")(
        [("f.json", json.dumps({"default": [{"type": "reject"}], "transports": {"docker": scopes}}))]
    )
    assert len(result.policies) == 501
    assert process_time() - start < 10  # measured: a second, most of it comparing 500 x 500 scopes
