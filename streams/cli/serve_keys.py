"""`revet serve keys`: keys that are kept elsewhere, watched; what changes there is written into the trust log."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import click

from streams.cli.changing import asked_by, carry_out, reading
from streams.cli.common import default_state, settings_option
from streams.cli.trustplace import Cluster, Place
from streams.collectors.keysources import KeyAccess, KeySource, source_of
from streams.serving.process import Process, run_process
from streams.settings import Settings
from verifier.canonical import canonical_json
from verifier.errors import InputError, RevetError
from verifier.trust.keysources import Followed, follow
from verifier.trust.records import TRUST_RECORD
from verifier.trust.state import TrustState


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet serve keys --settings /etc/revet/cluster.yaml\n"
    "  $ REVET_KEYS_SOURCES=corp=files:/etc/revet/keys revet serve keys --once",
)
@click.option("--once", is_flag=True, help="Look once and end: exit code 4 when a source could not be read.")
@settings_option
def command(once: bool, settings: Settings) -> int:
    """Watch keys that are kept elsewhere, and bring the ring to what is there.

    A key that is new is added, one that was replaced is rotated, one that is gone leaves the ring. What a source did
    not put there itself it leaves alone, and a source that cannot be read changes nothing. In a cluster changes are
    signed with `keys.sign_with`, and with `keys.proposals` laid into a folder for administrators instead of applied.
    Settings: `keys`, `kafka`, `state`, `serve`.
    """
    sources = sources_of(settings)
    return run_process("keys", settings, partial(watch, sources=sources, once=once))


def sources_of(settings: Settings) -> dict[str, KeySource]:
    """The sources of the settings.

    Raises:
        InputError: none is named, or one is no place.
    """
    keys = settings.keys
    if not keys.sources:
        raise InputError("keys.sources: none is named; example: corp: files:/etc/revet/keys")
    if settings.clustered and keys.sign_with is None:
        raise InputError("keys.sign_with: a change of a cluster's trust is signed; example: /run/secrets/trust-key.pem")
    access = KeyAccess(
        keys.kubeconfig, keys.vault_address, keys.vault_namespace, keys.vault_ca_file, keys.vault_token_text
    )
    return {name: source_of(written, access) for name, written in keys.sources.items()}


async def watch(process: Process, sources: Mapping[str, KeySource], *, once: bool = False) -> None:
    """Look at every source, again and again, until the process is told to stop.

    Raises:
        RevetError: with `once`, what kept a source from being read or a change from being written.
    """
    process.health.ready()
    while not process.stop.is_set():
        errors = [error for name, source in sources.items() if (error := await _look(process, name, source))]
        if once:
            if errors:
                raise errors[0]
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(process.settings.keys.every_seconds):
                await process.stop.wait()


async def _look(process: Process, name: str, source: KeySource) -> RevetError | None:
    """One look at one source; what went wrong is told and keeps no other source from being looked at."""
    trouble = f"keys-{name}"
    try:
        found = await source.read()
        # Whoever reads and writes the trust log may wait for a broker or a lock.
        told = await asyncio.to_thread(bring, process.settings, name, found)
    except RevetError as error:
        process.health.trouble(trouble, str(error))
        process.log.warning("keys-not-followed", source=name, error=str(error))
        return error
    process.health.well(trouble)
    for problem in told.problems:
        process.log.warning("key-not-taken", source=name, problem=problem)
    if told.records:
        event = "keys-proposed" if process.settings.keys.proposals and process.settings.clustered else "keys-changed"
        process.log.info(event, source=name, changes=[record.kind for record in told.records])
    return None


def bring(settings: Settings, name: str, found: Mapping[str, str]) -> Followed:
    """Bring the ring to what a source has now.

    Raises:
        RevetError: the trust log cannot be read or written, or too few administrators sign.
    """
    known = reading(place_of(settings), create=True)
    asked = asked_by(known, f"what key source {name} has now", f"keys:{name}")
    made = follow(known.trust, asked, name, found)
    if not made.records:
        return made
    proposal = _proposal(settings, name, known.trust, made)
    if proposal is not None and proposal.exists():
        return made._replace(records=())  # waits for its signatures
    place = place_of(settings, proposal)
    carry_out(place, made.records, known.now, expects=known.trust.epoch, what="revet serve keys")
    return made


def place_of(settings: Settings, proposal: Path | None = None) -> Place:
    """Where trust is kept, and who signs."""
    if settings.clustered:
        return Cluster(settings, settings.keys.sign_with, proposal)
    return settings.state or default_state()


def _proposal(settings: Settings, name: str, trust: TrustState, made: Followed) -> Path | None:
    """The file for a change that is not applied here; the same change at the same epoch has the same name."""
    folder = settings.keys.proposals
    if folder is None or not settings.clustered:
        return None
    said = [TRUST_RECORD.dump_python(record, mode="json", exclude={"at", "effective"}) for record in made.records]
    content = hashlib.sha256(canonical_json(said)).hexdigest()[:12]
    return folder / f"keys-{name}-{trust.epoch + 1}-{content}.json"
