"""Who sends: the cluster that events belong to, from a certificate or a secret, never from what was sent.

    senders = Senders((SenderRule(cluster="prod-eu", certificate="cn:audit-prod-eu", server="cp-1"),))
    senders.of(Shown(names=names_in(peer), token=b"..."))       Sender(cluster="prod-eu", server="cp-1"), or Refusal

Several API servers of one cluster are several rows with the same cluster: each is counted by itself, so that what
arrived can be compared with what that server says it sent. A certificate is known by a name in it, after the CA in
`listen.client_ca_file` was believed, or by its own hash. A token is compared with all tokens, in a time that does not
tell which one was nearly right. Files with tokens are read again when they change.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from streams.collectors.marks import marked
from verifier.errors import InputError

CLUSTER_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?"
MAX_TOKEN_FILE: Final = 64 * 1024
"""Bytes of a file with a token: a longer one is another file, named by mistake."""
MIN_TOKEN: Final = 16
"""Characters of a token: what is shorter can be guessed over the network."""
_CERTIFICATE: Final = re.compile(r"(?:cn|dns):[^\s:]{1,253}|uri:\S{1,2000}|sha256:[0-9a-f]{64}")

Reason = Literal["no-credentials", "token-unknown", "certificate-unknown", "credentials-contradict", "other-cluster"]

REFUSALS: Final[dict[Reason, tuple[int, str]]] = {
    "no-credentials": (401, "a client certificate or a bearer token is needed"),
    "token-unknown": (401, "this token belongs to no cluster; see listen.senders"),
    "certificate-unknown": (403, "no row of listen.senders names this certificate"),
    "credentials-contradict": (403, "what was shown belongs to more than one cluster"),
    "other-cluster": (403, "what was shown belongs to another cluster than the path names"),
}
"""Reason -> (HTTP status, what the answer says). No answer repeats anything of the request."""


class SenderRule(BaseModel):
    """One row of `listen.senders`: how a sender is known, and which cluster it speaks for."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    cluster: str = Field(pattern=f"^{CLUSTER_NAME}$")
    certificate: str = ""
    """`cn:NAME`, `dns:NAME` or `uri:URI` in the client's certificate, or `sha256:HEX` of the certificate."""
    token_file: Path | None = None
    """File with the bearer token, or the access key of a Firehose stream."""
    push_account: str = Field(default="", pattern=r"^$|^[^\s@]+@[^\s@]+$")
    """Email of the service account that signs a Pub/Sub push."""
    server: str = Field(default="", pattern=f"^$|^{CLUSTER_NAME}$")
    """Name of the API server, where a cluster has several; part of the counts."""

    @field_validator("certificate")
    @classmethod
    def _certificate_has_a_form(cls, certificate: str) -> str:
        if certificate and not _CERTIFICATE.fullmatch(certificate):
            raise ValueError("expected cn:NAME, dns:NAME, uri:URI or sha256:HEX")
        return certificate

    @model_validator(mode="after")
    def _known_by_one_thing(self) -> SenderRule:
        if sum(map(bool, (self.certificate, self.token_file, self.push_account))) != 1:
            raise ValueError("give one of certificate, token_file and push_account")
        return self


class Sender(msgspec.Struct, frozen=True):
    """Somebody who may send, and for whom."""

    cluster: str
    server: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """Why somebody may not send."""

    reason: Reason

    @property
    def status(self) -> int:
        """The HTTP status."""
        return REFUSALS[self.reason][0]

    @property
    def text(self) -> str:
        """What the answer says."""
        return REFUSALS[self.reason][1]


class Shown(msgspec.Struct, frozen=True):
    """What a sender showed. Never printed."""

    names: frozenset[str] = frozenset()
    """Of a certificate that was verified; see `names_in`."""
    token: bytes = b""
    push_account: str = ""
    """Of a signed push that was verified."""

    def __repr__(self) -> str:
        return f"Shown(names={len(self.names)}, token={'set' if self.token else 'none'})"


def names_in(peer: Mapping[str, Any] | None, der: bytes | None) -> frozenset[str]:
    """Everything a verified certificate may be known by, as `SenderRule.certificate` has it.

    Args:
        peer: `ssl.SSLSocket.getpeercert()`; empty or None when no certificate was shown, or none was verified.
        der: the certificate itself.
    """
    if not peer or not der:
        return frozenset()
    return frozenset((f"sha256:{hashlib.sha256(der).hexdigest()}", *_names(peer)))


def _names(peer: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"cn:{value}" for part in peer.get("subject", ()) for name, value in part if name == "commonName")
    for kind, value in peer.get("subjectAltName", ()):
        if kind in ("DNS", "URI"):
            yield f"{kind.lower()}:{value}"


class Senders:
    """The table of senders. Tokens are held as hashes, so that their lengths tell nothing and no dump shows them."""

    def __init__(self, rules: Sequence[SenderRule]) -> None:
        """Reads every file with a token.

        Raises:
            InputError: a file cannot be read, is empty or too short, or two rows are known by the same thing.
        """
        self._rules = tuple(rules)
        self._by_name = _table(((rule.certificate, rule) for rule in rules if rule.certificate), "certificate")
        self._by_account = _table(((rule.push_account, rule) for rule in rules if rule.push_account), "push_account")
        self._tokens: tuple[tuple[bytes, Sender], ...] = ()
        self._seen: tuple[object, ...] = ()
        self.refresh()

    def __bool__(self) -> bool:
        return bool(self._rules)

    def refresh(self) -> bool:
        """Read files with tokens that changed; returns whether any did. What was known stays when this raises.

        Raises:
            InputError: as at the start.
        """
        files = [(rule, rule.token_file) for rule in self._rules if rule.token_file is not None]
        seen = tuple(marked(file) for _, file in files)
        if seen == self._seen:
            return False
        found = {hashlib.sha256(read_token(file)).digest(): _sender(rule) for rule, file in files}
        if len(found) < len(files):
            raise InputError("listen.senders: two rows have the same token; each sender needs its own")
        self._tokens, self._seen = tuple(found.items()), seen
        return True

    def of(self, shown: Shown) -> Sender | Refusal:
        """Whoever showed this. All that was shown has to belong to one cluster."""
        found = [self._by_name[name] for name in sorted(shown.names) if name in self._by_name]
        if shown.push_account and (known := self._by_account.get(shown.push_account)) is not None:
            found.append(known)
        by_token = self._of_token(shown.token) if shown.token else None
        if by_token is not None:
            found.append(by_token)
        if len({sender.cluster for sender in found}) > 1:
            return Refusal("credentials-contradict")
        if shown.token and by_token is None:
            return Refusal("token-unknown")
        if found:
            return found[-1]
        return Refusal("certificate-unknown" if shown.names or shown.push_account else "no-credentials")

    def _of_token(self, token: bytes) -> Sender | None:
        asked, found = hashlib.sha256(token).digest(), None
        for known, sender in self._tokens:  # all of them: the time must not tell which
            if hmac.compare_digest(known, asked):
                found = sender
        return found


def _table(pairs: Iterable[tuple[str, SenderRule]], what: str) -> dict[str, Sender]:
    found: dict[str, Sender] = {}
    for key, rule in pairs:
        if key in found:
            raise InputError(f"listen.senders: two rows have {what} {key[:120]}")
        found[key] = _sender(rule)
    return found


def _sender(rule: SenderRule) -> Sender:
    return Sender(rule.cluster, rule.server)


def read_token(file: Path) -> bytes:
    """The token in a file, without white space around it. Raises InputError; its message holds nothing of it."""
    where = f"listen.senders: {file}"
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_TOKEN_FILE + 1)
    except OSError as error:
        raise InputError(f"{where}: {error.strerror or error}") from error
    if len(data) > MAX_TOKEN_FILE or len(data.strip()) < MIN_TOKEN:
        raise InputError(f"{where}: expected a file with nothing but a token of at least {MIN_TOKEN} characters")
    return data.strip()
