"""A sweep runs in slices between live events. Wherever an event comes in between, in the end the same is so, and said:
no container keeps the verdict of before, no workload misses its finding.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.events import PodObserved, TrustChanged
from streams.handlers import Event, handle
from streams.handlers import trust as trust_handler
from streams.handlers.trust import sweep_slice
from tests.helpers.world import World, policy
from verifier.canonical import stable_id
from verifier.times import MINUTE
from verifier.trust import changes
from verifier.trust.records import TRUST_RECORD, TrustRecord

SHOPS = 3
"""Workloads that run one image under equal labels: they share a class."""


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch):
    """Every step of a sweep is a slice of its own."""
    monkeypatch.setattr(trust_handler, "JUDGE_SLICE", 1)
    monkeypatch.setattr(trust_handler, "REFRESH_SLICE", 1)


class Shop:
    """Two images, signed; one runs in three workloads of two pods, the other in one."""

    def __init__(self) -> None:
        self.world = World(keys=("dev", "build"))
        self.world.trust(policy("signed", signed_by=("build",)))
        self.world.now += MINUTE
        self.api = self.world.image("r.example/api:1", signed_by=("build",))
        self.web = self.world.image("r.example/web:1", signed_by=("build",))
        for shop in range(SHOPS):
            for number in range(2):
                self.world.send(self.pod(shop, number))
        self.world.send(self.world.pod("web", "web-0", {"app": self.web}))
        self.world.now += MINUTE

    def pod(self, shop: int, number: int, *, version: str = "", gone: bool = False) -> PodObserved:
        owner = ("Deployment", f"shop-{shop}")
        return self.world.pod(
            "shop", f"shop-{shop}-{number}", {"app": self.api}, owner=owner, version=version, gone=gone
        )

    def begin(self, record: TrustRecord) -> None:
        """As `World.record`, without letting the sweep go on."""
        epoch, value = self.world.state.trust.epoch + 1, TRUST_RECORD.dump_json(record)
        event = TrustChanged(stable_id("trust", epoch, value.decode()), self.world.now, epoch, value)
        self.world.outputs.extend(handle(self.world.state, event))

    def slices(self, number: int) -> int:
        """So many slices of the sweep; gives how many there were."""
        for done in range(number):
            found = sweep_slice(self.world.state)
            if found is None:
                return done
            self.world.outputs.extend(found)
        return number

    def said(self) -> tuple[object, ...]:
        """What the record holds now: of containers, of verdicts, of findings; and what the state holds."""
        world = self.world
        containers = {c.pod: [(v.policy, v.outcome) for v in c.verdicts] for c in world.containers().values()}
        verdicts = {(v.class_id, v.verdict.policy): v.verdict.outcome for v in world.verdicts()}
        findings = sorted((f.owner_name, f.code, f.members) for f in world.open())
        return containers, verdicts, findings


def revoke(shop: Shop) -> TrustRecord:
    return changes.revoke(
        shop.world.state.trust, changes.By("alice", shop.world.now), subject_kind="key", subject="build",
        reason="keyCompromise", all_signatures=True,
    )  # fmt: skip


def add_policy(shop: Shop) -> TrustRecord:
    return changes.put_policy(
        shop.world.state.trust, changes.By("alice", shop.world.now), policy("more", signed_by=("dev",))
    )


EVENTS: dict[str, Callable[[Shop], list[Event]]] = {
    "a pod again, in another state": lambda s: [s.pod(0, 0, version="2")],
    "a pod that ends": lambda s: [s.pod(0, 0, version="2", gone=True)],
    "one more pod": lambda s: [s.pod(0, 7)],
    "a decision that comes late": lambda s: [s.world.decision(s.pod(0, 0))],
    "all pods of another workload again": lambda s: [s.pod(1, n, version="2") for n in range(2)],
    "one more pod of a new workload": lambda s: [s.pod(SHOPS, 0)],
}
CHANGES: dict[str, Callable[[Shop], TrustRecord]] = {"revocation": revoke, "policy": add_policy}
MOST = 40
"""More slices than any of these sweeps has."""


def played(change: Callable[[Shop], TrustRecord], events: Callable[[Shop], list[Event]], after: int | None):
    """The change, its sweep, and the events after so many slices; None: when all is over."""
    shop = Shop()
    shop.begin(change(shop))
    number = shop.slices(MOST if after is None else after)
    for event in events(shop):
        shop.world.outputs.extend(handle(shop.world.state, event))  # the sweep stands still meanwhile
    shop.slices(MOST)
    assert shop.world.state.sweep is None
    return shop, number


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("change", CHANGES)
def test_wherever_an_event_comes_in_between_the_end_is_the_same(change, event):
    expected, slices = played(CHANGES[change], EVENTS[event], None)
    assert 5 < slices < MOST
    bad = [name for name, verdicts in expected.said()[0].items() if ("signed", "valid") in verdicts]
    if change == "revocation":
        ended = ["shop-0-0"] if event == "a pod that ends" else []
        assert bad in ([], ended)
        assert len(expected.said()[2]) >= SHOPS
    for after in range(slices):
        found, _ = played(CHANGES[change], EVENTS[event], after)
        ours, theirs = found.said(), expected.said()
        if event == "a pod that ends":  # what it ended with depends on when it ended
            for said in (ours, theirs):
                said[0].pop("shop-0-0")
        assert ours == theirs, f"after {after} of {slices} slices"


def test_what_a_live_event_says_first_names_the_change_of_trust():
    shop = Shop()
    shop.begin(revoke(shop))
    shop.world.outputs.extend(handle(shop.world.state, shop.pod(0, 0, version="2")))
    told = [v for v in shop.world.verdicts() if v.verdict.outcome == "violates"]
    assert {(v.trigger, "revoked key" in v.cause) for v in told} == {("trust", True)}
