"""The rule over OpenVEX documents (openvex.dev/ns, v0.0.1 and v0.2.0).

    judge(VexRule(require=(VexStatement(id="CVE-2026-1234"),)), predicate)

Statements about one vulnerability and product replace each other: the newest one counts, and the later one in the
document when times are equal (OpenVEX specification, "Updating statements"). A statement says what its author thinks;
it excepts nothing from a scan: the rule `vulnerabilities` knows only the exceptions that the policy names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from verifier.content.document import Predicate, document
from verifier.content.model import VexRule
from verifier.content.outcome import Mismatch, Outcome, instant_of, listed, typed
from verifier.content.patterns import any_of
from verifier.evidence.content import excerpt
from verifier.models import Micros
from verifier.times import FIRST, parse_instant

MAX_STATEMENTS: Final = 50_000
"""Statements times products of one document; each is kept until the newest is known."""

STATUSES: Final = frozenset({"not_affected", "affected", "fixed", "under_investigation"})


class _Identifiers(msgspec.Struct, frozen=True):
    purl: str | None = None


class _Product(msgspec.Struct, frozen=True):
    id: str | None = msgspec.field(name="@id", default=None)
    identifiers: _Identifiers | None = None


class _Vulnerability(msgspec.Struct, frozen=True):
    id: str | None = msgspec.field(name="@id", default=None)
    name: str | None = None
    aliases: tuple[str, ...] | None = None


class _Statement(msgspec.Struct, frozen=True):
    status: str
    vulnerability: _Vulnerability | str
    products: tuple[_Product | str, ...] | None = None
    timestamp: str | None = None
    updated: str | None = msgspec.field(name="last_updated", default=None)


class _Document(msgspec.Struct, frozen=True):
    context: str = msgspec.field(name="@context")
    author: str
    statements: tuple[_Statement, ...]
    timestamp: str | None = None
    updated: str | None = msgspec.field(name="last_updated", default=None)


class _Said(NamedTuple):
    """One statement about one product."""

    names: frozenset[str]
    """Name and aliases of the vulnerability, lower case."""
    product: tuple[str, ...]
    """The ways the product is named."""
    status: str
    time: Micros


def judge(rule: VexRule, predicate: Predicate) -> Outcome:
    """Whether the document meets the rule.

    Raises:
        Mismatch: it does not, or it is no OpenVEX document.
    """
    found = predicate.view(_read)
    if rule.authors is not None and not any_of(rule.authors).matches(found.author):
        raise Mismatch(f"author is {excerpt(found.author)}, expected {listed(rule.authors)}")
    said = [one for one in predicate.view(_newest) if _about(one, rule.products)]
    forbidden = [name for one in said if one.status in (rule.forbid_statuses or ()) for name in sorted(one.names)]
    if forbidden:
        raise Mismatch(f"{listed(rule.forbid_statuses or ())} is stated of {listed(dict.fromkeys(forbidden))}")
    stated: dict[str, list[str]] = {}
    for one in said:
        for name in one.names:
            stated.setdefault(name, []).append(one.status)
    for wanted in rule.require or ():
        statuses = stated.get(wanted.id.casefold(), [])
        if not statuses or not set(statuses) <= set(wanted.statuses):
            raise Mismatch(f"of {excerpt(wanted.id)} is stated {listed(statuses)}, expected {listed(wanted.statuses)}")
    if rule.max_age is None:
        return Outcome()
    return Outcome(instant_of(found.updated or found.timestamp, "timestamp of the document"), rule.max_age)


def _about(said: _Said, products: tuple[str, ...] | None) -> bool:
    return products is None or any(any_of(products).matches(name) for name in said.product)


def _read(predicate: Predicate) -> _Document:
    found = typed(document(predicate), _Document, "an OpenVEX document")
    if not found.context.startswith("https://openvex.dev/ns"):
        raise Mismatch(f"@context is {excerpt(found.context)}, expected OpenVEX")
    unknown = next((one.status for one in found.statements if one.status not in STATUSES), None)
    if unknown is not None:
        raise Mismatch(f"status {excerpt(unknown)} is none of OpenVEX")
    return found


def _newest(predicate: Predicate) -> tuple[_Said, ...]:
    """The statements that none replaces, by vulnerability and product."""
    newest: dict[tuple[str, tuple[str, ...]], _Said] = {}
    for count, (key, said) in enumerate(_said(predicate.view(_read))):
        if count >= MAX_STATEMENTS:
            raise Mismatch(f"more than {MAX_STATEMENTS} statements")
        before = newest.get((key, said.product))
        if before is None or said.time >= before.time:
            newest[key, said.product] = said
    return tuple(newest.values())


def _said(found: _Document) -> Iterator[tuple[str, _Said]]:
    for statement in found.statements:
        time = _time(statement.updated or statement.timestamp or found.updated or found.timestamp)
        key, names = _names(statement.vulnerability)
        for product in statement.products or ("",):
            yield key, _Said(names, _product(product), statement.status, time)


def _names(vulnerability: _Vulnerability | str) -> tuple[str, frozenset[str]]:
    if isinstance(vulnerability, str):
        vulnerability = _Vulnerability(name=vulnerability)
    name = (vulnerability.name or vulnerability.id or "").casefold()
    return name, frozenset({name, *(alias.casefold() for alias in vulnerability.aliases or ())})


def _product(product: _Product | str) -> tuple[str, ...]:
    if isinstance(product, str):
        return (product,)
    purl = product.identifiers.purl if product.identifiers else None
    return tuple(dict.fromkeys(name for name in (product.id, purl) if name))


def _time(text: str | None) -> Micros:
    """A statement without a readable time is older than every other: it can be replaced and replaces nothing."""
    try:
        return parse_instant(text or "")
    except (ValueError, OverflowError):
        return FIRST
