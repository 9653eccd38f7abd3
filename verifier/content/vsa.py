"""The rule over SLSA verification summaries (slsa.dev/spec, verification_summary v1, and v0.2 with `_` in its names).

A summary says that somebody else has verified the image. It is worth what that verifier is worth, so the rule has to
name verifiers; a summary that is not `PASSED` never holds, whatever levels it lists.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from verifier.content.document import Predicate, document
from verifier.content.model import VsaRule
from verifier.content.outcome import Mismatch, Outcome, instant_of, listed, typed
from verifier.content.patterns import any_of
from verifier.evidence.content import excerpt

MAX_LEVELS: Final = 1_000
"""Verified levels of one summary; real ones have a handful."""

_LEVEL: Final = re.compile(r"(SLSA(?:_[A-Z]+)?_LEVEL_)(\d{1,3})", re.ASCII)


class _Verifier(msgspec.Struct, frozen=True):
    id: str


class _Policy(msgspec.Struct, frozen=True):
    uri: str | None = None


class _Summary(msgspec.Struct, frozen=True):
    verifier: _Verifier
    result: str = msgspec.field(name="verificationResult")
    time: str | None = msgspec.field(name="timeVerified", default=None)
    resource: str | None = msgspec.field(name="resourceUri", default=None)
    policy: _Policy | None = None
    levels: tuple[str, ...] | None = msgspec.field(name="verifiedLevels", default=None)


class _Summary02(msgspec.Struct, frozen=True):
    verifier: _Verifier
    result: str = msgspec.field(name="verification_result")
    time: str | None = msgspec.field(name="time_verified", default=None)
    resource: str | None = msgspec.field(name="resource_uri", default=None)
    policy: _Policy | None = None
    level: str | None = msgspec.field(name="policy_level", default=None)


def judge(rule: VsaRule, predicate: Predicate) -> Outcome:
    """Whether the summary meets the rule.

    Raises:
        Mismatch: it does not, or it is no verification summary.
    """
    found = predicate.view(_read)
    if found.result != "PASSED":
        raise Mismatch(f"verificationResult is {excerpt(found.result)}, expected 'PASSED'")
    policy = (found.policy or _Policy()).uri
    for what, value, patterns in (
        ("verifier.id", found.verifier.id, rule.verifiers),
        ("resourceUri", found.resource, rule.resources),
        ("policy.uri", policy, rule.policies),
    ):
        if patterns is not None and not any_of(patterns).matches(value or ""):
            raise Mismatch(f"{what} is {excerpt(value)}, expected {listed(patterns)}")
    _check_levels(rule.levels or (), found.levels or ())
    return Outcome(instant_of(found.time, "timeVerified"), rule.max_age) if rule.max_age is not None else Outcome()


def _read(predicate: Predicate) -> _Summary:
    value = document(predicate)
    if isinstance(value, dict) and "verificationResult" not in value and "verification_result" in value:
        old = typed(value, _Summary02, "an SLSA verification summary v0.2")
        return _Summary(old.verifier, old.result, old.time, old.resource, old.policy, (old.level,) if old.level else ())
    return typed(value, _Summary, "an SLSA verification summary")


def _check_levels(wanted: tuple[str, ...], verified: tuple[str, ...]) -> None:
    """A summary lists the highest level of a track only (v1, `verifiedLevels`); it implies the lower ones."""
    if len(verified) > MAX_LEVELS:
        raise Mismatch(f"{len(verified)} verified levels, limit {MAX_LEVELS}")
    reached: dict[str, int] = {}
    for level in verified:
        if found := _LEVEL.fullmatch(level):
            reached[found[1]] = max(reached.get(found[1], 0), int(found[2]))
    for level in wanted:
        track = _LEVEL.fullmatch(level)
        met = level in verified if track is None else reached.get(track[1], -1) >= int(track[2])
        if not met:
            raise Mismatch(f"verifiedLevels are {listed(verified)}, expected {excerpt(level)}")
