"""What the record adds to a message, on every store: who deployed it, and an image of it that is good now."""

from __future__ import annotations

import msgspec
import pytest

from alerting.models import Incident
from streams.queries.context import context_of
from tests.helpers.recorded import RecordedWorld
from tests.helpers.stores import STORES, opened
from tests.helpers.world import MINUTE, START, digest_of, policy
from verifier.trust import changes
from verifier.trust.changes import By

REPOSITORY = "r.example/shop"


@pytest.fixture(params=STORES)
def store(request) -> str:
    return opened(request)


def deployed(made: RecordedWorld, name: str, image: tuple[str, str], user: str = "alice", agent: str = "") -> None:
    """Let in by somebody, and running."""
    pod = made.pod("shop", name, {"app": image})
    decision = made.decision(pod, user_agent=agent)
    made.send(msgspec.structs.replace(decision, user=user), pod)
    made.now += MINUTE


@pytest.fixture
def world(store) -> RecordedWorld:
    """One repository: `old` and `good` are signed, in this order; what runs now is not."""
    made = RecordedWorld(keys=("build",), store=store)
    made.feeds(since=START)
    made.trust(policy("signed", signed_by=("build",)))
    made.now = START + 60 * MINUTE
    old = made.image(f"{REPOSITORY}:1", signed_by=("build",), seen=START + 10 * MINUTE)
    good = made.image(f"{REPOSITORY}:2", signed_by=("build",), seen=START + 50 * MINUTE)
    bad = made.image(f"{REPOSITORY}:3")
    deployed(made, "shop-1", old)
    deployed(made, "shop-2", good)
    deployed(made, "shop-3", bad, "bob@example.com", "kubectl/v1.30.2 (linux/amd64) kubernetes/39683505b6")
    deployed(made, "shop-4", bad, "system:serviceaccount:kube-system:replicaset-controller")
    return made


def incident(made: RecordedWorld) -> Incident:
    return next(row for row in made.alerter.book.incidents() if row.kind == "unsigned")


def test_who_deployed_and_the_newest_good_image(world):
    """A person or a delivery tool, not the controller that made the pod."""
    found = context_of(world.reader, incident(world), world.now)
    assert found.deployed_by.startswith("bob@example.com with kubectl/v1.30.2, create of pods at 2")
    assert found.good_image == f"{REPOSITORY}@{digest_of(f'{REPOSITORY}:2')}"
    assert (found.incident, found.time) == (incident(world).id, world.now)


def test_what_is_no_longer_good_is_not_offered(world):
    """The key leaked between the two: the older one is offered; then that is denied too, and none is left."""
    row = incident(world)
    world.now += MINUTE
    by, leak = By(author="alice", at=world.now, note="leaked"), START + 30 * MINUTE
    world.record(changes.revoke(world.state.trust, by, "key", "build", reason="keyCompromise", compromised_since=leak))
    old = digest_of(f"{REPOSITORY}:1")
    assert context_of(world.reader, row, world.now).good_image == f"{REPOSITORY}@{old}"
    world.now += MINUTE
    by = By(author="alice", at=world.now, note="bad")
    world.record(changes.revoke(world.state.trust, by, "digest", old, reason="unspecified"))
    assert context_of(world.reader, row, world.now).good_image == ""


def test_what_the_record_does_not_have_stays_empty(world):
    """Nobody is named of a workload without an admission, of a dry run or of a denial; nothing is guessed."""
    row = incident(world)
    member = row.examples[0]
    elsewhere = msgspec.structs.replace(member, owner="Deployment/nobody", digest="sha256:" + "00" * 32)
    found = context_of(world.reader, msgspec.structs.replace(row, examples=(elsewhere,)), world.now)
    assert (found.deployed_by, found.good_image) == ("", "")
    assert context_of(world.reader, msgspec.structs.replace(row, examples=()), world.now).deployed_by == ""
    pod = world.pod("shop", "tried-1", {"app": world.image(f"{REPOSITORY}:9")})
    world.send(world.decision(pod, dry_run=True), world.decision(pod, "denied"))
    tried = msgspec.structs.replace(member, owner="Deployment/tried")
    assert context_of(world.reader, msgspec.structs.replace(row, examples=(tried,)), world.now).deployed_by == ""


def test_a_controller_is_named_where_it_is_all_there_is(world):
    """Better than nobody: it says which controller."""
    world.now += MINUTE
    deployed(world, "alone-1", world.image(f"{REPOSITORY}:4"), "system:node:n1")
    row = incident(world)
    alone = msgspec.structs.replace(row.examples[0], owner="Deployment/alone")
    found = context_of(world.reader, msgspec.structs.replace(row, examples=(alone,)), world.now)
    assert found.deployed_by.startswith("system:node:n1, create of pods")
