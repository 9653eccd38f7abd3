"""Certificates on the one-process node, from first pods to the last word: really signed images, every family at once.

A private Sigstore instance, a CA of one's own, a Notary Project store, attestations. An identity leaks between two
signatures; the revocation is withdrawn; a root goes, comes back, another comes late. Everything is judged as it
happens, with and without restarts in between, and both end in the same state.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from alerting.models import Incident
from streams.events import FeedSeen
from streams.local.node import LocalNode, NodeSettings
from streams.local.sqlite import note_clock
from tests.helpers.oracle_world import IDENTITY, ISSUER
from tests.helpers.pki import Ca, pem
from tests.helpers.signedshop import (
    BETWEEN,
    BUILDER,
    COMMIT,
    NOTARY_IDENTITY,
    NOW,
    SignedShop,
    outcomes,
    pods,
    policy,
)
from tests.helpers.state_dump import differences, dump
from tests.helpers.world import World
from verifier.adapters import fetch as fetching
from verifier.facts.candidates import KeySet
from verifier.facts.derive import derive_facts
from verifier.models import Evidence, Fact
from verifier.policy.documents import PolicyDocument, load_documents
from verifier.policy.identity import Identity
from verifier.times import MINUTE, parse_instant
from verifier.trust.changes import By, put_policy, revoke, withdraw
from verifier.trust.records import TrustRecord
from verifier.trust.rootchanges import put_root, remove_root

NAMES = ("early", "late", "other", "attested", "byo", "notary", "keyed", "bare")

KEYLESS = ("early", "late", "other", "bare", "keyed")
ATTESTORS: dict[str, dict[str, object]] = {
    "byo": {"certificates": {"roots": ["private"], "identities": [{"subject": IDENTITY}], "timestamp": "required"}},
    "notary": {"notary": {"stores": ["ca:corp"], "identities": [NOTARY_IDENTITY]}},
}
FIRST = {
    **dict.fromkeys(("early", "late", "other", "attested", "byo"), "valid"),
    **dict.fromkeys(("notary", "keyed", "bare"), "violates"),
}
"""The Notary store holds somebody else's CA at first."""
STRANGER = pem(Ca.root("somebody else").certificate)
ON_PRIVATE = ("early", "late", "other", "attested", "byo")


def image(name: str) -> str:
    return f"registry.example.com/{name}"


def policies() -> Iterator[str]:
    yield policy("built", list(map(image, KEYLESS)))
    yield policy("provenance", [image("attested")], builder=BUILDER)
    for name, attestor in ATTESTORS.items():
        yield policy(name, [image(name)], attestor=attestor)


class Story:
    """The node and what happens to it; `restarts` closes it and opens it anew after every step."""

    def __init__(self, shop: SignedShop, state: Path, *, restarts: bool) -> None:
        self.shop, self.state, self.restarts = shop, state, restarts
        self.world = World(keys=())
        self.world.now = NOW
        self.derived: list[Evidence] = []
        """Evidence that was verified since `looked`."""
        self.node = self._open()
        note_clock(self.node.connection, recorded=True)
        self.revocation = ""

    def _open(self) -> LocalNode:
        node = LocalNode.open(self.state, NodeSettings(place=self.shop.place, replay=True))
        node.keep_messages(None)
        return node

    def close(self) -> None:
        self.node.close()

    def step(self, *work: Callable[[], object]) -> None:
        """Do something, let everything be judged, and, with restarts, come back as another process."""
        for one in work:
            one()
            self._drain()
        if self.restarts:
            self.node.close()
            self.node = self._open()
            self._drain()

    def _drain(self) -> None:
        asyncio.run(self.node.drain())

    # ------------------------------------------------------------------ what happens

    def by(self) -> By:
        return By("alice", self.node.now, "test")

    def trust(self, make: Callable[[], TrustRecord]) -> None:
        self.node.change_trust([make()])

    def root(self, name: str, format_: Any, content: str) -> Callable[[], None]:
        return lambda: self.trust(lambda: put_root(self.node.trust, self.by(), name, format_, content))

    def without_root(self, name: str) -> Callable[[], None]:
        return lambda: self.trust(lambda: remove_root(self.node.trust, self.by(), name))

    def policy(self, text: str) -> Callable[[], None]:
        (document,), _ = load_documents("policy.json", text)
        assert isinstance(document.body, PolicyDocument)
        made = document.body.to_policy()
        return lambda: self.trust(lambda: put_policy(self.node.trust, self.by(), made))

    def leak(self) -> None:
        subject = Identity(issuer=ISSUER, subject=IDENTITY).model_dump_json(by_alias=True, exclude_defaults=True)
        since = parse_instant(BETWEEN)
        how: dict[str, Any] = {"reason": "identityCompromise", "compromised_since": since}
        record = revoke(self.node.trust, self.by(), "identity", subject, **how)
        self.node.change_trust([record])
        self._drain()
        (self.revocation,) = (e.id for e in self.node.trust.revocations.values() if e.active)

    def no_leak(self) -> None:
        self.trust(lambda: withdraw(self.node.trust, self.by(), self.revocation))

    def pods(self, names: Sequence[str] = NAMES) -> None:
        self.world.now = max(self.world.now, self.node.now) + MINUTE
        self.node.ingest(pods(self.shop, names, self.world))
        self._drain()
        self.world.now += MINUTE
        self.node.ingest([FeedSeen(f"feed {self.world.now}", self.world.now, self.world.cluster, "pods", NOW)])

    def wait(self, minutes: int) -> None:
        asyncio.run(self.node.advance(self.node.now + minutes * MINUTE))

    # ------------------------------------------------------------------ what came of it

    def outcomes(self) -> dict[str, str]:
        return outcomes(self.state)

    def incidents(self, *kinds: str) -> list[Incident]:
        return [i for i in self.node.processor.alerter.book.incidents() if not kinds or i.kind in kinds]

    def verified(self) -> Counter[str]:
        """Image -> pieces of evidence that were verified since this was asked last."""
        names = {found.digest: name for name, found in self.shop.images.items()}
        found = Counter(names[evidence.subject] for evidence in self.derived)
        self.derived.clear()
        return found

    def begin(self) -> None:
        """Roots, policies, pods."""
        self.step(
            self.root("private", "sigstore-trusted-root", self.shop.root_json()),
            self.root("ca:corp", "notation-ca", STRANGER),
        )
        self.step(*map(self.policy, policies()))
        self.step(self.pods)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return SignedShop(tmp_path_factory.mktemp("shop"), NAMES)


@pytest.fixture(params=[False, True], ids=["in one go", "with restarts"])
def story(request, shop, tmp_path, monkeypatch):
    made = Story(shop, tmp_path / "state.sqlite", restarts=request.param)
    counting(monkeypatch, made)
    made.begin()
    yield made
    made.close()


def counting(monkeypatch: pytest.MonkeyPatch, story: Story) -> None:
    """Every verification of evidence goes through one function."""

    def counted(found: Sequence[Evidence], keyset: KeySet) -> list[Fact]:
        story.derived += found
        return list(derive_facts(found, keyset))

    monkeypatch.setattr(fetching, "derive_facts", counted)


# ------------------------------------------------------------------------------------------------------------- chapters


def test_every_family_is_judged_once(story):
    assert story.outcomes() == FIRST
    assert story.verified() == {name: 2 if name == "attested" else 1 for name in NAMES if name != "bare"}


def test_a_leak_between_two_signatures_hits_the_later_one_alone(story):
    story.verified()
    before = {incident.id for incident in story.incidents()}
    story.step(story.leak)
    assert story.outcomes() == FIRST | {"late": "violates"}
    (told,) = [i for i in story.incidents() if i.id not in before]
    assert (told.kind, told.containers, told.state) == ("identity-revoked", 1, "open")
    assert story.verified() == {}, "a revocation verifies nothing and asks nobody"


def test_a_withdrawn_revocation_restores_what_was_and_the_incident_resolves(story):
    story.step(story.leak)
    story.step(story.no_leak)
    assert story.outcomes() == FIRST
    story.step(lambda: story.wait(1))
    (told,) = story.incidents("identity-revoked")
    assert (told.containers, told.state) == (0, "open"), "it waits a while before it is over"
    story.step(lambda: story.wait(60))
    (told,) = story.incidents("identity-revoked")
    assert (told.containers, told.state) == (0, "resolved")


def test_a_pod_that_comes_after_the_leak_is_one_more_of_the_same_incident(story):
    story.step(story.leak)
    story.step(lambda: story.node.ingest(pods(story.shop, ["late", "early"], story.world, "shop")))
    story.step(lambda: story.wait(1))
    (told,) = story.incidents("identity-revoked")
    assert told.containers == 2
    assert story.outcomes() == FIRST | {"late": "violates"}


def test_without_its_root_nothing_of_it_counts_and_nothing_is_verified(story):
    story.verified()
    story.step(story.without_root("private"))
    assert story.outcomes() == FIRST | dict.fromkeys(ON_PRIVATE, "violates")
    assert story.verified() == {}
    story.step(story.root("private", "sigstore-trusted-root", story.shop.root_json()))
    assert story.outcomes() == FIRST
    assert story.verified() == {}, "what it vouched for is known still"


def test_a_root_that_comes_late_costs_what_it_can_decide(story):
    """Nobody vouches for the Notary signature and for the one by a bare key yet; all others are settled."""
    story.verified()
    story.step(story.root("ca:corp", "notation-ca", story.shop.corp_pem))
    assert story.outcomes() == FIRST | {"notary": "valid"}
    assert story.verified() == {"notary": 1, "keyed": 1}


def test_a_builder_and_a_commit_are_revoked_like_anybody(story):
    for kind, subject in (("builder", BUILDER), ("commit", COMMIT)):
        how: dict[str, Any] = {"reason": "keyCompromise", "compromised_since": parse_instant(BETWEEN)}
        story.step(
            lambda k=kind, s=subject, h=how: story.trust(lambda: revoke(story.node.trust, story.by(), k, s, **h))
        )
        assert story.outcomes() == FIRST | {"late": "violates", "other": "violates"}
        (entry,) = (e for e in story.node.trust.revocations.values() if e.active)
        story.revocation = entry.id
        story.step(story.no_leak)
        assert story.outcomes() == FIRST


# ------------------------------------------------------------------------------------------------------------ the whole


def whole(story: Story) -> None:
    """Everything, one after the other."""
    story.begin()
    story.step(story.leak)
    story.step(lambda: story.pods(["late", "attested"]))
    story.step(story.no_leak)
    story.step(lambda: story.wait(60))
    story.step(story.without_root("private"))
    story.step(lambda: story.wait(5))
    story.step(story.root("private", "sigstore-trusted-root", story.shop.root_json()))
    story.step(story.root("ca:corp", "notation-ca", story.shop.corp_pem))
    story.step(lambda: story.wait(120))


def test_with_restarts_the_end_is_the_same_as_in_one_go(shop, tmp_path):
    dumps = []
    for number, restarts in enumerate((False, True)):
        story = Story(shop, tmp_path / f"{number}.sqlite", restarts=restarts)
        whole(story)
        assert story.outcomes() == FIRST | {"notary": "valid"}
        assert {i.state for i in story.incidents("identity-revoked")} == {"resolved"}
        story.close()
        dumps.append(dump(story.state, working=True))
    assert differences(dumps[0], dumps[1]) == []
    assert len(dumps[0]["record"]) > len(NAMES)
