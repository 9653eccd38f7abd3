"""trustpolicy.json of the Notary Project: scopes, levels, stores, and that nothing is accepted without a statement."""

import json

import pytest

from tests.helpers.imports import codes, governing, read, tree, trees
from verifier.errors import PolicyError

WHO = "x509.subject: C=US, ST=WA, O=Example"


def statement(name="a", scopes=("r.example/app",), level="strict", **more):
    found = {
        "name": name,
        "registryScopes": list(scopes),
        "signatureVerification": {"level": level},
        "trustStores": ["ca:corp"],
        "trustedIdentities": [WHO],
    }
    if level == "skip":
        found |= {"trustStores": [], "trustedIdentities": []}
    return found | more


def document(*statements, version="1.0", **more):
    return json.dumps({"version": version, "trustPolicies": list(statements)} | more)


def test_an_exact_scope_goes_before_the_star():
    result = read("notation", document(statement(), statement("rest", ["*"])))
    assert governing(result, "r.example/app:1") == ["notation.a"]
    assert governing(result, "r.example/app/sub:1") == ["notation.rest"]
    assert governing(result, "r.example/other:1") == ["notation.rest"]


def test_without_a_star_every_other_image_is_denied():
    result = read("notation", document(statement()))
    assert governing(result, "r.example/app:1") == ["notation.a"]
    assert governing(result, "r.example/other:1") == ["notation.no-statement"]
    assert trees(result)["notation.no-statement"].startswith("denied: no statement")


def test_skip_asks_for_nothing_and_takes_its_scopes_from_the_star():
    result = read("notation", document(statement(level="skip"), statement("rest", ["*"])))
    assert governing(result, "r.example/app:1") == []
    assert governing(result, "r.example/other:1") == ["notation.rest"]
    assert "skip" in codes(result, "info")


def test_the_members_are_carried_over():
    verification = {
        "level": "permissive",
        "override": {"expiry": "enforce", "revocation": "skip"},
        "verifyTimestamp": "afterCertExpiry",
    }
    stores = ["ca:corp", "tsa:Time_1", "signingAuthority:x"]
    result = read("notation", document(statement(signatureVerification=verification, trustStores=stores)))
    notary = result.policies[0].attestors["a"].notary
    assert (notary.stores, notary.identities, notary.level) == (tuple(stores), (WHO,), "permissive")
    assert notary.override == {"expiry": "enforce", "revocation": "skip"}
    assert notary.verify_timestamp == "afterCertExpiry"
    assert codes(result, "loses") == ["root-reference"] * 3
    assert "`revet trust root add tsa:Time_1 FILE`" in result.notes[1].message
    assert tree(result.policies[0]) == "a"


def strict(override):
    return {"level": "strict", "override": override}


BROKEN = [
    ("another version", document(statement(), version="2.0"), "version 1.0"),
    ("no statements", document(), "at least one statement"),
    ("no scopes", document(statement(scopes=())), "registryScopes"),
    ("a star beside scopes", document(statement(scopes=("*", "r.example/a"))), "stands alone"),
    ("a wildcard inside a scope", document(statement(scopes=("r.example/*",))), "whole repository"),
    ("a tag in a scope", document(statement(scopes=("r.example/a:1",))), "whole repository"),
    ("a scope twice", document(statement(), statement("b")), "one statement"),
    ("a name twice", document(statement(), statement(scopes=["r.example/b"])), "a name of its own"),
    ("no name", document(statement("")), "a name of its own"),
    ("an unknown level", document(statement(level="lenient")), "strict, permissive"),
    (
        "integrity overridden",
        document(statement(signatureVerification=strict({"integrity": "log"}))),
        "overridden",
    ),
    (
        "authenticity skipped",
        document(statement(signatureVerification=strict({"authenticity": "skip"}))),
        "skip",
    ),
    (
        "an unknown action",
        document(statement(signatureVerification=strict({"expiry": "shout"}))),
        "enforce",
    ),
    ("no stores", document(statement(trustStores=[])), "trustStores"),
    ("a store of another type", document(statement(trustStores=["gpg:x"])), "ca:NAME"),
    ("only a timestamp store", document(statement(trustStores=["tsa:x"])), "signs no images"),
    ("a star beside identities", document(statement(trustedIdentities=["*", WHO])), "stands alone"),
    ("skip with stores", document(statement(level="skip", trustStores=["ca:x"])), "skip stands without"),
    ("a member twice", '{"version": "1.0", "version": "1.0", "trustPolicies": []}', "twice"),
]


@pytest.mark.parametrize(("_sentence", "text", "message"), BROKEN, ids=[row[0] for row in BROKEN])
def test_what_notation_refuses_is_refused_with_its_place(_sentence, text, message):
    with pytest.raises(PolicyError, match=message) as caught:
        read("notation", text)
    assert (caught.value.file, caught.value.line) == ("f1.yaml", 1)
