"""`revet policy test`: do the policies answer as their tests say? For the repository that keeps the policies.

Everything is local: documents, evidence and instant are those of the test file. Registries are never asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from alerting.text import count
from streams.cli.common import EXIT_OK, EXIT_VIOLATION, local_author, print_json, print_table, read_text, say
from streams.cli.manifests import manifest_files
from streams.cli.sources import (
    TrustFiles,
    compiled_policies,
    evidence_source,
    look_up_all,
    read_reference,
    read_trust,
)
from streams.local.policytests import LAYOUT, CaseResult, CaseScope, PolicyTest, compare, read_tests
from streams.local.reports import Case as ReportedCase
from streams.local.reports import junit
from verifier.errors import InputError, PolicyError
from verifier.models import Scope
from verifier.trust.changes import By
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence, verify_all

SCHEMA: Final = "revet.policy-test/v1"


def run_tests(tests: Iterable[PolicyTest]) -> list[CaseResult]:
    """Judge every case.

    Raises:
        InputError: a document of a test cannot be read or is wrong.
        PlaceRefused: an OCI layout cannot be used.
    """
    return [result for test in tests for result in _run(test)]


def _run(test: PolicyTest) -> list[CaseResult]:
    folder = Path(test.file).parent
    documents = tuple(str(folder / name) for name in test.spec.documents)
    trust = read_trust(TrustFiles(documents), By(author=local_author(), at=test.spec.at, origin="policy test"))
    policies = compiled_policies(trust)
    if not policies:
        raise InputError(f"{test.file}: no policy in {', '.join(test.spec.documents)}: nothing would be tested")
    found = _evidence(test, folder, trust)
    results = []
    for number, case in enumerate(test.spec.cases):
        at = test.spec.at if case.at is None else case.at
        image = found[number]
        verdicts = verify_all(policies, _scope(case.image, case.scope, trust), image, trust, at)
        results.append(compare(test, number, verdicts, image.problem))
    return results


def _evidence(test: PolicyTest, folder: Path, trust: TrustState) -> dict[int, ImageEvidence]:
    """By number of the case; every place is opened once per platform."""
    places: dict[tuple[str, str, int], list[int]] = {}
    for number, case in enumerate(test.spec.cases):
        at = test.spec.at if case.at is None else case.at
        places.setdefault((case.evidence or test.spec.evidence, case.platform, at), []).append(number)
    found: dict[int, ImageEvidence] = {}
    for (evidence, platform, at), numbers in places.items():
        layout = f"{LAYOUT}{folder / evidence.removeprefix(LAYOUT)}"
        source = evidence_source(layout, platform=platform or None)
        images = [test.spec.cases[number].image for number in numbers]
        known = asyncio.run(look_up_all(source, images, trust, at))
        found |= {number: known[test.spec.cases[number].image] for number in numbers}
    return found


def _scope(image: str, scope: CaseScope, trust: TrustState) -> Scope:
    known = (entry for entry in trust.clusters.values() if scope.cluster in (entry.name, entry.cluster_id))
    entry = next(known, None)
    labels = dict(entry.labels if entry else ()) | scope.cluster_labels
    return Scope(
        image=read_reference(image)[0],
        cluster=entry.cluster_id if entry else scope.cluster,
        cluster_name=entry.name if entry else scope.cluster,
        cluster_labels=tuple(sorted(labels.items())),
        namespace=scope.namespace,
        service_account=scope.service_account,
        labels=tuple(sorted(scope.labels.items())),
    )


# ------------------------------------------------------------------------------------------------------------- reading


def find_tests(names: Sequence[str]) -> list[PolicyTest]:
    """The tests of files and folders.

    Raises:
        InputError: a file cannot be read, a test is wrong (every error is told), or there is none.
    """
    tests: list[PolicyTest] = []
    errors: list[PolicyError] = []
    for name in names:
        for file in manifest_files(name):
            found, wrong = read_tests(file, read_text(file), named=file == name)
            tests += found
            errors += wrong
    for error in errors[:-1]:
        say(f"revet: {error}")
    if errors:
        raise errors[-1]
    if not tests:
        raise InputError(f"no document of kind PolicyTest in {', '.join(names)}")
    return tests


# ------------------------------------------------------------------------------------------------------------ printing


def _print_table(results: Sequence[CaseResult]) -> None:
    rows = [(r.test, r.name, r.image, r.found, "ok" if r.passed else "DIFFERS") for r in results]
    print_table(("TEST", "CASE", "IMAGE", "FOUND", ""), rows)
    for result in results:
        for sentence in result.differs:
            say(f"{result.file}:{result.line}: {result.name}: {sentence}")
    failed = sum(not result.passed for result in results)
    click.echo(f"{count(len(results), 'case')}, {failed} not as expected")


def _print_json(results: Sequence[CaseResult]) -> None:
    print_json({"schema": SCHEMA, "passed": all(r.passed for r in results), "cases": [_row(r) for r in results]})


def _row(result: CaseResult) -> dict[str, Any]:
    return {**result._asdict(), "passed": result.passed}


def _print_junit(results: Sequence[CaseResult]) -> None:
    click.echo(junit("revet policy test", [_reported(result) for result in results]), nl=False)


def _reported(result: CaseResult) -> ReportedCase:
    told = "\n".join(f"{r.code}: {r.message}" for r in result.reasons)
    return ReportedCase(
        name=result.name,
        classname=result.test,
        outcome="passed" if result.passed else "failure",
        message="; ".join(result.differs),
        kind="" if result.passed else "differs",
        output=f"{result.image}: {result.found}\n{told}",
        file=result.file,
        line=result.line,
    )


_PRINT: Final = {"table": _print_table, "json": _print_json, "junit": _print_junit}


# ------------------------------------------------------------------------------------------------------------- command


@click.command(
    "test",
    epilog="Exit codes: 0 every case is as expected; 1 a case differs; 2 usage or a wrong document; 4 the evidence of a"
    " test cannot be used.\n\n"
    "Examples:\n\n\b\n"
    "  $ revet policy test policy-tests/\n"
    "  $ revet policy test policy-tests/shop.yaml -o junit > report.xml",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE|DIR...")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "junit"]),
    default="table",
    show_default=True,
    help="How to print; junit for the test report of a CI system.",
)
def test(files: tuple[str, ...], output: str) -> int:
    """Judge the cases of PolicyTest documents and compare with what they expect."""
    results = run_tests(find_tests(files))
    _PRINT[output](results)
    return EXIT_OK if all(result.passed for result in results) else EXIT_VIOLATION
