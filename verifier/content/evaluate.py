"""One content rule, one predicate: does it hold, why not, and for how long. No clock, no IO, no exception.

    result = evaluate(rule, "https://slsa.dev/provenance/v1", raw_predicate)
    result.holds, result.detail

The same bytes and the same rule give the same result for ever; that is why it can be a fact. What depends on the time
is handed on: `time` with `max_age`, and `until`.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from typing import Any, Final

from verifier.canonical import ID_LENGTH, ID_PREFIX, canonical_json
from verifier.content import openvex, sbom, slsa, testresult, vsa, vulnerabilities
from verifier.content.custom import holds_cel, select
from verifier.content.document import Predicate, read_predicate
from verifier.content.model import CelRule, ContentRule, PathRule
from verifier.content.outcome import DETAIL_CHARACTERS, Mismatch, Outcome, listed, show
from verifier.content.patterns import any_of
from verifier.evidence.content import excerpt
from verifier.models import RuleClaim


def rule_id(rule: ContentRule, predicate_types: Iterable[str]) -> str:
    """The id of a rule about predicates of these types (URIs): equal for equal content, whatever was left to defaults.

    What is only for people (a reason, a message) is part of it: it is part of the detail that results carry.
    """
    content = rule.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    # The value of `stable_id("content-rule", content, types)`.
    data = canonical_json(["content-rule", content, sorted(set(predicate_types))])
    return ID_PREFIX + urlsafe_b64encode(hashlib.sha256(data).digest()).decode()[:ID_LENGTH]


def evaluate(
    rule: ContentRule, predicate_type: str, predicate: bytes | Predicate, *, identity: str | None = None
) -> RuleClaim:
    """Judges one predicate by one rule. Raises nothing.

    Args:
        rule: what a policy says.
        predicate_type: the statement's `predicateType`, a URI.
        predicate: its predicate: the JSON text as it was signed, or decoded once for several rules.
        identity: the rule's id where it is known already.
    """
    name = rule_id(rule, ()) if identity is None else identity
    try:
        read = predicate if isinstance(predicate, Predicate) else read_predicate(predicate_type, predicate)
        outcome = _judge(rule, read)
    except Mismatch as error:
        return RuleClaim(name, holds=False, detail=_ascii(str(error)))
    except (RecursionError, MemoryError) as error:  # over every other guard rail; still an answer, never a crash
        return RuleClaim(name, holds=False, detail=f"the predicate cannot be read: {type(error).__name__}")
    return RuleClaim(name, holds=True, time=outcome.time, max_age=outcome.max_age, until=outcome.until)


def _judge(rule: ContentRule, predicate: Predicate) -> Outcome:
    for member, judge in _JUDGES.items():
        written = getattr(rule, member)
        if written is not None:
            return judge(written, predicate)
    raise AssertionError("a content rule has one member; the model sees to it")


def _ascii(text: str) -> str:
    plain = text.encode("ascii", "backslashreplace").decode()
    plain = "".join(character if character.isprintable() else " " for character in plain)
    return plain if len(plain) <= DETAIL_CHARACTERS else plain[: DETAIL_CHARACTERS - 3] + "..."


# ------------------------------------------------------------------------------------------------------ custom rules


def _judge_cel(rules: tuple[CelRule, ...], predicate: Predicate) -> Outcome:
    for rule in rules:
        if not holds_cel(rule.expression, predicate):
            raise Mismatch(rule.message or f"{excerpt(rule.expression)} is false")
    return Outcome()


def _judge_paths(rules: tuple[PathRule, ...], predicate: Predicate) -> Outcome:
    for rule in rules:
        _check_path(rule, select(rule.path, predicate))
    return Outcome()


def _check_path(rule: PathRule, values: list[object]) -> None:
    most = "" if rule.max_count is None else f", at most {rule.max_count}"
    if len(values) < rule.min_count or (rule.max_count is not None and len(values) > rule.max_count):
        raise Mismatch(f"{excerpt(rule.path)} selects {len(values)}, expected at least {rule.min_count}{most}")
    for value in values:
        if rule.one_of is not None and not any(_same(value, wanted) for wanted in rule.one_of):
            raise Mismatch(f"{excerpt(rule.path)} is {show(value)}, expected {listed(rule.one_of)}")
        if rule.matches is not None and not (isinstance(value, str) and any_of(rule.matches).matches(value)):
            raise Mismatch(f"{excerpt(rule.path)} is {show(value)}, expected {listed(rule.matches)}")


def _same(found: object, wanted: bool | float | str) -> bool:
    """Equal in JSON: numbers by value, and never a boolean with a number."""
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    return isinstance(found, str) == isinstance(wanted, str) and found == wanted


_JUDGES: Final[dict[str, Callable[[Any, Predicate], Outcome]]] = {
    "slsa": slsa.judge,
    "sbom": sbom.judge,
    "vulnerabilities": vulnerabilities.judge,
    "vsa": vsa.judge,
    "test_result": testresult.judge,
    "vex": openvex.judge,
    "cel": _judge_cel,
    "json_path": _judge_paths,
}
"""Member of a rule -> its module."""
