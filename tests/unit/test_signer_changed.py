"""Another signer than before: told once per repository and signer, whatever the order; what is no change is silent."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.events import TrustChanged
from streams.handlers import restored
from streams.handlers.signers import RAN_KEPT, SIGNER_SETTLED
from streams.topics import key_of, topic_of
from tests.helpers.certified import CI, ISSUER, OTHER, CertifiedWorld, identity_subject, keyless_policy, sigstore_root
from tests.helpers.world import MINUTE, START
from verifier.policy.attestors import Attestor
from verifier.policy.model import MatchRule, Policy, Requirement, with_version
from verifier.times import DAY, HOUR
from verifier.trust import changes
from verifier.trust.changes import By

ANY = "https://git.example.com/*"
CI_NAME = f"{CI.partition('@')[0]} ({ISSUER})"
OTHER_NAME = f"{OTHER.partition('@')[0]} ({ISSUER})"


def started(*policies) -> CertifiedWorld:
    world = CertifiedWorld(keys=())
    world.root("sigstore", sigstore_root())
    world.trust(*(policies or (keyless_policy("pay", ANY),)))
    world.now = START + HOUR
    return world


def roll(
    world: CertifiedWorld, tag: str, *subjects: str, name: str = "api", gone: str = "", repository="r.example/pay"
):
    """A new version of the workload, signed by these; `gone` is the version it replaces."""
    world.now += MINUTE
    image = ("", "")
    for subject in subjects:
        image = world.keyless(f"{repository}:{tag}", subject)
    pods = [world.pod("pay", f"{name}-{tag}", {"app": image})]
    if gone:
        pods.append(world.pod("pay", f"{name}-{gone}", {}, gone=True))
    world.send(*pods)


def told(world: CertifiedWorld) -> list[tuple[str, str, str]]:
    return [(f.owner_name, dict(f.detail)["signer"], dict(f.detail)["before"]) for f in world.open()]


def test_a_new_signer_is_told_with_both_names():
    """The policy accepts both; the message says who, and who before."""
    world = started()
    roll(world, "1", CI)
    assert world.open() == []
    roll(world, "2", OTHER, gone="1")
    (finding,) = world.open()
    assert (finding.code, finding.severity, finding.cause.kind) == ("signer-changed", "medium", "none")
    assert told(world) == [("api", OTHER_NAME, CI_NAME)]
    assert OTHER_NAME in finding.message
    assert CI_NAME in finding.message
    assert "r.example/pay" in finding.message


def test_rollouts_by_the_new_signer_keep_it_open_and_open_nothing_new():
    """A second push does not hide the first."""
    world = started()
    roll(world, "1", CI)
    roll(world, "2", OTHER, gone="1")
    (first,) = world.open()
    roll(world, "3", OTHER, gone="2")
    (second,) = world.open()
    assert (first.id, first.incident, first.opened) == (second.id, second.incident, second.opened)


def test_the_old_signer_again_closes_it():
    world = started()
    roll(world, "1", CI)
    roll(world, "2", OTHER, gone="1")
    roll(world, "3", CI, gone="2")
    assert world.open() == []
    assert [f.close_reason for f in world.state.findings.values()] == ["converged"]


@pytest.mark.scenario("signer-changed")
def test_a_week_makes_a_new_signer_an_established_one():
    """By the clock of the inputs alone."""
    world = started()
    roll(world, "1", CI)
    roll(world, "2", OTHER, gone="1")
    came = world.now
    world.wait(SIGNER_SETTLED - 1)
    assert world.open_codes() == ["signer-changed"]
    world.wait(1)
    assert world.now == came + SIGNER_SETTLED
    assert world.open() == []
    assert {f.close_reason for f in world.state.findings.values()} <= {"quiet"}
    roll(world, "3", OTHER, gone="2")
    assert world.open() == []


def test_a_third_signer_is_an_incident_of_its_own():
    third = "https://git.example.com/mallory/ci.yml@refs/heads/x"
    world = started()
    roll(world, "1", CI)
    roll(world, "2", OTHER, gone="1")
    (first,) = world.open()
    roll(world, "3", third, gone="2")
    (second,) = world.open()
    assert first.incident != second.incident
    assert dict(second.detail)["signer"].startswith("https://git.example.com/mallory/ci.yml (")


def test_workloads_of_one_repository_meet_in_one_incident():
    world = started()
    for name in ("api", "web"):
        roll(world, f"{name}1", CI, name=name)
        roll(world, f"{name}2", OTHER, name=name, gone=f"{name}1")
    assert len(world.open()) == 2
    assert len({f.incident for f in world.open()}) == 1


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("the same signer", (CI,), (CI,)),
        ("the same workflow from a tag", (CI,), (CI.replace("refs/heads/main", "refs/tags/v2"),)),
        ("a second signature beside the first", (CI,), (CI, OTHER)),
        ("one of two who signed before", (CI, OTHER), (OTHER,)),
    ],
)
def test_what_is_no_change(name, first, second):
    world = started()
    roll(world, "1", *first)
    roll(world, "2", *second, gone="1")
    assert world.open() == [], name


def test_first_beside_then_alone_is_a_change():
    """An attacker who lets the old signature stand once gains nothing."""
    world = started()
    roll(world, "1", CI)
    roll(world, "2", CI, OTHER, gone="1")
    assert world.open() == []
    roll(world, "3", OTHER, gone="2")
    assert told(world) == [("api", OTHER_NAME, CI_NAME)]


def test_another_repository_is_compared_with_nothing():
    world = started()
    roll(world, "1", CI)
    roll(world, "2", OTHER, gone="1", repository="r.example/other")
    assert world.open() == []


def test_a_policy_that_replaced_the_signer_said_so_itself():
    """The former signer is no longer accepted: whoever wrote the policy knows."""
    world = started(keyless_policy("pay", CI))
    roll(world, "1", CI)
    world.trust(keyless_policy("pay", OTHER))
    roll(world, "2", OTHER, gone="1")
    assert world.open() == []


def test_a_revoked_former_signer_is_no_comparison():
    """Moving away from a compromised identity is what is asked for; withdrawn, the change is one again."""
    world = started()
    roll(world, "1", CI)
    roll(world, "2", OTHER, gone="1")
    assert world.open_codes() == ["signer-changed"]
    record = changes.revoke(
        world.state.trust, By("t", world.now), "identity", identity_subject(CI), reason="identityCompromise",
        all_signatures=True,
    )  # fmt: skip
    world.record(record)
    assert world.open() == []
    world.record(changes.withdraw(world.state.trust, By("t", world.now), record.id))
    assert world.open_codes() == ["signer-changed"]


def keyed_policy(*keys: str) -> Policy:
    """Any of these keys."""
    return with_version(
        Policy(
            id="keyed",
            match=(MatchRule(images=("**",)),),
            attestors={"any": Attestor(keys=keys)},
            require=Requirement(signed_by="any"),
        )
    )


def keyed_world() -> CertifiedWorld:
    world = CertifiedWorld(keys=("dev", "ops"))
    world.trust(keyed_policy("dev", "ops"))
    return world


def key_signed(world: CertifiedWorld, tag: str, name: str, gone: str = "") -> None:
    world.now += MINUTE
    image = world.keyless(f"r.example/k:{tag}", CI)
    facts = world.made[("r.example/k", image[1])]
    facts[0] = replace(
        facts[0], certificate=None, chains=(), logs=(), times=(), verified_by=(world.signer(name).key_id,)
    )
    world.send(world.pod("pay", f"k-{tag}", {"app": image}))
    if gone:
        world.send(world.pod("pay", f"k-{gone}", {}, gone=True))


def test_another_key_of_the_same_rule_is_a_change():
    world = keyed_world()
    key_signed(world, "1", "dev")
    key_signed(world, "2", "ops", gone="1")
    assert told(world) == [("k", "ops", "dev")]


def test_a_rotated_key_is_the_same_signer():
    world = keyed_world()
    key_signed(world, "1", "dev")
    world.record(changes.rotate_key(world.state.trust, By("t", world.now), "dev", world.signer("dev-2").pem))
    key_signed(world, "2", "dev-2", gone="1")
    assert world.open() == []


def test_what_ran_is_bounded():
    """A workload that is rolled out for ever keeps the newest images."""
    world = started()
    for number in range(RAN_KEPT + 5):
        roll(world, str(number), CI, gone=str(number - 1) if number else "")
    (workload,) = world.state.workloads.values()
    assert len(workload.row.ran) == RAN_KEPT
    roll(world, "x", OTHER)
    assert world.open_codes() == ["signer-changed"]


# ------------------------------------------------------------------------------------------- order, duplicates, restart


def story() -> tuple[CertifiedWorld, list[object]]:
    world = CertifiedWorld(keys=())
    inputs: list[object] = []
    original = world.send

    def recorded(*events: object) -> list[object]:
        inputs.extend(events)
        return original(*events)

    world.send = recorded  # type: ignore[method-assign]  # listens in, and passes on
    world.root("sigstore", sigstore_root())
    world.trust(keyless_policy("pay", ANY))
    world.now = START + HOUR
    for name in ("api", "web"):
        roll(world, f"{name}1", CI, name=name)
        roll(world, f"{name}2", OTHER, name=name, gone=f"{name}1")
    roll(world, "old1", OTHER, name="job")
    roll(world, "old2", CI, name="job", gone="old1")
    roll(world, "both1", CI, name="both")
    roll(world, "both2", CI, OTHER, name="both", gone="both1")
    record = changes.revoke(
        world.state.trust, By("t", world.now), "identity", identity_subject(CI), reason="identityCompromise",
        compromised_since=START + HOUR + 4 * MINUTE,
    )  # fmt: skip
    world.record(record)
    return world, inputs


def lane(event: object) -> str:
    return f"{topic_of(event)}:{'' if isinstance(event, TrustChanged) else key_of(event)}"


def shuffled(events: list[object], seed: int, copies: int) -> list[object]:
    chance = random.Random(seed)
    lanes: dict[str, list[object]] = {}
    for event in events:
        lanes.setdefault(lane(event), []).append(event)
    out: list[object] = []
    while lanes:
        name = chance.choice(sorted(lanes))
        event = lanes[name].pop(0)
        out.extend([event] * (1 + sum(chance.random() < 0.2 for _ in range(copies))))
        if not lanes[name]:
            del lanes[name]
    return out


def replay(events: list[object], end: int) -> CertifiedWorld:
    world = CertifiedWorld(keys=())
    world.auto_fetch = False
    for event in events:
        world.send(event)
    world.now = end
    world.wait(HOUR)
    return world


STORY, EVENTS = story()


def summary(world: CertifiedWorld) -> tuple[object, ...]:
    findings = [(f.id, f.code, f.members, f.incident, f.detail) for f in world.open()]
    return (
        *world.summary(),
        sorted(findings),
        sorted((k, sorted(w.row.ran.items())) for k, w in world.state.workloads.items()),
    )


EXPECTED = summary(replay(EVENTS, STORY.now))


def test_the_story_has_something_to_say():
    assert {"signer-changed", "identity-revoked"} <= {f.code for f in replay(EVENTS, STORY.now).open()}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), copies=st.integers(0, 2))
def test_any_order_with_any_duplicates_ends_the_same(seed, copies):
    assert summary(replay(shuffled(EVENTS, seed, copies), STORY.now)) == EXPECTED


@pytest.mark.parametrize("cut", range(2, len(EVENTS), 4))
def test_a_restart_says_nothing_new_and_ends_the_same(cut):
    first = CertifiedWorld(keys=())
    first.auto_fetch = False
    stored: dict[tuple[str, str], bytes] = {}
    for event in EVENTS[:cut]:
        first.send(event)
        for kind, key, value in first.state.take_dirty():
            if value is None:
                stored.pop((kind, key), None)
            else:
                stored[(kind, key)] = value
    second = CertifiedWorld(keys=())
    second.auto_fetch = False
    second.state.restore((kind, key, value) for (kind, key), value in stored.items())
    second.state.trust = first.state.trust
    said = [o for part in restored(second.state) for o in part]
    assert [o for o in said if type(o).__name__ not in ("ShardReached", "EvidenceWanted")] == []
    second.outputs = list(first.outputs)
    for event in EVENTS[cut:]:
        second.send(event)
    second.now = STORY.now
    second.wait(HOUR)
    assert summary(second) == EXPECTED
    assert 7 * DAY == SIGNER_SETTLED
