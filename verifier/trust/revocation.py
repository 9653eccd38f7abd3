"""What a revocation means for a signature that is looked back at: classes, the verdict table, equality, worst-of.

A verdict is crossed from two things: the *class* of the record (HARD: somebody else may sign; SOFT: the owner should
no longer sign; HOLD: a decision is pending) and what is *proven* about the age of the signature. `t_le` is the earliest
accepted proof that the signature existed by then; nothing ever proves that it did not exist earlier.

Three rules carry the model, and each is a property under test:

* Late and unproven count alike. If "used after retirement" were worse than "age unknown", whoever can delete a log
  entry from the registry would improve a verdict by stripping evidence.
* Equality at C (compromised since) is compromised: strict `<`. Equality at R (effective) is still good: closed.
* A record whose effective time lies ahead changes nothing yet; the verdict without it is given, and holds until then.

What it refuses to do: read a clock, weigh a time that the signer claims, or guess C from R.

    judge(records, t_le=t, t_kind="observed", instant=now)  ->  Judgement("revoked", "v1:…", None)
    counts("retired-unproven", "warn")                      ->  True
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from verifier.models import Micros, SignatureState
from verifier.policy.counting import counts, in_window
from verifier.trust.records import RevocationPut, RevocationReason, SubjectKind

__all__ = [
    "CLASS_OF",
    "DELISTED",
    "KEEPS_UP_TO_PIVOT",
    "NEVER_SOUND",
    "RANK",
    "TRUSTED",
    "VERDICTS",
    "WHOLE",
    "WORSENING",
    "Judgement",
    "Proof",
    "RevocationClass",
    "Row",
    "Rule",
    "TimeProof",
    "class_of",
    "counts",
    "earliest",
    "judge",
    "judge_rules",
    "judge_window",
    "rotation_rule",
    "rule_of",
    "source_accepted",
    "worst_of",
]
# `counts` is defined in `verifier.policy.counting`, because trust imports policy and never the reverse.

RevocationClass = Literal["hard", "soft", "hold"]
TimeProof = Literal["attested", "observed", "none"]
"""Kind of the earliest accepted time of a signature."""

CLASS_OF: Final[dict[RevocationReason, RevocationClass]] = {
    "keyCompromise": "hard",
    "caCompromise": "hard",
    "aaCompromise": "hard",
    "identityCompromise": "hard",
    "unspecified": "hard",  # as OpenPGP does: an unknown reason may be a compromise
    "weakKey": "hard",
    "algorithmBroken": "hard",
    "superseded": "soft",
    "cessationOfOperation": "soft",
    "affiliationChanged": "soft",
    "privilegeWithdrawn": "soft",
    "certificateHold": "hold",
}
"""RFC 5280 section 5.3.1 reasons, and three of revet, by what they mean for somebody else's ability to sign."""

NEVER_SOUND: Final[frozenset[RevocationReason]] = frozenset({"weakKey", "algorithmBroken"})
"""Reasons that imply C = minus infinity: the key never protected anything, so no signature is old enough."""

WHOLE: Final[frozenset[SubjectKind]] = frozenset({"digest", "evidence"})
"""Subjects without before and after: they are revoked whole. The others sign, and a signature has a time."""

Row = Literal["hard-since", "hard-all", "soft", "hold", "delisted"]
"""Row of the verdict table. `hard-all` is HARD without a C, the same as C = minus infinity."""

Proof = Literal["before", "after-attested", "after-observed", "none"]
"""Column: how the proven time lies to the row's pivot. `before` is `< C` for hard-since and `<= R` for soft."""

VERDICTS: Final[dict[tuple[Row, Proof], SignatureState]] = {
    ("hard-since", "before"): "trusted-before-compromise",
    ("hard-since", "after-attested"): "revoked",
    ("hard-since", "after-observed"): "revoked",
    ("hard-since", "none"): "revoked-time-unknown",
    ("hard-all", "before"): "revoked",
    ("hard-all", "after-attested"): "revoked",
    ("hard-all", "after-observed"): "revoked",
    ("hard-all", "none"): "revoked",
    ("soft", "before"): "trusted-before-retirement",
    ("soft", "after-attested"): "retired-late",
    ("soft", "after-observed"): "retired-unproven",
    ("soft", "none"): "retired-unproven",
    ("hold", "before"): "suspended",
    ("hold", "after-attested"): "suspended",
    ("hold", "after-observed"): "suspended",
    ("hold", "none"): "suspended",
    ("delisted", "before"): "not-authorised",
    ("delisted", "after-attested"): "not-authorised",
    ("delisted", "after-observed"): "not-authorised",
    ("delisted", "none"): "not-authorised",
}
"""The whole verdict table, total over rows and columns. That the effective time is reached is asked before."""

WORSENING: Final[tuple[SignatureState, ...]] = (
    "trusted",
    "trusted-before-retirement",
    "trusted-before-compromise",
    "retired-unproven",
    "retired-late",
    "not-authorised",
    "outside-window",
    "expired",
    "suspended",
    "revoked-time-unknown",
    "revoked",
)
"""States that trust gives to a good signature, best first. Of several records the worst state holds."""

RANK: Final[dict[SignatureState, int]] = {state: rank for rank, state in enumerate(WORSENING)}

KEEPS_UP_TO_PIVOT: Final[dict[Row, bool]] = {
    "hard-since": False,
    "hard-all": False,
    "soft": True,
    "hold": False,
    "delisted": False,
}
"""Which times of a revoked *time source* are still accepted: up to R (closed) when it was retired, else none.

A compromised source can lie about the past, so HARD discards also the times before C: the one place where "before the
compromise is fine" would be wrong.
"""


class Rule(NamedTuple):
    """One thing that can make a good signature count less: a revocation record, a rotation, or a removal."""

    row: Row
    pivot: Micros
    """C for hard-since, R for soft; unused by the other rows."""
    effective: Micros | None
    """From when on the rule holds; None: at once."""
    revocation: str
    """Id of the record, empty for rotation and removal."""


class Judgement(NamedTuple):
    """What trust says of a good signature at an instant."""

    state: SignatureState
    revocation: str = ""
    """Id of the record that decided; empty when none did."""
    valid_until: Micros | None = None
    """Instant at which this has to be judged again; None when time alone changes nothing."""


TRUSTED: Final = Judgement("trusted")


def class_of(record: RevocationPut) -> RevocationClass:
    """Class of a record. One that says since when there was a compromise is HARD, whatever its reason."""
    return "hard" if record.compromised_since is not None else CLASS_OF[record.reason]


def rule_of(record: RevocationPut) -> Rule:
    """The row and pivot of a record."""
    kind, since = class_of(record), record.compromised_since
    if kind != "hard":
        return Rule(kind, record.effective, record.effective, record.id)
    if since is None or record.reason in NEVER_SOUND:
        return Rule("hard-all", record.effective, record.effective, record.id)
    return Rule("hard-since", since, record.effective, record.id)


def rotation_rule(superseded_at: Micros) -> Rule:
    """A superseded key is SOFT with R = the rotation: what it signed until then stays good."""
    return Rule("soft", superseded_at, superseded_at, "")


DELISTED: Final = Rule("delisted", 0, None, "")
"""The key is no longer in trust: authorisation ended, which is not a revocation."""


def judge(records: Iterable[RevocationPut], t_le: Micros | None, t_kind: TimeProof, instant: Micros) -> Judgement:
    """State of a good signature under the (not withdrawn) records that hit it; the worst one holds.

    `t_le` is None exactly when `t_kind` is `none`. The order of the records is irrelevant.
    """
    return judge_rules(map(rule_of, records), t_le, t_kind, instant)


def judge_rules(rules: Iterable[Rule], t_le: Micros | None, t_kind: TimeProof, instant: Micros) -> Judgement:
    """As `judge`, over rules of any origin."""
    return worst_of([_judge_rule(rule, t_le, t_kind, instant) for rule in rules])


def _judge_rule(rule: Rule, t_le: Micros | None, t_kind: TimeProof, instant: Micros) -> Judgement:
    if rule.effective is not None and instant < rule.effective:
        return Judgement("trusted", "", rule.effective)
    return Judgement(VERDICTS[rule.row, _proof(rule, t_le, t_kind)], rule.revocation)


def _proof(rule: Rule, t_le: Micros | None, t_kind: TimeProof) -> Proof:
    if t_le is None:
        return "none"
    if t_le < rule.pivot or (t_le == rule.pivot and rule.row == "soft"):
        return "before"
    return "after-attested" if t_kind == "attested" else "after-observed"


def worst_of(judgements: Iterable[Judgement]) -> Judgement:
    """The worst state, the record that decided it, and the first instant at which any of them changes.

    Of equally bad ones the greatest record id is named, so that the order of arrival cannot be seen.
    """
    state, revocation, due = TRUSTED
    for other in judgements:
        if (RANK[other.state], other.revocation) > (RANK[state], revocation):
            state, revocation = other.state, other.revocation
        due = earliest(due, other.valid_until)
    return Judgement(state, revocation, due)


def judge_window(
    valid_from: Micros | None, valid_until: Micros | None, t_le: Micros | None, instant: Micros
) -> Judgement:
    """A managed key's closed window [valid_from, valid_until], judged at the proven time (GHSA-wqqc-jjcq-vfxm).

    * Not begun, or proven to be older: `outside-window`.
    * Proven within: good, for ever.
    * Later than the end, or unproven: the same for both, since a late proof must not be worse than none. Good while
      the window has not ended (the judgement then holds until its end + 1 µs), `outside-window` after.

    The start is the one bound that stripping can hide: a signature proven too old is refused, the same signature
    without its time is merely unproven. revet's own `first_seen`, which nobody can strip, closes that for all
    evidence it saw before the window began.
    """
    if valid_from is not None and instant < valid_from:
        return Judgement("outside-window", "", valid_from)  # what is judged exists already
    good, due = in_window(valid_from, valid_until, t_le, instant)
    return Judgement("trusted" if good else "outside-window", "", due)


def source_accepted(rules: Iterable[Rule], time: Micros, instant: Micros) -> tuple[bool, Micros | None]:
    """Is a time given by a source under these rules still accepted, and until when does that hold?"""
    accepted, due = True, None
    for rule in rules:
        if rule.effective is not None and instant < rule.effective:
            due = earliest(due, rule.effective)
        elif not (KEEPS_UP_TO_PIVOT[rule.row] and time <= rule.pivot):
            accepted = False
    return accepted, due


def earliest(one: Micros | None, other: Micros | None) -> Micros | None:
    """The earlier of two instants; None means never."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
