"""The judge's handlers as a story: what runs, what it is worth, and what changes when trust changes."""

from __future__ import annotations

import pytest

from tests.helpers.world import MINUTE, START, World, policy
from verifier.trust import changes
from verifier.trust.changes import By, put_cluster
from verifier.trust.clusters import retire_cluster
from verifier.trust.records import ClusterRetired


def by(world: World) -> By:
    return By(author="tester", at=world.now)


def test_unsigned_image_opens_one_finding_per_workload_container() -> None:
    """Two pods of one deployment are two members of one finding."""
    world = World()
    world.trust(policy("signed", signed_by=("dev",)))
    world.now += MINUTE
    api = world.image("registry.example.com/payments/api:1")
    world.send(world.pod("payments", "api-1", {"app": api}), world.pod("payments", "api-2", {"app": api}))
    (finding,) = world.open()
    assert (finding.code, finding.members, finding.owner_name) == ("unsigned", 2, "api")
    assert finding.severity == "high"


def test_signed_image_is_valid_and_silent() -> None:
    """A good signature by the expected key raises nothing."""
    world = World()
    world.trust(policy("signed", signed_by=("dev",)))
    api = world.image("registry.example.com/payments/api:1", signed_by=("dev",))
    world.send(world.pod("payments", "api-1", {"app": api}))
    assert world.open() == []
    assert [v.verdict.outcome for v in world.verdicts()] == ["unverifiable", "valid"]


def test_only_an_attestation_is_not_signed() -> None:
    """An SBOM attestation by the key is not a signature of the image."""
    world = World()
    world.trust(policy("signed", signed_by=("dev",)))
    world.now += MINUTE
    world.send(world.pod("p", "a-1", {"app": world.image("r.example/a:1", attested_by=("dev",))}))
    (finding,) = world.open()
    assert (finding.code, finding.reasons) == ("unsigned", ("attestation-only",))


@pytest.mark.scenario("key-revoked")
def test_revocation_with_time_splits_before_after_and_unknown() -> None:
    """Compromised since C: proven older stays good; later and undated fall, as one incident."""
    world = World(keys=("dev", "build"))
    world.trust(policy("signed", signed_by=("build",)))
    world.now = START + 60 * MINUTE
    early = world.image("r.example/early:1", signed_by=("build",), seen=START + 10 * MINUTE)
    late = world.image("r.example/late:1", signed_by=("build",), seen=START + 50 * MINUTE)
    undated = world.image("r.example/undated:1", signed_by=("build",), seen=None)
    for name, image in (("early", early), ("late", late), ("undated", undated)):
        world.send(world.pod("shop", f"{name}-1", {"app": image}))
    assert world.open() == []
    record = changes.revoke(
        world.state.trust,
        by(world),
        subject_kind="key",
        subject="build",
        reason="keyCompromise",
        compromised_since=START + 30 * MINUTE,
    )
    world.record(record)
    assert [(f.owner_name, f.code, f.severity) for f in world.open()] == [
        ("late", "key-revoked", "critical"),
        ("undated", "key-revoked", "critical"),
    ]
    assert len({f.incident for f in world.open()}) == 1
    (part,) = [p for p in world.newest_parts().values() if p.containers]
    assert (part.containers, part.workloads, part.kind) == (2, 2, "key-revoked")
    world.record(changes.withdraw(world.state.trust, by(world), record.id))
    assert world.open() == []


def test_verdicts_of_one_instant_have_times_that_tell_their_order() -> None:
    """The revocation comes from a machine whose clock is behind: our time stands still, the newest verdict is last."""
    world = World(keys=("dev", "build"))
    world.trust(policy("signed", signed_by=("build",)))
    world.now = START + 60 * MINUTE
    world.send(world.pod("shop", "a-1", {"app": world.image("r.example/a:1", signed_by=("build",))}))
    world.now -= 2 * MINUTE
    record = changes.revoke(
        world.state.trust, by(world), subject_kind="key", subject="build", reason="keyCompromise", all_signatures=True
    )
    world.record(record)
    said = [(verdict.time, verdict.verdict.outcome) for verdict in world.verdicts()]
    assert [outcome for _, outcome in said][-2:] == ["valid", "violates"]
    assert [outcome for _, outcome in sorted(said)] == [outcome for _, outcome in said]
    assert len({time for time, _ in said}) == len(said)


def test_rotation_lights_up_nothing() -> None:
    """A superseded key's old signatures stay good and raise no finding."""
    world = World(keys=("release",))
    world.trust(policy("signed", signed_by=("release",)))
    world.now += 10 * MINUTE
    world.send(world.pod("p", "a-1", {"app": world.image("r.example/a:1", signed_by=("release",))}))
    world.now += 10 * MINUTE
    said = len(world.verdicts())
    world.record(changes.rotate_key(world.state.trust, by(world), "release", world.signer("release-2026").pem))
    assert world.open() == []
    assert len(world.verdicts()) == said
    world.now += MINUTE
    new = world.image("r.example/b:1", signed_by=("release-2026",))
    world.send(world.pod("p", "b-1", {"app": new}))
    assert world.open() == []


def test_what_ran_before_the_first_policy_is_a_baseline() -> None:
    """Three hundred namespaces, nothing signed: one incident."""
    world = World()
    image = world.image("r.example/a:1")
    for number in range(300):
        world.send(world.pod(f"team-{number}", "a-1", {"app": image}))
    world.now += 10 * MINUTE
    world.trust(policy("signed", signed_by=("dev",)))
    findings = world.open()
    assert len(findings) == 300
    assert {f.cause.kind for f in findings} == {"baseline-policy"}
    assert len({f.incident for f in findings}) == 1


@pytest.mark.scenario("policy-changed")
def test_a_tightened_policy_is_the_cause_where_it_passed_before() -> None:
    """Version 2 asks for ops too: policy-changed, one incident by policy version."""
    world = World(keys=("dev", "ops"))
    world.trust(policy("signed", signed_by=("dev",)))
    world.now += MINUTE
    world.send(world.pod("p", "a-1", {"app": world.image("r.example/a:1", signed_by=("dev",))}))
    world.now += MINUTE
    world.trust(policy("signed", signed_by=("dev", "ops")))
    (finding,) = world.open()
    assert (finding.code, finding.cause.kind) == ("policy-changed", "policy-change")
    world.now += MINUTE
    world.trust(policy("signed", signed_by=("dev",)))
    assert world.open() == []


def test_key_added_later_is_pending_then_judged_without_asking_twice() -> None:
    """Until the fetcher has looked again the verdict is could-not-tell, never a false violation."""
    world = World(keys=("dev",))
    world.trust(policy("signed", signed_by=("ops",)))
    world.now += MINUTE
    world.send(world.pod("p", "a-1", {"app": world.image("r.example/a:1", signed_by=("ops",))}))
    assert world.open_codes() == ["wrong-signer"]
    world.auto_fetch = False
    world.add_key("ops")
    (cls,) = world.state.classes.values()
    assert cls.judged["signed"].codes == ("keys-pending",)
    assert [w.why for w in world.wanted] == ["keys-added"]
    world.send(world.fetch("r.example/a", next(iter(world.evidence))[1]))
    assert world.open() == []


def test_key_added_while_evidence_was_on_its_way_is_asked_about_once() -> None:
    """The answer was made before the key came, and arrives after it: nobody else would ever ask for more."""
    world = World(keys=("dev",))
    world.trust(policy("signed", signed_by=("ops",)))
    world.now += MINUTE
    world.auto_fetch = False
    reference, digest = world.image("r.example/a:1", signed_by=("ops",))
    world.send(world.pod("p", "a-1", {"app": (reference, digest)}))
    late = world.fetch("r.example/a", digest)
    world.add_key("ops")
    (cls,) = world.state.classes.values()
    assert [(w.why, w.epoch) for w in world.wanted] == [("new-digest", 2)]
    world.send(late)
    assert cls.judged["signed"].codes == ("keys-pending",)
    assert [(w.why, w.epoch) for w in world.wanted[1:]] == [("keys-added", 3)]
    world.now += MINUTE
    world.send(world.fetch("r.example/a", digest))
    assert cls.judged["signed"].decided.outcome == "valid"
    world.send(late)
    assert len(world.wanted) == 2


@pytest.mark.scenario("unverifiable-too-long")
def test_unreachable_registry_is_told_after_half_an_hour() -> None:
    """Registry trouble is a reason, not a verdict; it becomes a finding by lasting."""
    world = World()
    world.trust(policy("signed", signed_by=("dev",)))
    world.now += MINUTE
    api = world.image("r.example/a:1")
    world.broken[("r.example/a", api[1])] = "registry-unavailable"
    world.send(world.pod("p", "a-1", {"app": api}))
    assert world.open() == []
    world.wait(31 * MINUTE)
    assert world.open_codes() == ["unverifiable-too-long"]
    world.broken.clear()
    world.wait(61 * MINUTE)
    assert world.open_codes() == ["unsigned"]


@pytest.mark.scenario("unadmitted")
def test_pod_without_admission_on_record() -> None:
    """Unadmitted after three minutes of both feeds; an admission that comes late closes it."""
    world = World()
    world.feeds()
    world.now += MINUTE
    pod = world.pod("p", "a-1", {"app": world.image("r.example/a:1")})
    world.send(pod)
    world.now += 2 * MINUTE
    world.feeds("audit", since=START)
    assert world.open() == []
    world.wait(2 * MINUTE)
    assert world.open_codes() == ["unadmitted"]
    world.send(world.decision(pod))
    assert world.open() == []
    assert [f.close_reason for f in world.state.findings.values()] == ["admission-found"]


def test_pods_without_an_audit_feed_are_never_unadmitted() -> None:
    """A feed a cluster lacks raises nothing."""
    world = World()
    world.feeds("pods")
    world.now += MINUTE
    world.send(world.pod("p", "a-1", {"app": world.image("r.example/a:1")}))
    world.wait(60 * MINUTE)
    assert world.open() == []


def test_denied_and_running_is_critical() -> None:
    """The same name and image was denied, and it runs without an admission."""
    world = World()
    world.feeds()
    world.now += MINUTE
    pod = world.pod("p", "a-1", {"app": world.image("r.example/a:1")})
    world.send(world.decision(pod, "denied", by="verify.example.com"), pod)
    world.now += MINUTE
    world.feeds("audit", since=START)
    world.wait(5 * MINUTE)
    (finding,) = world.open()
    assert (finding.code, finding.severity) == ("denied-but-running", "critical")


@pytest.mark.scenario("mixed-digests")
def test_tag_moves_and_replicas_differ() -> None:
    """The same tag pulled twice gives two digests: tag-moved (low) and mixed-digests."""
    world = World()
    one = world.image("r.example/a:1", content="first")
    two = world.image("r.example/a:1", content="second")
    world.send(world.pod("p", "a-1", {"app": one}), world.pod("p", "a-2", {"app": two}))
    assert world.open_codes() == ["mixed-digests", "tag-moved"]
    world.send(world.pod("p", "a-1", {"app": one}, gone=True))
    assert world.open_codes() == ["tag-moved"]


def test_pinned_digest_that_drifts() -> None:
    """Pinned to one digest, running another that is not its index or platform manifest."""
    world = World()
    _, expected = world.image("r.example/a:1", content="expected")
    _, other = world.image("r.example/a:1", content="other")
    world.send(world.pod("p", "a-1", {"app": (f"r.example/a@{expected}", other)}))
    (finding,) = world.open()
    assert (finding.code, dict(finding.detail)["expected"]) == ("digest-drift", expected)


def test_platform_manifest_of_the_pinned_index_is_no_drift() -> None:
    """Index and platform manifest are one image."""
    world = World()
    _, index = world.image("r.example/a:1", content="index")
    _, child = world.image("r.example/a:1", content="child")
    world.indexes[child] = (index,)
    world.send(world.pod("p", "a-1", {"app": (f"r.example/a@{index}", child)}))
    assert world.open() == []


@pytest.mark.scenario("unsigned")
def test_findings_end_with_the_pods() -> None:
    """The last instance gone closes the finding with a reason, and the part says zero."""
    world = World()
    world.trust(policy("signed", signed_by=("dev",)))
    world.now += MINUTE
    api = world.image("r.example/a:1")
    world.send(world.pod("p", "a-1", {"app": api}))
    world.now += MINUTE
    world.send(world.pod("p", "a-1", {"app": api}, gone=True))
    assert world.open() == []
    (part,) = world.newest_parts().values()
    assert (part.containers, part.workloads, part.closed) == (0, 0, (("ended", 1),))
    (container,) = world.containers().values()
    assert (container.state, container.end_reason, container.ended) == ("terminated", "pod-deleted", world.now)


def test_a_retired_cluster_ends_what_ran_there_with_that_reason() -> None:
    """Only there; what still comes from it is judged; put again, it is enrolled as before."""
    world = World()
    world.trust(policy("signed", signed_by=("dev",)))
    world.record(put_cluster(world.state.trust, by(world), "c2", "staging"))
    world.now += MINUTE
    api = world.image("r.example/a:1")
    world.send(world.pod("p", "a-1", {"app": api}, cluster="c2"), world.pod("p", "b-1", {"app": api}, cluster="c2"))
    other = world.pod("q", "a-1", {"app": api})
    world.send(other)
    assert len(world.open()) == 3
    world.now += MINUTE
    world.record(retire_cluster(world.state.trust, by(world), "staging"))
    assert [finding.namespace for finding in world.open()] == ["q"]
    ended = {c.pod: (c.state, c.end_reason, c.ended) for c in world.containers().values() if c.cluster == "c2"}
    assert ended == dict.fromkeys(("a-1", "b-1"), ("terminated", "cluster-retired", world.now))
    closed = dict(pair for part in world.newest_parts().values() for pair in part.closed)
    assert closed == {"cluster-retired": 2}
    world.record(retire_cluster_again())
    world.now += MINUTE
    world.send(world.pod("p", "new-1", {"app": api}, cluster="c2"))
    assert sorted(finding.cluster for finding in world.open()) == sorted(["c2", other.pod.cluster])
    world.record(put_cluster(world.state.trust, by(world), "c2", "staging"))
    assert world.state.trust.clusters["c2"].enrolled


def retire_cluster_again() -> ClusterRetired:
    return ClusterRetired(author="tester", at=0, cluster_id="c2")


@pytest.mark.scenario("failed-open")
def test_failed_open_break_glass_and_ephemeral() -> None:
    """What came in unchecked, by break-glass, or was added to a running pod."""
    world = World()
    a = world.image("r.example/a:1")
    pod = world.pod("p", "a-1", {"app": a})
    world.send(world.decision(pod, failed_open=("policy.example.com",), break_glass="x/break-glass=inc-1"), pod)
    debug = world.image("r.example/debug:1")
    world.send(world.pod("p", "b-1", {"shell": debug}, kind="ephemeral"))
    assert world.open_codes() == ["break-glass", "ephemeral-added", "failed-open"]
    world.wait(61 * MINUTE)
    assert world.open_codes() == ["break-glass", "ephemeral-added"]


def test_exemption_closes_and_reopens_at_expiry() -> None:
    """The verdict stays `violates`; the finding closes as exempted and comes back."""
    world = World()
    world.trust(policy("signed", signed_by=("dev",)))
    world.now += MINUTE
    world.send(world.pod("p", "a-1", {"app": world.image("r.example/a:1")}))
    exempt = changes.exempt(
        world.state.trust,
        by(world)._replace(note="legacy"),
        changes.ExemptionScope(policy="signed", namespaces=("p",)),
        owner="team",
        approver="boss",
        ticket="T-1",
        expires=world.now + 24 * 60 * MINUTE,
    )
    world.record(exempt)
    assert world.open() == []
    assert [v.verdict.outcome for v in world.verdicts()][-1] == "violates"
    assert world.verdicts()[-1].verdict.exempted_by == exempt.id
    world.wait(25 * 60 * MINUTE)
    assert world.open_codes() == ["unsigned"]


def test_trial_policy_is_judged_and_silent() -> None:
    """Trial: recorded, no finding."""
    world = World()
    world.trust(policy("signed", signed_by=("dev",), mode="trial"))
    world.now += MINUTE
    world.send(world.pod("p", "a-1", {"app": world.image("r.example/a:1")}))
    assert world.open() == []
    assert world.verdicts()[-1].verdict.outcome == "violates"


def test_a_policy_that_leaves_trial_begins_to_tell_and_one_that_returns_stops() -> None:
    """The answer is the same; the mode decides whether anybody hears of it."""
    world = World()
    world.trust(policy("signed", signed_by=("dev",), mode="trial"))
    world.now += MINUTE
    world.send(world.pod("p", "a-1", {"app": world.image("r.example/a:1")}))
    assert world.open() == []
    world.trust(policy("signed", signed_by=("dev",), mode="audit"))
    assert [(f.code, f.policy) for f in world.open()] == [("unsigned", "signed")]
    world.trust(policy("signed", signed_by=("dev",), mode="trial"))
    assert world.open() == []
