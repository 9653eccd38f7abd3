"""What Elasticsearch is told about the record: names, mappings, templates. Made from the field table. Pure.

    names = Names("default")
    names.target("containers")               "revet-state-containers-default", the alias that is written and read
    names.target("revet.admission")          "logs-revet.admission-default", a data stream
    for piece in templates(names, Shape()):  PUT piece.path with piece.body, in this order

History is kept in data streams, current state in plain indices behind a write alias. Both take their mapping from the
table: what is not in it is refused (state) or kept unsearchable (history), never guessed. Short names become fields of
type `alias`, so that a query moves between the terminal and Kibana.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, Literal

import msgspec

from streams.sinks.fields import (
    CURRENT,
    ECS_VERSION,
    FIELDS,
    HISTORY,
    HOMES,
    TERMINAL_ONLY,
    Field,
    FieldType,
    home_of,
    is_current,
)
from verifier.canonical import canonical_json
from verifier.errors import InputError

__all__ = [
    "CURRENT",
    "FIELDS",
    "HISTORY",
    "HOMES",
    "MAPPING_VERSION",
    "Names",
    "Piece",
    "Profile",
    "Shape",
    "fields_hash",
    "mappings",
    "record_id",
    "state_index",
    "switch_alias",
    "templates",
]

Profile = Literal["full", "reduced"]
"""`full`: every field type of the default distribution. `reduced`: those of a bare server, nothing else."""

Json = dict[str, Any]  # Any: a tree of JSON

MAPPING_VERSION: Final = 5
"""Grows by one with every change of the rendered mappings; a test holds version and hash together. A writer of version
N works on mappings of N or newer, and refuses older ones."""

PRIORITY: Final = 300
"""Of the index templates. Elasticsearch's own `logs-*-*` has 100, and Fleet packages have 200."""

CUSTOM: Final = "revet@custom"
"""Component template of the operator, applied over our settings where it exists: shards, tiers, sorting, codec."""

IGNORE_ABOVE: Final = 8192
"""UTF-16 units of a keyword that is indexed: everything a document may hold (`document.MAX_TEXT` characters of two
units), and at three bytes each still below the 32,766 bytes that Lucene takes."""

FLATTENED_ABOVE: Final = 4096
"""The same for members of maps, whose key is part of the term."""

SPARE_FIELDS: Final = 20
"""Room above the fields of the table, for `revet@custom`. Beyond it documents are refused, so growth is noticed."""

REPEATED: Final = frozenset({"revet.namespace"})
"""Datasets that say again what is so, and whose newest word stays as state. Kept for a shorter time."""

KEPT: Final = frozenset({"revet.trust"})
"""Datasets that are never deleted: every answer about the past starts from the whole trust log, and it is small."""

RAW: Final = "raw"
"""Sub-field of dates (but `@timestamp`) and texts: the value as it is written, so that both stores answer alike. Texts
of instants sort as times, to the microsecond and up to the year 9999; a date has milliseconds, date_nanos ends in
2262."""

MAX_ID: Final = 512
"""Bytes of an `_id` that Elasticsearch takes."""

_NAMESPACE: Final = re.compile(r"[a-z0-9][a-z0-9._]{0,99}")


class Names:
    """What things are called in one namespace. Pure text; nothing is looked up."""

    def __init__(self, namespace: str = "default") -> None:
        """Take a namespace.

        Raises:
            InputError: not a namespace of data streams (no hyphen, lower case): it would make names ambiguous.
        """
        if not _NAMESPACE.fullmatch(namespace):
            raise InputError(
                f"elasticsearch.namespace: {namespace[:80]!a} is none; lower-case letters, digits, `_` and `.`, at "
                "most 100, no hyphen; example: default"
            )
        self.namespace = namespace

    def target(self, home: str) -> str:
        """The data stream of a dataset, or the alias of a state index; `home` is its short or its full name.

        Raises:
            InputError: there is none of that name.
        """
        full = home_of(home)
        return f"{full if is_current(full) else f'logs-{full}'}-{self.namespace}"

    def home(self, index: str) -> str:
        """The home a document was found in, from the name of the index, backing index, data stream or alias.

        Raises:
            InputError: not one of ours.
        """
        found = _OF_INDEX.search(index)
        if found is None or (home := found["home"]) not in HOMES.values():
            raise InputError(f"{index[:120]!a} is no index of revet")
        return home

    @property
    def all_history(self) -> str:
        """A pattern over every data stream."""
        return f"logs-revet.*-{self.namespace}"

    @property
    def all_state(self) -> str:
        """A pattern over every state index."""
        return f"revet-state-*-{self.namespace}-v*"

    def index(self, home: str, version: int = 1) -> str:
        """One concrete state index: `revet-state-containers-default-v1`."""
        return f"{self.target(home)}-v{version}"

    def version(self, index: str) -> int:
        """The number behind `-v` of a concrete state index; 0 when it has none."""
        tail = index.rpartition("-v")[2]
        return int(tail) if tail.isascii() and tail.isdigit() else 0


_OF_INDEX: Final = re.compile(
    r"^(?:\.ds-|\.fs-)?(?:logs-)?(?P<home>revet\.[a-z]+|revet-state-[a-z]+)-[a-z0-9_.]+"
    r"(?:-v\d+|-\d{4}\.\d{2}\.\d{2}-\d+)?$"
)


class Shape(msgspec.Struct, frozen=True):
    """What one cluster gets: what it can, and what the settings say."""

    profile: Profile = "reduced"
    failure_store: bool = False
    """Park documents that do not fit instead of refusing them. Applies to data streams made from now on."""
    lifecycle: bool = True
    """Write retention into the templates. A server without the service keeps everything."""
    replicas: int = 1
    retention_days: int = 400
    repeated_days: int = 90


class Piece(msgspec.Struct, frozen=True):
    """One thing to install."""

    kind: Literal["component", "template"]
    name: str
    body: Json

    @property
    def path(self) -> str:
        """Where it is PUT, and GET from."""
        return f"/_{'component' if self.kind == 'component' else 'index'}_template/{self.name}"


# ------------------------------------------------------------------------------------------------------------ mappings


def mappings(home: str, profile: Profile, namespace: str = "default") -> Json:
    """The mapping of a dataset or state index.

    Raises:
        InputError: no such home.
    """
    return _mapping(home_of(home), profile, namespace) | {"_meta": meta(profile)}


def _mapping(home: str, profile: Profile, namespace: str) -> Json:
    short = next(name for name, value in HOMES.items() if value == home)
    tree: Json = {}
    for row in FIELDS.values():
        if short in row.homes:
            _put(tree, row.name, _typed(row, profile))
            for alias in row.short:
                if alias not in TERMINAL_ONLY:
                    _put(tree, alias, {"type": "alias", "path": row.name})
    if not is_current(home):
        for name, typed in _stream_fields(home, profile, namespace).items():
            _put(tree, f"data_stream.{name}", typed)
    return {"dynamic": "strict" if is_current(home) else False, "date_detection": False, "properties": tree}


def _typed(row: Field, profile: Profile) -> Json:
    if row.name == "@timestamp":
        return {"type": "date_nanos"}  # documents keep it within its range
    if row.type == "date":
        return {"type": "date", "fields": {RAW: _TYPES["keyword"]}}
    if row.type == "text":
        full = profile == "full"
        raw = {"type": "wildcard", "ignore_above": IGNORE_ABOVE} if full else _TYPES["keyword"]
        return {"type": "match_only_text" if full else "text", "fields": {RAW: raw}}
    return dict(_TYPES[row.type])


_TYPES: Final[Mapping[FieldType, Json]] = {
    "keyword": {"type": "keyword", "ignore_above": IGNORE_ABOVE},
    "long": {"type": "long"},
    "boolean": {"type": "boolean"},
    "ip": {"type": "ip"},
    "flattened": {"type": "flattened", "ignore_above": FLATTENED_ABOVE},
    "object": {"type": "object", "enabled": False},
    "unindexed": {"type": "keyword", "index": False, "doc_values": False},
}


def _stream_fields(home: str, profile: Profile, namespace: str) -> Json:
    """What Kibana and Fleet filter data streams by; documents do not carry it, the mapping does."""
    if profile == "reduced":
        return {"dataset": {"type": "alias", "path": "event.dataset"}}
    values = {"type": "logs", "dataset": home, "namespace": namespace}
    return {name: {"type": "constant_keyword", "value": value} for name, value in values.items()}


def _put(tree: Json, name: str, typed: Json) -> None:
    """Place a dotted name into a tree of properties."""
    *above, leaf = name.split(".")
    for part in above:
        tree = tree.setdefault(part, {"properties": {}})["properties"]
    tree[leaf] = typed


def field_count(properties: Json) -> int:
    """As Elasticsearch counts against `total_fields.limit`: fields, sub-fields, objects and aliases."""
    return sum(1 + field_count(field.get("properties", field.get("fields", {}))) for field in properties.values())


@cache
def fields_hash(profile: Profile) -> str:
    """Hash over every mapping of a profile, as rendered for one namespace; 16 hex digits."""
    rendered = {home: _mapping(home, profile, "default") for home in HOMES.values()}
    return hashlib.sha256(canonical_json([ECS_VERSION, rendered])).hexdigest()[:16]


def meta(profile: Profile) -> Json:
    """What every piece and every index says of itself."""
    return {"revet": {"mapping": MAPPING_VERSION, "fields": fields_hash(profile), "profile": profile}}


# ----------------------------------------------------------------------------------------------------------- templates


def templates(names: Names, shape: Shape) -> Iterator[Piece]:
    """Everything to install; the component template comes before what is composed of it."""
    shared = f"revet-settings-{names.namespace}"
    yield Piece("component", shared, {"template": {"settings": shared_settings(shape)}, "_meta": meta(shape.profile)})
    for home in HOMES.values():
        yield Piece("template", names.target(home), _template(home, names, shape, [shared, CUSTOM]))


def shared_settings(shape: Shape) -> Json:
    """Settings of every index of ours."""
    return {
        "index": {
            "number_of_shards": 1,
            "number_of_replicas": shape.replicas,
            "refresh_interval": "1s",  # said, so that an index nobody searches stays fresh too
            "mode": "standard",  # logsdb would sort by host and rebuild `_source`; evidence is kept as it was written
        }
    }


def _template(home: str, names: Names, shape: Shape, composed: list[str]) -> Json:
    target = names.target(home)
    made = mappings(home, shape.profile, names.namespace)
    limit = field_count(made["properties"]) + SPARE_FIELDS
    template: Json = {"settings": {"index": {"mapping": {"total_fields": {"limit": limit}}}}, "mappings": made}
    body: Json = {
        "index_patterns": [f"{target}-v*" if is_current(home) else target],
        "priority": PRIORITY,
        "composed_of": composed,
        "ignore_missing_component_templates": [CUSTOM],
        "template": template,
        "_meta": meta(shape.profile),
    }
    if is_current(home):
        return body
    if shape.lifecycle:
        days = shape.repeated_days if home in REPEATED else shape.retention_days
        template["lifecycle"] = {"enabled": True} | ({} if home in KEPT else {"data_retention": f"{days}d"})
    if shape.failure_store:
        template["data_stream_options"] = {"failure_store": {"enabled": True}}
    return body | {"data_stream": {"hidden": False}, "allow_auto_create": True}


# ---------------------------------------------------------------------------------------------------------- documents


def record_id(document_id: str) -> str:
    """The `_id` of a document: its own id, or a hash where that is longer than Elasticsearch takes."""
    data = document_id.encode()
    if len(data) <= MAX_ID:
        return document_id
    return "sha256:" + hashlib.sha256(data).hexdigest()


# -------------------------------------------------------------------------------------------------------------- aliases


def state_index(names: Names, home: str) -> Json:
    """Body that makes the first index of a state with its write alias; PUT `names.index(home)`."""
    return {"aliases": {names.target(home): {"is_write_index": True}}}


def switch_alias(alias: str, old: str, new: str) -> Json:
    """Body for POST `_aliases`: reads and writes go to `new` from one instant on."""
    return {
        "actions": [
            {"remove": {"index": old, "alias": alias}},
            {"add": {"index": new, "alias": alias, "is_write_index": True}},
        ]
    }
