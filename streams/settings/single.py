"""Sections of the single-machine mode. Evidence and owners count in the clustered mode as well."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from alerting.routing import OwnerRule, RouteRule, Routes
from streams.collectors.senders import SenderRule
from streams.settings.section import Address, Section, not_both, not_empty, secret_of
from streams.settings.watched import WatchedCluster, namespace_of, server_of
from verifier.oci.addresses import check_listed
from verifier.oci.pacing import parse_quota

LAYOUT: Final = "oci-layout:"
STORES: Final = ("sqlite:", "directory:", "oci:")


class ListenSettings(Section):
    """The receiver of the API server's audit webhook (`revet run`, `revet serve audit`)."""

    address: Address = Field(default="", examples=["127.0.0.1:9880"])
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
    certificate_file: Path | None = Field(default=None, examples=["/run/secrets/tls.crt"])
    """PEM certificate of the receiver, its chain behind it; with `listen.key_file` senders speak TLS. Read again when
    it changes."""
    key_file: Path | None = Field(default=None, examples=["/run/secrets/tls.key"])
    """PEM private key of that certificate, without a pass phrase."""
    client_ca_file: Path | None = Field(default=None, examples=["/run/secrets/senders-ca.crt"])
    """PEM bundle of the CAs that senders' certificates come from (mutual TLS). Which cluster a certificate speaks for
    is said by `listen.senders`."""
    senders: tuple[SenderRule, ...] = Field(
        default=(), examples=["[{cluster: prod-eu, certificate: 'cn:audit-prod-eu'}]"]
    )
    """Who may send, and for which cluster: `certificate` (`cn:`, `dns:`, `uri:` and a name in it, or `sha256:` and its
    hash), `token_file` (bearer token, or access key of a Firehose stream) or `push_account` (service account of a
    Pub/Sub push); `server` names the API server where a cluster has several. Nobody else may send then, and paths
    decide nothing. File only."""
    spool: Path | None = Field(default=None, examples=["/var/lib/revet/audit.sqlite"])
    """`serve audit`: file in which batches are made durable and from which they are sent to the brokers, for a receiver
    far from them. A sender is answered once its batch is in it; without, once the brokers have the batch. One per
    process, on a disk that survives it."""
    spool_mib: int = Field(default=1024, ge=16, le=1_048_576, examples=[1024])
    """Size that file may reach. An event takes 1 to 2 KiB: the default holds a good half million."""
    requests_per_second: int = Field(default=100, ge=1, le=10_000, examples=[100])
    """Requests of one sender (without `listen.senders`: of one address) per second, twice as many at once; what is more
    waits, and after 20 s of waiting is told when to come back (429)."""
    max_connections: int = Field(default=1000, ge=1, le=100_000, examples=[1000])
    """Open connections in all; further ones are closed."""
    max_connections_each: int = Field(default=200, ge=1, le=100_000, examples=[200])
    """Open connections of one address. Behind a load balancer all have one address."""
    counters: tuple[str, ...] = Field(
        default=(), examples=["prod-eu/cp-1=/etc/revet/cp-1.kubeconfig,prod-us=/etc/revet/us.kubeconfig"]
    )
    """`serve audit`: API servers whose own counters are compared with what came: CLUSTER=KUBECONFIG, or
    CLUSTER/SERVER=KUBECONFIG where `listen.senders` names the servers of a cluster. The kubeconfig has to lead to that
    one server, and all of its events to this process."""
    counters_seconds: int = Field(default=60, ge=1, le=3600, examples=[60])
    """How often they are compared."""
    push_keys_file: Path | None = Field(default=None, examples=["/run/secrets/google-jwks.json"])
    """Google's public keys (JWKS) for pushes of Pub/Sub to `/pubsub`; read again when it changes. With
    `listen.push_audience`."""
    push_audience: str = Field(default="", examples=["https://revet.example.com/pubsub"])
    """Audience that the Pub/Sub subscription signs its pushes for."""

    @field_validator("counters")
    @classmethod
    def _counters_are_entries(cls, counters: tuple[str, ...]) -> tuple[str, ...]:
        names = [server_of(entry).name for entry in counters]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} comes twice")
        return counters

    @model_validator(mode="after")
    def _one_token(self) -> ListenSettings:
        not_both(self.token, self.token_file, "token")
        return self

    @model_validator(mode="after")
    def _tls_is_whole(self) -> ListenSettings:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together; example: certificate_file: tls.crt")
        if self.client_ca_file is not None and self.certificate_file is None:
            raise ValueError("client_ca_file needs TLS; example: certificate_file: tls.crt, key_file: tls.key")
        if self.client_ca_file is not None and not self.senders:
            raise ValueError("client_ca_file says nothing about clusters; name certificates in senders")
        return self

    @model_validator(mode="after")
    def _senders_can_be_known(self) -> ListenSettings:
        if self.senders and (self.token is not None or self.token_file is not None):
            raise ValueError("give senders or one token for everybody, not both; senders have a token_file each")
        if self.client_ca_file is None and any(rule.certificate for rule in self.senders):
            raise ValueError("a sender with a certificate needs client_ca_file, or nobody's certificate is looked at")
        if (self.push_keys_file is None) != (not self.push_audience):
            raise ValueError("push_keys_file and push_audience belong together")
        if self.push_keys_file is None and any(rule.push_account for rule in self.senders):
            raise ValueError("a sender with a push_account needs push_keys_file and push_audience")
        return self

    def compared(self) -> tuple[WatchedCluster, ...]:
        """`counters` in parts."""
        return tuple(map(server_of, self.counters))

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
    pull_secrets: tuple[str, ...] = Field(
        default=(), examples=["payments=in-cluster,shop=/etc/revet/kubeconfig#prod-eu"]
    )
    """Of `revet serve fetch`: namespaces whose pull secrets (`imagePullSecrets` of service accounts and pods) are used
    beside `evidence.docker_config`: NAMESPACE=in-cluster, NAMESPACE=KUBECONFIG or NAMESPACE=KUBECONFIG#CONTEXT. None of
    any other namespace is ever read. Of two for the same host and path the first one named counts."""
    pull_secrets_seconds: int = Field(default=300, ge=1, le=86400, examples=[300])
    """How often pull secrets are read anew."""
    mirrors: dict[str, str] = Field(default={}, examples=["registry.example.com=http://127.0.0.1:5000"])
    """Registry -> origin that is asked in its place; several with a space between, tried in order. With `itself` as one
    of them the registry is asked too, and alone for tags and lists, of which a mirror's word may be old."""
    hosts: tuple[str, ...] = Field(default=(), examples=["registry.corp.example,10.0.0.7:5000,*.blobs.example"])
    """Hosts of yours, HOST[:PORT] or *.DOMAIN: asked at private and loopback addresses too. Registries, and what they
    send revet to (token services, blob stores). Link-local and metadata addresses are never asked."""
    other_hosts: bool = Field(default=True, examples=["false"])
    """Hosts that are not listed are asked too, at public addresses. `false`: only `evidence.hosts` and mirrors."""
    at_once: int = Field(default=8, ge=1, le=256, examples=[8])
    """Requests at a time to one host."""
    per_second: int = Field(default=100, ge=0, le=100_000, examples=[100])
    """Requests a second to one host; 0: as many as it answers."""
    max_age_hours: int = Field(default=24, ge=0, le=8760, examples=[24])
    """Hours after which an image that runs is asked about again; of twice that without a complete answer a finding
    (`stale`) tells. 0: only once, and when something changes. Recordings are never asked about again."""
    budgets: dict[str, str] = Field(default={"docker.io": "50/6h"}, examples=["docker.io=50/6h"])
    """Registry -> pulls it may cost, NUMBER/TIME. Docker Hub grants 100 in 6 h to an address without an account, 200
    to a free one; the nodes pull on the same count, so half of it is revet's. What the registry says is left holds
    beside it, and its last tenth is never touched."""
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

    @field_validator("pull_secrets")
    @classmethod
    def _pull_secrets_are_places(cls, pull_secrets: tuple[str, ...]) -> tuple[str, ...]:
        if len({namespace_of(entry) for entry in pull_secrets}) < len(pull_secrets):
            raise ValueError("a namespace of one cluster comes twice")
        return pull_secrets

    def lenders(self) -> tuple[WatchedCluster, ...]:
        """`pull_secrets` in parts; the name of each is that of a namespace."""
        return tuple(map(namespace_of, self.pull_secrets))

    @field_validator("hosts")
    @classmethod
    def _hosts_are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(check_listed, hosts))

    @field_validator("budgets")
    @classmethod
    def _budgets_are_quotas(cls, budgets: dict[str, str]) -> dict[str, str]:
        for quota in budgets.values():
            parse_quota(quota)
        return budgets

    @field_validator("store")
    @classmethod
    def _store_is_known(cls, store: str) -> str:
        kind = next((kind for kind in STORES if store.startswith(kind)), "")
        place = store.removeprefix(kind)
        if store and (not kind or not place or (kind == "oci:" and "/" not in place.strip("/"))):
            raise ValueError("expected sqlite:PATH, directory:PATH or oci:REGISTRY/REPOSITORY")
        return store


class NotificationSettings(Section):
    """Where registries say that something was pushed (`revet run`, `revet serve fetch`): POST /registry."""

    address: Address = Field(default="", examples=["0.0.0.0:9881"])
    """HOST:PORT to listen on for webhooks of distribution, Harbor and Quay; empty: do not listen. TLS in front."""
    token: Annotated[SecretStr | None, AfterValidator(not_empty)] = Field(
        default=None, examples=["(32 random characters)"]
    )
    """Token that registries show as `Authorization: Bearer TOKEN`, or bare. Better in a file:
    `notifications.token_file`."""
    token_file: Path | None = Field(default=None, examples=["/run/secrets/revet-registry-token"])
    """File that holds the token; read at start."""
    per_second: int = Field(default=20, ge=1, le=10_000, examples=[20])
    """Notifications a second that are taken; more get 429, and registries send them again."""

    @model_validator(mode="after")
    def _a_token(self) -> NotificationSettings:
        not_both(self.token, self.token_file, "token")
        if self.address and self.token is None and self.token_file is None:
            raise ValueError("an address needs a token; example: token_file: /run/secrets/revet-registry-token")
        return self

    def token_bytes(self) -> bytes:
        """The token. Raises InputError as `secret_of`."""
        return (secret_of(self.token, self.token_file, "notifications.token") or "").encode()


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
