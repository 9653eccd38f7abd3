"""The certificate of a server, read again when its files change. No handshake sees half of a change.

    certificates = Certificates(certificate, key, client_ca)
    web.TCPSite(runner, host, port, ssl_context=certificates.front)
    certificates.look()             every few seconds: True when another certificate is served from now on

Each change makes a new context, checked as a whole: a key that does not belong to the certificate, or a file that is
being written, changes nothing, and what was served is served on. Kubernetes swaps the files of a mounted secret in one
step; others may not, so a pair that does not fit is looked at again later. Connections that are there stay.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from cryptography import x509

from streams.clock import wall_clock
from verifier.errors import InputError
from verifier.models import Micros
from verifier.times import since_epoch

MAX_FILE: Final = 1024 * 1024
"""Bytes of a file with certificates or a key."""

Contents = tuple[bytes, bytes, bytes]
"""Certificate, key, client CA."""


class Certificates:
    """What a server shows, and whom it lets in."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        """Read the files.

        Raises:
            InputError: one cannot be read, or they do not belong together. The message holds nothing of a key.
        """
        self._files = (certificate, key, client_ca)
        self._read = self._contents()
        self.served, self.expires = self._made(self._read)
        self.front = self._context()
        """For the server: every handshake is handed to the context of that moment."""
        self.front.sni_callback = self._choose

    def look(self) -> bool:
        """Read the files again; True when they have changed, and are served.

        Raises:
            InputError: as at the start; what was served is served on.
        """
        found = self._contents()
        if found == self._read:
            return False
        self.served, self.expires = self._made(found)
        self._read = found
        return True

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _front: ssl.SSLContext) -> None:
        connection.context = self.served

    def _context(self) -> ssl.SSLContext:
        certificate, key, client_ca = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:  # also ssl.SSLError
            told = "the certificate and the key do not belong together, or one of them is not PEM"
            raise InputError(f"{certificate}, {key}: {told}") from error
        if client_ca is not None:
            try:
                context.load_verify_locations(client_ca)
            except OSError as error:
                raise InputError(f"{client_ca}: not a PEM file with certificates") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _made(self, found: Contents) -> tuple[ssl.SSLContext, Micros]:
        """A context of the files, which must still be what was read, and when its certificate ends."""
        context = self._context()
        if self._contents() != found:
            raise InputError(f"{self._files[0]}: is being changed")
        try:
            leaf = x509.load_pem_x509_certificates(found[0])[0]
        except ValueError as error:
            raise InputError(f"{self._files[0]}: not a PEM certificate") from error
        return context, since_epoch(leaf.not_valid_after_utc)

    def seconds_left(self) -> float:
        """Until the certificate that is served ends; negative when it has."""
        return (self.expires - wall_clock()) / 1e6

    def _contents(self) -> Contents:
        certificate, key, client_ca = self._files
        return _bytes_of(certificate), _bytes_of(key), _bytes_of(client_ca) if client_ca is not None else b""


def _no_password() -> str:
    """A key with a pass phrase is an error, never a question on the terminal."""
    raise ValueError("the key has a pass phrase")


def _bytes_of(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error
    if len(data) > MAX_FILE:
        raise InputError(f"{file}: longer than {MAX_FILE} bytes; expected PEM")
    return data


__all__ = ["Certificates"]
