"""Exemptions: what covers what, for how long, and what no exemption may be."""

import itertools
from typing import Any

import pytest

from verifier.models import Scope
from verifier.reasons import REASONS
from verifier.reference import parse_reference
from verifier.times import DAY
from verifier.trust.exemptions import (
    DEFAULT_DURATION,
    MAX_DURATION,
    PROOF_OF_COMPROMISE,
    ExemptionEntry,
    covering,
    covering_due,
    exemption_problem,
    matches_everything,
)
from verifier.trust.records import ExemptionPut

START, END = 100, 200
DIGEST, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
SCOPE = Scope(
    image=parse_reference("registry.example.com/payments/api:1.4"),
    cluster="uid-1",
    cluster_name="prod-eu",
    namespace="payments",
)


def put(name: str = "x", **more) -> ExemptionPut:
    fields: dict[str, Any] = {
        "policy": "signed",
        "starts": START,
        "expires": END,
        "author": "alice",
        "at": START,
        **more,
    }
    return ExemptionPut(id=name, **fields)


def entry(name: str = "x", **more) -> ExemptionEntry:
    return ExemptionEntry(put(name, **more), epoch=1)


def covers(*entries: ExemptionEntry, policy="signed", codes=("unsigned",), scope=SCOPE, digest=DIGEST, now=START):
    found = covering(entries, policy, codes, scope, digest, now)
    return found.id if found else None


SCOPES = [
    ("a policy", {}, True),
    ("another policy", {"policy": "other"}, False),
    ("every policy, in one namespace", {"policy": "", "namespaces": ("payments",)}, True),
    ("a namespace", {"namespaces": ("payments",)}, True),
    ("another namespace", {"namespaces": ("shop",)}, False),
    ("one of several namespaces", {"namespaces": ("shop", "pay*")}, True),
    ("a cluster by id", {"clusters": ("uid-1",)}, True),
    ("a cluster by name", {"clusters": ("prod-*",)}, True),
    ("another cluster", {"clusters": ("test-*",)}, False),
    ("an image", {"images": ("registry.example.com/payments/*",)}, True),
    ("an image by tag", {"images": ("registry.example.com/payments/api:1.4",)}, True),
    ("an image by another tag", {"images": ("registry.example.com/payments/api:2.*",)}, False),
    ("an image by digest", {"images": (f"registry.example.com/payments/api@{DIGEST}",)}, True),
    ("an image by another digest", {"images": (f"registry.example.com/payments/api@{OTHER}",)}, False),
    ("one level only", {"images": ("registry.example.com/*",)}, False),
    ("any level", {"images": ("registry.example.com/**",)}, True),
    ("a digest", {"digests": (DIGEST,)}, True),
    ("another digest", {"digests": (OTHER,)}, False),
    ("namespace and image", {"namespaces": ("payments",), "images": ("registry.example.com/**",)}, True),
    ("namespace and another image", {"namespaces": ("payments",), "images": ("docker.io/**",)}, False),
]


@pytest.mark.parametrize(("scope", "expected"), [s[1:] for s in SCOPES], ids=[s[0] for s in SCOPES])
def test_scope(scope, expected):
    """Members are joined by AND, entries of a member by OR."""
    assert (covers(entry(**scope)) == "x") is expected


@pytest.mark.parametrize(("now", "expected"), [(START - 1, None), (START, "x"), (END - 1, "x"), (END, None)])
def test_it_covers_from_start_to_before_its_expiry(now, expected):
    assert covers(entry(), now=now) == expected


def test_an_ended_one_covers_nothing():
    ended = entry()._replace(ended_at=150, ended_epoch=2)
    assert covers(ended, now=160) is None
    assert covering_due([ended], "signed", ["unsigned"], SCOPE, DIGEST, 120) is None


REASON_ROWS = [
    ("any reason, one", (), ("unsigned",), True),
    ("any reason, two", (), ("unsigned", "attestation-only"), True),
    ("the one named", ("unsigned",), ("unsigned",), True),
    ("another than the one named", ("unsigned",), ("wrong-signer",), False),
    ("one of two is not named", ("unsigned",), ("unsigned", "wrong-signer"), False),
    ("both named", ("unsigned", "wrong-signer"), ("unsigned", "wrong-signer"), True),
    ("beside a proof of compromise", (), ("unsigned", "key-revoked"), False),
]


@pytest.mark.parametrize(("named", "codes", "expected"), [r[1:] for r in REASON_ROWS], ids=[r[0] for r in REASON_ROWS])
def test_every_reason_of_a_verdict_has_to_be_covered(named, codes, expected):
    assert (covers(entry(reasons=named), codes=codes) == "x") is expected


@pytest.mark.parametrize("code", sorted(PROOF_OF_COMPROMISE))
def test_proof_of_compromise_is_covered_only_by_name(code):
    assert REASONS[code].effect == "violates"
    assert covers(entry(), codes=(code,)) is None
    assert covers(entry(digests=(DIGEST,)), codes=(code,)) is None
    assert covers(entry(reasons=(code,)), codes=(code,)) == "x"


def test_of_several_the_one_that_lasts_longest_is_named_in_any_order():
    entries = [entry("a", expires=150), entry("c", expires=190), entry("b", expires=190), entry("d", policy="other")]
    assert {covers(*order) for order in itertools.permutations(entries)} == {"b"}


def test_when_the_answer_may_change():
    entries = [
        entry("a"),
        entry("later", starts=150, expires=300),
        entry("elsewhere", namespaces=("shop",), expires=101),
    ]
    asked = ("signed", ["unsigned"], SCOPE, DIGEST)
    assert [covering_due(entries, *asked, now) for now in (0, START, 150, END, 300)] == [START, 150, END, 300, None]


# --------------------------------------------------------------------------------------------- what none may be

EVERYTHING = [
    ("nothing named", {}),
    ("any namespace", {"namespaces": ("*",)}),
    ("any namespace, said twice", {"namespaces": ("?*", "**")}),
    ("any image", {"images": ("**",)}),
    ("any image in other words", {"images": ("*/**",)}),
    ("any image at any tag", {"images": ("**:*",)}),
    ("any image at any digest", {"images": ("**@sha256:*",)}),
    ("any image among others", {"images": ("docker.io/**", "**")}),
    ("any cluster, any namespace", {"clusters": ("*",), "namespaces": ("**",)}),
    ("reasons are no scope", {"reasons": ("unsigned",)}),
]


@pytest.mark.parametrize("scope", [e[1] for e in EVERYTHING], ids=[e[0] for e in EVERYTHING])
def test_one_that_matches_everything_is_refused(scope):
    assert "matches everything" in exemption_problem(put(policy="", **scope))
    assert not exemption_problem(put(policy="signed", **scope))


@pytest.mark.parametrize(
    "scope",
    [
        {"namespaces": ("dev-*",)},
        {"images": ("docker.io/**",)},
        {"images": ("**/nginx",)},
        {"images": ("*/*",)},
        {"clusters": ("uid-1",), "namespaces": ("*",)},
        {"digests": (DIGEST,)},
    ],
)
def test_one_that_leaves_something_out_is_not(scope):
    assert not matches_everything(put(policy="", **scope))


def test_durations():
    assert (DEFAULT_DURATION, MAX_DURATION) == (30 * DAY, 180 * DAY)
    assert not exemption_problem(put(expires=START + MAX_DURATION))
    assert "181 days, at most 180" in exemption_problem(put(expires=START + MAX_DURATION + 1))
    assert "before it starts" in exemption_problem(put(expires=START))


@pytest.mark.parametrize("pattern", ["", "a b", "x" * 1000])
@pytest.mark.parametrize("member", ["namespaces", "images", "clusters"])
def test_a_pattern_that_cannot_be_used_is_refused_before_it_is_tried(member, pattern):
    scope: dict[str, Any] = {member: (pattern,)}
    assert "cannot be used" in exemption_problem(put(**scope))
