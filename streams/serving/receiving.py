"""A receiver as the settings say: the same for `revet run` and `revet serve audit`."""

from __future__ import annotations

from streams.collectors.pushes import PushKeys
from streams.collectors.senders import Senders
from streams.collectors.server import MIB, ReceiverOptions
from streams.collectors.tls import ServerTls
from streams.settings import ListenSettings, Settings


def receiver_options(settings: Settings) -> ReceiverOptions:
    """As the settings say.

    Raises:
        InputError: a file with a token, key or certificate cannot be read, or holds something else.
    """
    listen = settings.listen
    return ReceiverOptions(
        cluster=settings.cluster,
        token=(listen.token_text() or "").encode(),
        max_body=listen.max_body_mib * MIB,
        max_requests=listen.max_requests,
        body_seconds=float(listen.body_seconds),
        stall_seconds=float(settings.serve.stalled_seconds),
        requests_per_second=float(listen.requests_per_second),
        max_connections=listen.max_connections,
        max_connections_each=listen.max_connections_each,
        senders=Senders(listen.senders) if listen.senders else None,
        tls=_tls(listen),
        push_keys=PushKeys(listen.push_keys_file, listen.push_audience) if listen.push_keys_file else None,
    )


def _tls(listen: ListenSettings) -> ServerTls | None:
    if listen.certificate_file is None or listen.key_file is None:
        return None
    return ServerTls(listen.certificate_file, listen.key_file, listen.client_ca_file)


def senders_text(options: ReceiverOptions) -> str:
    """Who may send, for a log line."""
    if options.senders:
        return "named"
    return "with the token" if options.token else "everybody"
