"""Tests of policies: cases with the answer that is expected, read from YAML, compared with the answer that was given.

    apiVersion: revet/v1
    kind: PolicyTest
    metadata: {name: shop}
    spec:
      documents: [../policies, ../keys]          policies and trust, relative to this file
      evidence: oci-layout:../oci
      at: 2026-11-21T14:00:00Z
      cases:
        - name: what development signed runs in the shop
          image: registry.example.com/payments/api:1.4.2
          scope: {namespace: payments, clusterLabels: {env: prod}}
          expect: valid
        - name: nobody signed the scraper
          image: registry.example.com/inventory/scraper:0.3
          expect: violates
          reasons: [unsigned]

A test says its instant and its evidence, so that it answers the same tomorrow and without a network. Unknown members
are refused: a misspelt `expect` would test nothing. This module reads and compares; it asks no place, judges nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field, ValidationError, field_validator, model_validator

from alerting.text import safe
from verifier.errors import PolicyError
from verifier.models import Outcome, Reason, Verdict
from verifier.policy.fields import Name
from verifier.policy.yamltree import Path, Tree, read_trees
from verifier.reasons import REASONS
from verifier.verify import worst
from verifier.written import DOCUMENT, Instant, Model

KIND: Final = "PolicyTest"
LAYOUT: Final = "oci-layout:"
MAX_CASES: Final = 2_000
"""Cases of one file; each looks an image up and judges it."""

Text = Annotated[str, Field(min_length=1, max_length=500)]


class CaseScope(Model):
    """Where the image of a case is to run: what a policy can see of it."""

    namespace: str = ""
    cluster: str = ""
    """Name or id; a Cluster document of that name gives id and labels."""
    cluster_labels: dict[str, str] = Field(default={}, alias="clusterLabels")
    labels: dict[str, str] = Field(default={})
    service_account: str = Field(default="", alias="serviceAccount")


class Case(Model):
    """One image and what is expected of it."""

    name: Text
    image: Text
    expect: Outcome
    """The worst outcome of the policies that govern; of `policy` alone where that is given."""
    reasons: tuple[str, ...] = ()
    """Codes that must be among the reasons; other reasons may stand beside them."""
    policy: str = ""
    """Look at the verdict of this policy only."""
    exempted: bool | None = None
    """Whether every violation is covered by an exemption; left out: it does not matter."""
    scope: CaseScope = CaseScope()
    evidence: str = ""
    """Instead of that of the file."""
    at: Instant | None = None
    """Instead of that of the file, microseconds UTC."""
    platform: str = ""
    """`os/arch`: of a multi-platform image, the child that is looked at too."""

    @field_validator("reasons")
    @classmethod
    def _known(cls, reasons: tuple[str, ...]) -> tuple[str, ...]:
        for code in reasons:
            if code not in REASONS:
                raise ValueError(f"{code[:80]!a} is no reason; `revet explain` lists them")
        return reasons

    @field_validator("evidence")
    @classmethod
    def _is_a_layout(cls, evidence: str) -> str:
        return check_evidence(evidence) if evidence else evidence


class TestSpec(Model):
    """What a test file says."""

    __test__ = False  # its name begins as those of pytest's own classes do

    documents: tuple[str, ...]
    """Files and folders with policies, keys, exemptions and clusters, relative to this file."""
    evidence: str
    at: Instant
    cases: Annotated[tuple[Case, ...], Field(min_length=1, max_length=MAX_CASES)]

    @field_validator("evidence")
    @classmethod
    def _is_a_layout(cls, evidence: str) -> str:
        return check_evidence(evidence)

    @model_validator(mode="after")
    def _cases_have_names_of_their_own(self) -> TestSpec:
        names = [case.name for case in self.cases]
        twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
        if twice is not None:
            raise ValueError(f"two cases are named {twice[:80]!a}; the report could not tell them apart")
        if not self.documents:
            raise ValueError("documents names no policy: nothing would be tested")
        return self


class _Metadata(Model):
    name: Name
    description: str = ""


class _TestDocument(Model):
    api_version: Literal["revet/v1"] = Field(alias="apiVersion")
    kind: Literal["PolicyTest"]
    metadata: _Metadata
    spec: TestSpec


class PolicyTest(NamedTuple):
    """One document of kind PolicyTest."""

    file: str
    name: str
    spec: TestSpec
    lines: tuple[int, ...]
    """Where each case stands."""


def check_evidence(text: str) -> str:
    """A place that answers the same tomorrow.

    Raises:
        ValueError: it is none.
    """
    if not text.startswith(LAYOUT) or text == LAYOUT:
        raise ValueError("expected oci-layout:DIR, relative to this file; a registry may answer otherwise tomorrow")
    return text


# ------------------------------------------------------------------------------------------------------------- reading


def read_tests(file: str, text: str, *, named: bool) -> tuple[list[PolicyTest], list[PolicyError]]:
    """The tests of a text and what is wrong with them. Raises nothing.

    Args:
        file: its name, for messages.
        text: YAML or JSON.
        named: the file was named by itself, so that other kinds of documents are errors; in a folder not.
    """
    trees, errors = read_trees(file, text)
    tests: list[PolicyTest] = []
    wrong: list[PolicyError] = []
    for tree in trees:
        if not isinstance(tree.data, dict) or tree.data.get("kind") != KIND:
            wrong += [tree.error(f"expected kind: {KIND}", ())] if named else []
            continue
        try:
            body = _TestDocument.model_validate(tree.data, strict=True, by_alias=True, by_name=False, context=DOCUMENT)
        except ValidationError as error:
            wrong += _errors(error, tree)
            continue
        if tree.refused:
            continue  # told already, with what is wrong as YAML
        lines = tuple(tree.place(("spec", "cases", number)).line for number in range(len(body.spec.cases)))
        tests.append(PolicyTest(file, body.metadata.name, body.spec, lines))
    mine = named or bool(tests or wrong) or KIND in text
    return tests, [*(errors if mine else ()), *wrong]


def _errors(error: ValidationError, tree: Tree) -> list[PolicyError]:
    found = []
    for detail in error.errors(include_url=False, include_input=False):
        path: Path = tuple(part for part in detail["loc"] if part != "[key]")
        cause = detail.get("ctx", {}).get("error")
        message = "unknown member" if detail["type"] == "extra_forbidden" else str(cause or detail["msg"])
        found.append(tree.error(message[:1].lower() + message[1:], path))
    return found


# ----------------------------------------------------------------------------------------------------------- comparing


class CaseResult(NamedTuple):
    """What came of a case."""

    test: str
    file: str
    line: int
    name: str
    image: str
    expected: str
    found: str
    reasons: tuple[Reason, ...]
    differs: tuple[str, ...]
    """One sentence per difference; empty: as expected."""

    @property
    def passed(self) -> bool:
        """Is everything as expected?"""
        return not self.differs


def compare(test: PolicyTest, number: int, verdicts: Sequence[Verdict], problem: Reason | None) -> CaseResult:
    """A case against the verdicts reached; `problem`: why the image could not be asked for. Raises nothing."""
    case = test.spec.cases[number]
    asked = [v for v in verdicts if not case.policy or v.policy == case.policy]
    outcome = worst([v.outcome for v in asked])
    reasons = tuple(dict.fromkeys(r for v in asked for r in v.reasons))
    if problem is not None and outcome == "ungoverned":
        outcome, reasons = "unverifiable", (problem, *reasons)  # as `revet verify` says it
    return CaseResult(
        test=test.name,
        file=test.file,
        line=test.lines[number],
        name=case.name,
        image=case.image,
        expected=case.expect,
        found=outcome,
        reasons=reasons,
        differs=tuple(_differences(case, asked, outcome, reasons)),
    )


def _differences(case: Case, asked: Sequence[Verdict], outcome: Outcome, reasons: Sequence[Reason]) -> list[str]:
    told = []
    if case.policy and not asked:
        told.append(f"the policy {case.policy} does not govern it")
    if outcome != case.expect:
        why = "; ".join(f"{r.code}: {safe(r.message)}" for r in reasons)
        told.append(f"expected {case.expect}, found {outcome} ({why})")
    codes = {reason.code for reason in reasons}
    missing = [code for code in case.reasons if code not in codes]
    if missing:
        told.append(f"expected the reasons {', '.join(missing)}, found {', '.join(sorted(codes)) or 'none'}")
    violated = [v for v in asked if v.outcome == "violates"]
    exempted = bool(violated) and all(v.exempted_by for v in violated)
    if case.exempted is not None and exempted != case.exempted:
        told.append("expected an exemption to cover it" if case.exempted else "expected no exemption to cover it")
    return told
