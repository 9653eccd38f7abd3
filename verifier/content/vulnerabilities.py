"""The rule over scan results: worst severity, counts, age of the scan, exceptions that somebody has to answer for.

    judge(VulnerabilitiesRule(max_severity="medium", exceptions=(accepted,)), predicate)

An exception may end. Nothing here has a clock, so the answer says until when it holds: the last instant at which enough
of the exceptions it leans on are in force. When it leans on none, there is no such instant. A severity that the scanner
does not know counts as `unknownAs`, critical unless the rule says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from verifier.content.document import Predicate
from verifier.content.model import Severity, VulnerabilitiesRule, VulnerabilityException
from verifier.content.outcome import Mismatch, Outcome, instant_of, listed
from verifier.content.patterns import any_of, components, named_component, package_url
from verifier.content.scan import ORDER, Finding, Scan, read_scan
from verifier.models import Micros

_FOREVER: Final[Micros] = 1 << 62
"""Later than every instant: the end of an exception that has none."""


class _Budget(NamedTuple):
    """At most `most` findings of these severities."""

    severities: tuple[Severity, ...]
    most: int
    said: str


def judge(rule: VulnerabilitiesRule, predicate: Predicate) -> Outcome:
    """Whether the scan meets the rule, and until when.

    Raises:
        Mismatch: it does not, or it is no scan report that is understood.
    """
    scan = predicate.view(read_scan)
    if rule.scanners is not None and not any(any_of(rule.scanners).matches(name) for name in scan.scanners):
        raise Mismatch(f"scanner is {listed(scan.scanners)}, expected {listed(rule.scanners)}")
    findings = [one for one in scan.findings if one.fixable or not rule.ignore_unfixed]
    accepted = _by_id(rule.exceptions)
    ends = [_spend(budget, findings, rule, accepted) for budget in _budgets(rule)]
    until = min(ends, default=_FOREVER)
    time = _finished(scan) if rule.max_age is not None else None
    return Outcome(time, rule.max_age, None if until == _FOREVER else until)


def _finished(scan: Scan) -> Micros:
    """The oldest date: a fresh wrapper round an old report is an old scan."""
    if not scan.dates:
        raise Mismatch("the report has no date, and the rule bounds the age")
    return min(instant_of(date, "the date of the scan") for date in scan.dates)


def _budgets(rule: VulnerabilitiesRule) -> list[_Budget]:
    budgets = []
    if rule.max_severity is not None:
        first = 0 if rule.max_severity == "none" else ORDER.index(rule.max_severity) + 1
        budgets.append(_Budget(ORDER[first:], 0, f"worse than {rule.max_severity}"))
    if rule.max_counts is not None:
        for name in ORDER:
            most: int | None = getattr(rule.max_counts, name)
            if most is not None:
                budgets.append(_Budget((name,), most, name))
    return budgets


def _spend(
    budget: _Budget,
    findings: Iterable[Finding],
    rule: VulnerabilitiesRule,
    accepted: Mapping[str, list[VulnerabilityException]],
) -> Micros:
    """The last instant at which no more than `most` findings are without an exception in force."""
    mine = [one for one in findings if _counts(one, budget, rule)]
    ends = {one: _accepted_until(one, accepted) for one in mine}
    open_ = [one for one in mine if ends[one] is None]
    if len(open_) > budget.most:
        names = dict.fromkeys(one.id for one in open_)
        raise Mismatch(f"{len(open_)} findings {budget.said}, at most {budget.most}: {listed(names)}")
    # The findings whose exceptions end first may use what is left of the budget; the next one ends it.
    covered = sorted(end for one in mine if (end := ends[one]) is not None)
    spare = budget.most - len(open_)
    return covered[spare] if spare < len(covered) else _FOREVER


def _counts(finding: Finding, budget: _Budget, rule: VulnerabilitiesRule) -> bool:
    """By its own severity; an unknown one counts as `unknownAs`, and in a budget for unknown ones as well."""
    if finding.severity in budget.severities:
        return True
    return finding.severity == "unknown" and rule.unknown_as in budget.severities


def _by_id(exceptions: Iterable[VulnerabilityException]) -> dict[str, list[VulnerabilityException]]:
    found: dict[str, list[VulnerabilityException]] = {}
    for exception in exceptions:
        found.setdefault(exception.id.casefold(), []).append(exception)
    return found


def _accepted_until(finding: Finding, accepted: Mapping[str, list[VulnerabilityException]]) -> Micros | None:
    """The latest end of the exceptions that cover a finding; None when none does."""
    ends = [
        _FOREVER if exception.until is None else exception.until
        for name in (finding.id, *finding.aliases)
        for exception in accepted.get(name.casefold(), ())
        if _covers(exception, finding)
    ]
    return max(ends, default=None)


def _covers(exception: VulnerabilityException, finding: Finding) -> bool:
    if not exception.packages:
        return True
    is_purl = finding.package.startswith("pkg:")
    named = package_url(finding.package) if is_purl else named_component(finding.package, finding.version)
    return components(exception.packages).matches(named)
