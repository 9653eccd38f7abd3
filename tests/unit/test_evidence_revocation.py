"""What CRLs and OCSP answers say of a chain: notation's logic, and where it is stricter."""

import itertools

import pytest

from tests.helpers.pki import DAY, T0
from verifier.evidence.crl import OcspStatus, Revocation, RevocationList, revocation_time, status_of
from verifier.evidence.envelope import SCHEME_AUTHORITY, SCHEME_X509
from verifier.models import TimeClaim

NOW = T0 + DAY


# -------------------------------------------------------------------------------------------------------------- status

K1, K2 = "1" * 64, "2" * 64
LEAF, MIDDLE = f"{K1}:7", f"{K2}:9"


def listed(
    *statements: Revocation,
    issuer: str = K1,
    serial: str = "7",
    since: int = T0,
    until: int = T0 + 7 * DAY,
    scope="all",
) -> RevocationList:
    entries = {serial: statements} if statements else {}
    return RevocationList(issuer, since, until, entries, scope)


def answered(state, *, revocation=None, since: int = T0, until: int = T0 + 7 * DAY, serial: str = "7"):
    return OcspStatus(K1, serial, state, since, until, revocation)


def state_of(*lists, at=None, serials=(LEAF,), instant=NOW, revocable=None):
    return status_of(serials, lists, at, instant=instant, revocable=revocable).state


REASONS = [
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
    "aACompromise",
]


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_but_two_revokes(reason):
    found = status_of((LEAF,), [listed(Revocation(T0, reason))], None, instant=NOW)
    assert (found.state, found.certificate, found.revocation) == ("revoked", LEAF, Revocation(T0, reason))
    assert reason in found.detail


@pytest.mark.parametrize(
    ("at", "invalid", "state"),
    [
        (None, None, "revoked"),
        (None, T0, "revoked"),
        (T0, None, "revoked"),
        (T0 - 1, T0, "good"),
        (T0, T0, "revoked"),
        (T0 + 1, T0, "revoked"),
        (T0 - 900 * DAY, None, "revoked"),
    ],
)
@pytest.mark.parametrize("kind", ["crl", "ocsp"])
def test_signed_strictly_before_the_invalidity_date(at, invalid, state, kind):
    stated = Revocation(T0 - DAY, "keyCompromise", invalid)
    data = listed(stated) if kind == "crl" else answered("revoked", revocation=stated)
    assert state_of(data, at=at) == state


HELD, FREED = "certificateHold", "removeFromCRL"


@pytest.mark.parametrize(
    ("rows", "state"),
    [
        ([(1, HELD)], "revoked"),
        ([(1, FREED)], "good"),
        ([(1, HELD), (2, FREED)], "good"),
        ([(1, FREED), (2, HELD)], "revoked"),
        ([(1, HELD), (2, FREED), (3, HELD)], "revoked"),
        ([(1, HELD), (1, FREED)], "revoked"),
        ([(1, HELD), (2, FREED), (0, "keyCompromise")], "revoked"),
        ([(0, "superseded"), (5, FREED)], "revoked"),
    ],
)
def test_the_most_recent_of_hold_and_removal_decides(rows, state):
    statements = [Revocation(T0 + day * DAY, reason) for day, reason in rows]
    for order in itertools.permutations(statements):
        assert state_of(listed(*order)) == state


def test_attack_an_entry_that_does_not_count_hides_no_other():
    """notation stops at the first entry whose InvalidityDate is later than the signature."""
    late, early = Revocation(T0, "keyCompromise", T0 + DAY), Revocation(T0, "keyCompromise", T0 - DAY)
    for order in ((late, early), (early, late)):
        assert state_of(listed(*order), at=T0) == "revoked"
    assert state_of(listed(late), at=T0) == "good"


@pytest.mark.parametrize(
    ("lists", "revocable", "state"),
    [
        ([], None, "unknown"),
        ([], frozenset(), "good"),
        ([], frozenset({MIDDLE}), "good"),
        ([], frozenset({LEAF}), "unknown"),
        ([listed()], None, "good"),
        ([listed()], frozenset({LEAF}), "good"),
        ([listed(issuer=K2)], None, "unknown"),
        ([listed(until=NOW - 1)], None, "unknown"),
        ([listed(until=NOW - 1)], frozenset(), "unknown"),
        ([listed(since=NOW + 1)], None, "unknown"),
        ([listed(until=NOW)], None, "good"),
        ([listed(Revocation(T0), until=NOW - 1), listed()], None, "good"),
        ([listed(Revocation(T0)), listed()], None, "revoked"),
        ([listed(scope="authorities")], None, "unknown"),
        ([listed(scope="users")], None, "good"),
        ([answered("good")], None, "good"),
        ([answered("unknown")], None, "unknown"),
        ([answered("unknown"), listed()], None, "good"),
        ([answered("good", until=NOW - 1), listed()], None, "good"),
        ([answered("good", serial="8")], None, "unknown"),
        ([answered("good"), listed(Revocation(T0))], None, "revoked"),
        ([answered("revoked"), listed()], None, "revoked"),
        ([answered("revoked", since=T0 + 1), answered("good")], None, "revoked"),
        ([answered("revoked"), answered("good", since=T0 + 1)], None, "good"),
        ([answered("revoked"), answered("good")], None, "revoked"),
    ],
)
def test_what_counts(lists, revocable, state):
    for order in itertools.permutations(lists):
        assert state_of(*order, revocable=revocable) == state


@pytest.mark.parametrize(
    ("leaf", "middle", "state", "certificate"),
    [
        (listed(), listed(issuer=K2, serial="9"), "good", ""),
        (listed(Revocation(T0)), None, "revoked", LEAF),
        (None, listed(Revocation(T0), issuer=K2, serial="9"), "revoked", MIDDLE),
        (listed(), None, "unknown", MIDDLE),
        (None, None, "unknown", LEAF),
        (listed(), listed(Revocation(T0), issuer=K2, serial="7"), "good", ""),
        (listed(), listed(issuer=K2, scope="users"), "unknown", MIDDLE),
        (listed(), listed(issuer=K2, scope="authorities"), "good", ""),
    ],
)
def test_a_chain_is_as_bad_as_its_worst_certificate(leaf, middle, state, certificate):
    found = status_of((LEAF, MIDDLE), [item for item in (leaf, middle) if item], None, instant=NOW)
    assert (found.state, found.certificate) == (state, certificate)
    assert bool(found.detail) == (state != "good")


def test_a_chain_of_an_anchor_alone_is_good():
    assert status_of((), (), None, instant=NOW).state == "good"


@pytest.mark.parametrize(
    ("lists", "due"),
    [
        ([], None),
        ([listed()], T0 + 7 * DAY + 1),
        ([listed(), answered("good", until=NOW + 5)], NOW + 6),
        ([listed(since=NOW + 9, until=NOW + 99)], NOW + 9),
        ([listed(until=NOW - 1)], None),
    ],
)
def test_when_the_answer_may_change(lists, due):
    found = status_of((LEAF,), lists, None, instant=NOW)
    assert found.valid_until == due
    if due is not None:
        assert status_of((LEAF,), lists, None, instant=due - 1).state == found.state


# -------------------------------------------------------------------------------------------- modes

STAMP = TimeClaim("tsa", "attested", T0 + 5)
AUTHENTIC = TimeClaim("signing-authority", "attested", T0 + 9)


@pytest.mark.parametrize(
    ("mode", "scheme", "times", "time"),
    [
        ("specification", SCHEME_X509, (), None),
        ("specification", SCHEME_X509, (STAMP,), T0 + 5),
        ("specification", SCHEME_X509, (STAMP, TimeClaim("tsa", "attested", T0 + 3)), T0 + 3),
        ("specification", SCHEME_X509, (AUTHENTIC,), None),
        ("specification", SCHEME_X509, (TimeClaim("first-seen", "observed", T0),), None),
        ("specification", SCHEME_AUTHORITY, (AUTHENTIC, STAMP), T0 + 9),
        ("notation", SCHEME_X509, (STAMP,), None),
        ("notation", SCHEME_AUTHORITY, (AUTHENTIC,), T0 + 9),
        ("notation", SCHEME_AUTHORITY, (STAMP,), None),
    ],
)
def test_which_time_is_compared(mode, scheme, times, time):
    assert revocation_time(mode, scheme, times) == time


def test_the_two_modes_differ_where_finding_5_says():
    """A timestamped signature of a certificate whose key was stolen later."""
    data = [listed(Revocation(T0 + DAY, "keyCompromise", T0 + 6))]
    states = {
        mode: status_of((LEAF,), data, revocation_time(mode, SCHEME_X509, (STAMP,)), instant=NOW).state
        for mode in ("specification", "notation")
    }
    assert states == {"specification": "good", "notation": "revoked"}
