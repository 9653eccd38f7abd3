"""Content rules as people write them, below `rule:` of an attestation that a policy requires. Strict and frozen.

    slsa:
      builders: ["https://github.com/slsa-framework/slsa-github-generator/**"]
      sources: ["git+https://github.com/acme/*"]

A rule that could be read as "accept everything" is refused: one without a member, a member that names nothing, a level
without the table that says who reaches it. What each member means is in docs/attestations.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializationInfo,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from verifier.content.custom import (
    MAX_EXPRESSION_CHARACTERS,
    MAX_PATH_CHARACTERS,
    check_cel,
    check_path,
)
from verifier.content.licences import check_licence_id
from verifier.content.patterns import check_pattern, check_text_pattern
from verifier.times import UNITS, parse_age
from verifier.written import DOCUMENT, Instant, Model

MAX_ENTRIES: Final = 200
"""Entries of one list in a rule. Each is tried on every component or source of a predicate."""

MAX_ID_CHARACTERS: Final = 128
"""Characters of a vulnerability id, level or parameter path."""

MAX_TEXT_CHARACTERS: Final = 500
"""Characters of a reason or message a person writes."""

MAX_AGE_DAYS: Final = 3650
"""Days of a `maxAge`. Ten years bound nothing, and more is a slip."""


def _read_age(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str):
        age = parse_age(value)
        if not age:
            raise ValueError("expected a length of time such as 12h or 7d (s, m, h, d), longer than nothing")
        return age
    if value is not None and info.context == DOCUMENT:
        raise ValueError("expected a length of time with its unit, such as 7d")
    return value


def _write_age(value: int, info: SerializationInfo) -> int | str:
    if info.context != DOCUMENT:
        return value
    unit, length = next((u, n) for u, n in sorted(UNITS.items(), key=lambda row: -row[1]) if value % n == 0)
    return f"{value // length}{unit}"


Age = Annotated[
    int,
    BeforeValidator(_read_age),
    Field(ge=UNITS["s"], le=MAX_AGE_DAYS * UNITS["d"], multiple_of=UNITS["s"]),
    PlainSerializer(_write_age),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,15}[smhd]$"}),
]
"""Microseconds; written as `7d`."""

Pattern = Annotated[str, AfterValidator(check_pattern)]
TextPattern = Annotated[str, AfterValidator(check_text_pattern)]
Patterns = Annotated[tuple[Pattern, ...], Field(max_length=MAX_ENTRIES)]
SomePatterns = Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=MAX_ENTRIES)]
TextPatterns = Annotated[tuple[TextPattern, ...], Field(max_length=MAX_ENTRIES)]
Licence = Annotated[str, AfterValidator(check_licence_id)]
Licences = Annotated[tuple[Licence, ...], Field(min_length=1, max_length=MAX_ENTRIES)]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS, pattern=r"^[\x21-\x7e]+$")]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)]
Scalar = Annotated[StrictBool | StrictInt | TextPattern, Field(union_mode="left_to_right")]
Severity = Literal["unknown", "negligible", "low", "medium", "high", "critical"]
Count = Annotated[int, Field(strict=True, ge=0, le=10_000_000)]


class NamesSomething(Model):
    """A rule of which at least one member is written."""

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if not self.model_fields_set:
            written = ", ".join(field.alias or name for name, field in type(self).model_fields.items())
            raise ValueError(f"a rule that names nothing would accept everything; write one of {written}")
        return self


# -------------------------------------------------------------------------------------------------------- provenance


class BuilderLevel(Model):
    """Which SLSA build level a builder is trusted to reach (slsa.dev/spec, verifying artifacts, step 1)."""

    builder: Pattern
    level: int = Field(ge=0, le=4)


class SlsaRule(NamesSomething):
    """SLSA provenance v0.2 and v1. Every member that is written must hold; within a list one entry suffices."""

    builders: SomePatterns | None = None
    """Over `builder.id`."""
    sources: SomePatterns | None = None
    """Over each source URI that the parameters name, without `git+`, `.git` and reference."""
    source_refs: SomePatterns | None = Field(default=None, alias="sourceRefs")
    build_types: SomePatterns | None = Field(default=None, alias="buildTypes")
    levels: Annotated[tuple[BuilderLevel, ...], Field(max_length=MAX_ENTRIES)] = ()
    """The first row whose pattern matches `builder.id` says the level reached; without a row it is 0."""
    min_level: int | None = Field(default=None, alias="minLevel", ge=1, le=4)
    parameters: Annotated[dict[Id, Scalar | tuple[Scalar, ...]], Field(max_length=MAX_ENTRIES)] = Field(default={})
    """External parameters by JSON pointer (`/workflow/ref`) or dotted path (`workflow.ref`)."""
    allowed_parameters: Patterns | None = Field(default=None, alias="allowedParameters")
    """Names that the top of the external parameters may hold; any other is refused."""
    max_age: Age | None = Field(default=None, alias="maxAge")

    @model_validator(mode="after")
    def _levels_have_a_table(self) -> Self:
        if (self.min_level is not None) != bool(self.levels):
            raise ValueError("minLevel and levels stand together: the level comes from your table, never the predicate")
        if any(value == () for value in self.parameters.values()):
            raise ValueError("a parameter with an empty list of values can never match")
        return self


# -------------------------------------------------------------------------------------------------------------- SBOM


class SbomRule(NamesSomething):
    """SPDX 2.2, 2.3 and 3.0, CycloneDX 1.4 to 1.7, in JSON."""

    formats: Annotated[tuple[Literal["spdx", "cyclonedx"], ...], Field(min_length=1)] | None = None
    min_components: Count = Field(default=1, alias="minComponents")
    """Files do not count."""
    forbid_components: SomePatterns | None = Field(default=None, alias="forbidComponents")
    require_components: SomePatterns | None = Field(default=None, alias="requireComponents")
    """Each of them must name at least one component."""
    allowed_licences: Licences | None = Field(default=None, alias="allowedLicences")
    forbidden_licences: Licences | None = Field(default=None, alias="forbiddenLicences")
    max_unlicensed: Count | None = Field(default=None, alias="maxUnlicensed")
    """Components without a licence, or with a text that is no licence expression. With `allowedLicences` 0 unless
    written; otherwise any number."""
    max_age: Age | None = Field(default=None, alias="maxAge")


# ---------------------------------------------------------------------------------------------------- vulnerabilities


class VulnerabilityException(Model):
    """A vulnerability that somebody accepted, with the reason, optionally for some packages and for a time."""

    id: Id
    """The id or an alias of it, whatever the capitals."""
    until: Instant | None = None
    """Last instant at which it counts (closed)."""
    packages: Patterns = ()
    """Over the package URL or `name@version`; empty for every package."""
    reason: Text


class MaxCounts(NamesSomething):
    """Most findings by severity."""

    unknown: Count | None = None
    negligible: Count | None = None
    low: Count | None = None
    medium: Count | None = None
    high: Count | None = None
    critical: Count | None = None


class VulnerabilitiesRule(NamesSomething):
    """Scan results: cosign's vuln predicate, in-toto vulns, and reports in the form of Trivy, Grype and Clair."""

    max_severity: Literal["none", "negligible", "low", "medium", "high"] | None = Field(
        default=None, alias="maxSeverity"
    )
    """The worst severity that is acceptable; `none` accepts no finding."""
    max_counts: MaxCounts | None = Field(default=None, alias="maxCounts")
    unknown_as: Severity = Field(default="critical", alias="unknownAs")
    """What a finding without a known severity counts as."""
    max_age: Age | None = Field(default=None, alias="maxAge")
    exceptions: Annotated[tuple[VulnerabilityException, ...], Field(max_length=1_000)] = ()
    ignore_unfixed: bool = Field(default=False, alias="ignoreUnfixed", strict=True)
    scanners: SomePatterns | None = None
    """Over the scanner's URI, or `trivy`, `grype`, `clair` for a report that carries none."""

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.max_severity is None and self.max_counts is None and self.max_age is None and self.scanners is None:
            raise ValueError("write maxSeverity, maxCounts, maxAge or scanners: the rest only relaxes them")
        return self


# ------------------------------------------------------------------------------------------------ VSA, tests, OpenVEX


class VsaRule(Model):
    """SLSA verification summary; `verificationResult` must be PASSED."""

    verifiers: SomePatterns
    """Over `verifier.id`. Required: a summary is worth what its verifier is worth."""
    resources: SomePatterns | None = None
    policies: SomePatterns | None = None
    levels: Annotated[tuple[Id, ...], Field(min_length=1, max_length=20)] | None = None
    """Each must be reached: `SLSA_BUILD_LEVEL_2` is by `SLSA_BUILD_LEVEL_3` of the same track."""
    max_age: Age | None = Field(default=None, alias="maxAge")


class TestResultRule(Model):
    """in-toto test result v0.1."""

    __test__ = False  # pytest would take the name for a test class

    results: Annotated[tuple[Literal["PASSED", "WARNED"], ...], Field(min_length=1)] = ("PASSED",)
    configurations: TextPatterns = ()
    """Each must match the name or URI of one configuration."""
    passed_tests: TextPatterns = Field(default=(), alias="passedTests")
    """Each must match one name in `passedTests`, and none in `failedTests`."""


VexStatus = Literal["not_affected", "affected", "fixed", "under_investigation"]


class VexStatement(Model):
    """What must be stated of one vulnerability."""

    id: Id
    statuses: Annotated[tuple[VexStatus, ...], Field(min_length=1)] = ("not_affected", "fixed")


class VexRule(NamesSomething):
    """OpenVEX: the newest statement of each vulnerability and product counts."""

    authors: Annotated[tuple[TextPattern, ...], Field(min_length=1, max_length=MAX_ENTRIES)] | None = None
    products: SomePatterns | None = None
    """Only statements about a product that one of these matches are read; without it all are."""
    forbid_statuses: Annotated[tuple[VexStatus, ...], Field(min_length=1)] | None = Field(
        default=None, alias="forbidStatuses"
    )
    require: Annotated[tuple[VexStatement, ...], Field(min_length=1, max_length=MAX_ENTRIES)] | None = None
    max_age: Age | None = Field(default=None, alias="maxAge")


# ------------------------------------------------------------------------------------------------------------- custom


class CelRule(Model):
    """A CEL expression (cel.dev) over `predicate` and `predicateType` that must be true."""

    expression: Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION_CHARACTERS), AfterValidator(check_cel)]
    message: Text = ""
    """Said instead of the expression when it does not hold."""


class PathRule(Model):
    """What one JSONPath (RFC 9535) selects. Without a condition it must select something."""

    path: Annotated[str, Field(min_length=1, max_length=MAX_PATH_CHARACTERS), AfterValidator(check_path)]
    one_of: (
        Annotated[
            tuple[StrictBool | StrictInt | StrictFloat | StrictStr, ...], Field(min_length=1, max_length=MAX_ENTRIES)
        ]
        | None
    ) = Field(default=None, alias="oneOf")
    """Every value selected must equal one of these: type and value."""
    matches: Annotated[tuple[TextPattern, ...], Field(min_length=1, max_length=MAX_ENTRIES)] | None = None
    """Every value selected must be text that one of these patterns matches."""
    min_count: Count = Field(default=1, alias="minCount")
    max_count: Count | None = Field(default=None, alias="maxCount")

    @model_validator(mode="before")
    @classmethod
    def _nothing_may_be_asked_for(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic passes what was written
        """`maxCount: 0` alone says "must select nothing"."""
        if isinstance(data, dict) and "minCount" not in data and "min_count" not in data:
            most = data.get("maxCount", data.get("max_count"))
            if type(most) is int and most == 0:
                return {**data, "minCount": 0}
        return data

    @model_validator(mode="after")
    def _counts_can_be_met(self) -> Self:
        if self.max_count is not None and self.max_count < self.min_count:
            raise ValueError("maxCount is less than minCount: no predicate can meet both")
        if self.min_count == 0 and self.max_count is None and self.one_of is None and self.matches is None:
            raise ValueError("minCount: 0 alone accepts everything; write maxCount, oneOf or matches beside it")
        return self


# ------------------------------------------------------------------------------------------------------------ the rule

MEMBERS: Final = ("slsa", "sbom", "vulnerabilities", "vsa", "testResult", "vex", "cel", "jsonPath")
"""Members of which a content rule has exactly one."""


class ContentRule(Model):
    """What a predicate must say: exactly one of the members."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [member]} for member in MEMBERS]})

    slsa: SlsaRule | None = None
    sbom: SbomRule | None = None
    vulnerabilities: VulnerabilitiesRule | None = None
    vsa: VsaRule | None = None
    test_result: TestResultRule | None = Field(default=None, alias="testResult")
    vex: VexRule | None = None
    cel: Annotated[tuple[CelRule, ...], Field(min_length=1, max_length=20)] | None = None
    json_path: Annotated[tuple[PathRule, ...], Field(min_length=1, max_length=20)] | None = Field(
        default=None, alias="jsonPath"
    )

    @model_validator(mode="after")
    def _exactly_one_member(self) -> Self:
        given = [field.alias or name for name, field in type(self).model_fields.items() if getattr(self, name)]
        if not given:
            raise ValueError(f"an empty rule would accept every predicate; write one of {', '.join(MEMBERS)}")
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} stand side by side; require two attestations, one rule each")
        return self
