"""OpenPGP signatures over images, as podman, skopeo and Red Hat make them (containers-signature(5)).

    material = Material.of(read_keyring(armored))
    content = read_openpgp(evidence)                     the signed document; nothing verified
    parts = openpgp_fact_parts(evidence, material)       who signed, and until when the signature says it is good

The signed document is read strictly: what is signed about the image must be understood to the last member. A detached,
clear-signed, encrypted or version 3 signature is refused by name. No clock is asked: expiry is returned, not judged.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec

from verifier.errors import EvidenceError
from verifier.evidence import openpgp_packets as packets
from verifier.evidence.content import excerpt, text_annotations
from verifier.evidence.limits import KIB
from verifier.evidence.material import Authority, Material
from verifier.evidence.openpgp_keyring import OpenPgpKey, read_keyring
from verifier.evidence.openpgp_packets import Packet, Reader, Signature, fail
from verifier.evidence.simplesigning import signed_repository
from verifier.evidence.strictjson import StrictDecoder
from verifier.models import ChainClaim, Evidence, FactKind, Micros
from verifier.reference import is_digest

__all__ = ["OpenPgpContent", "OpenPgpKey", "OpenPgpParts", "openpgp_fact_parts", "read_keyring", "read_openpgp"]

SIGNATURE_TYPE: Final = "atomic container signature"

FOREVER: Final[Micros] = 2**63 - 1
"""The end of a window that has none."""

MESSAGE_BYTES: Final = 128 * KIB
"""Bytes of one signature file, and of what it decompresses to. Real ones have 400 to 1500."""

PAYLOAD_BYTES: Final = 64 * KIB
"""Bytes of the signed document. Real ones have 250 to 400."""

MESSAGE_SIGNATURES: Final = 8
"""Signatures over one document. Each is tried with the keys it names."""

CANDIDATES: Final = 8
"""Keys of the material tried for one signature: those whose 64-bit key id it names. Two are already an attack."""

_MALFORMED: Final = "openpgp-malformed"
_UNSUPPORTED: Final = "unsupported-evidence"


# ----------------------------------------------------------------------------------------------------------- messages


class _Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"reference": "docker-reference"}):
    reference: str


class _Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"digest": "docker-manifest-digest"}):
    digest: str


class _Critical(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    image: _Image
    identity: _Identity


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`optional` must be there and may hold anything; its two known members have types (containers-signature(5))."""

    critical: _Critical
    optional: dict[str, object]


_PAYLOAD: Final = StrictDecoder(_Payload, _MALFORMED)


@dataclass(frozen=True, slots=True)
class OpenPgpContent:
    """A signed message, read. Nothing in it is verified yet."""

    message: bytes
    """The literal data: the exact bytes of the document."""
    signatures: tuple[Signature, ...]
    hints: tuple[bytes, ...]
    """Key id each signature names, 8 bytes: of the signature packet, or else of its one-pass packet."""
    subjects: tuple[str, ...]
    signed_repository: str
    annotations: tuple[tuple[str, str], ...]


def read_openpgp(evidence: Evidence) -> OpenPgpContent:
    """A signature file: an OpenPGP signed message, compressed or not (RFC 9580 section 10.3, one-pass form).

    Raises:
        EvidenceError: `openpgp-malformed`, `unsupported-evidence` or `limit-exceeded`.
    """
    data = evidence.payload
    if len(data) > MESSAGE_BYTES:
        raise EvidenceError("limit-exceeded", f"an OpenPGP message of {len(data)} bytes, limit {MESSAGE_BYTES}")
    if data.startswith(b"-----BEGIN"):
        raise EvidenceError(_UNSUPPORTED, "an armored or clear-signed message; expected a binary one")
    literal, signatures, hints = _signed_message(_uncompressed(data))
    document = _PAYLOAD.decode(literal, limit=PAYLOAD_BYTES)
    critical = document.critical
    if critical.type != SIGNATURE_TYPE:
        raise EvidenceError(_UNSUPPORTED, f"critical.type is {excerpt(critical.type)}, expected {SIGNATURE_TYPE!r}")
    if not is_digest(critical.image.digest):
        found = excerpt(critical.image.digest)
        raise EvidenceError(_MALFORMED, f"docker-manifest-digest {found} is not sha256:<64 hex>")
    _check_optional(document.optional)
    return OpenPgpContent(
        message=literal,
        signatures=signatures,
        hints=hints,
        subjects=(critical.image.digest,),
        signed_repository=signed_repository(critical.identity.reference),
        annotations=text_annotations(document.optional),
    )


def _check_optional(members: Mapping[str, object]) -> None:
    if not isinstance(members.get("creator", ""), str):
        raise EvidenceError(_MALFORMED, "optional.creator is no text")
    stamp = members.get("timestamp", 0)
    if not isinstance(stamp, int) or isinstance(stamp, bool) or not -(2**63) <= stamp < 2**63:
        raise EvidenceError(_MALFORMED, "optional.timestamp is no 64-bit integer")


@lru_cache(maxsize=4096)  # a few repositories sign again and again; at most 4 MB of names
def _uncompressed(data: bytes) -> list[Packet]:
    """The packets of the message, those of the compressed packet when it is one."""
    found = _without_markers(data)
    if not found or found[0].tag != packets.COMPRESSED:
        return found
    if len(found) > 1:
        raise fail(f"{len(found) - 1} packets after the compressed one")
    inner = _without_markers(_decompress(found[0].body))
    if any(packet.tag == packets.COMPRESSED for packet in inner):
        raise fail("a compressed packet in a compressed packet")
    return inner


def _without_markers(data: bytes) -> list[Packet]:
    return [packet for packet in packets.read_packets(data) if packet.tag != packets.MARKER]


def _decompress(body: bytes) -> bytes:
    """The content of a compressed packet (section 5.6), at most as many bytes as a message may have."""
    algorithm, data = body[:1], body[1:]
    if algorithm == b"\x00":
        return data
    if algorithm in {b"\x01", b"\x02"}:
        stream: zlib._Decompress | bz2.BZ2Decompressor = zlib.decompressobj(-15 if algorithm == b"\x01" else 15)
    elif algorithm == b"\x03":
        stream = bz2.BZ2Decompressor()
    else:
        raise EvidenceError(_UNSUPPORTED, f"compression algorithm {int.from_bytes(algorithm)}")
    try:
        plain = stream.decompress(data, MESSAGE_BYTES + 1)
    except (zlib.error, OSError, ValueError, EOFError) as error:
        raise fail("compressed data that does not decompress") from error
    if len(plain) > MESSAGE_BYTES:
        raise EvidenceError("limit-exceeded", f"a message that decompresses to more than {MESSAGE_BYTES} bytes")
    if not stream.eof or stream.unused_data:
        raise fail("compressed data that ends early, or late")
    return plain


def _signed_message(sequence: list[Packet]) -> tuple[bytes, tuple[Signature, ...], tuple[bytes, ...]]:
    """Literal data, signatures and the key ids they name: n one-pass packets, the data, n signatures in reverse."""
    tags = [packet.tag for packet in sequence]
    count = tags.count(packets.ONE_PASS)
    if tags and set(tags) == {packets.SIGNATURE}:
        raise EvidenceError(_UNSUPPORTED, "a detached signature; expected a message that holds the document")
    if not count or tags != [packets.ONE_PASS] * count + [packets.LITERAL] + [packets.SIGNATURE] * count:
        raise fail(f"packets of types {excerpt(tags)}; expected one-pass, literal and signature packets")
    if count > MESSAGE_SIGNATURES:
        raise EvidenceError("limit-exceeded", f"{count} signatures over one document, limit {MESSAGE_SIGNATURES}")
    signatures, hints = [], []
    for number, (announced, packet) in enumerate(zip(sequence[:count], reversed(sequence[-count:]), strict=True), 1):
        signature = _data_signature(packet.body)
        hints.append(_announced(announced.body, signature, last=number == count))
        signatures.append(signature)
    return _literal(sequence[count].body), tuple(signatures), tuple(hints)


def _literal(body: bytes) -> bytes:
    """Literal data (section 5.9). File name and date are not signed, and not looked at."""
    reader = Reader(body, "literal packet")
    if reader.take(1) not in {b"b", b"t", b"u"}:
        raise fail("literal data of an unknown format")
    reader.take(reader.number(1))
    reader.take(4)
    return reader.rest()


def _data_signature(body: bytes) -> Signature:
    signature = packets.read_signature(body)
    if signature.type != packets.BINARY:
        raise EvidenceError(_UNSUPPORTED, f"a signature of type 0x{signature.type:02x}; expected 0x00, binary data")
    if signature.hash not in packets.DATA_HASHES:
        raise EvidenceError(_UNSUPPORTED, f"a signature over {packets.hash_name(signature.hash)}; it is not accepted")
    if signature.not_understood is not None:
        raise EvidenceError(_UNSUPPORTED, f"critical subpacket {signature.not_understood} is not understood")
    if signature.ambiguous is not None:
        raise fail(f"subpacket {signature.ambiguous} twice, or of a wrong size")
    if signature.created is None:
        raise fail("a signature without a creation time")
    return signature


def _announced(body: bytes, signature: Signature, *, last: bool) -> bytes:
    """The key id the signature names; its one-pass packet (section 5.4) must announce this very signature."""
    reader = Reader(body, "one-pass packet")
    packets.check_version("one-pass signature", reader.number(1), 3)
    announced = (reader.number(1), reader.number(1), reader.number(1))
    key_id, ends = reader.take(8), reader.number(1)
    reader.end()
    if announced != (signature.type, signature.hash, signature.algorithm):
        raise fail("a one-pass packet that announces another signature than the one that follows")
    if signature.key_id_hint not in {b"", key_id}:
        raise fail("a one-pass packet that names another key than its signature")
    if bool(ends) is not last:
        # A signature over a signed message is another thing than two signatures over one document.
        raise EvidenceError(_UNSUPPORTED, "one-pass signatures that are nested in each other")
    if not any(key_id):
        raise EvidenceError(_UNSUPPORTED, "a signature that does not name its key")
    return key_id


# -------------------------------------------------------------------------------------------------------------- facts


@dataclass(frozen=True, slots=True)
class OpenPgpParts:
    """What cryptography says about one message under the keys of the material."""

    kind: FactKind
    subjects: tuple[str, ...]
    signed_repository: str
    algorithm: str
    """Of the first good signature; empty when there is none."""
    chains: tuple[ChainClaim, ...]
    """One per authority whose key made a good signature."""
    claimed_time: Micros | None
    """Subpacket 2 of the first good signature (or else of the first): the signer's word, never trusted."""
    expires: Micros | None
    """First end that a good signature states (subpacket 3); closed, judged now."""
    undecided: tuple[str, ...]
    """`authority` when a signature names a key that the material does not have."""
    annotations: tuple[tuple[str, str], ...]
    signature_good: bool
    """At least one signature is good."""
    hinted: str
    """Id of the authority that a signature names and that did not make it: tampered, or forged. Empty otherwise."""
    key_hint: str
    """Hex key id (8 bytes) the first signature names."""


def openpgp_fact_parts(evidence: Evidence, material: Material) -> OpenPgpParts:
    """Verifies the signatures of a message with the `openpgp` authorities of the material.

    The key id in a signature only selects what is tried. Windows and revocations of keys are not judged here.

    Raises:
        EvidenceError: as `read_openpgp`.
    """
    content = read_openpgp(evidence)
    good: list[tuple[Signature, str]] = []
    chains: dict[str, ChainClaim] = {}
    undecided, hinted = False, ""
    for signature, hint in zip(content.signatures, content.hints, strict=True):
        candidates = _candidates(material, hint)
        undecided |= not candidates
        matches = {a.id: m for a, key in candidates if (m := _match(key, signature, content.message))}
        good += [(signature, algorithm) for algorithm in list(matches.values())[:1]]
        chains |= {a.id: _chain(a, key) for a, key in candidates if a.id in matches}
        if candidates and not matches:
            hinted = hinted or candidates[0][0].id
    first = good[0][0] if good else content.signatures[0]
    return OpenPgpParts(
        kind="signature",
        subjects=content.subjects,
        signed_repository=content.signed_repository,
        algorithm=good[0][1] if good else "",
        chains=tuple(chain for _, chain in sorted(chains.items())),
        claimed_time=first.created,
        expires=min((s.ends for s, _ in good if s.ends is not None), default=None),
        undecided=("authority",) if undecided else (),
        annotations=content.annotations,
        signature_good=bool(good),
        hinted=hinted,
        key_hint=content.hints[0].hex(),
    )


def _candidates(material: Material, hint: bytes) -> list[tuple[Authority, OpenPgpKey]]:
    """The authorities with this key id, in the order of their ids."""
    found = [
        (authority, authority.key)
        for authority in material.authorities.values()
        if authority.use == "openpgp"
        and isinstance(authority.key, OpenPgpKey)
        and authority.key.packet.fingerprint[-8:] == hint
    ]
    if len(found) > CANDIDATES:
        raise EvidenceError("limit-exceeded", f"{len(found)} keys share one key id, limit {CANDIDATES}")
    return sorted(found, key=lambda pair: pair[0].id)


def _match(key: OpenPgpKey, signature: Signature, message: bytes) -> str:
    """The algorithm of a good signature; a signature that is older than its key is none."""
    if (signature.created or 0) < key.packet.created:
        return ""
    return key.packet.verifies(signature, message, packets.DATA_HASHES)


def _chain(authority: Authority, key: OpenPgpKey) -> ChainClaim:
    until = FOREVER if authority.valid_until is None else authority.valid_until
    return ChainClaim(authority.id, key.packet.created, until, (key.key_id,))
