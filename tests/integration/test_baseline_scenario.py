"""A first policy over a cluster where nothing is signed: one incident, at most one message per team."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from alerting.delivery import Failed, Find, Found, Post, Posted, SendReply, Update
from alerting.routing import Routes
from streams.events import FeedSeen, NamespaceObserved
from streams.local.node import LocalNode, NodeSettings
from tests.helpers.statefile import WorldPlace
from tests.helpers.world import MINUTE, START, World
from verifier.policy.attestors import Attestor
from verifier.policy.model import MatchRule, Policy, Requirement, with_version
from verifier.testing import Signer
from verifier.trust.records import PolicyPut

NAMESPACES, TEAMS = 300, 20


class Posts:
    """Counts parents per destination."""

    def __init__(self) -> None:
        self.parents: Counter[str] = Counter()

    def post(self, call: Post) -> Posted | Failed:
        self.parents[call.destination] += 1
        return Posted(call.destination, call.delivery)

    def update(self, call: Update) -> Posted | Failed:
        return Posted(call.destination, call.delivery)

    def reply(self, call: SendReply) -> Posted | Failed:
        return Posted(call.destination, call.delivery)

    def find(self, call: Find) -> Found | Failed:
        del call
        return Found(())


def observations(world: World) -> list[object]:
    """Three hundred namespaces of twenty teams, two unsigned images in each."""
    out: list[object] = [FeedSeen(f"f{START}", START, world.cluster, "pods", START)]
    for number in range(NAMESPACES):
        labels = (("team", f"team-{number % TEAMS}"),) if number % 7 else ()
        out.append(NamespaceObserved(f"n{number}", START, world.cluster, f"ns-{number}", labels))
        for image in ("api", "web"):
            reference = world.image(f"registry.example.com/shop/{image}-{number % 40}:1")
            out.append(world.pod(f"ns-{number}", f"{image}-1", {"app": reference}))
    return out


@pytest.mark.parametrize("policy_first", [False, True])
def test_first_policy_gives_at_most_one_message_per_team(tmp_path: Path, *, policy_first: bool) -> None:
    """Whichever came first, the policy or the pods that already ran: one incident, one message per destination."""

    async def run() -> tuple[Counter[str], set[str], int]:
        posts = Posts()
        world = World(keys=())  # nothing is signed in it
        settings = NodeSettings(place=WorldPlace(world), replay=True, notifier=posts, routes=Routes())
        node = LocalNode.open(tmp_path / "state.sqlite", settings)
        record = PolicyPut(author="t", at=START + MINUTE, policy=_signed())
        if policy_first:
            node.change_trust([record])
        node.ingest(observations(world))
        await node.drain()
        if not policy_first:
            node.change_trust([record])
            await node.drain()
        await node.advance(START + 30 * MINUTE)
        incidents = list(node.processor.alerter.book.incidents())
        node.close()
        return posts.parents, {i.kind for i in incidents}, sum(i.containers for i in incidents)

    parents, kinds, containers = asyncio.run(run())
    assert kinds == {"baseline"}
    assert containers == NAMESPACES * 2
    assert max(parents.values()) == 1
    assert len(parents) <= TEAMS + 1


def _signed() -> Policy:
    return with_version(
        Policy(
            id="signed",
            match=(MatchRule(images=("**",)),),
            attestors={"dev": Attestor(keys=(Signer("dev").pem,))},
            require=Requirement(signed_by="dev"),
        )
    )
