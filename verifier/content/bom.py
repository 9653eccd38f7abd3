"""Bills of material, read into one form: SPDX 2.2 and 2.3, SPDX 3.0 (JSON-LD), CycloneDX 1.4 to 1.7, all in JSON.

    bom = predicate.view(read_bom)
    bom.format, bom.items[0].purls, bom.items[0].licences

Nothing is judged here, and nothing is guessed: a version that is not listed above is refused by name. Files, snippets,
services and relationships other than those that carry licences are not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

import msgspec

from verifier.content.document import Predicate, document
from verifier.content.outcome import Mismatch, typed
from verifier.content.predicates import CYCLONEDX, SPDX, same_type
from verifier.evidence.content import excerpt

MAX_COMPONENTS: Final = 200_000
"""Components of one document. Distribution images list some thousand; 8 MiB of JSON hold no more."""

SPDX_2: Final = frozenset({"SPDX-2.2", "SPDX-2.3"})
CYCLONEDX_VERSIONS: Final = frozenset({"1.4", "1.5", "1.6", "1.7"})
"""What is read here has not changed between them; syft writes 1.7."""

SPDX_3_PACKAGES: Final = frozenset({"software_Package", "ai_AIPackage", "dataset_DatasetPackage"})
"""The class of packages of SPDX 3 and its subclasses: one of them must not hide from the rules."""

_LISTED_LICENCES: Final = ("https://spdx.org/licenses/", "http://spdx.org/licenses/")

BomFormat = Literal["spdx", "cyclonedx"]


class Item(msgspec.Struct, frozen=True, gc=False):
    """One component."""

    name: str
    version: str
    purls: tuple[str, ...]
    licences: tuple[str, ...]
    """Licence texts that apply together; empty when none is stated."""
    is_file: bool = False
    """A file or the operating system itself: listed for completeness, usually without a licence of its own."""


class Bom(NamedTuple):
    """What all formats say."""

    format: BomFormat
    version: str
    created: str | None
    described: tuple[Item, ...]
    """The thing itself that the document is about (the image), when it is told apart from its components."""
    items: tuple[Item, ...]


def read_bom(predicate: Predicate) -> Bom:
    """The SBOM in a predicate, by its shape; a predicate type of another format is a contradiction.

    Raises:
        Mismatch: no SBOM, another version, contradicting type, or more than `MAX_COMPONENTS`.
    """
    value = document(predicate)
    bom = _read(value)
    for uri, format_ in ((SPDX, "spdx"), (CYCLONEDX, "cyclonedx")):
        if same_type(uri, predicate.type) and bom.format != format_:
            raise Mismatch(f"predicate type {excerpt(predicate.type)}, but the document is {bom.format}")
    if len(bom.items) > MAX_COMPONENTS:
        raise Mismatch(f"{len(bom.items)} components, limit {MAX_COMPONENTS}")
    return bom


def _read(value: object) -> Bom:
    if not isinstance(value, dict):
        raise Mismatch(f"an SBOM in JSON is an object, found {type(value).__name__}")
    if value.get("bomFormat") == "CycloneDX":
        return _from_cyclonedx(typed(value, _Cyclonedx, "a CycloneDX document"))
    if "spdxVersion" in value:
        return _from_spdx2(typed(value, _Spdx2, "an SPDX 2 document"))
    if "@graph" in value and "spdx.org" in str(value.get("@context"))[:200]:
        return _from_spdx3(value["@graph"])
    raise Mismatch("neither bomFormat CycloneDX, spdxVersion, nor an SPDX 3 graph")


# --------------------------------------------------------------------------------------------------------- CycloneDX


class _CdxLicenceId(msgspec.Struct, frozen=True, gc=False):
    id: str | None = None
    name: str | None = None


class _CdxLicence(msgspec.Struct, frozen=True, gc=False):
    license: _CdxLicenceId | None = None
    expression: str | None = None


class _CdxComponent(msgspec.Struct, frozen=True, gc=False):
    type: str
    name: str
    version: str | None = None
    group: str | None = None
    purl: str | None = None
    licenses: tuple[_CdxLicence, ...] | None = None
    components: tuple[_CdxComponent, ...] | None = None


class _CdxMetadata(msgspec.Struct, frozen=True, gc=False):
    timestamp: str | None = None
    component: _CdxComponent | None = None


class _Cyclonedx(msgspec.Struct, frozen=True, gc=False):
    version: str = msgspec.field(name="specVersion")
    metadata: _CdxMetadata | None = None
    components: tuple[_CdxComponent, ...] | None = None


def _from_cyclonedx(found: _Cyclonedx) -> Bom:
    if found.version not in CYCLONEDX_VERSIONS:
        raise Mismatch(f"CycloneDX {excerpt(found.version)}, expected {', '.join(sorted(CYCLONEDX_VERSIONS))}")
    metadata = found.metadata or _CdxMetadata()
    top = metadata.component
    inside = [*(found.components or ()), *((top.components or ()) if top else ())]
    return Bom(
        "cyclonedx",
        found.version,
        metadata.timestamp,
        (_cdx_item(top),) if top else (),
        tuple(_cdx_item(component) for component in _flatten(inside)),
    )


def _flatten(found: Iterable[_CdxComponent]) -> Iterator[_CdxComponent]:
    """Components and those inside them, without recursion."""
    waiting = list(found)
    for component in waiting:  # grows while it is gone through
        yield component
        waiting.extend(component.components or ())


def _cdx_item(found: _CdxComponent) -> Item:
    texts = (
        choice.expression or (choice.license and (choice.license.id or choice.license.name)) or ""
        for choice in found.licenses or ()
    )
    return Item(
        f"{found.group}/{found.name}" if found.group else found.name,
        found.version or "",
        (found.purl,) if found.purl else (),
        tuple(texts),
        found.type in {"file", "operating-system"},
    )


# ------------------------------------------------------------------------------------------------------------ SPDX 2


class _Spdx2Reference(msgspec.Struct, frozen=True, gc=False):
    type: str = msgspec.field(name="referenceType")
    locator: str = msgspec.field(name="referenceLocator")


class _Spdx2Package(msgspec.Struct, frozen=True, gc=False):
    id: str = msgspec.field(name="SPDXID")
    name: str
    version: str | None = msgspec.field(name="versionInfo", default=None)
    concluded: str | None = msgspec.field(name="licenseConcluded", default=None)
    declared: str | None = msgspec.field(name="licenseDeclared", default=None)
    references: tuple[_Spdx2Reference, ...] | None = msgspec.field(name="externalRefs", default=None)
    purpose: str | None = msgspec.field(name="primaryPackagePurpose", default=None)


class _Spdx2Creation(msgspec.Struct, frozen=True, gc=False):
    created: str | None = None


class _Spdx2Relationship(msgspec.Struct, frozen=True, gc=False):
    source: str = msgspec.field(name="spdxElementId")
    target: str = msgspec.field(name="relatedSpdxElement")
    type: str = msgspec.field(name="relationshipType")


class _Spdx2(msgspec.Struct, frozen=True, gc=False):
    version: str = msgspec.field(name="spdxVersion")
    creation: _Spdx2Creation | None = msgspec.field(name="creationInfo", default=None)
    packages: tuple[_Spdx2Package, ...] | None = None
    describes: tuple[str, ...] | None = msgspec.field(name="documentDescribes", default=None)
    relationships: tuple[_Spdx2Relationship, ...] | None = None


def _from_spdx2(found: _Spdx2) -> Bom:
    if found.version not in SPDX_2:
        raise Mismatch(f"{excerpt(found.version)}, expected {', '.join(sorted(SPDX_2))} or an SPDX 3 graph")
    packages = found.packages or ()
    described = set(found.describes or ()) | {
        relation.target
        for relation in found.relationships or ()
        if relation.type == "DESCRIBES" and relation.source == "SPDXRef-DOCUMENT"
    }
    subject, rest = _split(packages, described)
    created = found.creation.created if found.creation else None
    return Bom("spdx", found.version, created, tuple(map(_spdx2_item, subject)), tuple(map(_spdx2_item, rest)))


def _split(packages: tuple[_Spdx2Package, ...], described: set[str]) -> tuple[list[_Spdx2Package], list[_Spdx2Package]]:
    """The one package the document describes, apart from the others.

    With several described ones, or nothing beside it, all are components: a document that describes everything must
    not escape the rules about components.
    """
    subject = [package for package in packages if package.id in described]
    if len(subject) == 1 and len(packages) > 1:
        return subject, [package for package in packages if package is not subject[0]]
    return [], list(packages)


def _spdx2_item(found: _Spdx2Package) -> Item:
    purls = (ref.locator for ref in found.references or () if ref.type.casefold() in {"purl", "package-url"})
    licence = found.concluded if _stated(found.concluded) else found.declared
    return Item(
        found.name,
        found.version or "",
        tuple(dict.fromkeys(purls)),
        (licence,) if licence and _stated(licence) else (),
        found.purpose in {"FILE", "OPERATING-SYSTEM", "OPERATING_SYSTEM"},
    )


def _stated(licence: str | None) -> bool:
    return licence not in {None, "", "NOASSERTION"}


# ------------------------------------------------------------------------------------------------------------ SPDX 3


class _Spdx3Identifier(msgspec.Struct, frozen=True, gc=False):
    type: str | None = msgspec.field(name="externalIdentifierType", default=None)
    identifier: str | None = None


class _Spdx3Element(msgspec.Struct, frozen=True, gc=False):
    """Any element of the graph: what this module reads of the classes it knows."""

    type: str = ""
    id: str | None = msgspec.field(name="spdxId", default=None)
    name: str | None = None
    version: str | None = msgspec.field(name="software_packageVersion", default=None)
    purl: str | None = msgspec.field(name="software_packageUrl", default=None)
    identifiers: tuple[Any, ...] | None = msgspec.field(name="externalIdentifier", default=None)
    purpose: str | None = msgspec.field(name="software_primaryPurpose", default=None)
    relationship: str | None = msgspec.field(name="relationshipType", default=None)
    source: str | None = msgspec.field(name="from", default=None)
    targets: object = msgspec.field(name="to", default=None)
    expression: str | None = msgspec.field(name="simplelicensing_licenseExpression", default=None)
    created: str | None = None
    spec_version: str | None = msgspec.field(name="specVersion", default=None)


def _from_spdx3(graph: object) -> Bom:
    elements = typed(graph, tuple[_Spdx3Element, ...], "an SPDX 3 graph")
    creations = [element for element in elements if element.type == "CreationInfo"]
    versions = {element.spec_version or "" for element in creations}
    if not versions or any(not version.startswith("3.0") for version in versions):
        raise Mismatch(f"SPDX specVersion {excerpt(', '.join(sorted(versions)))}, expected 3.0 or 3.0.1")
    licences = _spdx3_licences(elements)
    return Bom(
        "spdx",
        min(versions),
        min((element.created for element in creations if element.created), default=None),
        (),
        tuple(_spdx3_item(element, licences) for element in elements if element.type in SPDX_3_PACKAGES),
    )


def _spdx3_licences(elements: tuple[_Spdx3Element, ...]) -> dict[str, tuple[str, ...]]:
    """Element -> its licences: those concluded, and where there are none those declared."""
    texts = {element.id: element.expression for element in elements if element.id and element.expression}
    found: dict[str, dict[str, tuple[str, ...]]] = {"hasDeclaredLicense": {}, "hasConcludedLicense": {}}
    for element in elements:
        kind = found.get(element.relationship or "")
        if kind is not None and element.source:
            targets = element.targets if isinstance(element.targets, list) else [element.targets]
            named = tuple(
                (texts.get(target) if isinstance(target, str) else None) or _listed_licence(target)
                for target in targets
            )
            stated = tuple(text for text in named if _stated(text))
            if stated:
                kind[element.source] = kind.get(element.source, ()) + stated
    return found["hasDeclaredLicense"] | found["hasConcludedLicense"]


def _listed_licence(target: object) -> str:
    """The id of a licence on SPDX's list, by its address; NOASSERTION for every other element."""
    if isinstance(target, str):
        for prefix in _LISTED_LICENCES:
            if target.startswith(prefix):
                return target.removeprefix(prefix)
        if target.endswith("NoAssertionLicense"):
            return "NOASSERTION"
    return "(not read)"


def _spdx3_item(found: _Spdx3Element, licences: dict[str, tuple[str, ...]]) -> Item:
    identifiers = (_identifier(entry) for entry in found.identifiers or ())
    return Item(
        found.name or "",
        found.version or "",
        tuple(dict.fromkeys(filter(None, (found.purl, *identifiers)))),
        licences.get(found.id or "", ()),
        found.purpose in {"file", "operatingSystem"},
    )


def _identifier(entry: object) -> str | None:
    found = typed(entry, _Spdx3Identifier, "an external identifier of SPDX 3") if isinstance(entry, dict) else None
    return found.identifier if found and found.type == "packageUrl" else None
