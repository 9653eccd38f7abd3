"""Why no broker lets us in: the client only says that it could not connect, so each step is tried once more by hand.

    error = why_not(settings)        a PlaceError that names what to mend, or None: everything looks well from here

Address, TCP, TLS (certificate and name), whether a broker answers there at all, and, where all that works, the name and
password that are left.
"""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import closing
from typing import Final

from streams.settings import KafkaSettings, host_and_port
from verifier.errors import PlaceError, PlaceRefused, PlaceUnavailable

PROBE_SECONDS: Final = 3.0
"""How long each step may take, for each broker."""
_ASK: Final = struct.pack(">hhih", 18, 0, 7, -1)
"""ApiVersions, version 0, correlation 7, no client id: the one request a broker answers before it knows who asks."""
_ANSWERED: Final = struct.Struct(">iih")


def why_not(settings: KafkaSettings, context: ssl.SSLContext | None) -> PlaceError | None:
    """What is wrong with the first broker that tells more than that it is not there."""
    found = [_why(settings, broker, context) for broker in settings.brokers]
    refused = [error for error in found if isinstance(error, PlaceRefused)]
    return refused[0] if refused else next((error for error in found if error is not None), None)


def _why(settings: KafkaSettings, broker: str, context: ssl.SSLContext | None) -> PlaceError | None:
    host, port = host_and_port(broker)
    try:
        plain = socket.create_connection((host, port), PROBE_SECONDS)
    except OSError as error:
        message = (
            f"no broker answers at {broker}: {error.strerror or error}; does it run, and is kafka.bootstrap right?"
        )
        return PlaceUnavailable("kafka-unavailable", f"{message} Check with `revet doctor`")
    with closing(plain):
        try:
            spoken = context.wrap_socket(plain, server_hostname=host) if context is not None else plain
            with closing(spoken):
                spoken.settimeout(PROBE_SECONDS)
                answers = _answers(spoken)
        except ssl.SSLCertVerificationError as error:
            message = (
                f"the certificate of {broker} does not hold ({error.verify_message}); check kafka.ca_file and the name"
            )
            return PlaceRefused("kafka-tls", message)
        except OSError:  # also ssl.SSLError and a connection that ends
            answers = False
    if not answers:
        hint = "a port without TLS" if context is not None else "a port with TLS"
        message = f"what listens at {broker} does not speak as kafka.security {settings.security} says; is it {hint}?"
        return PlaceRefused("kafka-tls", message)
    if settings.uses_sasl:
        message = f"the broker at {broker} does not let {settings.username} in; check kafka.username, its password, and"
        return PlaceRefused(
            "kafka-login", f"{message} whether it offers kafka.sasl_mechanism {settings.sasl_mechanism}"
        )
    return None


def _answers(connection: socket.socket) -> bool:
    connection.sendall(struct.pack(">i", len(_ASK)) + _ASK)
    data = b""
    while len(data) < _ANSWERED.size and (more := connection.recv(_ANSWERED.size - len(data))):
        data += more
    return len(data) == _ANSWERED.size and _ANSWERED.unpack(data)[1:] == (7, 0)
