"""Trust roots: documents that name authorities and logs, read into what evidence is checked against.

    document = read_root("sigstore-trusted-root", text)
    Material.of(document.authorities, document.logs)
    window_note(document, now)          ["both certificate authorities have ended, …"] for a root that has aged

One function reads each format, and takes a document whole or refuses it with the place where it is wrong. Nothing is
fetched and no clock is asked; whether a window holds is judged at the time of a signature, so an ended authority stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from verifier.errors import EvidenceError, PolicyError, TrustError
from verifier.evidence.limits import MIB
from verifier.evidence.material import Authority, Log, RootFormat
from verifier.evidence.openpgp import read_keyring
from verifier.evidence.trustdata import read_root_keys
from verifier.models import Micros
from verifier.times import format_instant
from verifier.trust.pemroots import ca_authorities, load, store_authorities
from verifier.trust.sigstoreroot import read_trusted_root

ROOT_CHARACTERS: Final = MIB
"""Characters of one document. The list of a whole operating system has a quarter of it."""


@dataclass(frozen=True, slots=True)
class RootDocument:
    """A trust root, read."""

    format: RootFormat
    authorities: tuple[Authority, ...]
    logs: tuple[Log, ...] = ()


_Found = tuple[tuple[Authority, ...], tuple[Log, ...]]

_READERS: Final[Mapping[RootFormat, Callable[[str], _Found]]] = MappingProxyType(
    {
        "sigstore-trusted-root": read_trusted_root,
        "certificates": lambda content: (ca_authorities(content), ()),
        "notation-ca": lambda content: (store_authorities(content, "notation"), ()),
        "notation-signing-authority": lambda content: (store_authorities(content, "notation"), ()),
        "notation-tsa": lambda content: (store_authorities(content, "timestamping"), ()),
        "openpgp": lambda content: (read_keyring(content), ()),
        "tuf-root-keys": lambda content: (read_root_keys(content), ()),
    }
)


def read_root(format: RootFormat, content: str) -> RootDocument:  # noqa: A002 - the word of the records
    """The authorities and logs of one document.

    Raises:
        TrustError: what is wrong and where (JSON path, number of the certificate, packet), and what was expected.
    """
    if len(content) > ROOT_CHARACTERS:
        raise TrustError(f"a trust root of {len(content)} characters, limit {ROOT_CHARACTERS}")
    try:
        authorities, logs = _READERS[format](content)
    except (EvidenceError, PolicyError) as error:
        raise TrustError(f"{format}: {error}") from error
    return RootDocument(format, authorities, logs)


# ------------------------------------------------------------------------------------------------------------ windows


class _Span(NamedTuple):
    start: Micros | None
    end: Micros | None


_WORDS: Final = MappingProxyType(
    {
        "signing": "certificate authority",
        "timestamping": "timestamp authority",
        "notation": "trust anchor",
        "openpgp": "OpenPGP key",
        "tuf": "TUF root key",
        "transparency": "transparency log",
        "ct": "certificate transparency log",
    }
)


def window_note(document: RootDocument, now: Micros) -> list[str]:
    """One sentence per kind of authority or log of which none is current at `now`; empty for a root in its prime.

    Such a root still verifies what was signed in its day. It is worth a word all the same, since whoever pinned it is
    likely to wonder why everything new is unknown.
    """
    spans: dict[str, list[_Span]] = {}
    for authority in document.authorities:
        spans.setdefault(authority.use, []).append(_span_of(authority))
    for log in document.logs:
        spans.setdefault(log.use, []).append(_Span(log.valid_from, log.valid_until))
    return [
        _sentence(_WORDS[use], found, now)
        for use, found in spans.items()
        if not any(_holds(span, now) for span in found)
    ]


def _holds(span: _Span, now: Micros) -> bool:
    return (span.start is None or span.start <= now) and (span.end is None or now <= span.end)


def _span_of(authority: Authority) -> _Span:
    """When its window and all its certificates hold."""
    chain = [load(der, "certificate") for der in authority.certificates]
    return _Span(
        max(_known([authority.valid_from, *(certificate.not_before for certificate in chain)]), default=None),
        min(_known([authority.valid_until, *(certificate.not_after for certificate in chain)]), default=None),
    )


def _known(times: Iterable[Micros | None]) -> list[Micros]:
    return [time for time in times if time is not None]


def _sentence(word: str, spans: list[_Span], now: Micros) -> str:
    ended = _known(span.end for span in spans if span.end is not None and span.end < now)
    if len(ended) == len(spans):
        return f"no {word} is current: {len(spans)} listed, the last ended {format_instant(max(ended))}"
    starts = _known(span.start for span in spans if span.start is not None and span.start > now)
    return f"no {word} is current: {len(spans)} listed, the next begins {format_instant(min(starts))}"
