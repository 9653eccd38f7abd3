"""What a cluster can, found out by asking it, and what the lack of a feature costs. Nothing is changed.

    found = probe(server)
    found.version, found.profile, [(m.feature, m.cost) for m in found.missing]

Features are asked for by use, not by version or licence: distributions leave modules out, and accounts may not see all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from streams.elastic import Answer, Server, refusal
from streams.settings import ElasticsearchSettings
from streams.sinks.mapping import Profile, Shape
from verifier.errors import InputError, PlaceRefused

MINIMUM: Final = (9, 0)
"""Oldest server: the client speaks the protocol of version 9."""
_NAME: Final = "revet-probe"
"""Of things that are asked about and never made."""


class Missing(msgspec.Struct, frozen=True):
    """A feature the cluster lacks."""

    feature: str
    cost: str


class Probe(msgspec.Struct, frozen=True):
    """What was found."""

    version: str
    """Of the oldest node."""
    profile: Profile
    """The best mapping profile it can take."""
    missing: tuple[Missing, ...] = ()
    unknown: tuple[str, ...] = ()
    """Features that this account may not ask about."""

    def has(self, feature: str) -> bool:
        """It is there for sure."""
        return feature not in self.unknown and all(m.feature != feature for m in self.missing)


def _type(name: str) -> Callable[[Server], Answer]:
    """Asked for as the mapping uses it: beside another field of the same value."""

    def ask(server: Server) -> Answer:
        field = {"type": "keyword", "fields": {"y": {"type": name}}} if name == "wildcard" else {"type": name}
        return _simulated(server, {"template": {"mappings": {"properties": {"x": field}}}})

    return ask


def _failure_store(server: Server) -> Answer:
    options = {"template": {"data_stream_options": {"failure_store": {"enabled": True}}}}
    return _simulated(server, {"data_stream": {}, **options})


def _simulated(server: Server, body: dict[str, object]) -> Answer:
    """A template that matches nothing that exists, tried and not kept."""
    whole = {"index_patterns": [f"{_NAME}-*"], "priority": 1_000_000, **body}
    return server.call("POST", "/_index_template/_simulate", body=whole, accept=_ANY)


def _get(path: str) -> Callable[[Server], Answer]:
    return lambda server: server.call("GET", path, accept=_ANY)


_ANY: Final = range(400, 600)

_TYPES: Final = ("constant_keyword", "wildcard", "match_only_text")
"""Field types that the profile `full` uses and `reduced` does not."""


def _kql(server: Server) -> Answer:
    body = {"query": {"kql": {"query": "a:b"}}}
    found = server.call("POST", "/_validate/query", body=body, accept=_ANY)
    valid = found.status == 200 and isinstance(found.body, dict) and found.body.get("valid") is True
    return found if valid or found.status == 403 else Answer(400, found.body)


_FEATURES: Final[tuple[tuple[str, Callable[[Server], Answer], str], ...]] = (
    (
        "data-stream-api",
        _get(f"/_data_stream/{_NAME}-*"),
        "retention and failure store of data streams that exist cannot be changed; both count for new ones only",
    ),
    (
        "lifecycle",
        _get(f"/_data_stream/{_NAME}-*/_lifecycle"),
        "nothing rolls over or is deleted by itself: history grows until somebody does both",
    ),
    (
        "failure-store",
        _failure_store,
        "documents that do not fit the mapping are only dead letters, not parked beside their stream as well",
    ),
    ("constant_keyword", _type("constant_keyword"), "data_stream.type and data_stream.namespace cannot be searched"),
    ("wildcard", _type("wildcard"), "words inside long messages are searched more slowly"),
    ("match_only_text", _type("match_only_text"), "messages take more disk"),
    (
        "security",
        _get("/_security/_authenticate"),
        "whoever reaches Elasticsearch may read, change and delete everything",
    ),
    ("roles", _get("/_security/role"), "the roles for analysts, indexer and ledger cannot be installed"),
    ("kql", _kql, "nothing for revet, which has its own; Kibana's search bar may miss it"),
)
"""Name, how it is asked for, what its lack costs."""


def probe(server: Server) -> Probe:
    """Ask for version and features.

    Raises:
        PlaceUnavailable: no answer.
        PlaceRefused: 401, no Elasticsearch, or older than `MINIMUM`.
    """
    version = server_version(server)
    missing: list[Missing] = []
    unknown: list[str] = []
    for feature, ask, cost in _FEATURES:
        answer = _patiently(server, ask)
        if answer.status == 401 or answer.status in _NOT_NOW:
            raise refusal(answer, f"asking for {feature}", server.where)
        if answer.status == 403:
            unknown.append(feature)
        elif answer.status >= 400:
            missing.append(Missing(feature, cost))
    lacks = {m.feature for m in missing} | set(unknown)
    return Probe(version, "reduced" if lacks & set(_TYPES) else "full", tuple(missing), tuple(unknown))


_NOT_NOW: Final = frozenset({429, 502, 503, 504})
"""500 is not among them: some APIs answer it whose feature is switched off."""
_PATIENCE: Final = 20.0
"""Seconds that a feature may take to be there: a new cluster makes the index behind its roles when first asked."""


def _patiently(server: Server, ask: Callable[[Server], Answer]) -> Answer:
    deadline = time.monotonic() + _PATIENCE
    while (answer := ask(server)).status in _NOT_NOW and time.monotonic() < deadline:
        time.sleep(0.5)
    return answer


def server_version(server: Server) -> str:
    """Version of the oldest node. Raises as `probe`."""
    found = server.call("GET", "/_nodes", params={"filter_path": "nodes.*.version"}, accept=(403,))
    if found.status == 403:  # may not monitor; the front page, where there is one, tells of one node
        front = server.call("GET", "/", accept=_ANY)
        said = front.body.get("version") if front.status == 200 else None
        versions = [str(said.get("number"))] if isinstance(said, dict) else []
    else:
        versions = [str(node["version"]) for node in found.body.get("nodes", {}).values()]
    if not versions:
        raise PlaceRefused("record-refused", f"{server.where}: its version is not told; give the account `monitor`")
    oldest = min(versions, key=_numbers)
    if _numbers(oldest) < MINIMUM:
        wanted = ".".join(map(str, MINIMUM))
        raise PlaceRefused("record-refused", f"{server.where}: Elasticsearch {oldest}; revet needs {wanted} or newer")
    return oldest


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdigit())


def shape_of(found: Probe, settings: ElasticsearchSettings) -> Shape:
    """What this cluster gets under these settings.

    Raises:
        InputError: the settings ask for a profile that the cluster cannot take.
    """
    if settings.profile == "full" and found.profile != "full":
        lacks = ", ".join(m.feature for m in found.missing if m.feature in _TYPES) or "types it may not ask about"
        raise InputError(f"elasticsearch.profile: full, but this cluster lacks {lacks}; example: auto")
    return Shape(
        profile=found.profile if settings.profile == "auto" else settings.profile,
        failure_store=found.has("failure-store"),
        replicas=settings.replicas,
        retention_days=settings.retention_days,
        repeated_days=settings.repeated_days,
    )
