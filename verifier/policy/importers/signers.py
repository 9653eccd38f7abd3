"""Keys, certificates and identities of other tools as native attestors, each with a name that says what it is.

    signers = Signers(draft)
    signers.keys(at, [pem])                     "key-3f2a…", the key itself
    signers.key_named(at, "kms://…")            "kms-…": a name in the key ring, with a note how to add it

What a policy only refers to (a KMS, a secret, a file of a node) keeps its demand under a name: until that name is added
nobody can meet it, so revet asks more in the meantime, never less.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from verifier.evidence.content import excerpt
from verifier.policy.attestors import MAX_ROOT_CHARACTERS, Attestor
from verifier.policy.identity import Identity
from verifier.policy.importers.cursor import Cursor
from verifier.policy.importers.drafting import Draft, name_of, placed
from verifier.policy.pem import is_pem, public_key_pem, split_public_keys

MAX_CERTIFICATES: Final = 20
"""Certificates in one bundle of roots and intermediates. Kyverno stops at 10, real ones hold two or three."""

_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]*-----END CERTIFICATE-----")
_ARMOR: Final = "-----BEGIN PGP PUBLIC KEY BLOCK-----"


class Signers:
    """Collects the attestors of one policy, or of one file whose policies share them."""

    def __init__(self, draft: Draft, keys: Mapping[str, str] | None = None) -> None:
        self.attestors: dict[str, Attestor] = {}
        self._draft = draft
        self._given = dict(keys or {})
        self._references: dict[str, str] = {}

    def keys(self, at: Cursor, pems: Sequence[str], **more: Any) -> str:  # noqa: ANN401 - members of Attestor
        """The attestor of these keys, any one of which will do: PEM text, or names from `key_named`.

        Raises:
            PolicyError: a text is not one public key.
        """
        try:
            texts = tuple(public_key_pem(pem) if is_pem(pem) else pem for pem in pems)
        except ValueError as error:
            raise at.error(str(error)) from error
        first = f"key-{key_fingerprint(texts[0])[:12]}" if is_pem(texts[0]) else texts[0]
        return self.add(at, first if len(texts) == 1 else f"{first}-and-{len(texts) - 1}", {"keys": texts, **more})

    def each_key(self, at: Cursor, text: str) -> list[str]:
        """Every key of a text: its PEM blocks, those given to the import for this reference, or a name.

        Raises:
            PolicyError: PEM text without a public key.
        """
        known = self._given.get(text.strip())
        text = text if known is None else known
        if not is_pem(text):
            return [self.key_named(at, text)]
        blocks = split_public_keys(text)
        if not blocks:
            raise at.error("expected PUBLIC KEY blocks")
        return list(blocks)

    def key_named(self, at: Cursor, reference: str) -> str:
        """The name under which a key that is elsewhere has to be added."""
        name = self._named(reference)
        message = f"the key is elsewhere ({excerpt(reference.strip())}); add it: `revet key add {name} FILE`"
        self._draft.note(at, "loses", "key-reference", message)
        return name

    def root_named(self, at: Cursor, reference: str, what: str, *, store: str = "") -> str:
        """The name under which a trust root or key ring that is elsewhere has to be added; `store`: `ca:` or `tsa:`."""
        name = store + self._named(reference)
        message = f"{what} is elsewhere ({excerpt(reference.strip())}); add it: `revet trust root add {name} FILE`"
        self._draft.note(at, "loses", "root-reference", message)
        return name

    def log_key(self, at: Cursor) -> None:
        """Notes a log's key: the demand for an entry is carried over, the key has to be in a trust root."""
        message = "an entry in a log is demanded; its key has to be in a trust root: `revet trust root add NAME FILE`"
        self._draft.note(at, "loses", "log-key", message)

    def note_two_subjects(self, at: Cursor) -> None:
        """Notes that two subjects of one certificate become two demands, which two certificates may meet."""
        message = "address and host name are demanded of one certificate; revet lets two signatures meet them"
        self._draft.note(at, "weakens", "two-subjects", message)

    def _named(self, reference: str) -> str:
        """A name for a reference; two references never share one."""
        name = name_of(re.sub(r"[:/@]+", "-", reference.strip()))
        if self._references.setdefault(name, reference) != reference:
            name += f"-{hashlib.sha256(reference.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
        return name

    def add(self, at: Cursor, name: str, members: Mapping[str, Any]) -> str:
        """Adds an attestor and gives its name; the same members twice are one attestor.

        Raises:
            PolicyError: the model refuses it.
        """
        with placed(at):
            attestor = Attestor.model_validate(dict(members))
        stem, number = name_of(name), 1
        name = stem
        while self.attestors.setdefault(name, attestor) != attestor:
            number += 1
            name = f"{stem}-{number}"
        return name

    def identity(self, at: Cursor, members: Mapping[str, Any], *, issuer: bool = True) -> Identity:
        """An identity; what the original leaves open is carried over as open, and said.

        Raises:
            PolicyError: a pattern or regular expression that cannot be used.
        """
        given: dict[str, Any] = {name: value for name, value in members.items() if value}
        for what in ("issuer", "subject") if issuer else ("subject",):
            if not any(name.startswith(what) for name in given):
                given[f"{what}Pattern"] = "*"
                self._draft.note(at, "info", "open-identity", f"no {what} in the original: any {what} will do")
        with placed(at):
            return Identity.model_validate(given)


def certificates(at: Cursor, text: str, *, limit: int = MAX_CERTIFICATES) -> str:
    """Certificates in PEM, blocks only, in their order.

    Raises:
        PolicyError: no certificate, too many, too long, or one that cannot be read.
    """
    blocks = _CERTIFICATE.findall(text) if len(text) <= MAX_ROOT_CHARACTERS else []
    if not blocks or len(blocks) > limit:
        raise at.error(f"expected 1 to {limit} certificates in PEM")
    try:
        for block in blocks:
            x509.load_pem_x509_certificate(block.encode("ascii"))
    except ValueError as error:
        raise at.error("a certificate cannot be read") from error
    return "".join(f"{_trimmed(block)}\n" for block in blocks)


def _trimmed(block: str) -> str:
    return "\n".join(line.strip() for line in block.splitlines() if line.strip())


def certificate_fingerprint(at: Cursor, pem: str) -> str:
    """Hex SHA-256 of the one certificate of a text.

    Raises:
        PolicyError: not one readable certificate.
    """
    certificate = x509.load_pem_x509_certificate(certificates(at, pem, limit=1).encode("ascii"))
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def certificate_key(at: Cursor, pem: str) -> str:
    """The public key of the one certificate of a text, in PEM.

    Raises:
        PolicyError: not one readable certificate, or a kind of key the cryptography library does not know.
    """
    certificate = x509.load_pem_x509_certificate(certificates(at, pem, limit=1).encode("ascii"))
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise at.error("the certificate's key cannot be read") from error
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def key_fingerprint(pem: str) -> str:
    """Key id of a readable public key: hex SHA-256 of its SubjectPublicKeyInfo in DER.

    Raises:
        ValueError: not a readable public key.
    """
    der = load_pem_public_key(pem.encode("ascii")).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def base64_bytes(at: Cursor) -> bytes:
    """The bytes of a base64 member.

    Raises:
        PolicyError: not text, not base64, or longer than a root may be.
    """
    text = at.text()
    if len(text) > MAX_ROOT_CHARACTERS:
        raise at.error(f"longer than {MAX_ROOT_CHARACTERS} characters")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise at.error("expected base64") from error


def base64_text(at: Cursor) -> str:
    """The text of a base64 member: PEM, in ASCII.

    Raises:
        PolicyError: as `base64_bytes`, or other characters.
    """
    try:
        return base64_bytes(at).decode("ascii")
    except UnicodeDecodeError as error:
        raise at.error("expected base64 of PEM text") from error


def pem_data(at: Cursor) -> str:
    """The PEM text of a base64 member that holds a key.

    Raises:
        PolicyError: as `base64_text`, or no PEM.
    """
    text = base64_text(at)
    if not is_pem(text):
        raise at.error("expected base64 of a PUBLIC KEY block in PEM")
    return text


def armored(at: Cursor) -> str:
    """An OpenPGP key ring given as base64, binary or armored, as armored text (RFC 9580, 6; without checksum).

    Raises:
        PolicyError: as `base64_bytes`, or no key ring.
    """
    data = base64_bytes(at)
    if data.lstrip().startswith(_ARMOR.encode("ascii")):
        return base64_text(at)
    if not data or data[0] & 0x80 == 0:  # every packet begins with bit 7 set (RFC 4880, 4.2)
        raise at.error("expected a ring of OpenPGP public keys")
    text = base64.b64encode(data).decode("ascii")
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join([_ARMOR, "", *lines, _ARMOR.replace("BEGIN", "END"), ""])


def unanchored(regexes: Collection[str | None]) -> dict[str, bool]:
    """`unanchored: true` where there is a regular expression of Go, which matches anywhere in a text."""
    return {"unanchored": True} if any(regexes) else {}
