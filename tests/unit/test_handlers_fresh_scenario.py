"""Evidence looked for again: the daily sweep, what is gone, what nobody could ask about for long, tags that moved."""

from __future__ import annotations

import msgspec
import pytest

from streams.events import EvidenceFound, EvidenceWanted, Tick
from streams.handlers import handle, restored
from streams.handlers.evidence import learn
from streams.local.kept import KeptState
from streams.state import ShardState
from tests.helpers.world import World, digest_of, policy
from verifier.models import PlaceAsked
from verifier.oci.port import KEPT, TAGGED
from verifier.times import DAY, HOUR, MINUTE

API = "registry.example.com/payments/api:1"


def fresh_world() -> tuple[World, tuple[str, str]]:
    world = World()
    world.state.max_age = DAY
    world.trust(policy("signed", signed_by=("dev",)))
    world.now += HOUR
    api = world.image(API, signed_by=("dev",))
    world.send(world.pod("payments", "api-1", {"app": api}), world.pod("payments", "api-2", {"app": api}))
    return world, api


def answer(world: World, api: tuple[str, str], *places: PlaceAsked, complete: bool = True) -> EvidenceFound:
    """What a fetcher says that has this to add."""
    found = world.fetch("registry.example.com/payments/api", api[1])
    content = msgspec.structs.replace(found.set, places=(*found.set.places, *places), complete=complete)
    return msgspec.structs.replace(found, set=msgspec.structs.replace(content, version=f"v{world.now}"))


def asked(outputs: list[object]) -> list[EvidenceWanted]:
    return [out for out in outputs if isinstance(out, EvidenceWanted) and out.why == "stale"]


# ----------------------------------------------------------------------------------------------------------- the sweep


def test_every_image_that_runs_is_asked_about_once_a_day() -> None:
    world, api = fresh_world()
    days = [len(asked(world.wait(DAY))) for _ in range(5)]
    assert days[1:] == [1, 1, 1, 1]
    world.send(*(world.pod("payments", f"api-{n}", {"app": api}, gone=True) for n in (1, 2)))
    world.wait(2 * DAY)
    assert asked(world.wait(3 * DAY)) == [], "what does not run is not asked about"


def test_shards_ask_at_one_instant_and_images_at_instants_of_their_own() -> None:
    at: dict[str, set[int]] = {}
    for shard in range(3):
        world = World(state=ShardState(shard, 3))
        world.state.max_age = DAY
        for number in range(8):
            world.now += shard * MINUTE
            image = world.image(f"registry.example.com/app-{number}:1", signed_by=("dev",))
            world.send(world.pod("shop", f"app{number}-{shard}", {"app": image}))
        for due in [entry for entry in world.state.due if entry[1] == "sweep"]:
            at.setdefault(due[2], set()).add(due[0])
    assert all(len(instants) == 1 for instants in at.values())
    assert len({instant for instants in at.values() for instant in instants}) == 8


def test_nothing_is_swept_where_no_age_is_set_as_in_recordings() -> None:
    world = World()
    world.send(world.pod("payments", "api-1", {"app": world.image(API, signed_by=("dev",))}))
    assert asked(world.wait(30 * DAY)) == []


def test_an_image_just_asked_about_is_left_for_the_next_day() -> None:
    world, api = fresh_world()
    (due,) = [entry for entry in world.state.due if entry[1] == "sweep"]
    world.now = due[0] - MINUTE
    world.send(answer(world, api))
    assert asked(world.wait(2 * MINUTE)) == []
    assert len(asked(world.wait(DAY))) == 1


@pytest.mark.parametrize("kind", [ShardState, KeptState])
def test_a_restart_sweeps_at_the_same_instant(kind: type[ShardState]) -> None:
    world, _ = fresh_world()
    rows = [(k, key, value) for k, key, value in world.state.take_dirty() if value is not None]
    again = kind()
    again.max_age = DAY
    if isinstance(again, KeptState):  # a file that is older than the sweep has no due time of it
        again.restore(rows)
        list(restored(again))
        again.load_due([])
    else:
        again.restore(rows)
        list(restored(again))
    assert [e for e in again.due if e[1] == "sweep"] == [e for e in world.state.due if e[1] == "sweep"]


# -------------------------------------------------------------------------------------------------------- what vanished


def gone(api: tuple[str, str]) -> PlaceAsked:
    return PlaceAsked(KEPT, api[1], "found", "", "1 kept from first sight and not published now: sha256:0123456789ab")


@pytest.mark.scenario("evidence-vanished")
def test_evidence_that_is_published_no_longer_is_a_finding_and_changes_no_verdict() -> None:
    world, api = fresh_world()
    world.now += HOUR
    world.send(answer(world, api, gone(api)))
    (finding,) = world.open()
    assert (finding.code, finding.severity, finding.members, finding.policy) == ("evidence-vanished", "medium", 2, "")
    assert "1 kept from first sight" in finding.message
    assert {j.decided.outcome for c in world.state.classes.values() for j in c.judged.values()} == {"valid"}
    world.now += HOUR
    world.send(answer(world, api))
    assert world.open() == []
    assert world.state.findings[finding.id].close_reason == "converged"


def test_a_registry_that_is_down_makes_nothing_vanish_and_brings_nothing_back() -> None:
    world, api = fresh_world()
    world.auto_fetch = False
    down = PlaceAsked("sig-tag", api[1], "error", "registry-unavailable", "down")
    world.now += HOUR
    world.send(answer(world, api, down, gone(api), complete=False))
    assert world.open() == []
    world.now += HOUR
    world.send(answer(world, api, gone(api)))
    assert world.open_codes() == ["evidence-vanished"]
    world.now += HOUR
    world.send(answer(world, api, down, gone(api), complete=False))
    assert world.open_codes() == ["evidence-vanished"], "not known to be back"


def test_an_image_that_is_deleted_with_its_signatures_has_vanished() -> None:
    world, api = fresh_world()
    missing = PlaceAsked("manifest", api[1], "error", "registry-not-found", "it is not there")
    world.now += HOUR
    world.send(answer(world, api, missing, gone(api), complete=False))
    assert world.open_codes() == ["evidence-vanished"]


def test_it_ends_with_the_last_container() -> None:
    world, api = fresh_world()
    world.now += HOUR
    world.send(answer(world, api, gone(api)))
    (finding,) = world.open()
    world.send(*(world.pod("payments", f"api-{n}", {"app": api}, gone=True) for n in (1, 2)))
    assert world.open() == []
    assert world.state.findings[finding.id].close_reason == "ended"


# --------------------------------------------------------------------------------------------------------------- stale


@pytest.mark.scenario("stale")
def test_what_nobody_could_ask_about_for_two_days_is_stale_and_not_before() -> None:
    world, api = fresh_world()
    world.broken["registry.example.com/payments/api", api[1]] = "registry-unavailable"
    world.wait(DAY)
    world.wait(DAY - 2 * HOUR)
    assert "stale" not in world.open_codes()
    world.wait(3 * HOUR)
    (finding,) = world.open()
    assert (finding.code, finding.severity, finding.policy) == ("stale", "medium", "signed")
    assert "registry-unavailable" in finding.message
    del world.broken["registry.example.com/payments/api", api[1]]
    world.wait(2 * HOUR)
    assert world.open() == []
    assert world.state.findings[finding.id].close_reason == "valid-again"


def test_since_when_nobody_could_ask_outlives_a_restart() -> None:
    world, api = fresh_world()
    world.broken["registry.example.com/payments/api", api[1]] = "registry-unavailable"
    world.wait(DAY)
    world.wait(12 * HOUR)
    rows = [(k, key, value) for k, key, value in world.state.take_dirty() if value is not None]
    again = ShardState()
    again.max_age, again.trust = DAY, world.state.trust
    again.restore(rows)
    list(restored(again))
    slot = ("registry.example.com/payments/api", api[1])
    assert again.images[slot].complete_at == world.state.images[slot].complete_at > 0
    at = again.images[slot].complete_at + 2 * DAY
    list(handle(again, Tick("", at + 1)))
    assert [f.code for f in again.findings.values() if f.state == "open"] == ["stale"]


def test_a_restart_that_forgets_since_when_closes_nothing_before_somebody_could_ask() -> None:
    """A shard of a cluster stores no answers; the newest one, which is incomplete, is all that it finds."""
    world, api = fresh_world()
    slot = ("registry.example.com/payments/api", api[1])
    world.broken[slot] = "registry-unavailable"
    world.wait(3 * DAY)
    assert world.open_codes() == ["stale"]
    rows = [(k, key, value) for k, key, value in world.state.take_dirty() if value is not None and k != "image"]
    again = ShardState()
    again.max_age, again.trust = DAY, world.state.trust
    again.restore(rows)
    again.now = world.now
    learn(again, again.images[slot], world.fetch(*slot))
    list(restored(again))
    assert [f.code for f in again.findings.values() if f.state == "open"] == ["stale"]
    del world.broken[slot]
    world.now += HOUR
    list(handle(again, world.fetch(*slot)))
    assert [f.code for f in again.findings.values() if f.state == "open"] == []


# ---------------------------------------------------------------------------------------------------------- tags moved


@pytest.mark.scenario("tag-moved")
def test_a_tag_that_the_registry_moved_is_told_with_what_runs_and_what_it_means_now() -> None:
    world, api = fresh_world()
    other = digest_of("another build")
    world.now += HOUR
    world.send(answer(world, api, PlaceAsked(TAGGED, other, "found", "", "1")))
    (finding,) = world.open()
    assert (finding.code, finding.severity, finding.members) == ("tag-moved", "low", 2)
    assert dict(finding.detail) == {"before": api[1], "now": other}
    assert other[:19] in finding.message
    world.now += HOUR
    world.send(answer(world, api, PlaceAsked(TAGGED, other, "found", "", "another-tag")))
    assert world.open() == [], "another tag is not the one that runs"
