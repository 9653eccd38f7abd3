"""TLS of a receiver: its certificate, the CA of its senders, read again when the files change.

    tls = ServerTls(certificate, key, client_ca)
    site = ...ssl=tls.context
    tls.refresh()                       True: files had changed, and new connections get what is in them now

New connections get the newest context by the hook for server names, which OpenSSL calls for every one, also without a
name. Nothing is resumed: a session from before would outlive the CA that vouched for it. A certificate that cannot be
read changes nothing: what was in force stays, and `refresh` says why.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from streams.collectors.marks import marked
from verifier.errors import InputError


class ServerTls:
    """The server's side of TLS 1.2 and later."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        """With a `client_ca`, a client may show a certificate, and it is verified; who shows none is told by others.

        Raises:
            InputError: a file cannot be read or holds something else.
        """
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._marks = self._marked()
        self.context = self._newest = self._made()
        """The context to listen with."""
        self.context.sni_callback = self._hand_over

    def refresh(self) -> bool:
        """Read the files again when they changed; returns whether they did.

        Raises:
            InputError: they cannot be read; what was in force stays in force.
        """
        marks = self._marked()
        if marks == self._marks:
            return False
        self._newest = self._made()
        self._marks = marks
        return True

    def _hand_over(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _old: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (OSError, ValueError) as error:  # also ssl.SSLError; its text names OpenSSL's functions, never a key
            names = f"listen.certificate_file and listen.key_file: {self._certificate}, {self._key}"
            raise InputError(f"{names}: {_why(error)}") from None
        if self._client_ca is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
            try:
                context.load_verify_locations(self._client_ca)
            except (OSError, ValueError) as error:
                raise InputError(f"listen.client_ca_file: {self._client_ca}: {_why(error)}") from None
        return context

    def _marked(self) -> tuple[object, ...]:
        return tuple(marked(file) for file in (self._certificate, self._key, self._client_ca) if file is not None)


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return "not PEM of that kind, or the key is another certificate's"
    return error.strerror or "cannot be read"


def _no_password() -> str:
    """Asked for a pass phrase, OpenSSL would stop at the terminal."""
    raise ValueError("the key has a pass phrase")
