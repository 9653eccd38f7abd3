"""A small state file as a finished replay leaves it, and the program run on it through its front door.

shop = Shop(tmp_path)                     # one key, one policy, three images: signed early, late, at an unknown time
result = shop.run("revoke", "key", "build", ...)
result.code, result.out, result.err
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from streams.cli import main
from streams.events import FeedSeen, NamespaceObserved
from streams.local.dated import Dates, mark_of
from streams.local.node import LocalNode, NodeSettings
from streams.local.sqlite import note_clock
from tests.helpers.world import MINUTE, START, World, policy
from verifier.models import DigestClosure, ImageReference, PlaceAsked
from verifier.oci.port import Collected
from verifier.trust.changes import By, add_key, put_policy


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def front_door(args: tuple[str, ...]) -> None:
    main(list(args))


@dataclass
class Result:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)


def revet(*args: object, input: str | None = None) -> Result:  # noqa: A002  # click's word
    """Run the program."""
    done = CliRunner(env={"COLUMNS": "400"}).invoke(front_door, ["--", *map(str, args)], input=input)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Result(done.exit_code, done.stdout, done.stderr)


class WorldPlace:
    """A place that publishes what a world's registry has."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def collect(
        self,
        reference: ImageReference,
        digest: str,
        platform: str | None = None,
        indexes: tuple[str, ...] = (),
        names: tuple[str, ...] = (),
    ) -> Collected:
        """See `EvidencePlace.collect`."""
        del platform, indexes
        found = tuple(self._world.evidence.get((reference.repository, digest), ()))
        told = PlaceAsked("sig-tag", digest, "found" if found else "absent")
        return Collected(found, DigestClosure(digest), (told,))

    async def resolve(self, reference: ImageReference) -> str:
        """See `EvidencePlace.resolve`."""
        return reference.digest


SINCE = START + 30 * MINUTE
"""Since when key `build` was compromised."""


class Shop:
    """The state file of a shop whose key `build` leaks."""

    def __init__(self, folder: Path, *, recorded: bool = True) -> None:
        self.state = folder / "state.sqlite"
        self.folder = folder
        self.world = World(keys=())
        self.world.now = START
        times = {"early": START + 10 * MINUTE, "late": START + 50 * MINUTE, "undated": None}
        images = {
            name: self.world.image(f"r.example/shop/{name}:1", signed_by=("build",), seen=seen)
            for name, seen in times.items()
        }
        images["strange"] = self.world.image("r.example/shop/strange:1", signed_by=("extra",))
        self.settings = NodeSettings(place=WorldPlace(self.world), replay=recorded, dates=self._dates())
        node = LocalNode.open(self.state, self.settings)
        note_clock(node.connection, recorded=recorded)
        self._trust(node)
        self.world.now = START + 60 * MINUTE
        node.ingest([NamespaceObserved("ns", START, "prod-eu", "web", (("team", "web"),))])
        node.ingest([self.world.pod("web", f"{name}-1", {"app": image}) for name, image in images.items()])
        asyncio.run(node.drain())
        node.ingest([FeedSeen("feed", START + 61 * MINUTE, "prod-eu", "pods", START + 60 * MINUTE)])
        asyncio.run(node.drain())
        node.close()

    def _dates(self) -> Dates:
        evidence = [e for found in self.world.evidence.values() for e in found]
        return Dates({mark_of(e): self.world.seen[e.id] for e in evidence if e.id in self.world.seen})

    def _trust(self, node: LocalNode) -> None:
        by = By("alice", START, "test")
        node.change_trust([add_key(node.trust, by, "build", self.world.signer("build").pem)])
        asyncio.run(node.drain())
        signed = policy("signed", signed_by=("build",), images=("r.example/shop/**",))
        node.change_trust([put_policy(node.trust, by, signed)])
        asyncio.run(node.drain())

    def run(self, *args: object, input: str | None = None) -> Result:  # noqa: A002  # click's word
        """Run a command on this state."""
        return revet(*args, "--state", self.state, input=input)

    def ask(self, *args: object) -> Any:
        """Run a command that must succeed, with JSON output."""
        result = self.run(*args, "-o", "json")
        assert result.code == 0, result.err
        return result.json

    def epoch(self) -> int:
        """The trust epoch."""
        return int(self.ask("trust", "show")["epoch"])

    def write(self, name: str, text: str) -> Path:
        """A file beside the state."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def pem(self, name: str) -> Path:
        """The public key of a signer of the world, as a file `<name>.pub`."""
        return self.write(f"{name}.pub", self.world.signer(name).pem)


def document(kind: str, name: str, **spec: object) -> str:
    """A document as JSON text."""
    return json.dumps({"apiVersion": "revet/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})


def a_policy(name: str = "strict", key: str = "build", images: str = "r.example/shop/**", mode: str = "audit") -> str:
    """A policy that one key must have signed, as JSON text."""
    attestors = {"who": {"keys": [key]}}
    return document(
        "Policy", name, mode=mode, match=[{"images": [images]}], attestors=attestors, require={"signedBy": "who"}
    )
