"""Trust roots and signers as the command line gives them: bare files, trust-store folders, and identities.

    roots_of(["trust/", "truststore/x509/ca/corp/ca.pem"])     [RootFile("ca:corp", "notation-ca", …)]
    signer = CertificateSigner(identity="ci@example.com", issuer="https://accounts.example.com")

What a bare file is, its content tells; what it is called, its name does. Of documents only the files they name are
looked at here (`with_file`); they are read by `streams.cli.sources` and `streams.cli.changing`. A private key is
refused by whatever name it comes, and nothing of it is repeated.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click
from pydantic import ValidationError

from streams.cli.common import read_text
from verifier.errors import InputError, PolicyError
from verifier.evidence.material import STORE_PREFIXES, RootFormat
from verifier.policy.attestors import PUBLIC_GOOD, Attestor, Certificates, Keyless
from verifier.policy.documents import Document, KeyDocument, TrustRootDocument
from verifier.policy.identity import Identity
from verifier.trust.rootchanges import format_of

F = TypeVar("F", bound=Callable[..., Any])  # Any: decorators take every command as it is

ROOT_SUFFIXES: Final = (".pem", ".crt", ".cer", ".asc")
"""Bare files that are trust roots: certificates of CAs, and key rings."""

SIGNER: Final = "certificate"
"""Name of the attestor that the options of a certificate make."""

_STORES: Final[dict[str, RootFormat]] = {prefix: written for written, prefix in STORE_PREFIXES.items()}


class RootFile(NamedTuple):
    """A trust root that files hold."""

    name: str
    format: RootFormat
    content: str
    file: str


class CertificateSigner(NamedTuple):
    """Whose certificate has to have signed every image, as the options say."""

    identity: str = ""
    identity_regexp: str = ""
    issuer: str = ""
    issuer_regexp: str = ""
    trusted_root: str = ""
    """A file: a Sigstore root, or the PEM certificates of a CA; empty: the public Sigstore root."""

    @property
    def given(self) -> bool:
        """Was any of the options used?"""
        return any(self)


def signer_options(function: F) -> F:
    """The options of a certificate; the command gets them as `certificate_identity` and so on (`signer_of`)."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS: Final = (
    click.option("--certificate-identity", default="", metavar="ID", help="Signer's e-mail or URI; keyless or own CA."),
    click.option("--certificate-identity-regexp", default="", metavar="RE", help="As above, an RE2 search."),
    click.option("--certificate-oidc-issuer", default="", metavar="URL", help="Who vouched for that identity."),
    click.option("--certificate-oidc-issuer-regexp", default="", metavar="RE", help="As above, an RE2 search."),
    click.option("--trusted-root", default="", metavar="FILE", help="Sigstore root or PEM of a CA; default: public."),
)


def signer_of(signer: CertificateSigner) -> CertificateSigner:
    """The signer that `signer_options` named, checked.

    Raises:
        click.UsageError: a root or an issuer without an identity.
    """
    if signer.given and not (signer.identity or signer.identity_regexp):
        raise click.UsageError("whose certificate? give --certificate-identity (or -regexp) too")
    return signer


def attestor_of(signer: CertificateSigner, root: str, written: RootFormat) -> Attestor:
    """The attestor for a signer under a root of this name and format.

    Raises:
        InputError: a keyless identity without its issuer, or an expression that is none.
    """
    members = {
        "subject": signer.identity,
        "subjectRegExp": signer.identity_regexp or None,
        "issuer": signer.issuer,
        "issuerRegExp": signer.issuer_regexp or None,
        "unanchored": True,
    }
    try:
        identity = Identity.model_validate({name: value for name, value in members.items() if value})
        if written == "certificates":
            return Attestor(certificates=Certificates(roots=(root,), identities=(identity,)))
        return Attestor(keyless=Keyless(identities=(identity,), roots=(root,)))
    except ValidationError as error:
        raise InputError(f"--certificate-identity and its options: {sentence_of(error)}") from error


def sentence_of(error: ValidationError) -> str:
    """What is wrong with a model made of options, without pydantic's own words."""
    found = ((".".join(map(str, p["loc"])), p["msg"].removeprefix("Value error, ")) for p in error.errors())
    return "; ".join(f"{place}: {message}" if place else message for place, message in found)


def root_of(signer: CertificateSigner) -> RootFile | None:
    """The root that `--trusted-root` names; None: the public Sigstore root.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    if not signer.trusted_root:
        return None
    content = root_text(signer.trusted_root)
    written = format_of(signer.trusted_root, content)
    if written not in {"sigstore-trusted-root", "certificates"}:
        raise InputError(f"{signer.trusted_root}: expected a Sigstore trusted root, or the PEM certificates of a CA")
    return RootFile("command-line", written, content, signer.trusted_root)


# ---------------------------------------------------------------------------------------------------------- bare files


def is_root(file: str) -> bool:
    """Is it a bare trust root: by its suffix, or (JSON) by the media type it gives itself?

    A document that holds a trust root as text is none: its own members say what it is.
    """
    if file.endswith(ROOT_SUFFIXES):
        return True
    text = read_text(file) if file.endswith(".json") else ""
    if _SIGSTORE not in text:
        return False
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # whoever reads it as a document says what is wrong with it
        return False
    return isinstance(found, dict) and _SIGSTORE in str(found.get("mediaType", ""))


_SIGSTORE: Final = "vnd.dev.sigstore.trustedroot"


def root_text(name: str) -> str:
    """The text of a bare trust root, `-` for standard input. A certificate in DER, as CAs hand them out, becomes PEM.

    Raises:
        InputError: it cannot be read, is neither text nor a certificate, or holds a private key.
    """
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from error
    try:
        text = ssl.DER_cert_to_PEM_cert(data) if data.startswith(_DER) else data.decode()
    except UnicodeDecodeError as error:
        advice = "give PEM or DER certificates, JSON, or an armored key ring (gpg --export --armor)"
        raise InputError(f"{name}: not UTF-8 text (byte {error.start}); {advice}") from error
    if "PRIVATE KEY" in text:
        raise InputError(f"{name}: this holds a private key; revet never needs one. Treat it as leaked")
    return text


_DER: Final = b"\x30\x82"
"""How every certificate in DER begins: a sequence whose length takes two bytes."""


def roots_of(files: Iterable[str]) -> list[RootFile]:
    """The roots in bare files. Certificates of one trust-store folder (`x509/ca/NAME/`) are one root, `ca:NAME`.

    Raises:
        InputError: a file cannot be read, holds a private key, cannot be told what it is, or two would share a name.
    """
    roots: dict[str, RootFile] = {}
    for file in files:
        root = _root_in(file)
        known = roots.get(root.name)
        if known is None:
            roots[root.name] = root
        elif ":" in root.name and Path(known.file).parent == Path(file).parent:
            roots[root.name] = known._replace(content=f"{known.content.rstrip()}\n{root.content}")
        else:
            raise InputError(f"{file}: {known.file} is a trust root of the name {root.name} too; rename one of them")
    return list(roots.values())


def _root_in(file: str) -> RootFile:
    content, path = root_text(file), Path(file).absolute()
    kind = path.parts[-3] if len(path.parts) > 3 and path.parts[-4] == "x509" else ""
    if kind in _STORES:
        return RootFile(f"{kind}:{path.parent.name}", _STORES[kind], content, file)
    written = format_of(file, content)
    if written == "tuf-root-keys":
        # Of the two things it can be, the file says neither; taking it for the rarer one would look like success.
        key = "a key of the ring is a file NAME.pub"
        pinned = "root keys of Docker Content Trust are put in force by a document of the kind TrustRoot"
        raise InputError(f"{file}: a public key, and no word of what it is for: {key}; {pinned}")
    return RootFile(_name(path), written, content, file)


def _name(path: Path) -> str:
    """`Corp CA.pem` -> `corp-ca`; a Sigstore root keeps the name policies know it by."""
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in path.stem.lower()).strip("._-")
    return PUBLIC_GOOD if stem in {"trusted_root", "trusted-root"} else stem or "root"


# ------------------------------------------------------------------------------------------------- files of documents


def named_files(documents: Iterable[Document]) -> frozenset[str]:
    """Absolute paths of the files that documents name in `spec.file`: parts of these, and nothing by themselves.

    Asked before `with_file`, which puts the text in the place of the name.
    """
    with_files = ((d, d.body.spec.file) for d in documents if isinstance(d.body, KeyDocument | TrustRootDocument))
    return frozenset(_normal(_beside(document, name)) for document, name in with_files if name)


def is_named(file: str, named: frozenset[str]) -> bool:
    """Is it one of `named_files`?"""
    return file != "-" and _normal(file) in named


def with_file(document: Document) -> Document:
    """A Key or TrustRoot document with the text of the file it names, which lies beside it.

    Raises:
        PolicyError: the file cannot be read or holds something else; with the place that names it.
    """
    body = document.body
    try:
        if isinstance(body, TrustRootDocument) and body.spec.file:
            return document._replace(body=body.with_content(root_text(_beside(document, body.spec.file))))
        if isinstance(body, KeyDocument) and body.spec.file:
            return document._replace(body=body.with_pem(read_text(_beside(document, body.spec.file))))
    except InputError as error:
        line, column = document.place("spec", "file")
        message = error.message if isinstance(error, PolicyError) else str(error)
        raise PolicyError(message, file=document.file, line=line, column=column, field="spec.file") from error
    return document


def _beside(document: Document, name: str) -> str:
    return str(Path(document.file).parent / name)


def _normal(file: str) -> str:
    return os.path.normpath(Path(file).absolute())
