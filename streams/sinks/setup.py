"""Brings an Elasticsearch cluster to what the field table says, and tells where it is not.

    with connect(settings.elasticsearch) as server:
        setup(server, settings.elasticsearch)        what was made or changed; doing it twice changes nothing
        check(server, settings.elasticsearch)        what differs, and the command that mends each

Templates act on what is made from now on; so `setup` also brings live indices along, as far as Elasticsearch allows it:
fields are added in place, a data stream with a changed field is rolled over, a state index with one is left to
`revet index reindex`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal

import msgspec

from streams.elastic import Server, reason_of, url_path
from streams.settings import ElasticsearchSettings
from streams.sinks.fields import CURRENT, HISTORY
from streams.sinks.mapping import MAPPING_VERSION, Names, Piece, Shape, fields_hash, state_index, templates
from streams.sinks.probe import Probe, probe, server_version, shape_of
from streams.sinks.roles import Json, roles
from verifier.errors import PlaceRefused

SETUP: Final = "revet index setup"
CHECK: Final = "revet index check"
REINDEX: Final = "revet index reindex"
UPGRADE: Final = "upgrade revet"

COPYING: Final = "revet_copying"
"""In the `_meta` of a state index: the index whose documents are still being copied into it."""

AT_ONCE: Final = 8
"""Changes asked for at a time: the cluster takes several in one step, and a step writes to disk."""

_ANY: Final = range(400, 500)

Done = Literal["made", "changed", "unchanged", "rolled over", "left"]


class Step(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    done: Done
    what: str
    note: str = ""
    """What a person has to do, when it was left."""


class Drift(msgspec.Struct, frozen=True):
    """Something that is not as this version wants it."""

    what: str
    why: str
    mend: str
    """The command that mends it."""


class Report(msgspec.Struct, frozen=True):
    """What `setup` came to."""

    found: Probe
    shape: Shape
    steps: tuple[Step, ...]


class Checked(msgspec.Struct, frozen=True):
    """What `check` came to; nothing in `drift`: all is as it should be."""

    found: Probe
    shape: Shape
    drift: tuple[Drift, ...]


Tell = Callable[[str], None]
"""Takes a line of progress."""


def _silent(line: str) -> None:
    del line


# --------------------------------------------------------------------------------------------------------------- setup


def setup(
    server: Server,
    settings: ElasticsearchSettings,
    *,
    teams: Mapping[str, Iterable[str]] | None = None,
    tell: Tell = _silent,
) -> Report:
    """Install what is missing and change what differs. Running writers and readers go on.

    Raises:
        InputError: the settings ask for what the cluster cannot do.
        PlaceUnavailable: no answer, or a cluster that does not take changes now.
        PlaceRefused: the account may not, or the cluster holds something newer than this revet.
    """
    names = Names(settings.namespace)
    found = probe(server)
    shape = shape_of(found, settings)
    newer = _newer(server, names)
    if newer:
        raise PlaceRefused("record-refused", f"{server.where}: {newer}; {UPGRADE}, or use another namespace")
    tell(f"Elasticsearch {found.version}, profile {shape.profile}")
    there = _installed(server, names)
    shared, *pieces = templates(names, shape)
    steps = [_install(server, shared, there.get(shared.path))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        steps += pool.map(lambda piece: _install(server, piece, there.get(piece.path)), pieces)
        tell(f"{len(steps)} templates")
        for done in pool.map(lambda home: [*_state(server, names, home, shape)], CURRENT):
            steps += done
        for done in pool.map(lambda home: [*_stream(server, names, home, found, shape)], HISTORY):
            steps += done
    tell(f"{len(CURRENT)} state indices, {len(HISTORY)} data streams")
    steps += _roles(server, found, roles(names, teams))
    return Report(found, shape, tuple(steps))


def _install(server: Server, piece: Piece, there: Json | None) -> Step:
    if there is not None and not _changed(there, piece.body):
        return Step("unchanged", _called(piece))
    server.call("PUT", piece.path, body=piece.body)
    return Step("made" if there is None else "changed", _called(piece))


def _state(server: Server, names: Names, home: str, shape: Shape) -> Iterator[Step]:
    alias = names.target(home)
    live = write_index(server, alias)
    if live is None:
        index = names.index(home)
        made = server.call("PUT", url_path(index), body=state_index(names, home), accept=(400,))
        if made.status == 400:  # it is there without its alias: somebody took the alias away, or was quicker
            server.call("POST", "/_aliases", body={"actions": [{"add": {"index": index, "alias": alias, **_WRITE}}]})
        yield Step("made", f"index {index} behind {alias}")
        return
    yield from _bring_along(server, live, live, shape, lambda: Step("left", live, f"{REINDEX} {home}"))


_WRITE: Final[Json] = {"is_write_index": True}


def _stream(server: Server, names: Names, home: str, found: Probe, shape: Shape) -> Iterator[Step]:
    stream = names.target(home)
    backing = backing_indices(server, stream)
    if not backing:
        return  # made by its first document

    def roll_over() -> Step:
        server.call("POST", url_path(stream, "_rollover"))
        return Step("rolled over", stream, "a field has another type from now on; older documents keep theirs")

    yield from _bring_along(server, stream, backing[-1], shape, roll_over)
    if found.has("data-stream-api") and found.has("lifecycle"):
        wanted = _resolved(server, stream).get("lifecycle", {})
        lifecycle = {name: wanted[name] for name in ("data_retention",) if name in wanted}
        server.call("PUT", url_path("_data_stream", stream, "_lifecycle"), body=lifecycle)
        if shape.failure_store:
            options = {"failure_store": {"enabled": True}}
            server.call("PUT", url_path("_data_stream", stream, "_options"), body=options)


def _bring_along(server: Server, target: str, live: str, shape: Shape, otherwise: Callable[[], Step]) -> Iterator[Step]:
    """Settings and new fields for an index that exists; `otherwise` when a field cannot be changed in place."""
    wanted = _resolved(server, target)
    there = _live(server, live)
    limit = wanted["settings"]["index"]["mapping"]["total_fields"]["limit"]
    settings = {"index.mapping.total_fields.limit": limit, "index.number_of_replicas": str(shape.replicas)}
    if any(str(there["settings"].get(name)) != value for name, value in settings.items()):
        server.call("PUT", url_path(live, "_settings"), body=settings)
        yield Step("changed", f"settings of {live}")
    missing, other = _differences(wanted["mappings"], there["mappings"])
    meta: Json = there["mappings"].get("_meta", {})
    stale = meta.get("revet") != wanted["mappings"].get("_meta", {}).get("revet")
    if other:
        yield otherwise()
    elif missing or stale:
        mapping = {name: wanted["mappings"][name] for name in ("dynamic", "date_detection", "properties")}
        mapping["_meta"] = meta | wanted["mappings"]["_meta"]
        server.call("PUT", url_path(live, "_mapping"), body=mapping)
        yield Step("changed", f"mapping of {live}", f"{len(missing)} fields added" if missing else "")
    else:
        yield Step("unchanged", live)


def _roles(server: Server, found: Probe, wanted: Mapping[str, Json]) -> Iterator[Step]:
    if not found.has("roles"):
        yield Step("left", "roles", "this cluster has none, or this account may not see them")
        return
    for name, body in wanted.items():
        there = server.call("GET", url_path("_security", "role", name), accept=_ANY)
        if there.status == 200 and _same_role(there.body.get(name, {}), body):
            yield Step("unchanged", f"role {name}")
            continue
        put = server.call("PUT", url_path("_security", "role", name), body=body, accept=_ANY)
        if put.status == 403 and "license" in reason_of(put.body)[1]:
            yield Step("left", f"role {name}", "this cluster's licence has no document level security")
        elif put.status == 403:
            yield Step("left", f"role {name}", "this account may not change roles (needs manage_security)")
        elif put.status != 200:
            yield Step("left", f"role {name}", f"this cluster does not take it: {': '.join(reason_of(put.body))}")
        else:
            yield Step("made" if there.status == 404 else "changed", f"role {name}")


# --------------------------------------------------------------------------------------------------------------- check


def check(
    server: Server, settings: ElasticsearchSettings, *, teams: Mapping[str, Iterable[str]] | None = None
) -> Checked:
    """Compare without changing anything. Raises as `setup`, except for what is newer: that is drift."""
    names = Names(settings.namespace)
    found = probe(server)
    shape = shape_of(found, settings)
    newer = _newer(server, names)
    if newer:
        return Checked(found, shape, (Drift(names.namespace, newer, UPGRADE),))
    drift = [*_templates_drift(server, names, shape)]
    if not drift:  # live indices are compared with what the installed templates make, so these come first
        for home in CURRENT:
            drift += _state_drift(server, names, home, shape)
        for home in HISTORY:
            drift += _stream_drift(server, names, home, shape)
    if found.has("roles"):
        for name, body in roles(names, teams).items():
            there = server.call("GET", url_path("_security", "role", name), accept=_ANY)
            if there.status == 404:
                drift.append(Drift(f"role {name}", "is missing", SETUP))
            elif there.status == 200 and not _same_role(there.body.get(name, {}), body):
                drift.append(Drift(f"role {name}", "differs", SETUP))
    return Checked(found, shape, tuple(drift))


def _templates_drift(server: Server, names: Names, shape: Shape) -> Iterator[Drift]:
    installed = _installed(server, names)
    for piece in templates(names, shape):
        there = installed.get(piece.path)
        if there is None:
            yield Drift(_called(piece), "is missing", SETUP)
        elif changed := _changed(there, piece.body):
            yield Drift(_called(piece), f"{_whose(there)}: {_some(changed)}", SETUP)


def _state_drift(server: Server, names: Names, home: str, shape: Shape) -> Iterator[Drift]:
    alias = names.target(home)
    live = write_index(server, alias)
    if live is None:
        yield Drift(alias, "no index takes writes under this alias", SETUP)
        return
    unfinished = _live(server, live)["mappings"].get("_meta", {}).get(COPYING)
    if unfinished:
        yield Drift(live, f"documents of {unfinished} are still to be copied", f"{REINDEX} {home}")
    yield from _live_drift(server, live, live, shape, f"{REINDEX} {home}")


def _stream_drift(server: Server, names: Names, home: str, shape: Shape) -> Iterator[Drift]:
    stream = names.target(home)
    backing = backing_indices(server, stream)
    if backing:
        yield from _live_drift(server, stream, backing[-1], shape, SETUP)


def _live_drift(server: Server, target: str, live: str, shape: Shape, mend: str) -> Iterator[Drift]:
    wanted, there = _resolved(server, target), _live(server, live)
    missing, other = _differences(wanted["mappings"], there["mappings"])
    if other:
        yield Drift(live, f"other mapping of {_some(other)}", mend)
    if missing:
        yield Drift(live, f"no mapping of {_some(missing)}", SETUP)
    replicas = there["settings"].get("index.number_of_replicas")
    if replicas != str(shape.replicas):
        yield Drift(live, f"{replicas} replicas, the setting says {shape.replicas}", SETUP)


def _newer(server: Server, names: Names) -> str:
    """A sentence when the installed templates were written by a newer revet; else empty."""
    stamps = [body.get("_meta", {}).get("revet", {}).get("mapping") for body in _installed(server, names).values()]
    version = max((stamp for stamp in stamps if isinstance(stamp, int)), default=0)
    if version <= MAPPING_VERSION:
        return ""
    installed = f"the templates of namespace {names.namespace} have mapping version {version}"
    return f"{installed}, this revet has {MAPPING_VERSION}"


# --------------------------------------------------------------------------------------------------------------- ready


def ready(server: Server, names: Names) -> None:
    """What a writer asks at its start, with no more rights than writing takes.

    Raises:
        PlaceRefused: something is missing, or was made by an older revet, or by hand; says which command mends it.
        PlaceUnavailable: no answer.
    """
    version = server_version(server)
    aliases = server.call("GET", url_path("_alias", f"revet-state-*-{names.namespace}"), accept=(404,))
    indices = aliases.body if aliases.status == 200 else {}
    writing = {alias: index for index, found in indices.items() for alias in found.get("aliases", {})}
    missing = [names.target(home) for home in CURRENT if names.target(home) not in writing]
    if missing:
        said = f"{server.where} (Elasticsearch {version}): no {_some(missing)}"
        raise PlaceRefused("record-missing", f"{said}; run `{SETUP}`, or check elasticsearch.namespace")
    streams = server.call("GET", url_path("_resolve", "index", names.all_history)).body.get("data_streams", [])
    newest = {str(stream["backing_indices"][-1]) for stream in streams} | set(writing.values())
    pattern = f"{names.all_history},revet-state-*-{names.namespace}"
    found = server.call("GET", url_path(pattern, "_mapping"), params={"filter_path": "*.mappings._meta"}).body
    for index in sorted(newest):
        stamp = found.get(index, {}).get("mappings", {}).get("_meta", {}).get("revet", {})
        if not _is_known(stamp):
            raise PlaceRefused("record-missing", f"{server.where}: {index} {_OTHER}; run `{SETUP}`, then `{CHECK}`")


_OTHER: Final = "has a mapping this revet does not know"


def _is_known(stamp: Json) -> bool:
    """Made by this version or a newer one: a newer one keeps every field of ours."""
    version = stamp.get("mapping")
    if not isinstance(version, int) or version < MAPPING_VERSION:
        return False
    return version > MAPPING_VERSION or stamp.get("fields") in (fields_hash("full"), fields_hash("reduced"))


# ------------------------------------------------------------------------------------------------------------- reading


def write_index(server: Server, alias: str) -> str | None:
    """The index that takes writes under an alias; None when there is no alias.

    Raises:
        PlaceRefused: the name is that of an index, or no single index takes the writes.
    """
    found = server.call("GET", url_path("_alias", alias), accept=(404,))
    if found.status == 404:
        if server.call("HEAD", url_path(alias), accept=(404,)).status != 404:
            raise PlaceRefused(
                "record-refused",
                f"{server.where}: {alias} is an index and has to be an alias; something wrote before `{SETUP}`. "
                "Delete it (its documents come again from Kafka), then set up",
            )
        return None
    indices = list(found.body)
    writing = [i for i in indices if found.body[i]["aliases"][alias].get("is_write_index")] or indices
    if len(writing) != 1:
        raise PlaceRefused("record-refused", f"{server.where}: {alias} stands for {_some(indices)}; none takes writes")
    return str(writing[0])


def backing_indices(server: Server, stream: str) -> tuple[str, ...]:
    """Of a data stream, oldest first; empty when there is none. Works without the data stream API."""
    found = server.call("GET", url_path("_resolve", "index", stream), accept=(404,))
    streams = found.body.get("data_streams", []) if found.status == 200 else []
    return tuple(streams[0]["backing_indices"]) if streams else ()


def _installed(server: Server, names: Names) -> dict[str, Json]:
    """Path -> body of every template of this namespace, and of those of others whose name ends alike."""
    found: dict[str, Json] = {}
    for kind in ("component", "index"):
        answer = server.call("GET", url_path(f"_{kind}_template", f"*-{names.namespace}"), accept=(404,))
        for entry in answer.body.get(f"{kind}_templates", ()):
            found[f"/_{kind}_template/{entry['name']}"] = entry[f"{kind}_template"]
    return found


def _resolved(server: Server, name: str) -> Json:
    """What the installed templates make of an index of this name, the operator's own one included."""
    found: Json = server.call("POST", url_path("_index_template", "_simulate_index", name)).body["template"]
    return found


def _live(server: Server, index: str) -> Json:
    mappings = server.call("GET", url_path(index, "_mapping")).body[index]["mappings"]
    settings = server.call("GET", url_path(index, "_settings"), params={"flat_settings": "true"}).body[index][
        "settings"
    ]
    return {"mappings": mappings, "settings": settings}


def _called(piece: Piece) -> str:
    return f"{'component' if piece.kind == 'component' else 'index'} template {piece.name}"


# ----------------------------------------------------------------------------------------------------------- comparing


def flat(tree: Any, above: str = "") -> dict[str, str]:  # noqa: ANN401  # any tree of JSON
    """Leaves of a tree by dotted name, as texts: servers write `"1"` where `1` was given, and nest `index.`."""
    if isinstance(tree, dict):
        found: dict[str, str] = {}
        for name, value in tree.items():
            found |= flat(value, f"{above}.{name}" if above else str(name))
        return found or {above: "{}"}
    if isinstance(tree, list):
        return {above: ",".join(map(str, tree))}
    return {above: str(tree).lower() if isinstance(tree, bool) else str(tree)}


_OURS: Final = ("template.", "_meta.", "index_patterns", "composed_of")
"""Parts of a template in which something beyond ours is a change; elsewhere the server adds dates and defaults."""


def _changed(there: Json, wanted: Json) -> list[str]:
    """Names of what is not as wanted."""
    mine, theirs = flat(wanted), flat(there)
    names = {name for name, value in mine.items() if theirs.get(name) != value}
    return sorted(names | {name for name in theirs.keys() - mine.keys() if name.startswith(_OURS)})


def _whose(there: Json) -> str:
    stamp = there.get("_meta", {}).get("revet", {}).get("fields")
    return "differs" if stamp in (fields_hash("full"), fields_hash("reduced")) else "is of another field table"


def _same_role(there: Json, wanted: Json) -> bool:
    """Roles come back with defaults filled in."""
    if sorted(there.get("cluster", [])) != sorted(wanted["cluster"]) or len(there["indices"]) != len(wanted["indices"]):
        return False
    return all(
        sorted(a["names"]) == sorted(b["names"])
        and sorted(a["privileges"]) == sorted(b["privileges"])
        and _query(a) == _query(b)
        for a, b in zip(there["indices"], wanted["indices"], strict=True)
    )


def _query(indices: Json) -> object:
    query = indices.get("query")
    return msgspec.json.decode(query) if isinstance(query, str) else query


def _differences(wanted: Json, there: Json) -> tuple[list[str], list[str]]:
    """Fields that are missing, and fields with another type or parameter. What is there beyond is left alone."""
    mine, theirs = flat(wanted.get("properties", {})), flat(there.get("properties", {}))
    missing: list[str] = []
    other: list[str] = []
    known = {name.rpartition(".")[0] for name in theirs}
    for name, value in mine.items():
        if theirs.get(name) != value:
            (other if name.rpartition(".")[0] in known else missing).append(_field(name))
    return list(dict.fromkeys(missing)), list(dict.fromkeys(other))


def _field(path: str) -> str:
    """`event.properties.code.type` -> `event.code`."""
    return path.rpartition(".")[0].replace(".properties.", ".").replace(".fields.", ".")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
