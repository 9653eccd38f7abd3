"""Section of a topic that a cloud delivers audit events into (`revet serve hub`)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from streams.settings.clustered import KafkaSettings, Secret
from streams.settings.section import Section, host_and_port, not_both, secret_of


class HubSettings(Section):
    """A topic of other brokers that audit events are delivered into, such as Azure Event Hubs for AKS
    (`revet serve hub`). Its sender is whoever may write to it: the cluster is said here.
    """

    bootstrap: str = Field(default="", examples=["ns.servicebus.windows.net:9093"])
    """Brokers of the hub, HOST:PORT, comma between; of Event Hubs the namespace with port 9093."""
    topic: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,249}$", examples=["insights-logs-kube-audit-admin"])
    """Topic (event hub) with the audit events of one cluster."""
    group: str = Field(default="revet", min_length=1, examples=["revet"])
    """Consumer group that progress is kept under; of Event Hubs one that was made there."""
    cluster: str = Field(
        default="", pattern=r"^$|^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$", examples=["prod-aks"]
    )
    """Cluster that everything in the topic belongs to; empty: the one of `cluster`."""
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        default="sasl_ssl", examples=["sasl_ssl"]
    )
    """How the hub is spoken to; Event Hubs: `sasl_ssl`."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(default="PLAIN", examples=["PLAIN"])
    """How the name is proven; Event Hubs: `PLAIN`."""
    username: str = Field(default="", examples=["$ConnectionString"])
    """Name shown to the hub; Event Hubs: `$ConnectionString`."""
    password: Secret = Field(default=None, examples=["(the connection string)"])
    """Password of that name; Event Hubs: the connection string. Better in a file: `hub.password_file`."""
    password_file: Path | None = Field(default=None, examples=["/run/secrets/hub-connection"])
    """File that holds the password; read at start."""
    ca_file: Path | None = Field(default=None, examples=["/etc/ssl/hub-ca.pem"])
    """PEM bundle of the CAs of the hub's certificate; none: the system's."""

    @field_validator("bootstrap")
    @classmethod
    def _bootstrap_is_addresses(cls, bootstrap: str) -> str:
        for address in bootstrap.split(",") if bootstrap else ():
            host_and_port(address.strip())
        return bootstrap

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> HubSettings:
        not_both(self.password, self.password_file, "password")
        try:
            if self.bootstrap:
                self.kafka()
        except ValidationError as error:
            reason = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise ValueError(reason.removeprefix("Value error, ")) from None
        return self

    def kafka(self) -> KafkaSettings:
        """As clients of Kafka take it."""
        return KafkaSettings(
            bootstrap=self.bootstrap,
            security=self.security,
            sasl_mechanism=self.sasl_mechanism,
            username=self.username,
            password=self.password,
            password_file=self.password_file,
            ca_file=self.ca_file,
        )

    def password_text(self) -> str | None:
        """The password. Raises InputError as `secret_of`."""
        return secret_of(self.password, self.password_file, "hub.password")
