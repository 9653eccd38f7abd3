"""Where evidence is looked for, and where it is kept: from what options and settings say to something to ask.

async with opened(source_of(settings.evidence)) as place: …
with open_store(settings.evidence.store, registry_options(settings.evidence)) as store: …
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from streams.settings import EvidenceSettings
from verifier.adapters.combined import CombinedPlace
from verifier.adapters.directory import DirectoryEvidenceStore
from verifier.adapters.lookaside import LookasidePlace
from verifier.adapters.oci_store import OciEvidenceStore
from verifier.adapters.ocilayout import OciLayoutPlace
from verifier.adapters.registry import RegistryOptions, RegistryPlace
from verifier.adapters.sqlite import opened_evidence_file
from verifier.adapters.trustdata_dir import TrustDataPlace
from verifier.errors import ImageReferenceError, InputError, PlaceError
from verifier.oci.addresses import Reach
from verifier.oci.pacing import parse_quota
from verifier.oci.port import EvidencePlace, EvidenceStore
from verifier.reference import parse_reference

LAYOUT: Final = "oci-layout:"
LOOKASIDE: Final = "lookaside:"
TRUST_DATA: Final = "trust-data:"
REGISTRY: Final = "registry"

SQLITE: Final = "sqlite:"
DIRECTORY: Final = "directory:"
OCI: Final = "oci:"


# ------------------------------------------------------------------------------------------------------------- places


class EvidenceSource(msgspec.Struct, frozen=True):
    """Where evidence is looked for. Holds no secret."""

    layout: Path | None = None
    """Directory of an OCI image layout; None: registries over HTTP."""
    lookaside: tuple[Path, ...] = ()
    """Folders of OpenPGP signatures, as podman and skopeo write them, asked beside it."""
    trust_data: tuple[Path, ...] = ()
    """Folders of Docker Content Trust metadata, asked beside it."""
    registry: RegistryOptions = RegistryOptions()
    platform: str | None = None
    """`os/arch[/variant]`: of a multi-platform image, the child that is looked at too."""

    def asking(self, images: Iterable[str]) -> EvidenceSource:
        """The same, which may also ask the registries of images that a person named, wherever they are."""
        hosts = []
        for image in images:
            with suppress(ImageReferenceError):  # said where it is looked up
                hosts.append(parse_reference(image).registry)
        reach = self.registry.reach.with_hosts(tuple(hosts))
        return msgspec.structs.replace(self, registry=msgspec.structs.replace(self.registry, reach=reach))


def source_of(settings: EvidenceSettings) -> EvidenceSource:
    """The source that settings name; nothing is opened yet.

    Raises:
        InputError: `evidence.source` names no place, or a place without a folder.
    """
    main, *beside = (part.strip() for part in settings.source.split(","))
    lookaside = tuple(_folder(place, LOOKASIDE) for place in beside if place.startswith(LOOKASIDE))
    trust_data = tuple(_folder(place, TRUST_DATA) for place in beside if place.startswith(TRUST_DATA))
    if len(lookaside) + len(trust_data) != len(beside) or not (main == REGISTRY or main.startswith(LAYOUT)):
        expected = "expected registry or oci-layout:DIR first; lookaside:DIR and trust-data:DIR stand beside it"
        raise InputError(f"evidence.source: {expected}, got {settings.source!a}")
    layout = _folder(main, LAYOUT) if main != REGISTRY else None
    return EvidenceSource(layout, lookaside, trust_data, registry_options(settings), settings.platform)


def registry_options(settings: EvidenceSettings) -> RegistryOptions:
    """How registries are spoken to. Raises nothing; files are read when they are used."""
    docker_config = settings.docker_config
    if docker_config is not None and docker_config.is_dir():
        docker_config = docker_config / "config.json"
    return RegistryOptions(
        docker_config=docker_config,
        ca_file=settings.ca_file,
        plain_http=frozenset({"*"} if settings.plain_http else ()),
        mirrors=dict(settings.mirrors),
        reach=Reach(settings.hosts, settings.other_hosts),
        per_host=settings.at_once,
        per_second=settings.per_second,
        budgets={registry: parse_quota(quota) for registry, quota in settings.budgets.items()},
    )


@asynccontextmanager
async def opened(
    source: EvidenceSource, registries: Callable[[RegistryPlace], None] | None = None
) -> AsyncIterator[EvidencePlace]:
    """The place, closed at the end; one event loop for all of it.

    Args:
        source: where.
        registries: is given what asks registries, where registries are asked: to lend it credentials, to share budgets.

    Raises:
        PlaceRefused: the directory is no OCI layout, or the Docker configuration cannot be read.
        InputError: a mirror is no origin, or the CA file cannot be read.
    """
    beside: list[EvidencePlace] = [*map(LookasidePlace, source.lookaside), *map(TrustDataPlace, source.trust_data)]
    if source.layout is not None:
        layout = OciLayoutPlace(source.layout)
        yield CombinedPlace(layout, beside) if beside else layout
        return
    async with RegistryPlace(source.registry) as place:
        if registries is not None:
            registries(place)
        yield CombinedPlace(place, beside) if beside else place


# ------------------------------------------------------------------------------------------------------------- stores


@contextmanager
def open_store(named: str, options: RegistryOptions | None = None) -> Iterator[EvidenceStore]:
    """The evidence store of `evidence.store`, for several threads of a process, closed at the end. Made when missing.

    Args:
        named: `sqlite:PATH`, `directory:PATH` or `oci:REGISTRY/REPOSITORY`.
        options: how its registry is spoken to.

    Raises:
        InputError: it names no store.
        PlaceUnavailable, PlaceRefused: it cannot be opened, or not written to; says what to do.
    """
    if named.startswith(SQLITE):
        with ExitStack() as stack:
            with _told(named):
                file = stack.enter_context(opened_evidence_file(_folder(named, SQLITE, "evidence.store")))
            yield file
    elif named.startswith(DIRECTORY):
        store = DirectoryEvidenceStore(_folder(named, DIRECTORY, "evidence.store"))
        with _told(named):
            store.check()
        yield store
    elif named.startswith(OCI):
        with OciEvidenceStore(named.removeprefix(OCI), options) as registry:
            with _told(named):
                registry.check()
            yield registry
    else:
        expected = f"expected {SQLITE}PATH, {DIRECTORY}PATH or {OCI}REGISTRY/REPOSITORY"
        example = f"example: {DIRECTORY}/var/lib/revet/evidence"
        got = f"got {named!a}" if named else "none is named"
        raise InputError(f"evidence.store: {expected}, {got}; {example}")


def shared_by_processes(named: str) -> bool:
    """May several fetchers, on several machines, use this store? A SQLite file serves one machine."""
    return not named.startswith(SQLITE)


@contextmanager
def _told(named: str) -> Iterator[None]:
    """The name of the setting before what is wrong with what it names."""
    try:
        yield
    except PlaceError as error:
        error.args = (f"evidence.store {named[:200]}: {error}; {_TODO.get(error.code, _READ_ON)}",)
        raise


_READ_ON: Final = "is the path right, is there room, and may revet write there?"
_TODO: Final = {
    "registry-unauthorized": "give evidence.docker_config an account that may push to it",
    "registry-not-found": "repositories below it have to come into being by the first push, and the account may push",
    "registry-unavailable": "is it up, is the path right, and may revet write there?",
    "registry-rate-limited": "wait, or ask whoever runs it for a higher limit",
}


def _folder(text: str, prefix: str, setting: str = "evidence.source") -> Path:
    """The folder behind a prefix; `~` is written out, which no shell does in the middle of a word."""
    name = text.removeprefix(prefix)
    if not name:
        raise InputError(f"{setting}: {text} names no folder or file: {prefix}PATH")
    return Path(os.path.expanduser(name))  # noqa: PTH111 - pathlib raises where there is no such user
