"""What admission let in, judged again: who would have been turned away, by team, and what cannot be told."""

import asyncio
from typing import Any

import pytest

from streams.local.admissions import Admission, AskedImage, recorded_admissions, rejudge
from streams.local.node import LocalNode, NodeSettings
from streams.queries.sqlite import SqliteReader
from tests.helpers.demo_state import copy_of_demo
from tests.helpers.statefile import Shop, a_policy, document
from tests.helpers.world import MINUTE, START, World, policy

DEMO_START = "2026-11-21T13:30:00Z"


def a_world() -> World:
    world = World(keys=("dev",))
    world.trust(policy("signed", signed_by=("dev",)))
    return world


def admitted(world: World, name: str, image: tuple[str, str], *, team: str = "web", **members: Any) -> Admission:
    reference, digest = image
    given: dict[str, Any] = {
        "id": name,
        "time": START + 5 * MINUTE,
        "cluster": "prod-eu",
        "namespace": "shop",
        "team": team,
        "workload": f"Deployment/{name}",
        "service_account": "",
        "labels": (),
        "images": (AskedImage("app", reference, digest),),
    }
    world.send(world.pod("shop", f"{name}-1", {"app": image}))
    return Admission(**(given | members))


def judged(world: World, *admissions: Admission, policies: tuple[str, ...] = ()):
    return rejudge(admissions, world.state, policies, START, world.now)


def test_only_what_would_violate_is_denied_and_counted_by_team():
    world = a_world()
    good = admitted(world, "good", world.image("r.example/good:1", signed_by=("dev",)))
    bad = admitted(world, "bad", world.image("r.example/bad:1"), team="pay")
    found = judged(world, good, bad)
    assert (found.admissions, found.denied, found.unknown) == (2, 1, 0)
    assert found.teams == (("pay", 1, 1, 0), ("web", 1, 0, 0))
    (away,) = found.turned_away
    assert (away.admission, away.image, away.policy, away.codes) == ("bad", "r.example/bad:1", "signed", ("unsigned",))


@pytest.mark.parametrize("mode", ["trial", "audit", "enforce"])
def test_the_mode_does_not_matter(mode):
    """The question is what `enforce` would have done; a draft in trial is asked about before it is meant."""
    world = World(keys=("dev",))
    world.trust(policy("signed", signed_by=("dev",), mode=mode))
    assert judged(world, admitted(world, "bad", world.image("r.example/bad:1"))).denied == 1


def test_other_policies_do_not_count_when_some_are_named():
    world = a_world()
    bad = admitted(world, "bad", world.image("r.example/bad:1"))
    assert judged(world, bad, policies=("another",)).denied == 0
    assert judged(world, bad, policies=("signed",)).denied == 1


def test_what_is_not_governed_is_let_in():
    world = World(keys=("dev",))
    world.trust(policy("signed", signed_by=("dev",), namespaces=("elsewhere",)))
    assert judged(world, admitted(world, "bad", world.image("r.example/bad:1"))).turned_away == ()


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (AskedImage("app", "r.example/never-seen:1", ""), "digest-unknown"),
        (AskedImage("app", "r.example/never-seen:1", "sha256:" + "9" * 64), "evidence-pending"),
        (AskedImage("app", "NOT A REFERENCE", ""), "reference-unparsable"),
    ],
)
def test_what_is_not_known_is_never_counted_as_denied(asked, code):
    world = a_world()
    found = judged(world, admitted(world, "x", world.image("r.example/x:1"), images=(asked,)))
    assert (found.denied, found.unknown, found.turned_away[0].codes) == (0, 1, (code,))


def test_a_violation_beats_what_could_not_be_told():
    world = a_world()
    image = world.image("r.example/bad:1")
    two = (AskedImage("a", "r.example/unknown:1", ""), AskedImage("b", *image))
    found = judged(world, admitted(world, "x", image, images=two))
    assert (found.denied, found.unknown) == (1, 0)


def test_a_namespace_without_a_team_stands_for_itself():
    world = a_world()
    assert judged(world, admitted(world, "x", world.image("r.example/x:1"), team="")).teams == (
        ("namespace shop", 1, 1, 0),
    )


def test_a_creation_that_audit_log_and_webhook_both_tell_of_counts_once(tmp_path):
    world = World()
    pod = world.pod("shop", "web-1", {"app": world.image("r.example/web:1")})
    told = [world.decision(pod), world.decision(pod, engine="revet")]
    other = world.decision(world.pod("shop", "web-2", {"app": world.image("r.example/web:1")}))
    node = LocalNode.open(tmp_path / "state", NodeSettings(replay=True))
    node.ingest([*told, other, pod])
    asyncio.run(node.drain())
    found = list(recorded_admissions(SqliteReader(node.connection), START, world.now, {}))
    node.close()
    assert sorted(admission.id for admission in found) == sorted([min(one.id for one in told), other.id])
    assert all(image.digest for admission in found if admission.id != other.id for image in admission.images)


# --------------------------------------------------------------------------------------------------------- the command


def test_the_recorded_day(tmp_path):
    state = copy_of_demo(tmp_path)
    strict = tmp_path / "strict.yaml"
    strict.write_text(a_policy("strict", key="dev", images="registry.example.com/**"))
    shop = _Asked(state)
    past = shop.ask(strict, "--from", DEMO_START)["admissions"]
    assert (past["admissions"], past["denied"], past["unknown"]) == (66, 36, 4)
    assert sum(row[1] for row in past["teams"]) == 66
    assert sum(row[2] for row in past["teams"]) == 36
    assert [row[0] for row in past["teams"]] == ["data", "checkout", "inventory", "payments", "namespace platform"]
    times = [away["time"] for away in past["turned_away"]]
    assert times == sorted(times)
    assert "admissions" not in shop.ask(strict)
    later = shop.ask(strict, "--from", "2026-11-21T13:37:00Z")["admissions"]
    assert 0 < later["admissions"] < 66
    table = shop.run(strict, "--from", DEMO_START).out
    assert (
        "of 66 pods that admission let in since 2026-11-21T13:30:00Z: would have denied 36, could not tell 4" in table
    )
    assert "by team" in table


class _Asked(Shop):
    """`policy preview` on a state file that is there already."""

    def __init__(self, state) -> None:
        self.state = state

    def run(self, *args: object, input: str | None = None):  # noqa: A002  # click's word
        return super().run("policy", "preview", *args, input=input)

    def ask(self, *args: object):
        result = self.run(*args, "-o", "json")
        assert result.code in (0, 1), result.err
        return result.json


def test_a_policy_that_everything_meets_denies_nothing(tmp_path):
    state = copy_of_demo(tmp_path)
    any_ = tmp_path / "any.yaml"
    any_.write_text(
        document(
            "Policy",
            "any",
            match=[{"images": ["**"]}],
            require={"registryIn": ["registry.example.com", "docker.io", "quay.io"]},
        )
    )
    past = _Asked(state).ask(any_, "--from", DEMO_START)["admissions"]
    assert (past["admissions"], past["denied"]) == (66, 0)


@pytest.mark.parametrize("text", ["yesterday", "9999y", ""])
def test_a_wrong_time_is_a_usage_error(tmp_path, text):
    ran = Shop(tmp_path).run("policy", "preview", tmp_path / "none.yaml", "--from", text)
    assert ran.code == 2
