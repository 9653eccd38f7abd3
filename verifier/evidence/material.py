"""Trust material, compiled: the authorities and logs that certificates, entries and timestamps are checked against.

    material = Material.of((authority, ...), (log, ...))
    material.logs_of("transparency")

Documents (`trusted_root.json`, PEM, key rings, trust stores) become material in `verifier.trust.roots`. Windows stand
here and are not enforced here: facts say what leads where, verdicts ask whether it was in time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from verifier.canonical import stable_id
from verifier.evidence.keys import PublicKey
from verifier.models import Micros

AuthorityUse = Literal["signing", "timestamping", "notation", "openpgp", "tuf"]
"""`signing`: Fulcio and other CAs of code-signing certificates; `notation`: an anchor of a Notary trust store."""

LogUse = Literal["transparency", "ct"]

RootFormat = Literal[
    "sigstore-trusted-root",
    "certificates",
    "notation-ca",
    "notation-signing-authority",
    "notation-tsa",
    "openpgp",
    "tuf-root-keys",
]
"""What a trust root is written in."""

STORE_PREFIXES: Final[Mapping[RootFormat, str]] = MappingProxyType(
    {"notation-ca": "ca", "notation-signing-authority": "signingAuthority", "notation-tsa": "tsa"}
)
"""Type of a Notary Project trust store, which stands before its name: `ca:NAME`."""

RuleRow = Literal["hard-all", "hard-since", "soft"]


@dataclass(frozen=True, slots=True)
class Authority:
    """One authority: a CA with its chain, a timestamp authority, a key of a key ring, a pinned TUF root key."""

    id: str
    """`authority_id` of its use and content: the same under every name and window."""
    use: AuthorityUse
    certificates: tuple[bytes, ...] = ()
    """DER, as the root document lists them: (TSA leaf,) issuing CA first, self-signed anchor last."""
    key: PublicKey | None = None
    """For `openpgp` and `tuf`, which have no certificates."""
    valid_from: Micros | None = None
    valid_until: Micros | None = None
    """The document's closed window; for OpenPGP creation and expiry of the key."""
    revoked: tuple[tuple[RuleRow, Micros], ...] = ()
    """Revocations inside the document (OpenPGP revocation signatures): row of the verdict table, and its time."""
    label: str = ""
    """For people: the anchor's subject, the key's user id, a URI."""


@dataclass(frozen=True, slots=True)
class Log:
    """One transparency log or CT log, at one of its keys."""

    id: str
    """Lower-case hex of the log id."""
    use: LogUse
    key: PublicKey
    origin: str = ""
    """Host of its base URL: the origin of its checkpoints (Rekor v2), the first word of it (v1: `<host> - <tree>`)."""
    valid_from: Micros | None = None
    valid_until: Micros | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """Everything known, by id. Equal when the ids are: that is all facts depend on."""

    id: str
    authorities: Mapping[str, Authority] = field(compare=False)
    logs: Mapping[str, Log] = field(compare=False)
    """By `<use>:<id>`."""

    @staticmethod
    def of(authorities: Iterable[Authority] = (), logs: Iterable[Log] = ()) -> Material:
        """The material of these; the first of two with one id stands."""
        by_id: dict[str, Authority] = {}
        for authority in authorities:
            by_id.setdefault(authority.id, authority)
        by_log: dict[str, Log] = {}
        for log in logs:
            by_log.setdefault(f"{log.use}:{log.id}", log)
        ids = [*sorted(by_id), *sorted(by_log)]
        return Material(stable_id("material", ids), MappingProxyType(by_id), MappingProxyType(by_log))

    def used_for(self, use: AuthorityUse) -> tuple[Authority, ...]:
        """The authorities of one use, in the order of their ids."""
        return tuple(a for _, a in sorted(self.authorities.items()) if a.use == use)

    def log(self, use: LogUse, log_id: str) -> Log | None:
        """The log with this id."""
        return self.logs.get(f"{use}:{log_id}")


def authority_id(use: AuthorityUse, content: Iterable[bytes]) -> str:
    """Hex SHA-256 over the use and the hashes of what makes the authority (its certificates, or its key)."""
    whole = hashlib.sha256(use.encode())
    for part in content:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()


NO_MATERIAL: Final = Material.of()
