"""Every finding of the table has a scenario that raises it and one that closes it, and they do.

What a test is marked with (`tests/helpers/scenarios.py`) is held against the findings it made, whenever it runs. The
scenarios below are those that no other story tells.
"""

import pytest

from alerting.findings import FINDINGS
from tests.helpers.certified import CI, RULE, CertifiedWorld, keyless_policy, sigstore_root
from tests.helpers.scenarios import listed, watched
from tests.helpers.world import MINUTE, START, World, digest_of, policy
from verifier.policy.model import MatchRule, Policy, Requirement, with_version
from verifier.times import HOUR
from verifier.trust import changes
from verifier.trust.changes import By, put_cluster
from verifier.trust.clusters import retire_cluster
from verifier.trust.records import PolicyRemoved

# ---------------------------------------------------------------------------------------------------------- the list


@pytest.mark.parametrize("code", FINDINGS)
def test_a_finding_has_a_scenario_that_raises_it_and_one_that_closes_it(code):
    raising = [says.test for says in listed() if code in says.raises]
    closing = [says.test for says in listed() if code in says.closes]
    assert raising, f"no test is marked to raise {code}: write one, with @pytest.mark.scenario({code!r})"
    assert closing, f"no test is marked to close {code}: write one, with @pytest.mark.scenario(closes={code!r})"


def test_marks_name_findings_of_the_table():
    named = {code for says in listed() for code in (*says.raises, *says.closes)}
    assert named == set(FINDINGS)


def test_the_list_reads_marks_and_the_watch_sees_findings(tmp_path):
    """Neither is blind: a mark is found, a finding that is not made is missed."""
    source = "@pytest.mark.scenario('stale', closes='x')\ndef test_a(): ...\ndef test_b(): ...\n"
    (tmp_path / "test_some.py").write_text(source)
    (says,) = listed(tmp_path)
    assert says == ("test_some.py::test_a", frozenset({"stale"}), frozenset({"stale", "x"}))
    with watched() as told:
        unsigned_pod(World())
    assert (told.raised, told.closed) == ({"unsigned"}, set())


# ------------------------------------------------------------------------------------------------------- scenarios


def unsigned_pod(world):
    world.trust(policy("signed", signed_by=("dev",)))
    world.now += MINUTE
    pod = world.pod("p", "a-1", {"app": world.image("r.example/a:1")})
    world.send(pod)
    return pod


def end(world, name="a-1", image=None):
    """The pod is gone, as a watch tells it."""
    world.now += MINUTE
    world.send(world.pod("p", name, {"app": image or world.image("r.example/a:1")}, gone=True))
    assert world.open_codes() == []


def by(world):
    return By(author="tester", at=world.now)


@pytest.mark.scenario("digest-denied")
def test_a_revoked_digest_is_denied_until_that_is_withdrawn():
    world = World()
    world.trust(policy("signed", signed_by=("dev",)))
    image = world.image("r.example/a:1", signed_by=("dev",))
    world.send(world.pod("p", "a-1", {"app": image}))
    record = changes.revoke(world.state.trust, by(world), "digest", image[1], reason="unspecified")
    world.record(record)
    assert world.open_codes() == ["digest-denied"]
    world.record(changes.withdraw(world.state.trust, by(world), record.id))
    assert world.open_codes() == []


@pytest.mark.scenario("signature-invalid")
def test_a_signature_that_was_made_for_another_image():
    """Copied to an image it was not made for; the workload goes back to the one that is signed."""
    world = World()
    world.trust(policy("signed", signed_by=("dev",)))
    good = world.image("r.example/a:1", signed_by=("dev",))
    digest = digest_of("an attacker's")
    copied = world.signer("dev").sign_simple("r.example/a", good[1], at=digest)
    world.evidence["r.example/a", digest] = [copied]
    world.seen[copied.id] = world.now
    world.now += MINUTE
    world.send(world.pod("p", "a-1", {"app": ("r.example/a:1", digest)}))
    assert world.open_codes() == ["signature-invalid"]
    world.send(
        world.pod("p", "a-1", {"app": ("r.example/a:1", digest)}, gone=True), world.pod("p", "a-2", {"app": good})
    )
    assert "signature-invalid" not in world.open_codes()


@pytest.mark.scenario("untrusted-registry")
def test_an_image_from_elsewhere_is_told_until_its_registry_is_listed():
    def from_registries(*registries):
        wanted = Requirement(registry_in=registries)
        return with_version(Policy(id="ours", match=(MatchRule(images=("**",)),), require=wanted))

    world = World()
    world.trust(from_registries("r.example"))
    world.now += MINUTE
    world.send(world.pod("p", "a-1", {"app": world.image("elsewhere.example/a:1")}))
    assert world.open_codes() == ["untrusted-registry"]
    world.now += MINUTE
    world.trust(from_registries("r.example", "elsewhere.example"))
    assert world.open_codes() == []


def attested_world(holds):
    world = CertifiedWorld(keys=())
    world.root("sigstore", sigstore_root())
    world.trust(keyless_policy("pay", CI, attested=True, rule=RULE))
    world.now = START + HOUR
    image = world.keyless("r.example/a:1", CI)
    if holds is not None:
        world.keyless("r.example/a:1", CI, kind="attestation", holds=holds)
    world.send(world.pod("p", "a-1", {"app": image}))
    return world, image


@pytest.mark.scenario("attestation-missing")
def test_a_statement_that_comes_late_closes_its_absence():
    world, image = attested_world(holds=None)
    assert world.open_codes() == ["attestation-missing"]
    world.now += MINUTE
    world.keyless("r.example/a:1", CI, kind="attestation")
    world.send(world.fetch("r.example/a", image[1]))
    assert world.open_codes() == []


@pytest.mark.scenario("attestation-violates")
def test_a_statement_that_breaks_a_rule_is_told_until_the_policy_goes():
    world, _ = attested_world(holds=False)
    assert world.open_codes() == ["attestation-violates"]
    world.now += MINUTE
    world.record(PolicyRemoved(author="test", at=world.now, policy_id="pay"))
    assert world.open_codes() == []


@pytest.mark.scenario("denied-but-running")
def test_a_denied_pod_that_runs_is_told_until_its_admission_is_found():
    world = World()
    world.feeds()
    world.now += MINUTE
    pod = world.pod("p", "a-1", {"app": world.image("r.example/a:1")})
    world.send(world.decision(pod, "denied", by="verify.example.com"), pod)
    world.now += MINUTE
    world.feeds("audit", since=START)
    world.wait(5 * MINUTE)
    assert world.open_codes() == ["denied-but-running"]
    world.send(world.decision(pod))
    assert world.open_codes() == []


@pytest.mark.scenario("digest-drift")
def test_a_drifted_pod_is_told_until_it_runs_what_it_names():
    world = World()
    _, expected = world.image("r.example/a:1", content="expected")
    _, other = world.image("r.example/a:1", content="other")
    pinned = f"r.example/a@{expected}"
    world.send(world.pod("p", "a-1", {"app": (pinned, other)}))
    assert world.open_codes() == ["digest-drift"]
    world.now += MINUTE
    world.send(world.pod("p", "a-1", {"app": (pinned, expected)}))
    assert world.open_codes() == []


@pytest.mark.scenario("break-glass")
def test_a_break_glass_pod_is_told_until_it_ends():
    world = World()
    pod = world.pod("p", "a-1", {"app": world.image("r.example/a:1")})
    world.send(world.decision(pod, break_glass="x/break-glass=inc-1"), pod)
    assert world.open_codes() == ["break-glass"]
    end(world)


@pytest.mark.scenario("ephemeral-added")
def test_a_debug_container_is_told_until_its_cluster_is_retired():
    world = World()
    world.record(put_cluster(world.state.trust, by(world), world.cluster, "prod"))
    debug = world.image("r.example/debug:1")
    world.send(world.pod("p", "a-1", {"shell": debug}, kind="ephemeral"))
    assert world.open_codes() == ["ephemeral-added"]
    world.now += MINUTE
    world.record(retire_cluster(world.state.trust, by(world), world.cluster))
    assert world.open_codes() == []


@pytest.mark.scenario("baseline")
def test_what_ran_before_the_first_policy_is_worked_off():
    """One incident, which shrinks with each image that is signed, and ends with the last."""
    world = World()
    images = [world.image(f"r.example/{name}:1") for name in ("a", "b")]
    for number, image in enumerate(images):
        world.send(world.pod("p", f"{number}-1", {"app": image}))
    world.now += 10 * MINUTE
    world.trust(policy("signed", signed_by=("dev",)))
    assert {f.cause.kind for f in world.open()} == {"baseline-policy"}
    for left, (reference, digest) in zip((1, 0), images, strict=True):
        world.now += MINUTE
        world.image(reference, signed_by=("dev",))
        world.send(world.fetch(reference.partition(":")[0], digest))
        assert len(world.open()) == left
