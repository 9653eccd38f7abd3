"""The verdict table of the revocation model, row by row, with its equalities, its order and its future."""

import itertools
from typing import get_args

import pytest

from verifier.models import SignatureState
from verifier.trust.records import RevocationPut, RevocationReason
from verifier.trust.revocation import (
    CLASS_OF,
    NEVER_SOUND,
    RANK,
    VERDICTS,
    WORSENING,
    class_of,
    counts,
    judge,
    judge_window,
    rule_of,
    source_accepted,
    worst_of,
)

C, R, NOW = 100, 200, 1_000
KEY = "ab" * 32


def record(reason="keyCompromise", *, since=None, effective=R, name="r1", kind="key", subject=KEY):
    return RevocationPut(
        id=name,
        subject_kind=kind,
        subject=subject,
        reason=reason,
        effective=effective,
        compromised_since=since,
        author="alice",
        at=effective,
    )


HARD_SINCE, HARD_ALL = record(since=C), record()
SOFT, HOLD = record("superseded"), record("certificateHold")

ROWS = [
    # what is said, the record, t_le, its kind, the state
    ("proven older than the compromise", HARD_SINCE, C - 1, "attested", "trusted-before-compromise"),
    ("observed older than the compromise", HARD_SINCE, C - 1, "observed", "trusted-before-compromise"),
    ("exactly at the compromise is compromised", HARD_SINCE, C, "attested", "revoked"),
    ("after the compromise", HARD_SINCE, C + 1, "attested", "revoked"),
    ("after the compromise though before the revocation", HARD_SINCE, R - 1, "observed", "revoked"),
    ("after the revocation", HARD_SINCE, R + 1, "attested", "revoked"),
    ("compromised, age unknown", HARD_SINCE, None, "none", "revoked-time-unknown"),
    ("compromised since nobody knows when, old", HARD_ALL, -(10**15), "attested", "revoked"),
    ("compromised since nobody knows when, observed", HARD_ALL, R, "observed", "revoked"),
    ("compromised since nobody knows when, age unknown", HARD_ALL, None, "none", "revoked"),
    ("before retirement", SOFT, R - 1, "attested", "trusted-before-retirement"),
    ("exactly at retirement is still good", SOFT, R, "attested", "trusted-before-retirement"),
    ("seen before retirement", SOFT, R, "observed", "trusted-before-retirement"),
    ("logged after retirement", SOFT, R + 1, "attested", "retired-late"),
    ("first seen after retirement", SOFT, R + 1, "observed", "retired-unproven"),
    ("retired, age unknown", SOFT, None, "none", "retired-unproven"),
    ("on hold, old", HOLD, C - 1, "attested", "suspended"),
    ("on hold, new", HOLD, R + 1, "observed", "suspended"),
    ("on hold, age unknown", HOLD, None, "none", "suspended"),
]


@pytest.mark.parametrize(("put", "t_le", "t_kind", "state"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_row(put, t_le, t_kind, state):
    assert judge([put], t_le, t_kind, NOW) == (state, "r1", None)


@pytest.mark.parametrize("put", [HARD_SINCE, HARD_ALL, SOFT, HOLD], ids=["hard since", "hard", "soft", "hold"])
@pytest.mark.parametrize(("t_le", "t_kind"), [(C - 1, "attested"), (R + 1, "observed"), (None, "none")])
def test_a_revocation_that_lies_ahead_changes_nothing_until_then(put, t_le, t_kind):
    assert judge([put], t_le, t_kind, R - 1) == ("trusted", "", R)
    assert judge([put], t_le, t_kind, R).state != "trusted"
    assert judge([put], t_le, t_kind, R).valid_until is None


def test_nothing_recorded_is_trusted_for_ever():
    assert judge([], None, "none", NOW) == ("trusted", "", None)


def test_the_table_is_total():
    rows, columns = {row for row, _ in VERDICTS}, {column for _, column in VERDICTS}
    assert set(VERDICTS) == set(itertools.product(rows, columns))
    assert set(VERDICTS.values()) | {"trusted", "outside-window", "expired"} == set(WORSENING)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        *((r, "hard") for r in ("keyCompromise", "caCompromise", "aaCompromise", "identityCompromise")),
        *((r, "hard") for r in ("unspecified", "weakKey", "algorithmBroken")),
        *((r, "soft") for r in ("superseded", "cessationOfOperation", "affiliationChanged", "privilegeWithdrawn")),
        ("certificateHold", "hold"),
    ],
)
def test_class_of_a_reason(reason, expected):
    assert class_of(record(reason)) == expected
    assert class_of(record(reason, since=C)) == "hard"  # who knows since when, knows of a compromise


def test_every_reason_has_a_class():
    assert set(CLASS_OF) == set(get_args(RevocationReason))


@pytest.mark.parametrize("reason", sorted(NEVER_SOUND))
def test_a_key_that_never_protected_anything_keeps_no_signature(reason):
    """Not even one that a record, against the rules, claims to be older than a compromise."""
    assert judge([record(reason)], C - 1, "attested", NOW).state == "revoked"
    assert judge([record(reason, since=C)], C - 1, "attested", NOW).state == "revoked"


# ------------------------------------------------------------------------------------------------ several records


def test_the_order_of_states():
    spoken: list[SignatureState] = [
        "revoked",
        "revoked-time-unknown",
        "suspended",
        "not-authorised",
        "retired-late",
        "retired-unproven",
    ]
    assert [RANK[s] for s in spoken] == sorted((RANK[s] for s in spoken), reverse=True)
    assert all(RANK[s] < RANK["retired-unproven"] for s in WORSENING if s.startswith("trusted"))


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_worst_of_several_holds_in_any_order(order):
    records = [
        record("superseded", name="a"),
        record("certificateHold", name="b"),
        record(since=C, name="c"),
        record(effective=NOW + 5, name="d"),
    ]
    assert judge([records[i] for i in order], C - 1, "attested", NOW) == ("suspended", "b", NOW + 5)
    assert judge([records[i] for i in order], None, "none", NOW) == ("revoked-time-unknown", "c", NOW + 5)


def test_equally_bad_ones_name_the_same_record_in_any_order():
    one, other = record(name="a"), record(name="b")
    assert judge([one, other], 1, "observed", NOW) == judge([other, one], 1, "observed", NOW)


def test_worst_of_nothing_is_trusted():
    assert worst_of([]) == ("trusted", "", None)


# ------------------------------------------------------------------------------------------------------- counting


@pytest.mark.parametrize(
    ("state", "allow", "warn", "deny"),
    [
        ("trusted", True, True, True),
        ("trusted-before-compromise", True, True, True),
        ("trusted-before-retirement", True, True, True),
        ("retired-late", True, True, False),
        ("retired-unproven", True, True, False),
        *(
            (state, False, False, False)
            for state in ("not-authorised", "outside-window", "suspended", "revoked-time-unknown", "revoked")
        ),
        *((state, False, False, False) for state in ("subject-mismatch", "invalid", "unknown-key")),
    ],
)
def test_counts(state, allow, warn, deny):
    assert [counts(state, soft) for soft in ("allow", "warn", "deny")] == [allow, warn, deny]


# -------------------------------------------------------------------------------------------------------- windows

FROM, UNTIL = 100, 200

WINDOWS = [
    ("within", 150, 1_000, "trusted", None),
    ("at the first instant", FROM, 1_000, "trusted", None),
    ("at the last instant", UNTIL, 1_000, "trusted", None),
    ("just before it began", FROM - 1, 1_000, "outside-window", None),
    ("just after it ended", UNTIL + 1, 1_000, "outside-window", None),
    ("unproven, after it ended", None, UNTIL + 1, "outside-window", None),
    ("unproven, at its last instant", None, UNTIL, "trusted", UNTIL + 1),
    ("unproven, within", None, 150, "trusted", UNTIL + 1),
    ("unproven, at its first instant", None, FROM, "trusted", UNTIL + 1),
    ("unproven, before it began", None, FROM - 1, "outside-window", FROM),
    ("proven old, before it began", 50, 60, "outside-window", FROM),
    ("within, before it ends: nothing will change", 150, 160, "trusted", None),
    ("dated ahead of the clock, as unproven", UNTIL + 5, UNTIL - 5, "trusted", UNTIL + 1),
]


@pytest.mark.parametrize(("t_le", "now", "state", "until"), [w[1:] for w in WINDOWS], ids=[w[0] for w in WINDOWS])
def test_window(t_le, now, state, until):
    """A managed key's window is closed and judged at the proven time (GHSA-wqqc-jjcq-vfxm)."""
    assert judge_window(FROM, UNTIL, t_le, now) == (state, "", until)


@pytest.mark.parametrize("now", [1, UNTIL, UNTIL + 1, 1_000])
def test_late_and_unproven_are_the_same_at_the_end_of_a_window(now):
    assert judge_window(None, UNTIL, UNTIL + 1, now) == judge_window(None, UNTIL, None, now)


@pytest.mark.parametrize(("t_le", "now"), [(None, 5), (1, 5), (9, 5)])
def test_no_window_is_no_limit(t_le, now):
    assert judge_window(None, None, t_le, now) == ("trusted", "", None)


# ------------------------------------------------------------------------------------------------------ time sources

SOURCES = [
    ("compromised: also times before the compromise", record(since=C), 1, False),
    ("compromised, since unknown", record(), 1, False),
    ("on hold", record("certificateHold"), 1, False),
    ("retired, time before", record("superseded"), R - 1, True),
    ("retired, time at the end", record("superseded"), R, True),
    ("retired, time after", record("superseded"), R + 1, False),
]


@pytest.mark.parametrize(("put", "time", "accepted"), [s[1:] for s in SOURCES], ids=[s[0] for s in SOURCES])
def test_times_of_a_revoked_source(put, time, accepted):
    assert source_accepted([rule_of(put)], time, NOW) == (accepted, None)
    assert source_accepted([rule_of(put)], time, R - 1) == (True, R)
