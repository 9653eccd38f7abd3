"""Every container of Kubernetes manifests, each with what a policy can see of it.

    found = read_manifests(["deploy/"], ManifestDefaults(namespace="shop"))
    found.containers[0]    ManifestContainer(image="registry.example.com/shop/web:1.4.2", namespace="shop", …)
    found.without          ("ConfigMap/web-settings", …)

Only the members that name images and their scope are looked at; environment, arguments and secrets are never turned
into values. A member that stands twice is refused where it matters: what is judged here and what a cluster would take
must be the same. Merge keys (`<<`) and aliases are followed, as the tools of Kubernetes do.

It renders nothing: templates of Helm and bases of Kustomize are for their own tools, whose output is read from `-`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import yaml

from streams.cli.common import encodable, read_text
from streams.collectors.owners import stable_labels
from streams.events import ContainerKind
from verifier.errors import InputError

SUFFIXES: Final = (".yaml", ".yml", ".json")
"""Files of a directory that are read. A file that is named by itself is read whatever its name."""

MAX_CHARACTERS: Final = 16 * 1024 * 1024
"""Characters of one file. Bundles of custom resource definitions have one or two million."""

MAX_FILES: Final = 10_000
"""Files of one directory."""

MAX_NESTING: Final = 200
"""Levels of one file: schemas in custom resource definitions reach some fifty, and parsers recurse."""

MAX_LISTS: Final = 4
"""Lists within lists. One is usual; aliases could make it a bomb."""

MAX_CONTAINERS: Final = 50_000
"""Containers of one run."""

TEMPLATES: Final[dict[str, tuple[str, ...]]] = {
    "Pod": (),
    "PodTemplate": ("template",),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
"""Kind -> where its pod template stands. Other kinds (an Argo Rollout, a Knative Service) are looked at in the usual
places, and taken when there are containers."""

_USUAL: Final = (TEMPLATES["Deployment"], TEMPLATES["CronJob"])
_GROUPS: Final[tuple[tuple[str, ContainerKind], ...]] = (
    ("initContainers", "init"),
    ("containers", "main"),
    ("ephemeralContainers", "ephemeral"),
)
_LOADER: Final[type[yaml.SafeLoader | yaml.CSafeLoader]] = (
    yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
)
_SURROGATES: Final = re.compile(r"\\\\|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
"""An escaped backslash, or a character beyond 16 bits as JSON escapes it: the one escape that YAML does not have."""

_NULL: Final = "tag:yaml.org,2002:null"
_MERGE: Final = "tag:yaml.org,2002:merge"


class ManifestDefaults(NamedTuple):
    """What holds where a manifest says nothing."""

    namespace: str = ""
    service_account: str = ""
    """Empty: `default`, which the API server fills in."""
    labels: tuple[tuple[str, str], ...] = ()
    """Labels of the pod; those of its own template win."""


class ManifestContainer(msgspec.Struct, frozen=True):
    """One container, as written. All text comes from the manifest: escape it before it reaches a terminal."""

    source: str
    """`file:line` of the image."""
    object_kind: str
    object_name: str
    namespace: str
    service_account: str
    labels: tuple[tuple[str, str], ...]
    """Of the pod template, sorted, without those that differ per pod or per rollout."""
    kind: ContainerKind
    name: str
    image: str
    """Empty when none is written."""

    @property
    def where(self) -> str:
        """`shop/Deployment/web: app`, for people."""
        owner = f"{self.namespace}/" if self.namespace else ""
        kind = "" if self.kind == "main" else f" ({self.kind})"
        return f"{owner}{self.object_kind}/{self.object_name}: {self.name}{kind}"


class Manifests(NamedTuple):
    """All containers in the order they stand, and the objects in which none was found (`Kind/name`)."""

    containers: tuple[ManifestContainer, ...]
    without: tuple[str, ...]


def read_manifests(names: Iterable[str], defaults: ManifestDefaults | None = None) -> Manifests:
    """The containers of files, directories (every .yaml, .yml and .json below, in order of name) and `-`.

    Raises:
        InputError: a file cannot be read, is no YAML or JSON, has a known kind in another shape, or exceeds a limit.
    """
    containers: list[ManifestContainer] = []
    without: list[str] = []
    for file in (file for name in names for file in manifest_files(name)):
        reader = _Reader(file, defaults or ManifestDefaults())
        for found in reader.objects(read_text(file)):
            containers += found.containers
            if not found.containers:
                without.append(found.name)
            if len(containers) > MAX_CONTAINERS:
                raise InputError(f"{file}: more than {MAX_CONTAINERS} containers; give fewer files at a time")
    return Manifests(tuple(containers), tuple(without))


def manifest_files(name: str, suffixes: Sequence[str] = SUFFIXES) -> list[str]:
    """The files a name stands for: itself, or what lies below a directory, hidden folders left out, no link followed.

    Raises:
        InputError: the directory holds too many files, or cannot be read.
    """
    if name == "-" or not Path(name).is_dir():
        return [name]
    found: list[str] = []
    for folder, folders, files in os.walk(name, onerror=_unreadable):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        found += [str(Path(folder) / f) for f in sorted(files) if f.endswith(tuple(suffixes)) and not f.startswith(".")]
        if len(found) > MAX_FILES:
            raise InputError(f"{name}: more than {MAX_FILES} files; give a smaller directory")
    return found


def _unreadable(error: OSError) -> None:
    raise InputError(f"{error.filename}: {error.strerror or error}") from error


class _Found(NamedTuple):
    """One object: its name for people, its containers."""

    name: str
    containers: tuple[ManifestContainer, ...]


class _Reader:
    """The nodes of one file, turned into values only where they are asked for."""

    def __init__(self, file: str, defaults: ManifestDefaults) -> None:
        self._file = "(standard input)" if file == "-" else encodable(file)
        self._defaults = defaults
        self._members: dict[int, dict[str, yaml.Node]] = {}
        """id of a mapping -> its members; the nodes live as long as their document is read."""

    # ------------------------------------------------------------------------------------------------------- objects

    def objects(self, text: str) -> Iterator[_Found]:
        """Every object of a text, those of lists included.

        Raises:
            InputError: as `read_manifests`.
        """
        try:
            for document in self._compose(text):
                yield from self._objects(document, "", 0)
                self._members.clear()
        except RecursionError as error:
            raise InputError(f"{self._file}: merge keys refer to each other too often") from error

    def _objects(self, node: yaml.Node, kind: str, lists: int) -> Iterator[_Found]:
        """`kind`: of the items of a typed list, which do not repeat it."""
        if lists > MAX_LISTS:
            raise self._wrong(node, f"lists in lists deeper than {MAX_LISTS} levels")
        if isinstance(node, yaml.SequenceNode):
            for item in self._list(node):
                yield from self._objects(item, kind, lists + 1)
            return
        if _is_null(node) or not isinstance(node, yaml.MappingNode):
            return
        members = self.members(node)
        named = self.text(members.get("kind")) or kind
        if "items" in members and named.endswith("List"):
            for item in self._list(members["items"]):
                yield from self._objects(item, named.removesuffix("List"), lists + 1)
            return
        yield self._object(node, named)

    def _object(self, node: yaml.Node, kind: str) -> _Found:
        metadata = self.members(self.members(node).get("metadata"))
        name = self.text(metadata.get("name")) or self.text(metadata.get("generateName")) or "(no name)"
        template = self._template(node, kind)
        if template is None:
            return _Found(f"{kind or '(no kind)'}/{name}", ())
        labels = dict(self._defaults.labels) | self._labels(self.member(template, "metadata", "labels"))
        spec = self.members(self.member(template, "spec"))
        account = self.text(spec.get("serviceAccountName")) or self.text(spec.get("serviceAccount"))
        found = tuple(
            ManifestContainer(
                source=f"{self._file}:{place.start_mark.line + 1}",
                object_kind=kind,
                object_name=name,
                namespace=self.text(metadata.get("namespace")) or self._defaults.namespace,
                service_account=account or self._defaults.service_account or "default",
                labels=stable_labels(labels),
                kind=container_kind,
                name=container,
                image=image,
            )
            for container_kind, container, image, place in self._containers(spec)
        )
        return _Found(f"{kind}/{name}", found)

    def _template(self, node: yaml.Node, kind: str) -> yaml.Node | None:
        path = TEMPLATES.get(kind)
        if path is not None:
            return self.member(node, *path)
        for usual in _USUAL:
            try:
                template = self.member(node, *usual)
                containers = self.member(template, "spec", "containers")
            except InputError:  # another kind's members mean what they like
                continue
            if isinstance(containers, yaml.SequenceNode):
                return template
        return None

    def _containers(self, spec: dict[str, yaml.Node]) -> Iterator[tuple[ContainerKind, str, str, yaml.Node]]:
        for group, kind in _GROUPS:
            for node in self._list(spec.get(group)):
                entry = self.members(node)
                sidecar = kind == "init" and self.text(entry.get("restartPolicy")) == "Always"
                image = entry.get("image", node)
                name, text = self.text(entry.get("name")), self.text(entry.get("image"))
                yield "sidecar" if sidecar else kind, name, text, image
        for node in self._list(spec.get("volumes")):
            source = self.member(node, "image")
            if source is not None and not _is_null(source):
                reference = self.members(source).get("reference")
                name = self.text(self.members(node).get("name"))
                yield "image-volume", name, self.text(reference), reference or source

    def _labels(self, node: yaml.Node | None) -> dict[str, str]:
        return {name: self.text(value) for name, value in self.members(node).items()}

    # --------------------------------------------------------------------------------------------------------- nodes

    def member(self, node: yaml.Node | None, *path: str) -> yaml.Node | None:
        """What stands at a path below a mapping; None when a part of it is not there."""
        for name in path:
            if node is None:
                return None
            node = self.members(node).get(name)
        return node

    def members(self, node: yaml.Node | None) -> dict[str, yaml.Node]:
        """The members of a mapping, merge keys followed; none when it is not there.

        Raises:
            InputError: it is something else, or a member stands in it twice.
        """
        if node is None or _is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise self._wrong(node, "expected members with values")
        known = self._members.get(id(node))
        if known is not None:
            return known
        self._members[id(node)] = {}  # a mapping that merges itself gets nothing from it
        own: dict[str, yaml.Node] = {}
        merged: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for source in reversed(value.value if isinstance(value, yaml.SequenceNode) else [value]):
                    merged |= self.members(source)
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise self._wrong(key, "a member name is text; a template has to be rendered first")
            if key.value in own:
                raise self._wrong(key, f"the member {key.value[:80]!r} stands here twice")
            own[key.value] = value
        self._members[id(node)] = merged | own
        return self._members[id(node)]

    def _list(self, node: yaml.Node | None) -> list[yaml.Node]:
        if node is None or _is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise self._wrong(node, "expected a list")
        return list(node.value)

    def text(self, node: yaml.Node | None) -> str:
        """The text of a scalar as written; empty when it is not there."""
        if node is None or _is_null(node):
            return ""
        if not isinstance(node, yaml.ScalarNode):
            raise self._wrong(node, "expected text")
        return str(node.value)

    # ---------------------------------------------------------------------------------------------------------- text

    def _compose(self, text: str) -> Iterator[yaml.Node]:
        if text.lstrip()[:1] in ("{", "["):
            text = _SURROGATES.sub(_joined, text)
        if len(text) > MAX_CHARACTERS:
            raise InputError(f"{self._file}: {len(text)} characters; the limit is {MAX_CHARACTERS}")
        try:
            self._check_nesting(text)
            yield from yaml.compose_all(text, _LOADER)
        except yaml.YAMLError as error:
            raise self._broken(error) from error

    def _check_nesting(self, text: str) -> None:
        depth = 0
        for event in yaml.parse(text, _LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_NESTING:
                raise InputError(f"{self._file}: nested deeper than {MAX_NESTING} levels")

    def _broken(self, error: yaml.YAMLError) -> InputError:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed"
        return InputError(
            f"{self._file}{where}: not YAML or JSON: {problem}; a template has to be rendered first"
            " (helm template … | revet verify -f -)"
        )

    def _wrong(self, node: yaml.Node, message: str) -> InputError:
        return InputError(f"{self._file}:{node.start_mark.line + 1}:{node.start_mark.column + 1}: {message}")


def _joined(found: re.Match[str]) -> str:
    """A pair of surrogates as the character it stands for."""
    if not found[1]:
        return found[0]
    return bytes.fromhex(found[1] + found[2]).decode("utf-16-be")


def _is_null(node: yaml.Node) -> bool:
    return node.tag == _NULL
