"""Trust roots in force: which authorities and logs there are, under which name, within which windows.

    anchors = Anchors.empty().put("corp-ca", "certificates", pem, epoch, at)
    anchors.in_force(authority_id)          Anchor(root="corp-ca", …) of every root that lists it
    anchors.material                        everything evidence is checked against, also of roots that were removed

Windows are the roots' own and closed at both ends. An authority that two roots list is in force while one of them is.
What it refuses to do: read files, fetch, or judge a signature (`trust.standing`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from verifier.evidence.crl import RevocationList
from verifier.evidence.material import (
    NO_MATERIAL,
    STORE_PREFIXES,
    Authority,
    AuthorityUse,
    Log,
    LogUse,
    Material,
    RootFormat,
)
from verifier.models import Micros
from verifier.policy.fields import check_name
from verifier.policy.pem import is_pem
from verifier.trust.roots import RootDocument, read_root

_CLOSED: Final = frozenset({"sigstore-trusted-root"})
"""Formats that bring their own logs and timestamp authorities: no others count for certificates of theirs."""

_STORE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}", re.ASCII)

_DOCUMENTS_CACHED: Final = 256
"""Parsed root documents kept: a state is folded often, and its roots are few."""

_INLINE_FORMATS: Final[Mapping[AuthorityUse, RootFormat]] = {
    "signing": "certificates",
    "openpgp": "openpgp",
    "tuf": "tuf-root-keys",
}


class Root(NamedTuple):
    """A trust root in force."""

    name: str
    format: RootFormat
    content: str
    document: RootDocument
    epoch: int
    at: Micros


class Anchor(NamedTuple):
    """An authority as one root lists it."""

    root: str
    format: RootFormat
    authority: Authority

    @property
    def closed(self) -> bool:
        """Does its root bring the time sources that count for it?"""
        return self.format in _CLOSED


class LogAnchor(NamedTuple):
    """A log as one root lists it."""

    root: str
    log: Log


def list_name(found: RevocationList) -> str:
    """The place of a revocation list: the key id of its issuer, and which certificates it is about unless all."""
    return found.issuer if found.scope == "all" else f"{found.issuer}:{found.scope}"


@lru_cache(maxsize=_DOCUMENTS_CACHED)
def document_of(format_: RootFormat, content: str) -> RootDocument:
    """The parsed document; the same text gives the same object.

    Raises:
        TrustError: as `read_root`.
    """
    return read_root(format_, content)


def inline_name(use: AuthorityUse, text: str) -> str:
    """The name a root written inside a policy goes by: of use and whole hash, so that no text stands in for another."""
    return f"inline:{use}:{hashlib.sha256(text.strip().encode()).hexdigest()}"


def root_name_problem(name: str, format_: RootFormat) -> str:
    """Why a root of this format cannot go by this name; empty when it can. Every reader of the log asks it.

    A store's type stands before its name, since the name alone says which store a Notary policy means.
    """
    prefix, colon, rest = name.partition(":")
    wanted = STORE_PREFIXES.get(format_, "")
    if colon and (not wanted or prefix != wanted or _STORE_NAME.fullmatch(rest) is None):
        return "ca:, signingAuthority: and tsa: name stores of those types"
    if not colon and wanted:
        return f"a store of this type is named {wanted}:NAME"
    if not colon:
        try:
            check_name(name)
        except ValueError as error:
            return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class Anchors:
    """All roots of one epoch. Immutable."""

    roots: Mapping[str, Root]
    inline: Mapping[str, Root]
    """Roots written inside policies in force, by `inline_name`."""
    lists: Mapping[str, RevocationList]
    """Newest revocation list by `list_name`: of each issuer one for all its certificates, or one for each kind."""
    material: Material
    authorities: Mapping[str, tuple[Anchor, ...]]
    logs: Mapping[str, tuple[LogAnchor, ...]]
    """By `<use>:<id>`."""

    @staticmethod
    def empty() -> Anchors:
        """No roots."""
        return Anchors({}, {}, {}, NO_MATERIAL, {}, {})

    def put(self, name: str, format_: RootFormat, content: str, epoch: int, at: Micros) -> Anchors:
        """With this root under its name.

        Raises:
            TrustError: the document is not what its format demands.
        """
        root = Root(name, format_, content, document_of(format_, content), epoch, at)
        return self._with(roots={**self.roots, name: root})

    def without(self, name: str) -> Anchors:
        """Without the root of this name; its material stays known, so that what it vouched for can still be named."""
        return self._with(roots={k: v for k, v in self.roots.items() if k != name})

    def with_inline(self, texts: Iterable[tuple[AuthorityUse, str]]) -> Anchors:
        """With exactly these roots of policies.

        Raises:
            TrustError: a text is not what its format demands.
        """
        inline = {}
        for use, text in texts:
            format_ = _INLINE_FORMATS[use]
            name = inline_name(use, text)
            inline[name] = Root(name, format_, text, document_of(format_, text), 0, 0)
        return self if inline.keys() == self.inline.keys() else self._with(inline=inline)

    def with_list(self, newest: RevocationList) -> Anchors:
        """With this revocation list in the place of the ones it replaces.

        A list of CAs does not replace the list of end entities, which would take back what that one revoked.
        """
        covered = {
            name
            for name, old in self.lists.items()
            if newest.scope == "all" and old.issuer == newest.issuer and old.this_update <= newest.this_update
        }
        kept = {name: old for name, old in self.lists.items() if name not in covered}
        return replace(self, lists={**kept, list_name(newest): newest})

    def newer_list(self, found: RevocationList) -> RevocationList | None:
        """The list on record that leaves `found` nothing to say; None when there is none."""
        same = (old for old in self.lists.values() if old.issuer == found.issuer and old.scope in (found.scope, "all"))
        return next((old for old in same if old.this_update >= found.this_update), None)

    def _with(self, *, roots: Mapping[str, Root] | None = None, inline: Mapping[str, Root] | None = None) -> Anchors:
        roots, inline = self.roots if roots is None else roots, self.inline if inline is None else inline
        authorities: dict[str, tuple[Anchor, ...]] = {}
        logs: dict[str, tuple[LogAnchor, ...]] = {}
        for root in (*roots.values(), *inline.values()):
            for authority in root.document.authorities:
                anchor = Anchor(root.name, root.format, authority)
                authorities[authority.id] = (*authorities.get(authority.id, ()), anchor)
            for log in root.document.logs:
                key = f"{log.use}:{log.id}"
                logs[key] = (*logs.get(key, ()), LogAnchor(root.name, log))
        material = Material.of(
            (*self.material.authorities.values(), *(a.authority for found in authorities.values() for a in found)),
            (*self.material.logs.values(), *(entry.log for found in logs.values() for entry in found)),
        )
        material = self.material if material == self.material else material
        return replace(self, roots=roots, inline=inline, material=material, authorities=authorities, logs=logs)

    def resolve(self, text: str, use: AuthorityUse) -> tuple[str, ...]:
        """Authority ids of one use that a policy's root, a name or its text, stands for; an unknown name for none."""
        root = self.inline.get(inline_name(use, text)) if is_pem(text) else self.roots.get(text)
        return () if root is None else tuple(a.id for a in root.document.authorities if a.use == use)

    def log_windows(self, use: LogUse, log_id: str, roots: frozenset[str] | None) -> tuple[LogAnchor, ...]:
        """The log as the given roots list it (None: as any does)."""
        found = self.logs.get(f"{use}:{log_id}", ())
        return tuple(entry for entry in found if roots is None or entry.root in roots)

    def authority_windows(self, authority_id: str, roots: frozenset[str] | None) -> tuple[Anchor, ...]:
        """The authority as the given roots list it (None: as any does)."""
        found = self.authorities.get(authority_id, ())
        return tuple(anchor for anchor in found if roots is None or anchor.root in roots)

    def walk(self) -> Iterator[Root]:
        """The named roots, by name."""
        return (root for _, root in sorted(self.roots.items()))
