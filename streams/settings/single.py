"""Sections of the single-machine mode. Evidence and owners count in the clustered mode as well."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from alerting.routing import OwnerRule, RouteRule, Routes
from streams.settings.section import Section, host_and_port, not_both, not_empty, secret_of

LAYOUT: Final = "oci-layout:"
STORES: Final = ("sqlite:", "directory:", "oci:")


class ListenSettings(Section):
    """The receiver of the API server's audit webhook (`revet run`, `revet serve audit`)."""

    address: str = Field(default="", examples=["127.0.0.1:9880"])
    """HOST:PORT to listen on; empty: do not listen. `[::1]:9880` for IPv6, port 0 for any free one."""
    token: Annotated[SecretStr | None, AfterValidator(not_empty)] = Field(
        default=None, examples=["(32 random characters)"]
    )
    """Bearer token that senders must show. Better in a file: `listen.token_file`."""
    token_file: Path | None = Field(default=None, examples=["/run/secrets/revet-token"])
    """File that holds the bearer token; read at start."""
    max_body_mib: int = Field(default=32, ge=1, le=512, examples=[32])
    """Longest body that is taken, MiB, also after decompression. A full batch of the API server has 1 to 10."""
    max_requests: int = Field(default=8, ge=1, le=256, examples=[8])
    """Bodies read at a time; further senders wait. With `listen.max_body_mib` it bounds the memory."""
    body_seconds: int = Field(default=60, ge=1, le=3600, examples=[60])
    """Seconds a sender may take for one body."""
    parsers: int = Field(default=1, ge=0, le=16, examples=[2])
    """Of `revet serve audit`: processes that parse, so that more cores are used; bodies of one cluster go to one of
    them. 0: parse where bodies are received."""

    @field_validator("address")
    @classmethod
    def _address_is_host_and_port(cls, address: str) -> str:
        if address:
            host_and_port(address)
        return address

    @model_validator(mode="after")
    def _one_token(self) -> ListenSettings:
        not_both(self.token, self.token_file, "token")
        return self

    def token_text(self) -> str | None:
        """The bearer token; None: everybody may send. Raises InputError as `secret_of`."""
        return secret_of(self.token, self.token_file, "listen.token")


class EvidenceSettings(Section):
    """Where signatures are published, and where what was fetched is kept."""

    source: str = Field(default="registry", examples=["registry", "oci-layout:./images", "registry,lookaside:/sigs"])
    """`registry`: the registry each image comes from; `oci-layout:DIR`: a folder. Behind a comma what is kept beside:
    `lookaside:DIR` (OpenPGP signatures), `trust-data:DIR` (Docker Content Trust metadata)."""
    plain_http: bool = Field(default=False, examples=["true"])
    """Speak HTTP without TLS to registries."""
    ca_file: Path | None = Field(default=None, examples=["/etc/ssl/private-ca.pem"])
    """PEM bundle of a private CA, beside the system's."""
    docker_config: Path | None = Field(default=None, examples=["/home/revet/.docker/config.json"])
    """Docker config.json with credentials; none: anonymous."""
    mirrors: dict[str, str] = Field(default={}, examples=["registry.example.com=http://127.0.0.1:5000"])
    """Registry -> origin that is asked in its place."""
    platform: str | None = Field(
        default=None, pattern=r"^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?$", examples=["linux/amd64"]
    )
    """Of a multi-platform image, look at this child too."""
    store: str = Field(
        default="",
        examples=[
            "directory:/var/lib/revet/evidence",
            "sqlite:/var/lib/revet/evidence.sqlite",
            "oci:registry/evidence",
        ],
    )
    """Where the bytes of fetched evidence are kept for replay: `sqlite:PATH` (one process), `directory:PATH` (a folder
    all processes see), `oci:REGISTRY/REPOSITORY`. Empty: in the state file of the single-machine mode."""

    @field_validator("source")
    @classmethod
    def _source_is_known(cls, source: str) -> str:
        main, *beside = source.split(",")
        if main != "registry" and not (main.startswith(LAYOUT) and main != LAYOUT):
            raise ValueError("expected registry or oci-layout:DIR")
        if not all(place.startswith(("lookaside:", "trust-data:")) for place in beside):
            raise ValueError("beside the first place expected lookaside:DIR or trust-data:DIR")
        return source

    @field_validator("store")
    @classmethod
    def _store_is_known(cls, store: str) -> str:
        kind = next((kind for kind in STORES if store.startswith(kind)), "")
        place = store.removeprefix(kind)
        if store and (not kind or not place or (kind == "oci:" and "/" not in place.strip("/"))):
            raise ValueError("expected sqlite:PATH, directory:PATH or oci:REGISTRY/REPOSITORY")
        return store


class OwnerSettings(Section):
    """Whose a namespace is, and who is told."""

    label_keys: tuple[str, ...] = Field(default=("team", "owner"), examples=["team,owner"])
    """Namespace labels that name the team, in order."""
    application_keys: tuple[str, ...] = Field(
        default=Routes().application_keys, examples=["argocd.argoproj.io/instance,kustomize.toolkit.fluxcd.io/name"]
    )
    """Namespace labels that name the application of a delivery tool (Argo CD, Flux), in order; `owners.table` says
    whose it is."""
    channel_keys: tuple[str, ...] = Field(default=Routes().channel_keys, examples=["slack-channel"])
    """Namespace labels that name the team's channel, by a name of `slack.channels`."""
    table: tuple[OwnerRule, ...] = Field(default=(), examples=["[{namespace: pay-*, team: payments}]"])
    """Globs over cluster, namespace and application for namespaces without such a label; the first that matches wins.
    File only."""
    also: tuple[RouteRule, ...] = Field(
        default=(), examples=["[{labels: {env: prod}, severity: high, to: prod-oncall}]"]
    )
    """Who else gets the whole incident: rules over the id, name and labels of clusters; `to` is a name of
    `slack.channels`. File only."""
    security: str = Field(default="security", min_length=1, examples=["security"])
    """Who gets every critical and high incident, and what nobody owns."""
    team_slices: bool = Field(default=False, examples=["true"])
    """Also tell each team its part. Off here: one terminal needs no second copy. In Slack every team with a channel is
    told."""
    max_teams: int = Field(default=50, ge=1, examples=[50])
    """Team messages per incident."""

    def routes(self) -> Routes:
        """As the alerter takes them."""
        return Routes(
            label_keys=self.label_keys,
            application_keys=self.application_keys,
            channel_keys=self.channel_keys,
            owners=self.table,
            also=self.also,
            security=self.security,
            team_slices=self.team_slices,
            max_teams=self.max_teams,
        )
