"""Sections of the clustered mode: Kafka, Elasticsearch, the processes, and who may change trust.

What contradicts itself is refused at the start: a name without a password, a CA where nothing is encrypted, two places
for one secret. A setting that would be ignored silently is the one that somebody relied on.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from streams.settings.section import UNTOLD, Address, Section, host_and_port, not_both, not_empty, secret_of
from verifier.errors import InputError
from verifier.trust.signing import Administrator, read_administrators

Secret = Annotated[SecretStr | None, AfterValidator(not_empty)]

_PREFIX: Final = r"^[A-Za-z0-9._-]{0,100}$"
"""Of a topic's name on the broker, which has at most 249 such characters."""
_NAMESPACE: Final = r"^[a-z0-9][a-z0-9._]{0,99}$"
"""Of a data stream's name: no `-`, which separates its parts, and nothing Elasticsearch refuses."""


class KafkaSettings(Section):
    """The brokers. Without them everything happens in one process (`revet run`)."""

    bootstrap: str = Field(default="", examples=["kafka-1:9092,kafka-2:9092"])
    """Brokers to ask first, HOST:PORT, comma between; empty: the single-machine mode."""
    prefix: str = Field(default="", pattern=_PREFIX, examples=["staging."])
    """Put before every topic name and consumer group, so that several installations share brokers."""
    partitions: int = Field(default=24, ge=1, le=1000, examples=[24])
    """Partitions of keyed topics. Fixed when the topics are created: another number needs a reshard."""
    replication: int = Field(default=1, ge=1, le=15, examples=[3])
    """Copies of every partition. 1 is for a laptop: in earnest 3, of which two must be in step to take a write."""
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        default="plaintext", examples=["sasl_ssl"]
    )
    """How brokers are spoken to: `plaintext`, `ssl`, `sasl_plaintext`, `sasl_ssl`."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", examples=["SCRAM-SHA-512"]
    )
    """How the name is proven: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`."""
    username: str = Field(default="", examples=["revet-judge"])
    """Name shown to the brokers; for `sasl_plaintext` and `sasl_ssl`."""
    password: Secret = Field(default=None, examples=["(the password)"])
    """Password of that name. Better in a file: `kafka.password_file`."""
    password_file: Path | None = Field(default=None, examples=["/run/secrets/kafka-password"])
    """File that holds the password; read at start."""
    ca_file: Path | None = Field(default=None, examples=["/etc/ssl/kafka-ca.pem"])
    """PEM bundle of the CAs the brokers' certificates come from; none: the system's. For `ssl` and `sasl_ssl`."""
    certificate_file: Path | None = Field(default=None, examples=["/run/secrets/kafka.crt"])
    """PEM certificate shown to the brokers (mutual TLS); together with `kafka.key_file`."""
    key_file: Path | None = Field(default=None, examples=["/run/secrets/kafka.key"])
    """PEM private key of that certificate, without a pass phrase."""
    group_prefix: str = Field(default="revet", pattern=_PREFIX, min_length=1, examples=["revet"])
    """Consumer groups are called `<prefix><group_prefix>.<part>`."""
    session_timeout_seconds: int = Field(default=10, ge=6, le=1800, examples=[10])
    """After so long without a heartbeat the broker gives a process's partitions to others."""
    engine: Literal["faust", "aiokafka"] = Field(default="faust", examples=["aiokafka"])
    """What drives the consumers: `faust`, or `aiokafka`, which costs less for each record."""

    @field_validator("bootstrap")
    @classmethod
    def _bootstrap_is_addresses(cls, bootstrap: str) -> str:
        for address in bootstrap.split(",") if bootstrap else ():
            if any(sign in address for sign in "@/"):
                raise ValueError("expected HOST:PORT,… without a scheme, path or password")
            host_and_port(address.strip())
        return bootstrap

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> KafkaSettings:
        not_both(self.password, self.password_file, "password")
        secret = self.password is not None or self.password_file is not None
        if self.uses_sasl and not (self.username and secret):
            example = "username: revet-judge, password_file: /run/secrets/kafka-password"
            raise ValueError(f"security {self.security} needs username and a password; example: {example}")
        if not self.uses_sasl and (self.username or secret):
            raise ValueError(f"security {self.security} shows no name or password; example: security: sasl_ssl")
        if not self.uses_tls and (self.ca_file or self.certificate_file or self.key_file):
            raise ValueError(f"security {self.security} uses no certificates; example: security: sasl_ssl")
        if (self.certificate_file is None) != (self.key_file is None):
            example = "certificate_file: /run/secrets/kafka.crt, key_file: /run/secrets/kafka.key"
            raise ValueError(f"certificate_file and key_file belong together; example: {example}")
        return self

    @property
    def brokers(self) -> tuple[str, ...]:
        """`bootstrap` in parts, each HOST:PORT."""
        return tuple(part.strip() for part in self.bootstrap.split(",") if part.strip())

    @property
    def uses_tls(self) -> bool:
        """The connection is encrypted."""
        return self.security in {"ssl", "sasl_ssl"}

    @property
    def uses_sasl(self) -> bool:
        """The connection shows a name and a password."""
        return self.security in {"sasl_plaintext", "sasl_ssl"}

    def topic(self, name: str) -> str:
        """Name on the broker of a topic of `streams.topics`."""
        return self.prefix + name

    def group(self, part: str) -> str:
        """Consumer group of a part of the program, such as `judge`."""
        return f"{self.prefix}{self.group_prefix}.{part}"

    def password_text(self) -> str | None:
        """The password. Raises InputError as `secret_of`."""
        return secret_of(self.password, self.password_file, "kafka.password")


class ElasticsearchSettings(Section):
    """Where the record is kept and searched in the clustered mode."""

    url: str = Field(default="", examples=["https://es-1:9200,https://es-2:9200"])
    """Nodes, http(s)://HOST:PORT, comma between; empty: no Elasticsearch."""
    namespace: str = Field(default="default", pattern=_NAMESPACE, examples=["staging"])
    """Last part of data stream and index names, so that several installations share a cluster."""
    profile: Literal["auto", "full", "reduced"] = Field(default="auto", examples=["full"])
    """Which features are used: `full`, `reduced` (a node that lacks modules), `auto`: what the start finds."""
    ca_file: Path | None = Field(default=None, examples=["/etc/ssl/es-ca.pem"])
    """PEM bundle of the CAs the nodes' certificates come from; none: the system's."""
    verify: bool = Field(default=True, examples=["false"])
    """Check the nodes' certificates. `false` tells whoever is in between the secret: for a trial only."""
    username: str = Field(default="", examples=["revet"])
    """Name for basic authentication."""
    password: Secret = Field(default=None, examples=["(the password)"])
    """Password of that name. Better in a file: `elasticsearch.password_file`."""
    password_file: Path | None = Field(default=None, examples=["/run/secrets/es-password"])
    """File that holds the password; read at start."""
    api_key: Secret = Field(default=None, examples=["(the encoded key)"])
    """API key as Elasticsearch gives it out (`encoded`), in the place of name and password."""
    api_key_file: Path | None = Field(default=None, examples=["/run/secrets/es-api-key"])
    """File that holds the API key; read at start."""
    replicas: int = Field(default=1, ge=0, le=10, examples=[0])
    """Copies of every index beside the first. 0 for a single node."""
    retention_days: int = Field(default=400, ge=1, le=3650, examples=[400])
    """Days after which history is deleted."""
    repeated_days: int = Field(default=90, ge=1, le=3650, examples=[90])
    """Days after which history is deleted that only says again what is so (labels of namespaces)."""

    @field_validator("url")
    @classmethod
    def _url_is_nodes(cls, url: str) -> str:
        schemes: set[str] = set()
        for node in url.split(",") if url else ():
            parts = urlsplit(node.strip())
            if parts.username is not None or parts.password is not None:
                raise ValueError("no name or password in it; they have settings of their own")
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
                raise ValueError("expected http(s)://HOST:PORT")
            schemes.add(parts.scheme)
        if len(schemes) > 1:
            raise ValueError("http and https mixed; the secret would be readable on one of them")
        return url

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> ElasticsearchSettings:
        not_both(self.password, self.password_file, "password")
        not_both(self.api_key, self.api_key_file, "api_key")
        secret = self.password is not None or self.password_file is not None
        key = self.api_key is not None or self.api_key_file is not None
        if bool(self.username) != secret:
            example = "username: revet, password_file: /run/secrets/es-password"
            raise ValueError(f"a username belongs with a password; example: {example}")
        if self.username and key:
            raise ValueError("give username and password, or api_key, not both")
        if self.url.startswith("http://") and (self.ca_file or not self.verify):
            raise ValueError("ca_file and verify are for https; url is http")
        if self.ca_file and not self.verify:
            raise ValueError("ca_file is not used when verify is false; leave one out")
        if self.repeated_days > self.retention_days:
            raise ValueError("repeated_days is at most retention_days")
        return self

    @property
    def nodes(self) -> tuple[str, ...]:
        """`url` in parts."""
        return tuple(part.strip().rstrip("/") for part in self.url.split(",") if part.strip())

    def password_text(self) -> str | None:
        """The password. Raises InputError as `secret_of`."""
        return secret_of(self.password, self.password_file, "elasticsearch.password")

    def api_key_text(self) -> str | None:
        """The API key. Raises InputError as `secret_of`."""
        return secret_of(self.api_key, self.api_key_file, "elasticsearch.api_key")


class ServeSettings(Section):
    """What the processes of the clustered mode (`revet serve …`) have in common."""

    operations: Address = Field(default="127.0.0.1:9890", examples=["0.0.0.0:9890"])
    """HOST:PORT of `/healthz`, `/readyz`, `/metrics`; port 0 for any free one; empty: none."""
    log: Literal["text", "json"] = Field(default="text", examples=["json"])
    """How log lines are written to standard error: `text` for people, `json` for a collector."""
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", examples=["warning"])
    """Least level that is logged: `debug`, `info`, `warning`, `error`."""
    stalled_seconds: int = Field(default=60, ge=1, le=86400, examples=[60])
    """After so long without progress although work waits `/healthz` says 503."""
    stale_trust_seconds: int = Field(default=30, ge=1, le=3600, examples=[30])
    """A judge whose view of trust is older than this says so and waits."""
    clock: Literal["wall", "recorded"] = Field(default="wall", examples=["recorded"])
    """What time it is: `wall`, or `recorded`: it moves with the records alone, so that a recording plays as it was."""
    accept_gaps: bool = Field(default=False, examples=["true"])
    """Go on where records of a topic are gone (operations, "records lost"). Off: the process ends and says so."""
    stop_seconds: int = Field(default=20, ge=1, le=600, examples=[20])
    """After the first SIGTERM, seconds to finish what was begun. Less than the orchestrator's own grace."""


class AdministratorSettings(Section):
    """Who may change trust in the clustered mode: only what one of these keys has signed counts. The same everywhere:
    every process and every command that changes trust has them; `revet doctor` compares.
    """

    keys: tuple[str, ...] = Field(
        default=(),
        examples=["alice=Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="],
        json_schema_extra=UNTOLD,  # a private key pasted by mistake must not be repeated
    )
    """NAME=KEY (base64 of the 32 bytes of an Ed25519 public key), or a file with one such line each. Behind it, after a
    space, `from=EPOCH` and `until=EPOCH`: the first and last trust epoch the key may sign for."""
    loosening: int = Field(default=1, ge=1, le=2, examples=[2])
    """Signatures by different administrators that an act which loosens trust needs: 1 or 2."""
    loosening_from: int = Field(default=1, ge=1, examples=[118])
    """First trust epoch that `loosening` holds for. Before it one signature was enough."""
    log: str = Field(default="revet", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["production"])
    """Name of the trust log. It is signed along, so that an entry for one installation counts in no other."""

    @field_validator("keys")
    @classmethod
    def _keys_are_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if not all(entry.strip() for entry in keys):
            raise ValueError("expected NAME=KEY or a file, got an empty text")
        read_administrators(entry for entry in keys if "=" in entry)
        return keys

    @model_validator(mode="after")
    def _enough_of_them(self) -> AdministratorSettings:
        if self.keys and all("=" in entry for entry in self.keys):
            self._count(read_administrators(self.keys))
        return self

    def _count(self, found: Iterable[Administrator]) -> None:
        names = {administrator.name for administrator in found}
        if len(names) < self.loosening:
            raise ValueError(f"loosening {self.loosening} needs as many administrators; keys names {len(names)}")

    def administrators(self) -> tuple[Administrator, ...]:
        """Who may change trust, files read; empty where nobody was named.

        Raises:
            InputError: a file cannot be read or holds something else, or a key comes twice.
        """
        lines: list[str] = []
        for entry in self.keys:
            lines += [entry] if "=" in entry else _lines_of(Path(entry))
        try:
            found = read_administrators(lines)
            if self.keys:
                self._count(found)
        except ValueError as error:
            raise InputError(f"administrators.keys: {error}") from error
        return found


def _lines_of(file: Path) -> list[str]:
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "not UTF-8 text"
        raise InputError(f"administrators.keys: {file}: {reason}") from error
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
