"""Results in the words of other tools: SARIF 2.1.0 for code scanning, JUnit XML for the test tabs of CI systems.

    text = sarif([Checked("registry.example.com/app:1", …)], version="0.1.0")
    text = junit("revet verify", [Case("app", "shop", "failure", "unsigned: …")])

Rules of SARIF are the closed list of reasons, with their meaning and what to do. Only what a person has to look at is a
result: an image that passes for good is none. Every text of a stranger is escaped before it is written: neither format
may carry a control character, and XML cannot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree as ET

from alerting.text import safe
from verifier.models import Outcome, Reason
from verifier.reasons import REASONS

SARIF_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
SARIF_VERSION: Final = "2.1.0"

MAX_TEXT: Final = 2_000
"""Characters of one text. GitHub shows 1,024 of a message and refuses files of many megabytes."""

Level = Literal["error", "warning", "note"]


class Silenced(NamedTuple):
    """Why a violation under a policy does not count."""

    trial: bool = False
    exempted_by: str = ""


class Checked(NamedTuple):
    """One image that was judged."""

    image: str
    digest: str
    verdict: Outcome
    passes: bool
    reasons: tuple[Reason, ...]
    silenced: Mapping[str, Silenced] = {}
    """By policy."""
    container: str = ""
    """`namespace/Kind/name: container`; empty when no manifest names it."""
    file: str = ""
    """Of the manifest; empty for images of the command line and of standard input."""
    line: int = 0

    @property
    def name(self) -> str:
        """Container, or image."""
        return self.container or self.image


# --------------------------------------------------------------------------------------------------------------- SARIF


def sarif(checked: Sequence[Checked], version: str) -> dict[str, Any]:
    """A SARIF log with one run (SARIF 2.1.0, sections 3.13 and 3.14). Raises nothing."""
    told = [(one, reason) for one in checked for reason in one.reasons if _effect(reason) != "valid"]
    codes = sorted({reason.code for _, reason in told})
    driver = {
        "name": "revet",
        "version": version,
        "rules": [_rule(code) for code in codes],
    }
    results = [_result(one, reason, codes.index(reason.code)) for one, reason in told]
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True}],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return {"$schema": SARIF_SCHEMA, "version": SARIF_VERSION, "runs": [run]}


def _effect(reason: Reason) -> str:
    row = REASONS.get(reason.code)
    return row.effect if row is not None else "unverifiable"


def _rule(code: str) -> dict[str, Any]:
    row = REASONS.get(code)
    meaning, todo = (row.meaning, row.todo) if row is not None else (code, "See `revet explain`.")
    level = "error" if row is not None and row.effect == "violates" else "warning"
    return {
        "id": code,
        "name": "".join(part.capitalize() for part in code.split("-")),
        "shortDescription": {"text": meaning},
        "fullDescription": {"text": meaning},
        "help": {"text": f"{meaning} {todo}", "markdown": f"{meaning}\n\n**What to do:** {todo}"},
        "defaultConfiguration": {"level": level},
    }


def _result(one: Checked, reason: Reason, index: int) -> dict[str, Any]:
    silenced = one.silenced.get(reason.policy, Silenced())
    policy = f" [{reason.policy}]" if reason.policy else ""
    result: dict[str, Any] = {
        "ruleId": reason.code,
        "ruleIndex": index,
        "level": _level(one, reason, silenced),
        "message": {"text": _text(f"{one.image}: {reason.message}{policy}")},
        "locations": [_location(one)],
        "partialFingerprints": {"revet/v1": _fingerprint(one, reason)},
        "properties": {"image": _text(one.image), "digest": one.digest, "policy": reason.policy, "passes": one.passes},
    }
    if silenced.exempted_by:
        why = f"exemption {silenced.exempted_by}"
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": _text(why)}]
    return result


def _level(one: Checked, reason: Reason, silenced: Silenced) -> Level:
    """What fails the gate is an error or a warning; what is only told is a note."""
    if one.passes or silenced.trial or silenced.exempted_by:
        return "note"
    return "error" if _effect(reason) == "violates" else "warning"


def _location(one: Checked) -> dict[str, Any]:
    logical = {"fullyQualifiedName": _text(one.name), "kind": "resource"}
    location: dict[str, Any] = {"logicalLocations": [logical]}
    if one.file:
        place: dict[str, Any] = {"artifactLocation": {"uri": _uri(one.file)}}
        if one.line > 0:
            place["region"] = {"startLine": one.line}
        location["physicalLocation"] = place
    return location


def _uri(file: str) -> str:
    """A relative path as a relative reference (RFC 3986 section 4.2), an absolute one as a file URI."""
    path = quote(file.removeprefix("./"), safe="/")
    return f"file://{path}" if file.startswith("/") else path


def _fingerprint(one: Checked, reason: Reason) -> str:
    """The same for the same matter when lines move and messages change."""
    return sha256(
        f"{reason.code}\x00{reason.policy}\x00{one.name}\x00{one.image}".encode("utf-8", "replace")
    ).hexdigest()


def _text(text: str) -> str:
    return safe(text, MAX_TEXT)


# --------------------------------------------------------------------------------------------------------------- JUnit

CaseOutcome = Literal["passed", "failure", "error", "skipped"]


class Case(NamedTuple):
    """One test case."""

    name: str
    classname: str
    outcome: CaseOutcome
    message: str = ""
    kind: str = ""
    """`type` of a failure or error: a reason code."""
    output: str = ""
    file: str = ""
    line: int = 0


def cases_of(checked: Iterable[Checked]) -> list[Case]:
    """A violation is a failure, what could not be told or is not governed an error; both only when they count."""
    return [_case(one) for one in checked]


def _case(one: Checked) -> Case:
    told = "\n".join(f"{r.code}: {r.message}" + (f" [{r.policy}]" if r.policy else "") for r in one.reasons)
    named = one.container.rpartition(": ")[0] if one.container else one.image
    about = Case(one.name, named, "passed", file=one.file, line=one.line)
    if one.passes:
        return about._replace(output=told)
    worst = next((r for r in one.reasons if _effect(r) == one.verdict), one.reasons[0] if one.reasons else None)
    outcome: CaseOutcome = "failure" if one.verdict == "violates" else "error"
    return about._replace(
        outcome=outcome,
        kind=worst.code if worst is not None else one.verdict,
        message=worst.message if worst is not None else one.verdict,
        output=f"{one.image}@{one.digest}\n{told}" if one.digest else f"{one.image}\n{told}",
    )


def junit(suite: str, cases: Sequence[Case]) -> str:
    """JUnit XML as GitHub, GitLab and Jenkins read it: one suite. Raises nothing."""
    counts = {name: sum(case.outcome == outcome for case in cases) for name, outcome in _COUNTS.items()}
    numbers = {"tests": str(len(cases)), **{name: str(number) for name, number in counts.items()}}
    root = ET.Element("testsuites", {"name": suite, **numbers})
    element = ET.SubElement(root, "testsuite", {"name": suite, **numbers})
    for case in cases:
        _add(element, case)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


_COUNTS: Final[dict[str, CaseOutcome]] = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def _add(suite: ET.Element, case: Case) -> None:
    place = {"file": _text(case.file), "line": str(case.line)} if case.file else {}
    element = ET.SubElement(
        suite, "testcase", {"name": _text(case.name), "classname": _text(case.classname), "time": "0", **place}
    )
    lines = "\n".join(map(_text, case.output.splitlines()))
    if case.outcome == "passed":
        if lines:
            ET.SubElement(element, "system-out").text = lines
        return
    attributes = {"message": _text(case.message), **({"type": case.kind} if case.kind else {})}
    ET.SubElement(element, case.outcome, attributes).text = lines
