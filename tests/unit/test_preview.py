"""What is foretold is what happens: the same handlers on a copy, and the state itself untouched."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.local.preview import Preview, catch_up, preview, shard_copy, signatures_hit, stored_answers
from streams.state import ShardState
from tests.helpers.world import MINUTE, START, World, packed, policy
from verifier.adapters.memory import MemoryEvidenceStore
from verifier.errors import TrustError
from verifier.trust import changes
from verifier.trust.changes import By, ExemptionScope
from verifier.trust.records import RevocationPut, TrustRecord

KEYS = ("dev", "ops", "build")
REASONS = ("keyCompromise", "superseded", "certificateHold", "weakKey")


def by(world: World) -> By:
    return By("tester", world.now, note="because")


def copy_of(world: World) -> ShardState:
    """What a second connection would read of this world; the world goes on as it was."""
    entries = packed(world.state)
    for kind, key, _ in entries:
        world.state.touch(kind, key)
    return shard_copy(entries, world.state.trust)


def store_of(world: World) -> MemoryEvidenceStore:
    store = MemoryEvidenceStore()
    for found in world.evidence.values():
        for evidence in found:
            store.put(evidence, world.seen.get(evidence.id))
    return store


def foretell(world: World, *records: TrustRecord) -> Preview:
    return preview(copy_of(world), records, world.now, stored_answers(store_of(world)))


# ---------------------------------------------------------------------------------------------- foretold = what happens


def a_world(chance: random.Random) -> World:
    """Some keys, policies, images of every kind and pods that run them."""
    world = World(keys=KEYS)
    world.feeds()
    for number in range(chance.randint(1, 3)):
        signers = chance.sample(KEYS, chance.randint(1, 2))
        mode = chance.choice(("audit", "audit", "enforce", "trial"))
        where = {"namespaces": (f"ns{chance.randint(0, 1)}",)} if chance.random() < 0.4 else {}
        world.trust(policy(f"p{number}", signed_by=signers, mode=mode, **where))
        world.now += chance.randint(1, 5) * MINUTE
    images = []
    for number in range(6):
        signers = chance.sample((*KEYS, "new"), chance.randint(0, 2))
        seen = chance.choice((-1, None, START - MINUTE, START + 2 * MINUTE))
        bundled = chance.sample(signers, 1) if signers and chance.random() < 0.3 else []
        images.append(world.image(f"r.example/a{number}:1", signed_by=signers, bundle_by=bundled, seen=seen))
        world.now += chance.randint(0, 2) * MINUTE
    for number in range(chance.randint(2, 8)):
        chosen = {f"c{i}": chance.choice(images) for i in range(chance.randint(1, 2))}
        pod = world.pod(f"ns{number % 2}", f"w{number % 4}-{number}", chosen)
        world.send(*((pod,) if chance.random() < 0.3 else (world.decision(pod), pod)))
        if chance.random() < 0.2:
            world.send(world.pod(f"ns{number % 2}", f"w{number % 4}-{number}", chosen, gone=True))
    world.now += chance.randint(1, 20) * MINUTE  # evidence asked twice at one instant has no newer answer
    return world


def a_revocation(world: World, chance: random.Random) -> TrustRecord:
    reason = chance.choice(REASONS)
    times: dict[str, Any] = {}
    if reason == "keyCompromise":
        since = START + chance.randint(-1, 9) * MINUTE
        times = {"all_signatures": True} if chance.random() < 0.5 else {"compromised_since": since}
    elif reason != "weakKey":
        times = {"effective": world.now + chance.randint(-20, 3) * MINUTE}
    key, state = chance.choice(KEYS), world.state.trust
    return changes.revoke(state, by(world), "key", key, reason=reason, **times)  # type: ignore[arg-type]  # a reason


def a_denied_digest(world: World, chance: random.Random) -> TrustRecord:
    digest = chance.choice(sorted(world.evidence))[1]
    return changes.revoke(world.state.trust, by(world), "digest", digest, reason="unspecified")


def an_exemption(world: World, chance: random.Random) -> TrustRecord:
    scope = ExemptionScope(policy="p0", namespaces=chance.choice(((), ("ns0",))))
    return changes.exempt(world.state.trust, by(world), scope)


def a_policy(world: World, chance: random.Random) -> TrustRecord:
    name = chance.choice(("p0", "p9"))
    known = world.state.trust.policies.get(name)
    mode = known.policy.mode if known is not None else "audit"
    return changes.put_policy(world.state.trust, by(world), policy(name, signed_by=chance.sample(KEYS, 2), mode=mode))


def an_enrolment(world: World, chance: random.Random) -> TrustRecord:
    env = chance.choice(("prod", "dev"))
    return changes.put_cluster(world.state.trust, by(world), world.cluster, "eu", labels={"env": env})


RECORDS: tuple[Callable[[World, random.Random], TrustRecord], ...] = (
    a_revocation,
    a_revocation,
    a_denied_digest,
    an_exemption,
    a_policy,
    an_enrolment,
    lambda w, _: changes.remove_policy(w.state.trust, by(w), "p0"),
    lambda w, c: changes.remove_key(w.state.trust, by(w), c.choice(KEYS)),
    lambda w, _: changes.add_key(w.state.trust, by(w), "new", w.signer("new").pem),
    lambda w, c: changes.rotate_key(w.state.trust, by(w), c.choice(KEYS), w.signer("new").pem),
)


def answers(state: ShardState) -> dict[tuple[str, str], tuple[object, ...]]:
    return {
        (cls.id, p): (j.decided.outcome, j.codes, j.exempted_by)
        for cls in state.classes.values()
        if cls.members
        for p, j in cls.judged.items()
        if p
    }


def open_findings(state: ShardState) -> set[str]:
    return {f.id for f in state.findings.values() if f.state == "open"}


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32))
def test_what_is_foretold_is_what_happens(seed: int) -> None:
    """Random worlds, a random change after a random change: answers, findings, and nothing else differs."""
    chance = random.Random(seed)
    world = a_world(chance)
    if chance.random() < 0.5:
        world.record(chance.choice(RECORDS)(world, chance))
        world.now += MINUTE
    try:
        record = chance.choice(RECORDS)(world, chance)
    except TrustError:
        return  # this change cannot be made here (the key was removed before)
    world.wait(0)  # what is due by now belongs to neither side
    before, open_before = answers(world.state), open_findings(world.state)
    foretold = foretell(world, record)
    assert answers(world.state) == before, "a preview changes nothing"
    world.record(record)
    after = answers(world.state)
    really = {key: (before.get(key), after.get(key)) for key in before.keys() | after.keys()}
    assert {(c.class_id, c.policy): (c.before, c.after) for c in foretold.changes if c.before != c.after} == {
        key: (old[0] if old else "", new[0] if new else "")
        for key, (old, new) in really.items()
        if (old[0] if old else "") != (new[0] if new else "")
    }
    for change in foretold.changes:
        new = really[change.class_id, change.policy][1]
        assert (change.after, change.codes, change.exempted_by) == (new or ("", (), ""))
    assert {f.id for f in foretold.opened} == open_findings(world.state) - open_before
    assert {f.id for f in foretold.closed} == open_before - open_findings(world.state)
    assert foretold.epoch == world.state.trust.epoch
    changed = {class_id for (class_id, _), (old, new) in really.items() if old != new}
    assert len(changed) <= foretold.touched


# --------------------------------------------------------------------------------------------------------- the numbers


def leak() -> tuple[World, RevocationPut]:
    """One signature proven before C, one after, one of unknown age; the key is revoked."""
    world = World(keys=("build",))
    world.trust(policy("signed", signed_by=("build",)))
    world.now = START + 60 * MINUTE
    times = {"early": START + 10 * MINUTE, "late": START + 50 * MINUTE, "undated": None}
    for name, seen in times.items():
        image = world.image(f"r.example/{name}:1", signed_by=("build",), seen=seen)
        world.send(world.pod("shop", f"{name}-1", {"app": image}), world.pod("shop", f"{name}-2", {"app": image}))
    record = changes.revoke(
        world.state.trust, by(world), "key", "build", reason="keyCompromise", compromised_since=START + 30 * MINUTE
    )
    return world, record


def test_a_revocation_is_split_with_the_images_that_carry_it() -> None:
    """Before, after, unknown: one of each, with where they run."""
    world, record = leak()
    hit = signatures_hit(copy_of(world), record, {("prod-eu", "shop"): "web"})
    assert (hit.before, hit.after, hit.unknown) == (1, 1, 1)
    assert [(s.part, s.image, s.containers) for s in hit.signatures] == [
        ("after", "r.example/late:1", 2),
        ("unknown", "r.example/undated:1", 2),
        ("before", "r.example/early:1", 2),
    ]
    assert [s.time for s in hit.signatures] == [START + 50 * MINUTE, None, START + 10 * MINUTE]
    assert (hit.uses.containers, hit.uses.workloads, hit.uses.teams) == (6, 3, (("web", 6, 3),))


def test_a_revocation_says_what_would_begin_to_violate() -> None:
    """What was proven older stays; the rest breaks, with its findings."""
    world, record = leak()
    foretold = foretell(world, record)
    assert foretold.breaks
    assert (foretold.violating.containers, foretold.violating.workloads, foretold.violating.clusters) == (4, 2, 1)
    assert foretold.violating.teams == (("unowned", 4, 2),)
    assert foretold.touched == 3
    everything, signed = foretold.policies
    assert (everything.policy, everything.before.valid, everything.after.valid, everything.after.violates) == (
        "",
        6,
        2,
        4,
    )
    assert (signed.policy, signed.after) == ("signed", everything.after)
    assert [(n.namespace, n.before.violates, n.after.violates) for n in foretold.namespaces] == [("shop", 0, 4)]
    assert [f.code for f in foretold.opened] == ["key-revoked", "key-revoked"]


def test_all_signatures_keeps_none() -> None:
    """Said aloud, nothing is before."""
    world, _ = leak()
    record = changes.revoke(world.state.trust, by(world), "key", "build", reason="keyCompromise", all_signatures=True)
    hit = signatures_hit(copy_of(world), record)
    assert (hit.before, hit.after, hit.unknown) == (0, 2, 1)


def test_a_denied_digest_reaches_what_runs_it_through_an_index() -> None:
    """The denial of an index is a denial of its children; a digest has no signatures to split."""
    world = World()
    world.trust(policy("signed", signed_by=("dev",)))
    image = world.image("r.example/multi:1", signed_by=("dev",))
    index = "sha256:" + "1" * 64
    world.indexes[image[1]] = (index,)
    world.send(world.pod("p", "a-1", {"app": image}))
    record = changes.revoke(world.state.trust, by(world), "digest", index, reason="unspecified")
    hit = signatures_hit(copy_of(world), record)
    assert (hit.signatures, hit.uses.containers) == ((), 1)
    assert foretell(world, record).violating.containers == 1


def test_a_first_policy_breaks_nothing_that_was_valid_but_is_counted() -> None:
    """Ungoverned before, violating after: no breach of what was valid, and shown."""
    world = World()
    world.send(world.pod("p", "a-1", {"app": world.image("r.example/a:1")}))
    foretold = foretell(world, changes.put_policy(world.state.trust, by(world), policy("signed", signed_by=("dev",))))
    assert not foretold.breaks
    assert foretold.violating.containers == 1
    assert [(c.before, c.after, c.codes) for c in foretold.changes] == [("", "violates", ("unsigned",))]


def test_an_exempted_violation_breaks_nothing() -> None:
    """Several records at once: the exemption stands before the policy that needs it."""
    world = World()
    world.trust(policy("loose", signed_by=("dev",)))
    world.send(world.pod("p", "a-1", {"app": world.image("r.example/a:1", signed_by=("dev",))}))
    strict = policy("strict", signed_by=("ops",))
    exemption = changes.exempt(world.state.trust, by(world), ExemptionScope(namespaces=("p",)))
    world.add_key("ops")
    put = changes.put_policy(world.state.trust, by(world), strict)
    alone = foretell(world, put)
    assert alone.breaks
    both = foretell(world, exemption.model_copy(update={"expects": None}), put.model_copy(update={"expects": None}))
    assert not both.breaks
    (change,) = both.changes
    assert (change.after, change.exempted_by) == ("violates", exemption.id)
    assert both.opened == ()


def test_a_record_that_no_reader_would_apply_is_named() -> None:
    """Made for another epoch: ignored, and nothing differs."""
    world, record = leak()
    foretold = foretell(world, record.model_copy(update={"expects": 99}))
    assert [code for code, _ in foretold.ignored] == ["stale"]
    assert (foretold.changes, foretold.touched) == ((), 0)


def test_entries_that_are_not_judged_yet_are_not_foretold_as_new() -> None:
    """The log has moved on, the shard has not: what waits there is caught up with first."""
    world, record = leak()
    state = copy_of(world)
    catch_up(state, [record])
    removal = changes.remove_policy(state.trust, by(world), "signed")
    foretold = preview(state, [removal], world.now)
    assert foretold.opened == ()
    assert [f.close_reason for f in foretold.closed] == ["policy-removed", "policy-removed"]


def test_a_preview_is_plain_data() -> None:
    """Everything in it can be written as JSON."""
    world, record = leak()
    assert msgspec.json.decode(msgspec.json.encode(foretell(world, record)))["violating"]["containers"] == 4
