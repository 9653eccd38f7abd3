"""What admission says, by what it was asked and what is known: modes, marks, words. No server, no clock."""

import json
from itertools import product
from typing import Any

import msgspec
import pytest

from streams.admission.judging import (
    MAX_WARNING,
    Conduct,
    Judge,
    JudgedImage,
    answered,
    is_pinned,
    reference_of,
    scope_of,
)
from streams.collectors.admission import MAX_IMAGES, Asked, answer_json, read_review
from streams.collectors.deadletters import CODES, Problem
from streams.collectors.engines import classify
from streams.collectors.reduce import MAX_MESSAGE
from streams.events import ContainerChanged, DecisionObserved
from tests.helpers.webhook import pod, review
from tests.helpers.world import START, World, policy
from verifier.reasons import REASONS
from verifier.times import MINUTE
from verifier.trust.records import ClusterPut
from verifier.verify import ImageEvidence

API = "registry.example.com/payments/api:1"


def asked_of(item: object, operation: str = "CREATE", **request: object) -> Asked:
    found = read_review(json.dumps(review(item, operation, **request)).encode(), "prod-eu", START)
    assert isinstance(found, Asked), found
    return found


def judged(world: World, asked: Asked) -> list[JudgedImage]:
    """By what the fetcher of the small world knows."""
    judge = Judge(world.state.trust)
    made = []
    for image in asked.images:
        reference, problem = reference_of(image.submitted)
        found = world.fetch(reference.repository, reference.digest)
        evidence = ImageEvidence(
            reference.repository, reference.digest, found.set, found.facts, dict(found.first_seen), problem
        )
        verdicts = judge.verdicts(scope_of(asked, reference, world.state.trust), evidence, world.now)
        made.append(JudgedImage(image, verdicts, reference.digest, is_pinned(reference)))
    return made


def pinned(world: World, name: str, signed_by: tuple[str, ...] = ()) -> str:
    reference, digest = world.image(f"registry.example.com/payments/{name}:1", signed_by=signed_by)
    return f"{reference.rpartition(':')[0]}@{digest}"


# ---------------------------------------------------------------------------------------------------------- two modes

ACTS = {
    ("trial", "observe"): "allowed", ("trial", "warn"): "allowed", ("trial", "enforce"): "allowed",
    ("audit", "observe"): "allowed", ("audit", "warn"): "warned", ("audit", "enforce"): "warned",
    ("enforce", "observe"): "allowed", ("enforce", "warn"): "warned", ("enforce", "enforce"): "denied",
}  # fmt: skip


def said(answer: Any) -> str:
    return "denied" if not answer.allowed else "warned" if answer.warnings else "allowed"


@pytest.mark.parametrize(("policy_mode", "mode"), ACTS)
def test_the_weaker_of_two_modes_acts_and_everything_is_recorded(policy_mode, mode):
    world = World()
    world.trust(policy("signed", signed_by=("dev",), mode=policy_mode))
    asked = asked_of(pod("p", pinned(world, "bare")))
    answer = answered(asked, judged(world, asked), Conduct(mode=mode), 2)
    assert said(answer) == ACTS[policy_mode, mode]
    assert answer.decision is not None
    recorded = answer.decision.message if said(answer) == "denied" else answer.decision.audited[0]
    assert "policy signed: unsigned" in recorded
    assert answer.annotations["outcome"] == "violates"


@pytest.mark.parametrize(("doubt", "mode"), list(product(("admit", "deny"), ("observe", "warn", "enforce"))))
def test_what_cannot_be_told_is_admitted_unless_somebody_said_otherwise(doubt, mode):
    world = World()
    world.trust(policy("signed", signed_by=("dev",), mode="enforce"))
    image = pinned(world, "away")
    reference, _ = reference_of(image)
    world.broken[reference.repository, reference.digest] = "registry-unavailable"
    asked = asked_of(pod("p", image))
    answer = answered(asked, judged(world, asked), Conduct(mode=mode, unverifiable=doubt), 2)
    assert answer.outcome == "unverifiable"
    denied = (doubt, mode) == ("deny", "enforce")
    assert said(answer) == ("denied" if denied else "allowed" if mode == "observe" else "warned")
    assert answer.decision is not None
    assert answer.decision.outcome == ("errored" if denied else "admitted")


@pytest.mark.parametrize(("code", "outcome"), [("unsigned", "denied"), ("budget", "errored"), ("unpinned", "denied")])
def test_the_audit_event_of_a_denial_is_read_as_the_webhook_recorded_it(code, outcome):
    words = f"image r.example/a (container c): policy signed: {code}: said. Do it. (revet explain {code})"
    judgement = classify(f'admission webhook "{Conduct().webhook}" denied the request: {words}', 403)
    assert judgement is not None
    assert (judgement.outcome, judgement.engine, judgement.by) == (outcome, "revet", Conduct().webhook)


@pytest.mark.parametrize(("doubt", "mode"), list(product(("admit", "deny"), ("observe", "warn", "enforce"))))
def test_what_no_policy_matches_is_admitted_without_a_word_unless_somebody_said_otherwise(doubt, mode):
    world = World()
    asked = asked_of(pod("p", pinned(world, "free")))
    answer = answered(asked, judged(world, asked), Conduct(mode=mode, ungoverned=doubt), 1)
    assert answer.outcome == "ungoverned"
    expected = {"observe": "allowed", "warn": "warned", "enforce": "denied"}[mode] if doubt == "deny" else "allowed"
    assert said(answer) == expected
    assert answer.decision is not None
    assert "ungoverned" in "".join((answer.decision.message, *answer.decision.audited))


@pytest.mark.parametrize(("refuse", "mode"), list(product((False, True), ("observe", "warn", "enforce"))))
def test_a_tag_is_marked_and_refused_only_by_its_own_switch(refuse, mode):
    world = World()
    world.trust(policy("signed", signed_by=("dev",), mode="enforce"))
    reference, digest = world.image(API, signed_by=("dev",))
    found = world.fetch("registry.example.com/payments/api", digest)
    asked = asked_of(pod("p", reference))
    name, _ = reference_of(reference)
    evidence = ImageEvidence(name.repository, digest, found.set, found.facts, dict(found.first_seen))
    verdicts = Judge(world.state.trust).verdicts(scope_of(asked, name, world.state.trust), evidence, world.now)
    image = JudgedImage(asked.images[0], verdicts, digest, pinned=is_pinned(name))
    answer = answered(asked, [image], Conduct(mode=mode, refuse_unpinned=refuse), 2)
    assert answer.outcome == "valid"
    assert (answer.annotations["unpinned"], answer.annotations["digests"]) == (API, digest)
    expected = {"observe": "allowed", "warn": "warned", "enforce": "denied" if refuse else "warned"}[mode]
    assert said(answer) == expected


def test_an_exempted_violation_is_let_in_and_the_exemption_is_named():
    world = World()
    world.trust(policy("signed", signed_by=("dev",), mode="enforce"))
    asked = asked_of(pod("p", pinned(world, "bare")))
    (image,) = judged(world, asked)
    image = image._replace(verdicts=tuple(msgspec.structs.replace(v, exempted_by="ex-1") for v in image.verdicts))
    answer = answered(asked, [image], Conduct(mode="enforce"), 2)
    assert said(answer) == "allowed"
    assert answer.decision is not None
    assert answer.decision.exempt == "exemption ex-1"


# ------------------------------------------------------------------------------------------------- the same verdict


@pytest.mark.parametrize("signed_by", [(), ("dev",), ("ops",), ("dev", "ops")])
def test_the_verdict_is_that_of_the_judge_of_what_runs(signed_by):
    world = World(keys=("dev", "ops"))
    world.record(ClusterPut(author="t", at=world.now, cluster_id="prod-eu", name="eu", labels={"env": "prod"}))
    world.trust(
        policy("dev", signed_by=("dev",), cluster_labels={"env": "prod"}),
        policy("ops", signed_by=("ops",), namespaces=("pay",)),
        policy("else", signed_by=("ops",), namespaces=("else",)),
    )
    image = pinned(world, "api", signed_by)
    asked = asked_of(pod("api", image, serviceAccountName=""))
    (found,) = judged(world, asked)
    world.send(world.pod("pay", "api", {"c0": (image, image.partition("@")[2])}))
    (cls,) = world.state.classes.values()
    assert {v.policy: v.outcome for v in found.verdicts} == {n: j.decided.outcome for n, j in cls.judged.items()}
    assert {v.scope for v in found.verdicts} == {cls.row.scope}
    assert {v.policy for v in found.verdicts} == {"dev", "ops"}


# ------------------------------------------------------------------------------------------------------- what is asked


def test_only_images_that_are_new_are_judged():
    old, new = pod("p", "r.example/a:1", "r.example/b:1"), pod("p", "r.example/a:1", "r.example/b:2")
    assert [i.submitted for i in asked_of(new, "UPDATE", oldObject=old).images] == ["r.example/b:2"]
    same = asked_of(old, "UPDATE", oldObject=old)
    assert (same.images, same.skipped) == ((), "unchanged")
    assert answered(same, (), Conduct(mode="enforce"), 0).allowed


SKIPPED: dict[str, tuple[dict[str, Any], str]] = {
    "a status": ({"subResource": "status", "operation": "UPDATE"}, "subresource"),
    "a binding": ({"subResource": "binding"}, "subresource"),
    "an exec": ({"operation": "CONNECT", "subResource": "exec"}, "operation"),
    "a deletion": ({"operation": "DELETE", "object": None}, "operation"),
    "another resource": ({"resource": {"group": "x.example", "version": "v1", "resource": "things"}}, "resource"),
}


@pytest.mark.parametrize("name", SKIPPED)
def test_what_brings_no_image_is_skipped_by_name_and_allowed(name):
    request, why = SKIPPED[name]
    asked = asked_of(pod("p", API), **{"operation": "CREATE", **request})
    answer = answered(asked, (), Conduct(mode="enforce", unverifiable="deny", ungoverned="deny"), 0)
    assert (asked.skipped, answer.allowed, answer.decision) == (why, True, None)


def test_the_object_of_a_resource_that_is_not_looked_at_may_be_anything():
    thing = {"group": "x.example", "version": "v1", "resource": "things"}
    assert asked_of({"spec": "no object", "metadata": 7}, resource=thing).skipped == "resource"


def test_what_is_being_deleted_is_let_go():
    item = pod("p", "r.example/a:2")
    item["metadata"]["deletionTimestamp"] = "2026-11-18T12:00:00Z"
    assert asked_of(item, "UPDATE", oldObject=pod("p", "r.example/a:1")).skipped == "ending"


def test_every_kind_of_container_and_image_volumes_are_judged():
    item = pod(
        "p",
        "r.example/main:1",
        initContainers=[
            {"name": "i", "image": "r.example/init:1"},
            {"name": "s", "image": "r.example/side:1", "restartPolicy": "Always"},
        ],
        ephemeralContainers=[{"name": "e", "image": "r.example/debug:1"}],
        volumes=[{"name": "v", "image": {"reference": "r.example/data:1"}}, {"name": "w", "emptyDir": {}}],
    )
    found = {image.kind for image in asked_of(item).images}
    assert found == {"main", "init", "sidecar", "ephemeral", "image-volume"}


TEMPLATE = {
    "metadata": {"labels": {"app": "web", "pod-template-hash": "5d4f"}},
    "spec": {"containers": [{"name": "c", "image": API}], "serviceAccountName": "builder"},
}
LABELS = (("app", "web"),)
BARE = {"spec": {"containers": [{"name": "c", "image": API}]}}


@pytest.mark.parametrize(
    ("group", "resource", "spec", "account", "labels", "owner"),
    [
        ("apps", "deployments", {"template": TEMPLATE}, "builder", (("app", "web"),), "Deployment"),
        ("apps", "statefulsets", {"template": BARE}, "default", (), "StatefulSet"),
        ("batch", "jobs", {"template": TEMPLATE}, "builder", (("app", "web"),), "Job"),
        ("batch", "cronjobs", {"jobTemplate": {"spec": {"template": TEMPLATE}}}, "builder", LABELS, "CronJob"),
        ("", "replicationcontrollers", {"template": BARE}, "default", (), "ReplicationController"),
    ],
)  # fmt: skip
def test_a_template_is_seen_as_its_pods_will_be(group, resource, spec, account, labels, owner):
    named = {"group": group, "version": "v1", "resource": resource}
    asked = asked_of({"metadata": {"name": "web", "labels": {"of": "object"}}, "spec": spec}, resource=named)
    assert (asked.service_account, asked.labels, asked.owner.kind) == (account, labels, owner)
    assert [image.submitted for image in asked.images] == [API]


def test_what_is_not_judged_is_recorded_as_out_of_scope_unless_it_is_named():
    mirror = pod("m", API)
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    cases = [
        (asked_of(pod("p", API), namespace="kube-system"), "kube-system"),
        (asked_of(pod("p", API), namespace="revet"), "revet"),
        (asked_of(mirror), "mirror-pods"),
    ]
    for asked, name in cases:
        answer = answered(asked, (), Conduct(mode="enforce"), 1)
        assert (answer.allowed, answer.outcome) == (True, "out-of-scope")
        assert answer.decision is not None
        assert answer.decision.exempt.startswith("out of scope: ")
        assert answered(asked, (), Conduct(mode="enforce", named=(name,)), 1).outcome != "out-of-scope"


# -------------------------------------------------------------------------------------------------------------- words

HOSTILE = "r.example/\x1b[2J\x07\u202e\nimage: fine\r\n\u2028" + "x" * 5000


@pytest.mark.parametrize("mode", ["warn", "enforce"])
def test_hostile_text_is_spelt_out_and_bounded_everywhere(mode):
    world = World()
    world.trust(policy("signed", signed_by=("dev",), mode="enforce"))
    asked = asked_of(pod("p", *([HOSTILE] * 40)))
    conduct = Conduct(mode=mode, unverifiable="deny")
    judge = Judge(world.state.trust)
    images = []
    for image in asked.images:
        reference, problem = reference_of(image.submitted)
        scope = scope_of(asked, reference, world.state.trust)
        verdicts = judge.verdicts(scope, ImageEvidence("", "", problem=problem), world.now)
        images.append(JudgedImage(image, verdicts, "", pinned=False))
    answer = answered(asked, images, conduct, 2)
    texts = [answer.message, *answer.warnings, *answer.annotations.values()]
    assert said(answer) == ("warned" if mode == "warn" else "denied")
    assert all(text.isprintable() for text in texts)
    assert all(len(text.encode()) <= MAX_WARNING and text.isascii() for text in answer.warnings)
    assert len(answer.message) <= MAX_MESSAGE
    assert sum(map(len, answer.warnings)) <= 4096
    assert "more like these" in (answer.message or answer.warnings[-1])


@pytest.mark.parametrize(("mode", "expected"), [("observe", "allowed"), ("warn", "warned"), ("enforce", "denied")])
def test_more_images_than_are_judged_are_no_way_in(mode, expected):
    asked = asked_of(pod("p", *(f"r.example/a{n}:1" for n in range(20_000))))
    assert (len(asked.images), asked.left_out) == (MAX_IMAGES, 20_000 - MAX_IMAGES)
    world = World()
    image = JudgedImage(asked.images[0], Judge(world.state.trust).verdicts(
        scope_of(asked, reference_of("r.example/a0:1")[0], world.state.trust), ImageEvidence("", ""), world.now
    ), "", pinned=True)  # fmt: skip
    answer = answered(asked, [image], Conduct(mode=mode), 0)
    assert (said(answer), answer.outcome) == (expected, "unverifiable")
    assert asked_of(pod("p", *(["r.example/same:1"] * 2000))).left_out == 0  # one image, however often


def test_a_denial_names_image_policy_reason_and_what_to_do():
    world = World()
    world.trust(policy("signed", signed_by=("dev",), mode="enforce"))
    image = pinned(world, "bare")
    asked = asked_of(pod("p", image))
    answer = answered(asked, judged(world, asked), Conduct(mode="enforce"), 2)
    for part in (image, "policy signed", "unsigned", REASONS["unsigned"].todo, "revet explain unsigned"):
        assert part in answer.message
    body = json.loads(
        answer_json(asked.uid, allowed=False, message=answer.message, warnings=(), annotations=answer.annotations)
    )
    assert body["response"]["uid"] == asked.uid
    assert body["response"]["status"]["code"] == 403


# ------------------------------------------------------------------------------------------------------------ garbage

GARBAGE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "json-truncated"),
    "no JSON": (b"<xml/>", "json-malformed"),
    "a list": (b"[]", "object-malformed"),
    "a number": (b"17", "object-malformed"),
    "another kind": (b'{"apiVersion":"admission.k8s.io/v1","kind":"Pod"}', "kind-unexpected"),
    "another version": (b'{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}', "kind-unexpected"),
    "no request": (b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}', "member-missing"),
    "no uid": (json.dumps(review(pod("p", API), uid="")).encode(), "member-missing"),
    "a uid that is none": (json.dumps(review(pod("p", API), uid="a\nb")).encode(), "object-malformed"),
    "a long uid": (json.dumps(review(pod("p", API), uid="u" * 5000)).encode(), "object-malformed"),
    "no object": (json.dumps(review(None)).encode(), "member-missing"),
    "an object of another form": (json.dumps(review({"spec": {"containers": 5}})).encode(), "object-malformed"),
    "deep": (b'{"a":' * 100_000, "too-deep"),
    "no UTF-8": (b'{"apiVersion":"\xff"}', "json-malformed"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_a_problem_with_a_name(name):
    body, code = GARBAGE[name]
    found = read_review(body, "c", START)
    assert isinstance(found, Problem)
    assert found.code in CODES
    assert found.code == code or name == "no UTF-8"


# ------------------------------------------------------------------------------------------- what comes of a decision


def decided(world: World, name: str, image: str, mode: str = "enforce") -> DecisionObserved:
    item = pod(name, image)
    item["metadata"]["uid"] = f"uid-pay-{name}"
    asked = msgspec.structs.replace(asked_of(item), time=world.now)
    decision = answered(asked, judged(world, asked), Conduct(mode=mode), 2).decision  # type: ignore[arg-type]  # a mode
    assert decision is not None
    return decision


def test_what_was_let_in_is_admitted_by_that_decision_also_without_an_audit_log():
    world = World()
    image = pinned(world, "api", ("dev",))
    world.feeds()
    world.now += MINUTE
    decision = decided(world, "api-1", image)
    running = world.pod("pay", "api-1", {"c0": (image, image.partition("@")[2])}, owner=("Pod", "api-1"))
    world.send(decision, running)
    world.now += MINUTE
    world.feeds("audit", since=START)
    world.wait(5 * MINUTE)
    assert world.open_codes() == []
    changed = [out for out in world.outputs if isinstance(out, ContainerChanged)]
    assert changed[-1].admitted_by == decision.id


def test_what_was_denied_and_runs_anyway_is_found():
    world = World()
    world.trust(policy("signed", signed_by=("dev",), mode="enforce"))
    image = pinned(world, "bare")
    world.feeds()
    world.now += MINUTE
    decision = decided(world, "bad-1", image)
    assert decision.outcome == "denied"
    running = world.pod("pay", "bad-1", {"c0": (image, image.partition("@")[2])}, owner=("Pod", "bad-1"))
    world.send(decision, running)
    world.now += MINUTE
    world.feeds("audit", since=START)
    world.wait(5 * MINUTE)
    assert "denied-but-running" in world.open_codes()


def test_a_dry_run_leaves_no_trace_in_what_runs():
    world = World()
    world.trust(policy("signed", signed_by=("dev",), mode="enforce"))
    image = pinned(world, "bare")
    tried = msgspec.structs.replace(decided(world, "bad-1", image), dry_run=True)
    world.send(tried)
    assert world.state.workloads == {} or all(not w.row.denials for w in world.state.workloads.values())
