"""SLSA provenance v0.2 and v1, read into one form. Nothing is judged here.

    found = predicate.view(read_provenance)
    found.builder, found.sources[0].uri, found.parameters

What the producer cannot forge is the builder id (it is tied to the key or certificate that signed); everything else is
the builder's word. v0.2: slsa.dev/provenance/v0.2; v1: slsa.dev/spec/v1.0/provenance, drafts of it included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from verifier.content.document import Predicate, document
from verifier.content.outcome import Mismatch, typed
from verifier.evidence.content import excerpt

MAX_DEPENDENCIES: Final = 20_000
"""Materials or resolved dependencies of one provenance; a build that fills a package cache has some thousand."""


class Source(NamedTuple):
    """A source as the parameters of the build name it."""

    uri: str
    """Without `git+`, without `.git`, without reference."""
    ref: str


class Resource(msgspec.Struct, frozen=True):
    """A resource descriptor: materials of v0.2, dependencies of v1."""

    uri: str | None = None
    digest: dict[str, object] | None = None


class Provenance(NamedTuple):
    """What both versions say."""

    builder: str
    build_type: str
    parameters: Mapping[str, Any]
    """External parameters."""
    sources: tuple[Source, ...]
    finished: str | None
    origins: tuple[Resource, ...]
    """Digests of what was built: `configSource` of v0.2, and descriptors inside the source parameters of v1."""
    dependencies: tuple[Resource, ...]
    run: str = ""
    """Id of the run that built it, as the builder numbers them; empty when it says none."""


class _Builder(msgspec.Struct, frozen=True):
    id: str


class _ConfigSource(msgspec.Struct, frozen=True):
    uri: str | None = None
    digest: dict[str, object] | None = None


class _Invocation(msgspec.Struct, frozen=True):
    config_source: _ConfigSource | None = msgspec.field(name="configSource", default=None)
    parameters: object = None


class _Metadata02(msgspec.Struct, frozen=True):
    run: object = msgspec.field(name="buildInvocationID", default=None)
    finished: str | None = msgspec.field(name="buildFinishedOn", default=None)
    started: str | None = msgspec.field(name="buildStartedOn", default=None)


class _Slsa02(msgspec.Struct, frozen=True):
    builder: _Builder
    build_type: str = msgspec.field(name="buildType")
    invocation: _Invocation | None = None
    metadata: _Metadata02 | None = None
    materials: tuple[Resource | None, ...] | None = None


class _Definition(msgspec.Struct, frozen=True):
    build_type: str = msgspec.field(name="buildType")
    parameters: dict[str, object] | None = msgspec.field(name="externalParameters", default=None)
    dependencies: tuple[Resource | None, ...] | None = msgspec.field(name="resolvedDependencies", default=None)


class _Metadata1(msgspec.Struct, frozen=True):
    run: object = msgspec.field(name="invocationId", default=None)
    finished: str | None = msgspec.field(name="finishedOn", default=None)
    started: str | None = msgspec.field(name="startedOn", default=None)


class _Run(msgspec.Struct, frozen=True):
    builder: _Builder
    metadata: _Metadata1 | None = None


class _Slsa1(msgspec.Struct, frozen=True):
    definition: _Definition = msgspec.field(name="buildDefinition")
    run: _Run = msgspec.field(name="runDetails")


SOURCE_PARAMETERS: Final = ("workflow", "source", "configSource", "buildConfigSource", "sourceToBuild")
"""External parameters under which builders of v1 name their source: GitHub Actions, the container builder, BuildKit,
and Google Cloud Build."""

_URI_MEMBERS: Final = ("repository", "uri")


def read_provenance(predicate: Predicate) -> Provenance:
    """The provenance in a predicate, by its shape: v1 has `buildDefinition`, v0.2 has `builder`.

    Raises:
        Mismatch: neither, a member of another type, or too many dependencies.
    """
    value = document(predicate)
    if not isinstance(value, dict):
        raise Mismatch(f"an SLSA provenance is an object, found {excerpt(type(value).__name__)}")
    if "buildDefinition" in value:
        return _from_v1(typed(value, _Slsa1, "an SLSA provenance v1"))
    return _from_v02(typed(value, _Slsa02, "an SLSA provenance v0.2 or v1"))


def split_source(uri: str) -> Source:
    """A source URI in the forms that builders write: `git+https://host/a@refs/heads/main`, `https://host/a.git#main`."""
    bare, hash_sign, fragment = uri.removeprefix("git+").partition("#")
    ref = fragment.partition(":")[0] if hash_sign else ""
    path = bare.find("/", bare.find("://") + 3) if "://" in bare else 0
    at = bare.rfind("@refs/")
    at = bare.rfind("@") if at < 0 else at
    if at > path >= 0:
        bare, ref = bare[:at], ref or bare[at + 1 :]
    return Source(bare.rstrip("/").removesuffix(".git"), ref)


def _from_v02(found: _Slsa02) -> Provenance:
    invocation = found.invocation or _Invocation()
    origin = invocation.config_source
    metadata = found.metadata or _Metadata02()
    return Provenance(
        builder=found.builder.id,
        build_type=found.build_type,
        parameters=invocation.parameters if isinstance(invocation.parameters, dict) else {},
        sources=(split_source(origin.uri),) if origin and origin.uri else (),
        finished=metadata.finished or metadata.started,
        origins=(Resource(origin.uri, origin.digest),) if origin else (),
        dependencies=_dependencies(found.materials),
        run=metadata.run if isinstance(metadata.run, str) else "",
    )


def _from_v1(found: _Slsa1) -> Provenance:
    parameters = found.definition.parameters or {}
    metadata = found.run.metadata or _Metadata1()
    named = [value for name in SOURCE_PARAMETERS if (value := parameters.get(name)) is not None]
    return Provenance(
        builder=found.run.builder.id,
        build_type=found.definition.build_type,
        parameters=parameters,
        sources=tuple(source for value in named for source in _sources(value)),
        finished=metadata.finished or metadata.started,
        origins=tuple(_origins(named)),
        dependencies=_dependencies(found.definition.dependencies),
        run=metadata.run if isinstance(metadata.run, str) else "",
    )


def _sources(value: object) -> Iterator[Source]:
    """The source one parameter names: a URI, or an object with `repository` or `uri`, and perhaps `ref`."""
    if isinstance(value, str):
        yield split_source(value)
    elif isinstance(value, dict):
        for member in _URI_MEMBERS:
            uri = value.get(member)
            if isinstance(uri, str) and uri:
                source = split_source(uri)
                ref = value.get("ref")
                yield source._replace(ref=ref) if isinstance(ref, str) and ref else source


def _origins(named: list[object]) -> Iterator[Resource]:
    for value in named:
        if isinstance(value, dict) and isinstance(value.get("digest"), dict):
            yield Resource(None, value["digest"])


def _dependencies(found: tuple[Resource | None, ...] | None) -> tuple[Resource, ...]:
    if found and len(found) > MAX_DEPENDENCIES:
        raise Mismatch(f"{len(found)} dependencies, limit {MAX_DEPENDENCIES}")
    return tuple(resource for resource in found or () if resource is not None)
