"""Checkpoints: signed notes over the header of a batch, and with it over everything before. Pure.

    revet-ledger/9f86d081                         the ledger's name
    12345                                         entries up to and with this batch
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=  hash of the batch's header
    batch 17
    time 2026-11-22T05:00:00Z

    — KEYNAME base64(first 4 bytes of the key's hash, then the Ed25519 signature of everything above the empty line)

The form is that of C2SP `signed-note`, so that other tools can verify the signature. Nothing in a note is chance or a
clock of its own: whoever signs a batch again makes the same note.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from verifier.canonical import canonical_json
from verifier.errors import InputError
from verifier.models import Micros
from verifier.times import show_instant
from verifier.trust.signing import Administrator, read_administrators

MAX_NOTE: Final = 4096
"""Bytes of a note that is looked at."""
_ED25519: Final = b"\x01"
_TEXT: Final = re.compile(
    r"(?P<ledger>[^\n]{1,200})\n(?P<size>0|[1-9][0-9]{0,17})\n(?P<head>[A-Za-z0-9+/]{43}=)\n"
    r"batch (?P<number>0|[1-9][0-9]{0,17})\ntime [0-9TZ:.-]{1,40}\n"
)
_SIGNATURE: Final = re.compile(r"— (?P<name>\S{1,200}) (?P<value>[A-Za-z0-9+/]{88,96}={0,2})\n")


class LedgerKey(NamedTuple):
    """A public key of a ledger, by the name it signs with."""

    name: str
    key: bytes
    """Ed25519, 32 bytes."""

    def line(self) -> str:
        """`NAME=KEY`, as the settings have it and as it is written down elsewhere."""
        return f"{self.name}={base64.b64encode(self.key).decode()}"

    @property
    def mark(self) -> bytes:
        """The four bytes by which a signature names its key."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.key).digest()[:4]


class Checkpoint(NamedTuple):
    """A note, read. Who signed it is another question (`signer`)."""

    ledger: str
    size: int
    head: bytes
    """Hash of the header of the batch."""
    number: int
    note: str


class Signing(NamedTuple):
    """A private key with its name."""

    key: LedgerKey
    secret: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"Signing({self.key.name})"


def read_keys(lines: Iterable[str]) -> tuple[LedgerKey, ...]:
    """Keys of lines `NAME=KEY`.

    Raises:
        InputError: a line is something else. Names it by its number: a private key may stand in it.
    """
    try:
        found: Sequence[Administrator] = read_administrators(lines)
    except ValueError as error:
        text = str(error).replace("revet trust keygen NAME", "revet ledger init")
        raise InputError(f"ledger.keys: {text}") from error
    return tuple(LedgerKey(one.name, one.key) for one in found)


def signing(name: str, secret: Ed25519PrivateKey) -> Signing:
    """A key that signs under a name."""
    return Signing(LedgerKey(name, secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)), secret)


def note_text(ledger: str, size: int, head: bytes, number: int, time: Micros) -> str:
    """What is signed."""
    lines = (ledger, str(size), base64.b64encode(head).decode(), f"batch {number}", f"time {show_instant(time)}")
    return "\n".join(lines) + "\n"


def signed_note(text: str, signer: Signing) -> str:
    """The note with one signature."""
    value = base64.b64encode(signer.key.mark + signer.secret.sign(text.encode())).decode()
    return f"{text}\n— {signer.key.name} {value}\n"


def read_note(note: str) -> Checkpoint:
    """What a note says; its signature is not looked at.

    Raises:
        InputError: it is no checkpoint of a ledger.
    """
    text, gap, _ = note.partition("\n\n")
    found = _TEXT.fullmatch(text + "\n")
    if not gap or found is None or len(note.encode("utf-8", "replace")) > MAX_NOTE:
        raise InputError("this is no checkpoint of a ledger (a signed note of five lines)")
    head = base64.b64decode(found["head"])
    return Checkpoint(found["ledger"], int(found["size"]), head, int(found["number"]), note)


def signer(note: str, keys: Iterable[LedgerKey]) -> LedgerKey | None:
    """Whose key of these made a signature of the note; None: nobody's. Raises nothing."""
    text, _, behind = note.partition("\n\n")
    data = (text + "\n").encode("utf-8", "surrogatepass")
    lines = [found for line in behind.splitlines(keepends=True)[:16] if (found := _SIGNATURE.fullmatch(line))]
    for key in keys:
        if any(line["name"] == key.name and _is_by(key, line["value"], data) for line in lines):
            return key
    return None


def signed_statement(form: str, said: Mapping[str, object], signer: Signing) -> str:
    """Something that an act says and that has to be the key's own word: a line that says what it is, canonical JSON,
    and the signature. No checkpoint has two lines.
    """
    return signed_note(f"{form}\n{canonical_json(said).decode()}\n", signer)


def read_statement(statement: str, form: str, keys: Iterable[LedgerKey]) -> tuple[str, LedgerKey] | None:
    """The JSON of a statement of this form, and whose it is; None: none of these keys signed it. Raises nothing."""
    lines = statement.partition("\n\n")[0].split("\n")
    if len(lines) != 2 or lines[0] != form:
        return None
    key = signer(statement, keys)
    return None if key is None else (lines[1], key)


def signature_of(note: str, key: LedgerKey) -> str:
    """What stands behind the name of a key, base64; empty where it did not sign."""
    lines = (_SIGNATURE.fullmatch(line) for line in note.partition("\n\n")[2].splitlines(keepends=True)[:16])
    return next((found["value"] for found in lines if found is not None and found["name"] == key.name), "")


def _is_by(key: LedgerKey, value: str, data: bytes) -> bool:
    try:
        raw = base64.b64decode(value, validate=True)
        Ed25519PublicKey.from_public_bytes(key.key).verify(raw[4:], data)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return raw[:4] == key.mark
