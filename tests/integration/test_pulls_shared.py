"""Budgets of pulls that several places share, over a registry with real sockets."""

from __future__ import annotations

import asyncio

import pytest

from streams.codec import decode
from streams.engine.broker import Slot
from streams.engine.memory_broker import MemoryBroker, MemoryLink
from streams.engine.view import BroadcastView
from streams.events import PullsTaken
from streams.serving.pulling import Pulling
from streams.topics import PULLS
from tests.helpers.registry_server import Behaviour, Layout, serving
from verifier.adapters.registry import RegistryOptions, RegistryPlace
from verifier.oci.addresses import Reach
from verifier.oci.pacing import Quota
from verifier.reference import parse_reference

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


async def test_registries_are_asked_for_no_more_manifests_than_the_budget_of_all(tmp_path):
    """Two places that know nothing of each other but the topic; each alone might make twelve pulls."""
    broker = MemoryBroker(2)
    layout = Layout(tmp_path / "oci")
    repositories = [f"registry.example.com/app-{number}" for number in range(20)]
    digests = [layout.image(repository, "1", seed=repository) for repository in repositories]
    layout.close()
    async with serving(layout.root, Behaviour(budget=1000)) as registry:
        options = RegistryOptions(
            mirrors={"registry.example.com": registry.origin}, reach=Reach((registry.host,)),
            budgets={registry.host: Quota(12, 3600)},
        )  # fmt: skip
        places, views = [], []
        for name in ("fetch-a", "fetch-b"):
            link = MemoryLink(broker)
            await link.start()
            pulling = Pulling(options.budgets, link, 2, name)
            view = BroadcastView(link, (PULLS,), pulling.take)
            views.append(asyncio.create_task(view.run()))
            await view.whole.wait()
            place = RegistryPlace(options)
            place.share(pulling.allowance)
            places.append(place)
        await asyncio.gather(
            *(ask(places[number % 2], repository, digest) for number, (repository, digest) in enumerate(
                zip(repositories, digests, strict=True)
            ))
        )  # fmt: skip
        for place in places:
            await place.close()
        for task in views:
            task.cancel()
        assert 8 <= registry.pulls <= 12
    taken = [decode(record.value) for record in broker.records(Slot(PULLS, 0))]
    assert {one.instance for one in taken if isinstance(one, PullsTaken)} == {"fetch-a", "fetch-b"}


async def ask(place: RegistryPlace, repository: str, digest: str) -> None:
    await place.collect(parse_reference(f"{repository}:1"), digest)
