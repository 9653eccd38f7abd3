"""The sections of watchers (`revet serve pods`, `revet serve reports`): which clusters, and how patiently."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pydantic import Field, field_validator

from streams.settings.section import Address, Section

IN_CLUSTER: Final = "in-cluster"
_CLUSTER: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_SERVER: Final = re.compile(rf"{_CLUSTER.pattern}(?:/{_CLUSTER.pattern})?")
"""CLUSTER, or CLUSTER/SERVER where `listen.senders` names the API servers of a cluster."""
_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LEASE: Final = re.compile(rf"{_NAMESPACE.pattern}/[a-z0-9](?:[a-z0-9.-]{{0,200}}[a-z0-9])?")


class WatchedCluster(NamedTuple):
    """One entry of `pods.clusters`."""

    name: str
    kubeconfig: Path | None
    """None: the credentials of the pod this runs in."""
    context: str
    """Of the kubeconfig; empty: its current one."""


class PodsSettings(Section):
    """The pod watcher (`revet serve pods`, `revet run`)."""

    clusters: tuple[str, ...] = Field(
        default=(), examples=["prod-eu=/etc/revet/kubeconfig#prod-eu,prod-us=/etc/revet/us.kubeconfig,hub=in-cluster"]
    )
    """Clusters that are watched: NAME=KUBECONFIG, NAME=KUBECONFIG#CONTEXT, or NAME=in-cluster for the one this runs in.
    NAME is what its audit events come under (`POST /audit/NAME`)."""
    exclude_namespaces: tuple[str, ...] = Field(default=(), examples=["kube-system,kube-node-lease"])
    """Namespaces whose pods are not asked for. What was known of them when they are named here ends as `excluded`."""
    namespaces_seconds: int = Field(default=60, ge=0, le=86400, examples=[60])
    """Namespaces are listed, then watched, for the labels and annotations that say whose they are. So often they are
    listed where nobody may watch them. 0: never."""
    lease: str = Field(default="", examples=["revet/revet-pods"])
    """NAMESPACE/NAME of a Lease in each watched cluster, so that of several watchers one reads and the others stand by.
    Empty: every watcher reads; what they tell twice counts once."""
    lease_seconds: int = Field(default=15, ge=5, le=600, examples=[15])
    """After so long without a word of the watcher that holds the lease another one takes it."""
    silence_seconds: int = Field(default=100, ge=2, le=3600, examples=[100])
    """After so long without a byte a watch is begun anew. An API server says something every 60 s, and nothing for a
    minute while it stops."""
    watch_seconds: int = Field(default=300, ge=5, le=3600, examples=[300])
    """Longest time of one watch; then the next one goes on where it was, with credentials that were read anew."""
    connect_seconds: int = Field(default=10, ge=1, le=120, examples=[10])
    """Longest time until an API server has taken a connection."""

    @field_validator("clusters")
    @classmethod
    def _clusters_are_entries(cls, clusters: tuple[str, ...]) -> tuple[str, ...]:
        return _entries(clusters)

    @field_validator("exclude_namespaces")
    @classmethod
    def _namespaces_are_names(cls, namespaces: tuple[str, ...]) -> tuple[str, ...]:
        for name in namespaces:
            if not _NAMESPACE.fullmatch(name):
                raise ValueError("expected names of namespaces (no globs)")
        return namespaces

    @field_validator("lease")
    @classmethod
    def _lease_is_a_place(cls, lease: str) -> str:
        if lease and not _LEASE.fullmatch(lease):
            raise ValueError("expected NAMESPACE/NAME")
        return lease

    def places(self) -> tuple[WatchedCluster, ...]:
        """`clusters` in parts."""
        return tuple(map(_entry, self.clusters))


class ReportsSettings(Section):
    """What other engines say (`revet serve reports`): reports in watched clusters, and what is sent over HTTP. Who may
    send is said by `listen`, how patiently clusters are watched by `pods`.
    """

    clusters: tuple[str, ...] = Field(default=(), examples=["prod-eu=/etc/revet/kubeconfig#prod-eu,hub=in-cluster"])
    """Clusters whose PolicyReports (wgpolicyk8s.io, openreports.io) are watched, written as in `pods.clusters`."""
    results: tuple[Literal["pass", "fail", "warn", "error", "skip"], ...] = Field(
        default=("pass", "fail", "warn", "error", "skip"), examples=["fail,warn,error"]
    )
    """Results that are told. In a large cluster nearly all are `pass`."""
    address: Address = Field(default="", examples=["127.0.0.1:9881"])
    """HOST:PORT at which `revet serve reports` takes `POST /reports` itself, under the rules of `listen`; empty: not.
    The receiver at `listen.address` takes them too."""

    @field_validator("clusters")
    @classmethod
    def _clusters_are_entries(cls, clusters: tuple[str, ...]) -> tuple[str, ...]:
        return _entries(clusters)

    def places(self) -> tuple[WatchedCluster, ...]:
        """`clusters` in parts."""
        return tuple(map(_entry, self.clusters))


def _entries(clusters: tuple[str, ...]) -> tuple[str, ...]:
    """The same, if each is a cluster, none comes twice, and at most one is the cluster this runs in."""
    places = [_entry(entry) for entry in clusters]
    names = [place.name for place in places]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} comes twice")
    if sum(place.kubeconfig is None for place in places) > 1:
        raise ValueError(f"{IN_CLUSTER} is one cluster; it was given several names")
    return clusters


def server_of(text: str) -> WatchedCluster:
    """One entry of `listen.counters`: as of `pods.clusters`, and NAME may be CLUSTER/SERVER. Raises ValueError."""
    return _entry(text, _SERVER)


def namespace_of(text: str) -> WatchedCluster:
    """One entry of `evidence.pull_secrets`: as of `pods.clusters`, and NAME is a namespace. Raises ValueError."""
    return _entry(text, _NAMESPACE)


def _entry(text: str, names: re.Pattern[str] = _CLUSTER) -> WatchedCluster:
    name, equals, where = text.partition("=")
    if not equals or not where or not names.fullmatch(name):
        raise ValueError("expected NAME=KUBECONFIG, NAME=KUBECONFIG#CONTEXT or NAME=in-cluster")
    if where == IN_CLUSTER:
        return WatchedCluster(name, None, "")
    file, _, context = where.partition("#")
    return WatchedCluster(name, Path(file), context)
