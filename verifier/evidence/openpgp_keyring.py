"""OpenPGP key rings: which keys may sign, from when until when, and which were revoked.

    authorities = read_keyring(armored)          one per key or sub-key that may sign

What a key is good for is what its own valid self-signatures say: certifications by others, trust packets and the web of
trust mean nothing here. No clock is asked: expiry and revocation come out with their times, and verdicts compare them
with the proven time of a signature. A private key is refused, and never echoed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa

from verifier.errors import EvidenceError, TrustError
from verifier.evidence import openpgp_packets as packets
from verifier.evidence.base64text import decode_base64
from verifier.evidence.keys import PublicKey
from verifier.evidence.limits import MIB
from verifier.evidence.material import Authority, RuleRow, authority_id
from verifier.evidence.openpgp_packets import KeyPacket, Packet, Signature, fail
from verifier.models import Micros

KEYRING_CHARACTERS: Final = MIB
"""Characters of one key ring. A distribution's ring of all its keys has some 100,000."""

KEYRING_CHECKS: Final = 1024
"""Self-signatures of one ring that are verified; some five per key. More would be a way to keep a reader busy."""

BACK_SIGNATURES: Final = 8
"""Signatures embedded in one binding that are looked at; one is usual."""

LABEL_CHARACTERS: Final = 120
"""Characters of a user id that are kept for display."""


class OpenPgpKey(PublicKey):
    """A key of a ring: it verifies OpenPGP signature packets, whose hash covers more than the message."""

    def __init__(self, packet: KeyPacket) -> None:
        kind = f"rsa-{packet.public.key_size}" if isinstance(packet.public, rsa.RSAPublicKey) else packet.name
        super().__init__(hashlib.sha256(packet.spki).hexdigest(), kind, signs_sha256=False)
        self.packet = packet

    def verify(self, signature: bytes, message: bytes) -> str:
        """As the port says, where `signature` is the body of a signature packet; empty for what is none."""
        try:
            return self.packet.verifies(packets.read_signature(signature), message, packets.DATA_HASHES)
        except EvidenceError:
            return ""

    def verify_digest(self, signature: bytes, sha256: bytes) -> str:  # noqa: ARG002 - the port's signature
        """Never: the hash covers the packet's own fields after the message."""
        return ""


# -------------------------------------------------------------------------------------------------------------- armor


def read_keyring(content: str) -> tuple[Authority, ...]:
    """The keys of a ring that may sign, primary keys and sub-keys alike, in the order of the ring.

    Copies of one key are read as one: a revocation in any of them counts, whatever the order. `valid_from` is the
    key's creation, `valid_until` the expiry its newest self-signature states (a sub-key ends with its primary key).

    Args:
        content: one or more blocks `BEGIN PGP PUBLIC KEY BLOCK` (RFC 9580 section 6.2); text around them is ignored.

    Raises:
        TrustError: no block, a private key, a packet that cannot be read, a key without a valid self-signature or
            without any use for signing, a revocation that cannot be checked; the message names packet and reason.
    """
    if len(content) > KEYRING_CHARACTERS:
        raise TrustError(f"a key ring of {len(content)} characters, limit {KEYRING_CHARACTERS}")
    try:
        ring = _Ring()
        for block in _blocks(content):
            ring.add(packets.read_packets(block))
        return ring.authorities()
    except EvidenceError as error:
        raise TrustError(f"key ring: {error}") from error


def _blocks(content: str) -> Iterator[bytes]:
    if "PRIVATE KEY" in content:
        raise TrustError("key ring: expected public keys, got a private key; remove it from here, it is a secret")
    _, *blocks = content.split("-----BEGIN PGP PUBLIC KEY BLOCK-----")
    if not blocks:
        raise TrustError("key ring: expected BEGIN PGP PUBLIC KEY BLOCK, found none")
    for block in blocks:
        text, end, _ = block.partition("-----END PGP PUBLIC KEY BLOCK-----")
        if not end:
            raise TrustError("key ring: a block without END PGP PUBLIC KEY BLOCK")
        yield decode_base64(_base64_of(text), "key ring block", "openpgp-malformed")


def _base64_of(text: str) -> str:
    """The lines between headers and checksum. The checksum (24 bits) proves nothing: RFC 9580 section 6.1."""
    lines = [line.strip() for line in text.strip().splitlines()]
    while lines and (not lines[0] or ": " in lines[0]):
        lines.pop(0)
    if lines and lines[-1].startswith("=") and len(lines[-1]) == 5:
        lines.pop()
    return "".join(lines)


# ------------------------------------------------------------------------------------------------------- certificates


@dataclass
class _Part:
    """A sub-key or a user id, with the signatures that follow it."""

    signatures: list[Signature] = field(default_factory=list)
    key: KeyPacket | None = None


@dataclass
class _Certificate:
    """A primary key and everything that belongs to it (RFC 9580 section 10.1)."""

    primary: KeyPacket
    signatures: list[Signature] = field(default_factory=list)
    user_ids: dict[bytes, _Part] = field(default_factory=dict)
    subkeys: dict[bytes, _Part] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    """Why keys of it are no authority."""


class _Standing(NamedTuple):
    """What the self-signatures of a primary key say."""

    signs: bool
    until: Micros | None
    user_id: str
    withdrawn: Micros | None
    """When the last of all its user ids was withdrawn, and no direct-key signature speaks for it."""


_IGNORED: Final = frozenset({10, 12, 21, *range(40, 64)})
"""Marker, trust, padding, and what RFC 9580 section 4.3 lets be ignored."""


class _Ring:
    """Certificates by fingerprint, and the signatures among them."""

    def __init__(self) -> None:
        self._certificates: dict[bytes, _Certificate] = {}
        self._checks = 0

    # ----------------------------------------------------------------------------------------------------- reading

    def add(self, sequence: Iterable[Packet]) -> None:
        """Takes the packets of one block in."""
        certificate: _Certificate | None = None
        target: list[Signature] | None = None
        for packet in sequence:
            if packet.tag == packets.PUBLIC_KEY:
                key = packets.read_key(packet.body)
                certificate = self._certificates.setdefault(key.fingerprint, _Certificate(key))
                target = certificate.signatures
            elif packet.tag in {packets.SECRET_KEY, packets.SECRET_SUBKEY}:
                raise TrustError("key ring: a private key packet; remove it from here, it is a secret")
            elif packet.tag in _IGNORED:
                continue
            elif certificate is None or target is None:
                raise fail(f"packet type {packet.tag} before any key")
            elif packet.tag == packets.SIGNATURE:
                _keep_signature(packet.body, target)
            else:
                target = _part_of(certificate, packet)

    def authorities(self) -> tuple[Authority, ...]:
        """The authorities of every certificate."""
        if not self._certificates:
            raise fail("a key ring without a key")
        found: dict[str, Authority] = {}
        for certificate in self._certificates.values():
            for authority in self._of(certificate):
                known = found.get(authority.id)
                found[authority.id] = authority if known is None else _narrowed(known, authority)
        return tuple(found.values())

    # ---------------------------------------------------------------------------------------------------- checking

    def _is_by(self, signer: KeyPacket, signature: Signature, message: bytes) -> bool:
        """Whether the signature is the signer's, over the message; the hint saves the work for strangers' ones."""
        if signature.key_id_hint not in {b"", signer.fingerprint[-8:]}:
            return False
        self._checks += 1
        if self._checks > KEYRING_CHECKS:
            raise EvidenceError("limit-exceeded", f"more than {KEYRING_CHECKS} self-signatures in one key ring")
        return bool(signer.verifies(signature, message, packets.SELF_HASHES))

    def _valid(
        self, signer: KeyPacket, signatures: Iterable[Signature], kinds: Iterable[int], message: bytes
    ) -> list[Signature]:
        """Those of the given types that bind something, oldest first."""
        found = [
            signature
            for signature in signatures
            if signature.type in kinds
            and signature.not_understood is None
            and signature.ambiguous is None
            and (signature.created or 0) >= signer.created
            and self._is_by(signer, signature, message)
        ]
        return sorted(found, key=_created)

    def _revocations(
        self, certificate: _Certificate, signatures: Iterable[Signature], kind: int, message: bytes
    ) -> list[tuple[RuleRow, Micros]]:
        """Rows of the valid revocation signatures. They count even where a certification would be refused."""
        rows: list[tuple[RuleRow, Micros]] = []
        for signature in (s for s in signatures if s.type == kind):
            signer = self._revoker(certificate, signature)
            if signer is not None and self._is_by(signer, signature, message):
                rows.append((_row(signature), _created(signature)))
        return rows

    def _revoker(self, certificate: _Certificate, signature: Signature) -> KeyPacket | None:
        """Who the revocation says made it: the primary key, or one it appointed (subpacket 12); None for strangers.

        A revocation that cannot be checked is not one that is not there: it is refused.
        """
        primary = certificate.primary
        hint = signature.key_id_hint or primary.fingerprint[-8:]
        if hint == primary.fingerprint[-8:]:
            signer = primary
        else:
            appointed = self._valid(primary, certificate.signatures, {packets.DIRECT_KEY}, primary.hashable)
            name = next((n for direct in appointed for n in direct.revokers if n[-8:] == hint), None)
            if name is None:
                return None
            if name not in self._certificates:
                raise fail(f"{_name(primary)}: revoked by appointed key {name.hex().upper()}, which is not in the ring")
            signer = self._certificates[name].primary
        if signer.public is None or signature.hash not in packets.SELF_HASHES:
            reason = signer.unusable or f"its hash is {packets.hash_name(signature.hash)}"
            raise fail(f"{_name(primary)}: a revocation signature that cannot be checked: {reason}")
        return signer

    # --------------------------------------------------------------------------------------------------- concluding

    def _of(self, certificate: _Certificate) -> list[Authority]:
        primary = certificate.primary
        if primary.public is None:
            raise fail(f"{_name(primary)}: {primary.unusable}")
        revoked = self._revocations(certificate, certificate.signatures, packets.KEY_REVOCATION, primary.hashable)
        standing = self._standing(certificate)
        if standing.withdrawn is not None:
            # Every name it had is withdrawn: its owner no longer uses it, and nobody else can.
            revoked.append(("soft", standing.withdrawn))
        found = []
        if standing.signs:
            found.append(_authority(primary, standing.until, revoked, standing.user_id))
        else:
            certificate.unused.append(f"{_name(primary)}: its flags do not allow signing")
        for part in certificate.subkeys.values():
            found += self._subkey(certificate, part, standing, revoked)
        if not found:
            raise fail("no key that may sign: " + "; ".join(certificate.unused)[:600])
        return found

    def _standing(self, certificate: _Certificate) -> _Standing:
        """Expiry and flags: of the newest direct-key signature, where it states them, else of the newest user id's."""
        primary = certificate.primary
        direct = self._valid(primary, certificate.signatures, {packets.DIRECT_KEY}, primary.hashable)
        current: list[tuple[Signature, bytes]] = []
        former: list[tuple[Signature, bytes]] = []
        ended: list[Micros] = []
        for text, part in certificate.user_ids.items():
            signed, gone = self._user_id(primary, text, part)
            (former if gone else current).extend((signature, text) for signature in signed[-1:])
            ended += gone[-1:]
        certified = sorted(current or former, key=lambda pair: _created(pair[0]))[-1:]
        stated = [*direct[-1:], *(signature for signature, _ in certified)]
        if not stated:
            raise fail(f"{_name(primary)}: no self-signature that verifies")
        user_id = certified[0][1].decode("utf-8", "replace") if certified else ""
        flags = _first(stated, packets.KEY_FLAGS).key_flags
        until = _end(primary, _first(stated, packets.KEY_EXPIRES_AFTER))
        withdrawn = None if current or direct else max(ended)
        return _Standing(flags is None or bool(flags & _MAY_SIGN), until, user_id, withdrawn)

    def _user_id(self, primary: KeyPacket, text: bytes, part: _Part) -> tuple[list[Signature], list[Micros]]:
        """Self-certifications of a user id, oldest first, and the times of revocations that are newer than all."""
        message = primary.hashable + b"\xb4" + len(text).to_bytes(4) + text
        signed = self._valid(primary, part.signatures, packets.CERTIFICATIONS, message)
        withdrawn = self._valid(primary, part.signatures, {packets.CERTIFICATION_REVOCATION}, message)
        newest = _created(signed[-1]) if signed else 0
        return signed, [_created(signature) for signature in withdrawn if _created(signature) >= newest]

    def _subkey(
        self, certificate: _Certificate, part: _Part, standing: _Standing, revoked: list[tuple[RuleRow, Micros]]
    ) -> list[Authority]:
        primary, key = certificate.primary, part.key
        if key is None or key.public is None:
            certificate.unused.append(
                "a sub-key of another version" if key is None else f"{_name(key)}: {key.unusable}"
            )
            return []
        message = primary.hashable + key.hashable
        bindings = self._valid(primary, part.signatures, {packets.SUBKEY_BINDING}, message)
        if not bindings:
            certificate.unused.append(f"{_name(key)}: no binding signature of its primary key that verifies")
            return []
        binding = bindings[-1]
        if binding.key_flags is not None and not binding.key_flags & _MAY_SIGN:
            certificate.unused.append(f"{_name(key)}: its flags do not allow signing")
            return []
        if not self._signed_back(key, binding, message):
            certificate.unused.append(f"{_name(key)}: no back-signature (0x19) that verifies; anybody could adopt it")
            return []
        ends = [end for end in (_end(key, binding), standing.until) if end is not None]
        rows = [*self._revocations(certificate, part.signatures, packets.SUBKEY_REVOCATION, message), *revoked]
        return [_authority(key, min(ends, default=None), rows, standing.user_id)]

    def _signed_back(self, key: KeyPacket, binding: Signature, message: bytes) -> bool:
        """The sub-key agrees to belong to the primary key (RFC 9580 section 5.2.1.9)."""
        embedded = [packets.read_signature(body) for body in binding.embedded[:BACK_SIGNATURES]]
        return bool(self._valid(key, embedded, {packets.PRIMARY_BINDING}, message))


_MAY_SIGN: Final = 0x02
_SOFT: Final = frozenset({1, 3, 32})
"""Superseded, retired, user id no longer valid. Everything else, no reason and unknown reasons included, is hard."""


def _keep_signature(body: bytes, target: list[Signature]) -> None:
    """Other versions are left aside, except where that would hide a revocation."""
    if body[:1] == b"\x04":
        target.append(packets.read_signature(body))
        return
    kind = body[2:3] if body[:1] in {b"\x02", b"\x03"} else body[1:2]
    if kind in {bytes([packets.KEY_REVOCATION]), bytes([packets.SUBKEY_REVOCATION])}:
        raise fail(f"a revocation in a version {int.from_bytes(body[:1])} signature packet; only version 4 is read")


def _part_of(certificate: _Certificate, packet: Packet) -> list[Signature]:
    """Where the signatures after this packet go."""
    if packet.tag == packets.USER_ID:
        return certificate.user_ids.setdefault(packet.body, _Part()).signatures
    if packet.tag == packets.PUBLIC_SUBKEY:
        if packet.body[:1] != b"\x04":
            return certificate.subkeys.setdefault(packet.body, _Part()).signatures
        key = packets.read_key(packet.body)
        return certificate.subkeys.setdefault(key.fingerprint, _Part(key=key)).signatures
    if packet.tag == packets.USER_ATTRIBUTE:
        return []
    raise fail(f"packet type {packet.tag} has no place in a key ring")


def _authority(
    key: KeyPacket, until: Micros | None, revoked: Sequence[tuple[RuleRow, Micros]], user_id: str
) -> Authority:
    shown = "".join(c if c.isprintable() else "?" for c in user_id[:LABEL_CHARACTERS])
    return Authority(
        id=authority_id("openpgp", (key.spki, key.fingerprint)),
        use="openpgp",
        key=OpenPgpKey(key),
        valid_from=key.created,
        valid_until=until,
        revoked=tuple(sorted(set(revoked))),
        label=f"{shown} {key.fingerprint.hex().upper()}".strip(),
    )


def _narrowed(one: Authority, other: Authority) -> Authority:
    """A key that belongs to two primary keys ends with the first of them, and is revoked with either."""
    ends = [end for end in (one.valid_until, other.valid_until) if end is not None]
    revoked = tuple(sorted({*one.revoked, *other.revoked}))
    return replace(one, valid_until=min(ends, default=None), revoked=revoked)


def _end(key: KeyPacket, signature: Signature) -> Micros | None:
    """When the key ends by this self-signature: its own expiry, or the signature's, whichever is first."""
    ends = []
    if signature.key_expires_after is not None:
        ends.append(key.created + signature.key_expires_after)
    if signature.ends is not None:
        ends.append(signature.ends)
    return min(ends, default=None)


def _first(stated: Sequence[Signature], kind: int) -> Signature:
    """The first that states it, else the last."""
    return next((signature for signature in stated if signature.states(kind)), stated[-1])


def _created(signature: Signature) -> Micros:
    return signature.created or 0


def _row(signature: Signature) -> RuleRow:
    return "soft" if signature.revocation_reason in _SOFT else "hard-all"


def _name(key: KeyPacket) -> str:
    return f"key {key.fingerprint.hex().upper()}"
