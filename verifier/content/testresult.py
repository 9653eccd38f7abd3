"""The rule over test results (in-toto attestation, predicates/test-result v0.1).

The predicate has no date, so this rule bounds no age; how old the attestation itself may be is a matter of its
signature. A test that is listed both as passed and as failed has failed.
"""

from __future__ import annotations

import msgspec

from verifier.content.document import Predicate, document
from verifier.content.model import TestResultRule
from verifier.content.outcome import Mismatch, Outcome, listed, typed
from verifier.content.patterns import Patterns, any_of, check_budget
from verifier.evidence.content import excerpt

MAX_NAMES = 100_000
"""Configurations and test names of one predicate; the largest suites have some ten thousand tests."""


class _Configuration(msgspec.Struct, frozen=True):
    name: str | None = None
    uri: str | None = None


class _TestResult(msgspec.Struct, frozen=True):
    result: str
    configuration: tuple[_Configuration, ...] | None = None
    passed: tuple[str, ...] | None = msgspec.field(name="passedTests", default=None)
    failed: tuple[str, ...] | None = msgspec.field(name="failedTests", default=None)


def judge(rule: TestResultRule, predicate: Predicate) -> Outcome:
    """Whether the result meets the rule.

    Raises:
        Mismatch: it does not, or it is no test result.
    """
    found = predicate.view(_read)
    if found.result not in rule.results:
        raise Mismatch(f"result is {excerpt(found.result)}, expected {listed(rule.results)}")
    names = [name for entry in found.configuration or () for name in (entry.name, entry.uri) if name]
    check_budget(len(names) + len(found.passed or ()) + len(found.failed or ()), _tried(rule))
    for pattern in rule.configurations:
        if not _one(any_of((pattern,)), names):
            raise Mismatch(f"no configuration matches {excerpt(pattern)}, found {listed(names)}")
    for pattern in rule.passed_tests:
        wanted = any_of((pattern,))
        if not _one(wanted, found.passed or ()):
            raise Mismatch(f"no passed test matches {excerpt(pattern)}")
        if _one(wanted, found.failed or ()):
            raise Mismatch(f"a test that matches {excerpt(pattern)} has failed")
    return Outcome()


def _tried(rule: TestResultRule) -> int:
    return len(rule.configurations) + len(rule.passed_tests)


def _read(predicate: Predicate) -> _TestResult:
    found = typed(document(predicate), _TestResult, "an in-toto test result")
    count = len(found.configuration or ()) + len(found.passed or ()) + len(found.failed or ())
    if count > MAX_NAMES:
        raise Mismatch(f"{count} configurations and tests, limit {MAX_NAMES}")
    return found


def _one(wanted: Patterns, names: list[str] | tuple[str, ...]) -> bool:
    return any(wanted.matches(name) for name in names)
