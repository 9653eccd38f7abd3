"""How a client of kafka-python is connected: addresses, TLS and SASL from the settings, and its errors in our words.

Errors name the topic, what the broker said, and the command or setting that mends it. None holds a password.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from kafka import errors
from kafka.net.compat import KafkaNetClient

from streams.kafka.probing import why_not
from streams.settings import KafkaSettings
from streams.settings.tls import tls_context
from verifier.errors import InputError, PlaceError, PlaceRefused, PlaceUnavailable

CONNECT_SECONDS: Final = 10
"""How long a client looks for the first broker."""
REQUEST_SECONDS: Final = 10
"""How long one request may take before it is sent again."""
UNAVAILABLE: Final = "kafka-unavailable"
DENIED: Final = "kafka-denied"
MISSING: Final = "topic-missing"
T = TypeVar("T")


def connection(settings: KafkaSettings, part: str) -> dict[str, Any]:  # Any: keyword arguments of different clients
    """What every client of kafka-python is given; `part` is what the broker's own log shows.

    Raises:
        InputError: no broker is named, or a file of the settings cannot be read.
    """
    if not settings.brokers:
        raise InputError("kafka.bootstrap: no brokers are named; example: kafka.bootstrap: kafka-1:9092,kafka-2:9092")
    _quiet()
    found: dict[str, Any] = {
        "bootstrap_servers": list(settings.brokers),
        "client_id": f"revet-{part}",
        "security_protocol": settings.security.upper(),
        "request_timeout_ms": REQUEST_SECONDS * 1000,
        "reconnect_backoff_max_ms": 1000,  # seconds after a broker is back, not half a minute
        "bootstrap_timeout_ms": CONNECT_SECONDS * 1000,
    }
    if settings.uses_tls:
        found["ssl_context"] = tls_context(settings)
    if settings.uses_sasl:
        found["sasl_mechanism"] = settings.sasl_mechanism
        found["sasl_plain_username"] = settings.username
        found["sasl_plain_password"] = settings.password_text()
    return found


def connected(settings: KafkaSettings, kind: Callable[..., T], options: dict[str, Any]) -> T:
    """A client of that kind. One that cannot connect leaves a thread and its sockets behind: they are closed here.

    Raises:
        PlaceUnavailable: no broker answers; PlaceRefused: none lets us in. Both say why.
    """
    made: list[KafkaNetClient] = []

    def remembered(**configs: object) -> KafkaNetClient:
        made.append(KafkaNetClient(**configs))
        return made[-1]

    try:
        with told(settings, f"no connection to Kafka at {settings.bootstrap}"):
            return kind(**options, kafka_client=remembered)
    except BaseException as error:
        for client in made:
            client.close()
        reason = why_not(settings, options.get("ssl_context")) if isinstance(error, PlaceUnavailable) else None
        if reason is not None:
            raise reason from error
        raise


def _quiet() -> None:
    """At level DEBUG the client logs whole records and the password, in an outage dozens of lines a second. What
    matters of it is in our errors.
    """
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


# -------------------------------------------------------------------------------------------------- errors in words


@contextmanager
def told(settings: KafkaSettings, what: str, topic: str = "") -> Iterator[None]:
    """Inside, errors of the client become ours. `what` is what was tried; `topic` as it is called on the broker.

    Raises:
        PlaceError: PlaceUnavailable for what may work later, PlaceRefused for what somebody has to mend.
    """
    try:
        yield
    except (errors.KafkaError, OSError) as error:
        raise in_words(settings, error, what, topic) from error


def in_words(settings: KafkaSettings, error: BaseException, what: str, topic: str = "") -> PlaceError:
    """What an error of the client means here."""
    for kind, code, sentence in _REFUSALS:
        if isinstance(error, kind):
            advice = sentence.format(topic=topic or "the topic", user=settings.username or "anonymous")
            return PlaceRefused(code, f"{what}: {type(error).__name__}: {advice}")
    if isinstance(error, errors.KafkaConnectionError) and "Handshake failed" in str(error):
        return PlaceRefused("kafka-tls", f"{what}: {_plain(error)}: {_TLS}")
    for kind, sentence in _TROUBLES:
        if isinstance(error, kind):
            return PlaceUnavailable(UNAVAILABLE, f"{what}: {type(error).__name__}: {sentence}")
    advice = f"is kafka.bootstrap ({settings.bootstrap}) right, and does the broker run? Check with `revet doctor`"
    return PlaceUnavailable(UNAVAILABLE, f"{what}: {_plain(error)}; {advice}")


_TLS: Final = (
    "the certificate of the broker is not one that kafka.ca_file vouches for, or one side speaks no TLS; compare"
    " kafka.security and kafka.ca_file with the broker's listener"
)
_REFUSALS: Final[tuple[tuple[type[BaseException], str, str], ...]] = (
    (
        errors.TopicAuthorizationFailedError,
        DENIED,
        "{user} has no right to {topic}; give it: revet topics apply --acls --principal ROLE=User:{user}",
    ),
    (
        errors.AuthorizationError,
        DENIED,
        "{user} has no right to do this; an administrator of the brokers may: docs/operations.md, rights",
    ),
    (
        errors.SaslAuthenticationFailedError,
        "kafka-login",
        "the broker does not take {user} with this password; check kafka.username, its password, kafka.sasl_mechanism",
    ),
    (
        errors.UnsupportedSaslMechanismError,
        "kafka-login",
        "the broker does not offer this mechanism; set kafka.sasl_mechanism to one it does",
    ),
    (errors.UnknownTopicOrPartitionError, MISSING, "there is no {topic}; create it: revet topics apply"),
    (
        errors.MessageSizeTooLargeError,
        "record-too-large",
        "the broker takes no record as long in {topic}; its limit differs from ours: revet topics check",
    ),
    (
        errors.InvalidTimestampError,
        "clock-wrong",
        "the broker refuses the time of the record; compare the clock of this machine with the broker's",
    ),
    (errors.TopicDeletionDisabledError, DENIED, "the broker deletes no topics"),
    (
        errors.SecurityDisabledError,
        "acls-disabled",
        "the broker has no authorizer, so rights cannot be given; set authorizer.class.name there, or leave --acls out",
    ),
    (errors.InvalidReplicationFactorError, "topic-refused", "there are fewer brokers than kafka.replication asks for"),
    (errors.PolicyViolationError, "topic-refused", "a policy of the brokers does not allow it; ask who runs them"),
    (errors.InvalidConfigurationError, "topic-refused", "the broker does not take a configuration of {topic}"),
    (errors.UnsupportedVersionError, "kafka-version", "the broker is too old; revet needs 2.8 or later"),
)
"""Errors that stay until somebody acts: kind, code, and what to do."""
_TROUBLES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (errors.NotEnoughReplicasError, "fewer copies are in step than min.insync.replicas asks for; a broker is missing"),
    (errors.NotEnoughReplicasAfterAppendError, "a copy fell behind while the record was written; a broker is missing"),
    (errors.LeaderNotAvailableError, "a partition has no leader now; a broker is missing"),
    (errors.KafkaStorageError, "the broker cannot write to its disk; look at its log"),
)
"""Errors that pass once the cluster is well again."""


def _plain(error: BaseException) -> str:
    """The error's own words; those of a connection hold addresses and reasons, and no record."""
    text = str(error).partition("\n")[0][:200]
    return f"{type(error).__name__}: {text}" if text and text != type(error).__name__ else type(error).__name__
