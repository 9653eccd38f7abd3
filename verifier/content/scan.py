"""Scan reports, read into one list of findings: cosign's vuln predicate, in-toto vulns, Trivy, Grype and Clair.

    scan = predicate.view(read_scan)
    scan.findings[0].id, scan.findings[0].severity, scan.finished

A report is recognised by its shape, also inside cosign's wrapper. What is not recognised is refused: an unknown report
must not pass for one without findings. Severities keep the scanner's word, lower case; what it does not say is
`unknown`, never `low`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from verifier.content.document import Predicate, document, wrapped_at
from verifier.content.model import Severity
from verifier.content.outcome import Mismatch, typed

MAX_FINDINGS: Final = 100_000
"""Findings of one report; images of a whole distribution have some ten thousand."""

_SEVERITIES: Final[dict[str, Severity]] = {
    "none": "negligible",
    "negligible": "negligible",
    "info": "negligible",
    "informational": "negligible",
    "low": "low",
    "medium": "medium",
    "moderate": "medium",
    "high": "high",
    "important": "high",
    "critical": "critical",
    "defcon1": "critical",
}
"""Words of scanners and distributions -> ours."""

_CVSS: Final[tuple[tuple[float, Severity], ...]] = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))
"""Lower bounds of the CVSS v3.1 qualitative severity scale."""


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One vulnerability in one package."""

    id: str
    severity: Severity
    fixable: bool
    """False only when the report says that there is no fix."""
    package: str
    """Package URL, or name."""
    version: str
    aliases: tuple[str, ...] = ()


class Scan(NamedTuple):
    """What all reports say."""

    scanners: tuple[str, ...]
    """What the scanner is called: its URI, or the name of the report's shape."""
    dates: tuple[str, ...]
    """Every date the report gives for the scan; the oldest counts."""
    findings: tuple[Finding, ...]


def read_scan(predicate: Predicate) -> Scan:
    """The report in a predicate.

    Raises:
        Mismatch: no report that is understood, or more than `MAX_FINDINGS`.
    """
    scan = _read(document(predicate))
    if len(scan.findings) > MAX_FINDINGS:
        raise Mismatch(f"{len(scan.findings)} findings, limit {MAX_FINDINGS}")
    wrapped = wrapped_at(predicate)
    return scan._replace(dates=(*scan.dates, wrapped)) if wrapped else scan


def _read(value: object) -> Scan:
    if not isinstance(value, dict):
        raise Mismatch(f"a scan report is an object, found {type(value).__name__}")
    if isinstance(value.get("scanner"), dict):
        return _from_wrapper(value)
    for is_shape, read in _SHAPES:
        if is_shape(value):
            return read(value)
    raise Mismatch("no scan report in the form of cosign, in-toto, Trivy, Grype or Clair")


def severity_of(word: object) -> Severity:
    """A scanner's word for a severity; `unknown` for every other."""
    return _SEVERITIES.get(word.casefold(), "unknown") if isinstance(word, str) else "unknown"


# ------------------------------------------------------------------------------------------------ cosign and in-toto


class _Scanner(msgspec.Struct, frozen=True, gc=False):
    uri: str | None = None
    result: object = None


class _ScanMetadata(msgspec.Struct, frozen=True, gc=False):
    finished: str | None = msgspec.field(name="scanFinishedOn", default=None)
    started: str | None = msgspec.field(name="scanStartedOn", default=None)


class _Wrapper(msgspec.Struct, frozen=True, gc=False):
    scanner: _Scanner
    metadata: _ScanMetadata | None = None


class _Score(msgspec.Struct, frozen=True, gc=False):
    method: str | None = None
    score: str | float | None = None


class _InTotoFinding(msgspec.Struct, frozen=True, gc=False):
    id: str
    severity: tuple[_Score, ...] | None = None


def _from_wrapper(value: dict[str, object]) -> Scan:
    """cosign: `scanner.result` is the scanner's own report. in-toto vulns v0.1 and v0.2: a list of ids with scores."""
    found = typed(value, _Wrapper, "a vulnerability predicate")
    metadata = found.metadata or _ScanMetadata()
    date = metadata.finished or metadata.started
    result = found.scanner.result
    if isinstance(result, list):
        entries = typed(result, tuple[_InTotoFinding, ...], "a result of in-toto vulns")
        inner = Scan((), (), tuple(Finding(e.id, _worst(e.severity or ()), True, "", "") for e in entries))
    elif isinstance(result, dict) and not isinstance(result.get("scanner"), dict):
        inner = _read(result)
    else:
        raise Mismatch("scanner.result is missing, or no report")
    scanners = (found.scanner.uri,) if found.scanner.uri else inner.scanners
    return Scan(scanners, (*inner.dates, *((date,) if date else ())), inner.findings)


def _worst(scores: tuple[_Score, ...]) -> Severity:
    """The worst of several scores, in words or as a CVSS number."""
    found = [_scored(score.score) for score in scores]
    return next((name for name in reversed(ORDER) if name in found and name != "unknown"), "unknown")


def _scored(score: str | float | None) -> Severity:
    try:
        number = float(score) if score is not None else -1.0
    except ValueError:
        return severity_of(score)
    return next((name for bound, name in _CVSS if number >= bound), "negligible" if number == 0 else "unknown")


ORDER: Final[tuple[Severity, ...]] = ("unknown", "negligible", "low", "medium", "high", "critical")
"""From least to worst; `unknown` has no place of its own (`unknownAs` gives it one)."""


# ------------------------------------------------------------------------------------------------------------- Trivy


class _TrivyId(msgspec.Struct, frozen=True, gc=False):
    purl: str | None = msgspec.field(name="PURL", default=None)


class _TrivyFinding(msgspec.Struct, frozen=True, gc=False):
    id: str = msgspec.field(name="VulnerabilityID")
    package: str = msgspec.field(name="PkgName", default="")
    identifier: _TrivyId | None = msgspec.field(name="PkgIdentifier", default=None)
    version: str | None = msgspec.field(name="InstalledVersion", default=None)
    fixed: str | None = msgspec.field(name="FixedVersion", default=None)
    severity: str | None = msgspec.field(name="Severity", default=None)
    vendor_ids: tuple[str, ...] | None = msgspec.field(name="VendorIDs", default=None)


class _TrivyResult(msgspec.Struct, frozen=True, gc=False):
    findings: tuple[_TrivyFinding, ...] | None = msgspec.field(name="Vulnerabilities", default=None)


class _Trivy(msgspec.Struct, frozen=True, gc=False):
    results: tuple[_TrivyResult, ...] | None = msgspec.field(name="Results", default=None)
    created: str | None = msgspec.field(name="CreatedAt", default=None)


def _from_trivy(value: dict[str, object]) -> Scan:
    found = typed(value, _Trivy, "a Trivy report")
    findings = tuple(
        Finding(
            one.id,
            severity_of(one.severity),
            bool(one.fixed),
            (one.identifier.purl if one.identifier else None) or one.package,
            one.version or "",
            one.vendor_ids or (),
        )
        for result in found.results or ()
        for one in result.findings or ()
    )
    return Scan(("trivy",), (found.created,) if found.created else (), findings)


# ------------------------------------------------------------------------------------------------------------- Grype


class _GrypeFix(msgspec.Struct, frozen=True, gc=False):
    state: str | None = None


class _GrypeVulnerability(msgspec.Struct, frozen=True, gc=False):
    id: str
    severity: str | None = None
    fix: _GrypeFix | None = None


class _GrypeArtifact(msgspec.Struct, frozen=True, gc=False):
    name: str = ""
    version: str | None = None
    purl: str | None = None


class _GrypeMatch(msgspec.Struct, frozen=True, gc=False):
    vulnerability: _GrypeVulnerability
    artifact: _GrypeArtifact
    related: tuple[_GrypeVulnerability, ...] | None = msgspec.field(name="relatedVulnerabilities", default=None)


class _GrypeDescriptor(msgspec.Struct, frozen=True, gc=False):
    timestamp: str | None = None


class _Grype(msgspec.Struct, frozen=True, gc=False):
    matches: tuple[_GrypeMatch, ...]
    descriptor: _GrypeDescriptor | None = None


def _from_grype(value: dict[str, object]) -> Scan:
    found = typed(value, _Grype, "a Grype report")
    date = found.descriptor.timestamp if found.descriptor else None
    findings = tuple(
        Finding(
            match.vulnerability.id,
            severity_of(match.vulnerability.severity),
            match.vulnerability.fix is None or match.vulnerability.fix.state == "fixed",
            match.artifact.purl or match.artifact.name,
            match.artifact.version or "",
            tuple(related.id for related in match.related or ()),
        )
        for match in found.matches
    )
    return Scan(("grype",), (date,) if date else (), findings)


# ------------------------------------------------------------------------------------------------------------- Clair


class _ClairPackage(msgspec.Struct, frozen=True, gc=False):
    name: str = ""
    version: str | None = None


class _ClairVulnerability(msgspec.Struct, frozen=True, gc=False):
    name: str
    severity: str | None = msgspec.field(name="normalized_severity", default=None)
    fixed: str | None = msgspec.field(name="fixed_in_version", default=None)


class _Clair(msgspec.Struct, frozen=True, gc=False):
    """claircore's VulnerabilityReport (Clair v4)."""

    vulnerabilities: dict[str, _ClairVulnerability]
    by_package: dict[str, tuple[str, ...]] | None = msgspec.field(name="package_vulnerabilities", default=None)
    packages: dict[str, _ClairPackage] | None = None


class _OldClairFinding(msgspec.Struct, frozen=True, gc=False):
    """One entry of clair-scanner's report (Clair v2)."""

    id: str = msgspec.field(name="vulnerability")
    package: str = msgspec.field(name="featurename", default="")
    version: str | None = msgspec.field(name="featureversion", default=None)
    severity: str | None = None
    fixed: str | None = msgspec.field(name="fixedby", default=None)


class _OldClair(msgspec.Struct, frozen=True, gc=False):
    findings: tuple[_OldClairFinding, ...] = msgspec.field(name="vulnerabilities")


def _from_clair(value: dict[str, object]) -> Scan:
    found = typed(value, _Clair, "a Clair report")
    return Scan(("clair",), (), tuple(_clair_findings(found)))


def _clair_findings(found: _Clair) -> Iterator[Finding]:
    """Every vulnerability counts for each package it is listed under, and once when no package names it."""
    known, unused = found.vulnerabilities, dict(found.vulnerabilities)
    for number, ids in (found.by_package or {}).items():
        package = (found.packages or {}).get(number) or _ClairPackage()
        for key in ids:
            unused.pop(key, None)
            if key not in known:
                raise Mismatch("a Clair report lists a vulnerability that it does not describe")
            yield _clair_finding(known[key], package)
    for one in unused.values():
        yield _clair_finding(one, _ClairPackage())


def _clair_finding(one: _ClairVulnerability, package: _ClairPackage) -> Finding:
    """`name` may hold an advisory and the CVE behind it ("RHSA-2026:1 CVE-2026-1")."""
    first, *others = one.name.split() or [""]
    return Finding(
        first, severity_of(one.severity), bool(one.fixed), package.name, package.version or "", tuple(others)
    )


def _from_old_clair(value: dict[str, object]) -> Scan:
    found = typed(value, _OldClair, "a clair-scanner report")
    findings = tuple(
        Finding(one.id, severity_of(one.severity), bool(one.fixed), one.package, one.version or "")
        for one in found.findings
    )
    return Scan(("clair",), (), findings)


_SHAPES: Final[tuple[tuple[Callable[[dict[str, Any]], bool], Callable[[dict[str, object]], Scan]], ...]] = (
    (lambda value: "SchemaVersion" in value and ("Results" in value or "ArtifactName" in value), _from_trivy),
    (lambda value: "matches" in value, _from_grype),
    (lambda value: "manifest_hash" in value and "vulnerabilities" in value, _from_clair),
    (lambda value: "image" in value and isinstance(value.get("vulnerabilities"), list), _from_old_clair),
)
"""How each report is told from the others -> how it is read."""
