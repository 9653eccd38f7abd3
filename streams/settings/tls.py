"""TLS to the brokers, for every client of theirs: what the settings say, read and checked."""

from __future__ import annotations

import ssl

from streams.settings.clustered import KafkaSettings
from verifier.errors import InputError


def tls_context(settings: KafkaSettings) -> ssl.SSLContext:
    """Verifies the broker's certificate and name; shows ours where the settings name one.

    Raises:
        InputError: a file cannot be read or holds something else.
    """
    file = settings.ca_file
    try:
        context = ssl.create_default_context(cafile=str(file) if file else None)
        if settings.certificate_file is not None:
            file = settings.certificate_file
            context.load_cert_chain(str(file), str(settings.key_file) if settings.key_file else None)
    except OSError as error:  # also ssl.SSLError
        name = "kafka.ca_file" if file == settings.ca_file else "kafka.certificate_file and kafka.key_file"
        raise InputError(f"{name}: {file}: {error.strerror or 'not a PEM file of that kind'}") from error
    return context
