"""Connaisseur: validators, thresholds, the most specific rule, and what cannot be said exactly asks more."""

import pytest
import yaml

from tests.helpers.imports import CA, A, B, C, codes, governing, read, tree, trees
from verifier.errors import PolicyError
from verifier.policy.importers.notes import WeakeningImport

ROOTS = [{"name": "default", "key": A}, {"name": "b", "key": B}, {"name": "c", "key": C}]
COSIGN = {"name": "default", "type": "cosign", "trustRoots": ROOTS}
ALLOW = {"name": "allow", "type": "static", "approve": True}
DENY = {"name": "deny", "type": "static", "approve": False}


def config(*rules, validators=(COSIGN, ALLOW, DENY), chart=False):
    found = {"validators": list(validators), "policy": list(rules)}
    return yaml.safe_dump({"application": found} if chart else found)


def rule(pattern="*:*", validator=None, **options):
    return (
        {"pattern": pattern} | ({"validator": validator} if validator else {}) | ({"with": options} if options else {})
    )


def first(text, **options):
    return read("connaisseur", text, **options).policies[0]


@pytest.mark.parametrize("chart", [False, True])
def test_the_rule_with_more_components_wins(chart):
    text = config(rule(), rule("docker.io/library/*:*", "deny"), rule("registry.k8s.io/*:*", "allow"), chart=chart)
    result = read("connaisseur", text)
    assert governing(result, "r.example/app:1") == ["connaisseur.rule-1"]
    assert governing(result, "nginx") == ["connaisseur.rule-2"]
    assert governing(result, "registry.k8s.io/pause:3") == []
    assert tree(result.policies[1]) == "denied: denied by the static validator deny"


def test_of_two_rules_with_equally_many_components_both_hold():
    """Connaisseur would take the one that shares the longer prefix with the image; that depends on the image."""
    result = read("connaisseur", config(rule("r.example/*:*"), rule("r.example/a*:*", trustRoot="b")))
    assert governing(result, "r.example/app:1") == ["connaisseur.rule-1", "connaisseur.rule-2"]
    assert codes(result, "loses") == ["most-specific", "most-specific"]


def test_an_approval_takes_nothing_from_a_rule_that_is_as_specific():
    result = read("connaisseur", config(rule("r.example/*:*"), rule("r.example/a*:*", "allow")))
    assert governing(result, "r.example/app:1") == ["connaisseur.rule-1"]


def test_an_image_without_a_rule_is_denied():
    result = read("connaisseur", config(rule("r.example/*:*")))
    assert governing(result, "elsewhere.invalid/app:1") == ["connaisseur.no-rule"]
    assert trees(result)["connaisseur.no-rule"] == "denied: no rule of Connaisseur matches this image"
    assert "connaisseur.no-rule" not in trees(read("connaisseur", config(rule())))


def test_a_pattern_may_stand_anywhere_in_a_name():
    result = read("connaisseur", config(rule("my.registry/test")))
    assert governing(result, "evil.invalid/my.registry/test-x:1") == ["connaisseur.rule-1"]
    assert "substring" in codes(result)


THRESHOLDS = [
    ("none named: the one called default", {}, "A"),
    ("one", {"trustRoot": "b"}, "B"),
    ("all", {"trustRoot": "*"}, ("all", "A", "B", "C")),
    ("a number of all", {"trustRoot": "*", "threshold": 2}, ("2 of", "A", "B", "C")),
    ("one of all", {"trustRoot": "*", "threshold": 1}, ("any", "A", "B", "C")),
    ("required ones", {"trustRoot": "*", "required": ["b"]}, "B"),
    (
        "required ones and a number",
        {"trustRoot": "*", "threshold": 2, "required": ["b"]},
        ("all", "B", ("2 of", "A", "B", "C")),
    ),
    ("a required one beside the named one", {"trustRoot": "b", "required": ["c"]}, ("all", "C", "B")),
    ("the required one is the named one", {"trustRoot": "b", "required": ["b"]}, "B"),
]


@pytest.mark.parametrize(("_sentence", "options", "expected"), THRESHOLDS, ids=[row[0] for row in THRESHOLDS])
def test_thresholds(_sentence, options, expected):
    assert tree(first(config(rule(**options)))) == expected


def test_a_log_is_demanded_unless_told_otherwise():
    for options, expected in (({}, "required"), ({"verifyInTransparencyLog": False}, "optional")):
        (found,) = first(config(rule(**options))).attestors.values()
        assert found.log == expected


def test_an_identity():
    roots = [{"name": "default", "keyless": {"issuerRegex": "issuer", "subject": "a@example.com"}}]
    validator = COSIGN | {"trustRoots": roots, "host": {"fulcioCert": CA, "rekorPubkey": A}}
    result = read("connaisseur", config(rule(verifySCT=False), validators=[validator]))
    keyless = result.policies[0].attestors["default"].keyless
    (identity,) = keyless.identities
    assert (identity.issuer_reg_exp, identity.subject, identity.unanchored) == ("issuer", "a@example.com", True)
    assert (keyless.roots, keyless.log, keyless.sct) == ((CA,), "required", "optional")
    assert codes(result, "loses") == ["log-key"]


def test_content_trust_and_notation():
    trust = {
        "name": "default",
        "type": "notaryv1",
        "host": "notary.example",
        "trustRoots": [{"name": "default", "key": A}],
    }
    found = (
        first(config(rule(delegations=["lead", "targets/qa"]), validators=[trust]))
        .attestors["content-trust"]
        .trust_data
    )
    assert (found.roots, found.delegations) == ((A,), ("targets/lead", "targets/qa"))
    with pytest.raises(WeakeningImport) as caught:
        first(config(rule(), validators=[trust]))
    assert caught.value.codes == ("delegations",)
    roots = [{"name": "default", "cert": CA, "tsCert": CA}]
    notation = {"name": "default", "type": "notation", "trustRoots": roots}
    text = config(rule(verificationLevel="permissive", verifyTimestamp="afterCertExpiry"), validators=[notation])
    found = first(text).attestors["notation"].notary
    assert (found.stores, found.identities) == (("ca:default-default", "tsa:default-default"), ("*",))
    assert (found.level, found.verify_timestamp) == ("permissive", "afterCertExpiry")


def test_a_key_in_a_kms_gets_a_name():
    validator = COSIGN | {"trustRoots": [{"name": "default", "key": "awskms:///x"}]}
    assert tree(first(config(rule(), validators=[validator]))) == "awskms-x"


def test_a_member_of_tomorrow_is_a_loss():
    with pytest.raises(WeakeningImport) as caught:
        first(config(rule(quorum=2)))
    assert caught.value.codes == ("unknown-member",)


BROKEN = [
    ("no rules", config(), "at least one entry"),
    ("a validator that is not there", config(rule(validator="x")), "no validator"),
    ("a trust root that is not there", config(rule(trustRoot="x")), "no trust root"),
    ("a required one that is not there", config(rule(trustRoot="*", required=["x"])), "required names"),
    ("a threshold that cannot be met", config(rule(trustRoot="*", threshold=4)), "4 of 3"),
    ("a threshold that is no number", config(rule(trustRoot="*", threshold="two")), "whole number"),
    ("a negative threshold", config(rule(trustRoot="*", threshold=-1)), "whole number"),
    ("no pattern", config({"validator": "allow"}), "expected pattern"),
    ("a pattern that is none", config(rule("{a")), "ends inside a group"),
    ("a type of tomorrow", config(rule(), validators=[COSIGN | {"type": "x"}]), "type is one of"),
    (
        "a root without key",
        config(rule(), validators=[COSIGN | {"trustRoots": [{"name": "default"}]}]),
        "key or keyless",
    ),
]


@pytest.mark.parametrize(("_sentence", "text", "message"), BROKEN, ids=[row[0] for row in BROKEN])
def test_what_connaisseur_refuses_is_refused_with_its_place(_sentence, text, message):
    with pytest.raises(PolicyError, match=message) as caught:
        read("connaisseur", text)
    assert caught.value.file == "f1.yaml"
    assert caught.value.line >= 1
