"""Documents: what the record keeps of each event, with hand-written expectations."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alerting.lifecycle import Lifecycle
from alerting.models import Cause, Finding, Incident
from streams.events import (
    ClaimObserved,
    ConfigurationObserved,
    ContainerChanged,
    DeadLetter,
    DecisionObserved,
    FeedSeen,
    ImageAsked,
    NamespaceObserved,
    Owner,
    PolicyVerdict,
    Tick,
    TrustChanged,
)
from streams.queries.conditions import values_of
from streams.sinks.document import MAX_TEXT, Document, clean, instant, path_id
from streams.sinks.documents import documents
from streams.sinks.fields import FIELDS, HOMES
from streams.sinks.judged import stored_verdict
from tests.helpers.archives import archive, told
from tests.helpers.certified import (
    BUILDER,
    CI,
    COMMIT,
    CORP,
    CORP_ROOT,
    FULCIO,
    ISSUER,
    PROVENANCE,
    REKOR,
    RULE,
    SECOND,
    CertifiedRecord,
    identity_subject,
    keyless_policy,
    sigstore_root,
)
from tests.helpers.questionday import played
from tests.helpers.recorded import RecordedWorld
from tests.helpers.world import MINUTE, START, World, digest_of, policy
from verifier.errors import InputError
from verifier.trust import changes
from verifier.trust.changes import By
from verifier.trust.records import RevocationReason, RootRemoved, StatusListPut, SubjectKind

DIGEST = digest_of("x")
HOSTILE = "a\x1b[2J\u202eb\0c\ud800d"
ECS_KINDS = {"event", "state", "alert", "pipeline_error"}
ECS_OUTCOMES = {"success", "failure", "unknown"}


def of(event: object) -> dict[str, Document]:
    return {d.home: d for d in documents(event)}


def decision(**fields: object) -> DecisionObserved:
    base = DecisionObserved(
        id="d1", time=START, cluster="c1", namespace="shop", owner=Owner("Deployment", "api"), outcome="admitted",
        operation="create", resource="pods", name="api-1", uid="u1", user="alice",
        images=(ImageAsked("app", "main", "r.example/a:1"),),
    )  # fmt: skip
    return msgspec.structs.replace(base, **fields)


def container(**fields: object) -> ContainerChanged:
    base = ContainerChanged(
        id="k1", time=START, sequence=7, cluster="c1", namespace="shop", pod="api-1", pod_uid="u1",
        owner=Owner("Deployment", "api"), node="n1", service_account="default", kind="main", name="app",
        image="r.example/a:1", repository="r.example/a", digest=DIGEST, state="running", started=START, ended=None,
        end_reason="", class_id="cls",
    )  # fmt: skip
    return msgspec.structs.replace(base, **fields)


# ------------------------------------------------------------------------------------------------ observations


def test_decision():
    """Who, what, where, and the images without making one of them *the* image."""
    (made,) = documents(decision(source_ips=("10.0.0.1", "not an address", "fe80::0001%eth0"), groups=("dev",)))
    body = made.body
    assert (made.home, made.id, made.time, made.version) == ("revet.admission", "d1", START, None)
    assert body["event.action"] == "image-admission-allowed"
    assert body["event.type"] == ["creation", "allowed"]
    assert body["provenance.image.asked"] == ["r.example/a:1"]
    assert body["related.ip"] == ["10.0.0.1", "fe80::1"]
    assert body["source.ip"] == "10.0.0.1"
    assert body["provenance.workload.id"] == "c1/shop/Deployment/api"
    assert "provenance.image.digest" not in body
    assert body["message"] == "create pods shop/api-1 admitted, asked for by alice; images r.example/a:1"


def test_denial_says_who_denied_and_why():
    """The sentence answers the first question of whoever reads it."""
    body = of(
        decision(outcome="denied", uid="", by="verify.example.com", engine="webhook", message="no signatures found")
    )["revet.admission"].body
    assert body["event.outcome"] == "failure"
    assert body["message"] == (
        "create pods shop/api-1 denied by verify.example.com (webhook), asked for by alice; images r.example/a:1; "
        "no signatures found"
    )


def test_pinned_images_are_found_by_digest():
    """Both forms of the digest, from whatever was submitted or stored."""
    images = (
        ImageAsked("app", "main", "r.example/a:1", f"r.example/a:1@{DIGEST}"),
        ImageAsked("side", "sidecar", "not a reference!"),
    )
    body = of(decision(images=images))["revet.admission"].body
    assert body["related.hash"] == [DIGEST, DIGEST.removeprefix("sha256:")]
    asked = values_of("provenance.image.asked", body)
    assert DIGEST in asked
    assert "not a reference!" in asked
    assert body["provenance.image.count"] == 2


def test_break_glass_failed_open_and_dry_run_are_said():
    """Flags are fields and words."""
    body = of(decision(break_glass="x/y=1", failed_open=("w.example",), dry_run=True))["revet.admission"].body
    assert body["provenance.admission.break_glass"] is True
    assert body["provenance.admission.failed_open"] == ["w.example"]
    assert "not asked: w.example; break-glass x/y=1; a dry run" in str(body["message"])


def test_namespace_has_an_owner_and_keeps_it():
    """The team of a label; a namespace that is gone keeps its row."""
    event = NamespaceObserved("n1", START, "c1", "shop", (("team", "pay"),))
    made = of(event)
    assert made["revet-state-namespaces"].body["provenance.owner.team"] == "pay"
    assert made["revet-state-namespaces"].id == "c1/shop"
    gone = of(msgspec.structs.replace(event, gone=True, labels=()))
    assert list(gone) == ["revet.namespace"]


def test_configuration_feed_and_dead_letter():
    """Kept with who, when, and what to do about it."""
    made = of(ConfigurationObserved("c", START, "c1", "delete", "validatingwebhookconfigurations", "verify", "eve"))
    assert made["revet.configuration"].body["message"] == "eve did delete validatingwebhookconfigurations verify"
    feed = of(FeedSeen("f", START + MINUTE, "c1", "audit", START))["revet-state-feeds"]
    assert (feed.id, feed.version) == (f"c1/audit/{START}", START + MINUTE)
    letter = of(DeadLetter("l", START, "audit.jsonl:17", "json-malformed", "not JSON", 12, "ab" * 32))
    assert letter["revet.deadletter"].body["event.kind"] == "pipeline_error"
    assert letter["revet-state-deadletters"].body["provenance.state"] == "open"
    assert letter["revet-state-deadletters"].body["related.hash"] == ["sha256:" + "ab" * 32, "ab" * 32]


def test_what_another_event_covers_is_not_kept():
    """A tick and a pod's states make no documents."""
    assert list(documents(Tick("t", START))) == []
    assert list(documents(World().pod("a", "b", {}))) == []


# ------------------------------------------------------------------------------------------------ containers


def test_container_runs():
    """One row of state with all policies, one start; the verdict is the worst."""
    verdicts = (
        PolicyVerdict("a", "v1", "valid"),
        PolicyVerdict("b", "v1", "violates", ("unsigned",), exempted_by="ex"),
        PolicyVerdict("c", "v1", "unverifiable", ("evidence-pending",)),
    )
    state, start = documents(container(verdicts=verdicts))
    assert (state.home, state.id, state.version) == ("revet-state-containers", "k1", 7)
    assert state.body["provenance.verdict"] == "violates"
    assert state.body["provenance.policy.id"] == ["a", "b", "c"]
    assert state.body["provenance.policy.violated"] == ["b"]
    assert state.body["provenance.policy.unverifiable"] == ["c"]
    assert state.body["provenance.reason.code"] == ["unsigned", "evidence-pending"]
    assert state.body["provenance.exemption.id"] == ["ex"]
    assert (start.home, start.id, start.time) == ("revet.lifecycle", "k1:start", START)
    assert "provenance.verdict" not in start.body


def test_container_start_is_the_same_record_whatever_is_said_later():
    """Later versions of the container repeat its start under the same id."""
    _, first = documents(container())
    _, later = documents(container(sequence=9, time=START + MINUTE, verdicts=(PolicyVerdict("a", "v", "valid"),)))
    assert (first.id, first.time, first.body["message"]) == (later.id, later.time, later.body["message"])


def test_container_ended():
    """The end is a record of its own, and the state keeps the whole interval."""
    event = container(state="terminated", ended=START + MINUTE, end_reason="pod-deleted")
    state, _, end = documents(event)
    assert (end.id, end.time) == (f"k1:end:{START + MINUTE}", START + MINUTE)
    assert end.body["provenance.run.end_reason"] == "pod-deleted"
    assert state.body["provenance.run.started"] == instant(START)
    assert state.body["provenance.run.ended"] == instant(START + MINUTE)


def test_container_whose_end_nobody_saw_says_between_which_times_it_was():
    """The end that is recorded is the latest it can have been."""
    event = container(state="terminated", ended=START + MINUTE, ended_after=START + 5, end_reason="pod-vanished")
    state, _, end = documents(event)
    for made in (state, end):
        assert made.body["provenance.run.ended"] == instant(START + MINUTE)
        assert made.body["provenance.run.ended_after"] == instant(START + 5)
        assert made.body["provenance.run.end_reason"] == "pod-vanished"


def test_container_that_waits_has_no_history():
    """Nothing ran yet."""
    (state,) = documents(container(digest="", class_id="", state="waiting", started=None))
    assert state.home == "revet-state-containers"
    assert "provenance.image.digest" not in state.body
    assert "provenance.verdict" not in state.body


# ------------------------------------------------------------------------------------------------ judged


def test_verdict_can_be_replayed_byte_for_byte():
    """`event.original` holds exactly the encoding of the verdict, however long."""
    world = World()
    world.trust(policy("signed", signed_by=("dev",)))
    long_name = "r.example/" + "/".join(["part"] * 40) + ":1"
    world.send(world.pod("shop", "api-1", {"app": world.image(long_name, signed_by=("dev",) * 3)}))
    for event in world.verdicts():
        (made,) = documents(event)
        original = made.body["event.original"]
        assert original == msgspec.json.encode(event.verdict).decode()
        assert msgspec.json.encode(stored_verdict(str(original))).decode() == original
        assert made.id == event.verdict.id


def test_verdict_names_keys_by_name_and_id():
    """Either paste finds it."""
    world = World()
    world.trust(policy("signed", signed_by=("dev",)))
    world.send(world.pod("shop", "api-1", {"app": world.image("r.example/a:1", signed_by=("dev",))}))
    (made,) = documents(world.verdicts()[-1])
    assert made.body["provenance.key.related"] == [world.signer("dev").key_id, "dev"]
    assert made.body["provenance.signature.trusted"] is True
    assert made.body["provenance.previous_verdict"] == "unverifiable"


def finding(**fields: object) -> Finding:
    base = Finding(
        id="f1", code="unsigned", state="open", severity="high", cluster="c1", namespace="shop",
        owner_kind="Deployment", owner_name="api", container="app", policy="signed", digest=DIGEST,
        image="r.example/a:1", repository="r.example/a", cause=Cause(), incident="i1", opened=START, changed=START,
        members=2, message="no", sequence=1,
    )  # fmt: skip
    return msgspec.structs.replace(base, **fields)


def test_finding_opens_and_closes():
    """Each transition is history, the newest one is state."""
    opened = of(finding())
    assert opened["revet.finding"].body["event.action"] == "finding-opened"
    assert opened["revet-state-findings"].body["event.severity"] == 3
    closed = of(finding(state="closed", changed=START + 1, closed=START + 1, close_reason="exempted", sequence=2))
    assert closed["revet.finding"].body["provenance.finding.status"] == "suppressed"
    assert closed["revet.finding"].body["message"] == "unsigned closed (exempted): no"
    assert closed["revet.finding"].id != opened["revet.finding"].id


def test_a_finding_that_was_forgotten_and_comes_back_is_newer():
    """A shard forgets closed findings after a while and counts from one again; time decides."""
    old = of(finding(state="closed", changed=START, sequence=40))["revet-state-findings"]
    new = of(finding(changed=START + 1, sequence=1))["revet-state-findings"]
    same = of(finding(changed=START, sequence=41))["revet-state-findings"]
    assert old.version is not None
    assert new.version is not None
    assert same.version is not None
    assert old.version < same.version < new.version
    assert new.version < 2**63


def incident(**fields: object) -> Incident:
    cause = Cause("revocation", "key:" + "ab" * 32, "build", START, 3)
    base = Incident(
        id="i1", short_id="INC-AAAAAA", kind="key-revoked", subject=cause.id, cause=cause, policy="signed",
        severity="critical", state="open", epoch=3, revision=1, opened=START, changed=START, resolved=None,
        containers=2, workloads=1, namespaces=1, clusters=1, peak_containers=2, teams=(("pay", 2, 1),), examples=(),
        closed=(), message="m",
    )  # fmt: skip
    return msgspec.structs.replace(base, **fields)


def test_incident_history_has_one_record_per_state_entered():
    """Counts that change are no transition; coming back is."""
    rows = [
        incident(),
        incident(revision=2, containers=3, changed=START + 1),
        incident(revision=3, state="resolved", resolved=START + 2, changed=START + 2),
        incident(revision=4, state="open", reopened=1, changed=START + 3),
    ]
    told = [of(row)["revet.incident"] for row in rows]
    assert [d.id for d in told] == ["i1:open:0", "i1:open:0", "i1:resolved:0", "i1:open:1"]
    assert [d.body["provenance.incident.transition"] for d in told] == ["opened", "opened", "resolved", "reopened"]
    assert told[0].body["provenance.key.related"] == ["ab" * 32, "build"]
    assert of(rows[3])["revet-state-incidents"].version == 4


def test_lifecycle_tells_only_what_the_row_does_not():
    """A note and a refused action are kept; `opened` is told by the incident itself."""
    note = Lifecycle("i1:2:noted", "i1", "INC-AAAAAA", "noted", START, 2, "open", "high", 1, 1, "bob", "looking")
    (made,) = documents(note)
    assert made.body["message"] == "INC-AAAAAA noted by bob: looking"
    assert list(documents(msgspec.structs.replace(note, transition="opened"))) == []


# ------------------------------------------------------------------------------------------------ trust


def test_trust_is_a_sentence_with_its_subject():
    """Who did what; the thing under its own names; the record byte for byte."""
    world = World(keys=("dev",))
    record = changes.revoke(
        world.state.trust,
        By(author="alice", at=START),
        "key",
        "dev",
        reason="keyCompromise",
        compromised_since=START - 5,
    )
    event = TrustChanged("t", START, 2, record.model_dump_json().encode())
    (made,) = documents(event)
    key = world.signer("dev").key_id
    assert str(made.body["message"]).startswith("alice revoked key ")
    assert made.body["provenance.revocation.subject"] == f"key:{key}"
    assert made.body["provenance.revocation.compromised_since"] == instant(START - 5)
    assert made.body["event.original"] == event.record.decode()


def test_a_trust_record_nobody_understands_is_an_input_error():
    """It names the entry."""
    with pytest.raises(InputError, match="entry 9 of the trust log"):
        list(documents(TrustChanged("t", START, 9, b'{"kind":"magic"}')))


# ------------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (START, "2026-11-18T11:06:40.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (-(10**30), "0001-01-01T00:00:00.000000Z"),
        (10**30, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times(time, text):
    """Always microseconds, always UTC; texts sort as times; what no calendar has is the nearest it has."""
    assert instant(time) == text
    assert datetime.fromisoformat(text).tzinfo is not None


_parts = st.lists(st.text("a/%2F", max_size=6), min_size=1, max_size=3)


@given(_parts, _parts)
@example(["a/b", "c", "d"], ["a", "b/c", "d"])
@example(["a%2Fb", "", ""], ["a/b", "", ""])
def test_ids_of_parts_cannot_imitate_each_other(one, other):
    """A slash inside a name is spelt, and so is what spells it: any other parts are another id."""
    assert path_id("a/b", "c") != path_id("a", "b/c")
    assert (path_id(*one) == path_id(*other)) is (one == other)


def test_text_is_kept_unless_no_store_can():
    """Escapes and marks stay data; NUL and lone surrogates cannot be stored; endless text is cut."""
    assert clean(HOSTILE) == "a\x1b[2J\u202eb\ufffdc\ufffd\ufffd\ufffdd"
    assert len(clean("x" * (MAX_TEXT + 1))) == MAX_TEXT
    assert clean("é") == "é"


def test_hostile_text_everywhere_is_stored_and_found():
    """Names from a cluster may hold anything; every document can be encoded."""
    world = RecordedWorld()
    world.trust(policy("signed", signed_by=("dev",)))
    world.keep(decision(namespace=HOSTILE, user=HOSTILE, images=(ImageAsked(HOSTILE, "main", HOSTILE),), by=HOSTILE))
    world.keep(container(namespace=HOSTILE, name=HOSTILE, image=HOSTILE, labels=((HOSTILE, HOSTILE),)))
    world.keep(finding(namespace=HOSTILE, message=HOSTILE, detail=((HOSTILE, HOSTILE),)))
    world.keep(NamespaceObserved("n", START, HOSTILE, HOSTILE, ((HOSTILE, HOSTILE),)))
    world.keep(DeadLetter("l", START, HOSTILE, "x", HOSTILE, 1, ""))
    world.keep(claim(engine=HOSTILE, policy=HOSTILE, message=HOSTILE, name=HOSTILE, images=(HOSTILE,)))
    for made in world.written:
        msgspec.json.encode(made.body)


def claim(**fields: object) -> ClaimObserved:
    base = ClaimObserved(
        id="c1", time=START, cluster="c1", feed="policy-report", engine="kyverno", result="fail", policy="signed",
        rule="check", message="no signature", kind="Pod", namespace="shop", name="api-1", uid="u1",
        said=START - MINUTE, source="reports:c1",
    )  # fmt: skip
    return msgspec.structs.replace(base, **fields)


def test_a_claim_is_what_somebody_else_says():
    """The engine, its rule and the object; no field of a decision, a verdict or a finding."""
    (made,) = documents(claim())
    body = made.body
    assert (made.home, made.id, made.time, made.version) == ("revet.claim", "c1", START, None)
    assert body["message"] == "kyverno says fail of Pod shop/api-1 (signed/check): no signature"
    assert (body["event.action"], body["event.outcome"]) == ("engine-claimed-fail", "failure")
    assert body["provenance.claim.said"] == instant(START - MINUTE)
    assert (body["kubernetes.pod.name"], body["kubernetes.pod.uid"]) == ("api-1", "u1")
    judged = ("provenance.verdict", "provenance.admission", "provenance.finding", "provenance.policy", "rule.")
    assert [name for name in body if name.startswith(judged)] == []


def test_a_claim_about_images_is_found_by_each_and_by_its_digest():
    """As written, normalised, both forms of the digest."""
    images = (f"nginx@{DIGEST}", "not a reference!", "r.example/b:1", "r.example/c:1")
    (made,) = documents(claim(kind="", namespace="", name="", uid="", images=images, engine="ratify", said=None))
    body = made.body
    assert str(body["message"]).startswith(
        f"ratify says fail of nginx@{DIGEST}, not a reference!, r.example/b:1 and 1 more"
    )
    assert body["provenance.image.asked"] == [*images, f"docker.io/library/nginx@{DIGEST}", DIGEST]
    assert body["related.hash"] == [DIGEST, DIGEST.removeprefix("sha256:")]
    assert "provenance.claim.said" not in body
    assert "kubernetes.pod.name" not in body


@pytest.mark.parametrize(
    ("result", "outcome"),
    [("pass", "success"), ("fail", "failure"), ("warn", "unknown"), ("error", "unknown"), ("skip", "unknown")],
)
def test_only_pass_and_fail_are_outcomes(result, outcome):
    """Could-not-tell is neither."""
    (made,) = documents(claim(result=result))
    assert made.body["event.outcome"] == outcome


# ------------------------------------------------------------------------------- every document of a whole story


def story() -> RecordedWorld:
    """Everything that can be kept, once."""
    world = RecordedWorld(keys=("dev", "ops"))
    world.feeds()
    world.namespace("shop", team="pay")
    world.trust(policy("signed", signed_by=("dev",)))
    world.now += MINUTE
    images = {
        "good": world.image("r.example/good:1", signed_by=("dev",), bundle_by=("ops",)),
        "bad": world.image("r.example/bad:1", attested_by=("dev",)),
        "lost": world.image("r.example/lost:1"),
    }
    world.broken[("r.example/lost", images["lost"][1])] = "registry-unavailable"
    for name, image in images.items():
        pod = world.pod("shop", f"{name}-1", {"app": image})
        world.send(world.decision(pod), pod)
    by = By(author="alice", at=world.now, note="why not")
    scope = changes.ExemptionScope(policy="signed", namespaces=("shop",))
    until = world.now + 60 * MINUTE
    world.record(changes.exempt(world.state.trust, by, scope, approver="b", ticket="T", expires=until))
    world.record(changes.revoke(world.state.trust, by, "key", "dev", reason="keyCompromise", all_signatures=True))
    world.wait(40 * MINUTE)
    world.send(world.pod("shop", "good-1", {"app": images["good"]}, gone=True))
    world.observe(DeadLetter("l", world.now, "f:1", "json-malformed", "not JSON", 3, "00" * 32))
    world.observe(claim(images=("r.example/good:1",)))
    world.observe(
        ConfigurationObserved("c", world.now, "prod-eu", "create", "validatingwebhookconfigurations", "w", "eve")
    )
    world.wait(40 * MINUTE)
    return world


def certified_story() -> CertifiedRecord:
    """Signatures with certificates, statements, roots, lists and what can be revoked of them."""
    world = CertifiedRecord(keys=())
    world.root("sigstore", sigstore_root())
    world.root("corp", CORP_ROOT, "certificates")
    world.trust(keyless_policy("pay", CI, attested=True, rule=RULE))
    world.now += MINUTE
    api = world.keyless("r.example/pay/api:1", CI, builder=BUILDER, commits=(COMMIT,))
    world.keyless("r.example/pay/api:1", CI, kind="attestation", builder=BUILDER)
    web = world.keyless("r.example/pay/web:1", CI)
    world.keyless("r.example/pay/web:1", CI, kind="attestation", holds=False)
    corp = world.corporate("r.example/pay/corp:1")
    (fact,) = world.made[("r.example/pay/corp", corp[1])]
    assert fact.certificate is not None
    leaf = msgspec.structs.replace(fact.certificate, subject="CN=build,O=corp")
    expiring = msgspec.structs.replace(fact, certificate=leaf, expires=world.now + MINUTE)
    world.made[("r.example/pay/corp", corp[1])] = [expiring]
    for name, image in (("api", api), ("web", web), ("corp", corp)):
        world.send(world.pod("pay", f"{name}-1", {"app": image}))
    by = By(author="alice", at=world.now)
    revoked: tuple[tuple[SubjectKind, str, dict[str, Any]], ...] = (
        ("identity", identity_subject(CI), {"compromised_since": world.now}),
        ("ca", CORP.key_id, {"all_signatures": True}),
        ("builder", BUILDER, {"all_signatures": True}),
        ("commit", COMMIT, {"all_signatures": True}),
        ("log", REKOR.id, {"last_good_index": 6}),
    )
    for kind, subject, more in revoked:
        reason: RevocationReason = "caCompromise" if kind == "ca" else "identityCompromise"
        world.record(changes.revoke(world.state.trust, by, kind, subject, reason=reason, **more))
    world.record(StatusListPut(author="a", at=world.now, issuer=CORP.key_id, content="AAAA"))
    world.record(RootRemoved(author="a", at=world.now, name="corp"))
    return world


def newest(world: CertifiedRecord, home: str, **wanted: str) -> dict[str, Any]:
    """The newest document of a home with these values (underscores stand for dots)."""
    names = {name.replace("__", "."): value for name, value in wanted.items()}
    found = [
        d.body for d in world.written if d.home == HOMES[home] and all(d.body.get(n) == v for n, v in names.items())
    ]
    return dict(found[-1])


def test_an_image_is_found_by_everything_its_evidence_rests_on():
    """Whom the certificate names, who issued it, its CA, log and entry, builder, commit, types and rules."""
    body = newest(certified_story(), "images", provenance__image__repository="r.example/pay/api")
    assert body["provenance.signature.identity"] == [CI]
    assert body["provenance.signature.issuer"] == [ISSUER]
    assert body["provenance.signature.predicate_type"] == [PROVENANCE]
    assert FULCIO.key_id in body["provenance.ca.related"]
    assert "sigstore" in body["provenance.ca.related"]
    assert body["provenance.log.id"] == [REKOR.id]
    assert body["provenance.log.entry"] == [f"{REKOR.id}:7"]
    assert body["provenance.builder"] == [BUILDER]
    assert body["provenance.commit"] == [COMMIT]
    assert len(body["provenance.rule.held"]) == 1
    assert "provenance.rule.broken" not in body
    assert body["message"].endswith(f"2 pieces of evidence, signed by {CI}")
    signature = body["provenance.signatures"][0]
    assert signature["identities"] == [CI]
    assert signature["extensions"] == [f"sourceRepositoryDigest={COMMIT}"]
    assert len(signature["certificate"]) == 64


def test_a_broken_rule_says_what_was_found_for_readers_only():
    """The id is searchable, the sentence is kept beside the statement."""
    body = newest(certified_story(), "images", provenance__image__repository="r.example/pay/web")
    (rule,) = body["provenance.rule.broken"]
    assert body["provenance.signatures"][1]["rules"] == [f"{rule}: builder is strange"]


def test_a_certificate_that_leads_nowhere_names_nobody():
    """What its maker wrote is kept for reading and never found as an identity."""
    world = CertifiedRecord(keys=())
    world.trust(policy("signed", signed_by=("dev",)))
    image = world.keyless("r.example/pay/api:1", "https://git.example.com/\x1b[31mforged")
    world.send(world.pod("pay", "api-1", {"app": image}))
    body = newest(world, "images")
    assert "provenance.signature.identity" not in body
    assert "provenance.ca.related" not in body
    assert body["provenance.signatures"][0]["believed"] is False
    assert body["message"].endswith("no signature of a known signer")


def test_a_verdict_names_identities_apart_from_keys():
    """A keyless signer is no key name; the policy's answer carries issuer and types."""
    body = newest(certified_story(), "verification", provenance__image__repository="r.example/pay/api")
    assert body["provenance.signature.identity"] == [CI]
    assert body["provenance.signature.issuer"] == [ISSUER]
    assert body["provenance.signature.predicate_type"] == [PROVENANCE]
    assert "provenance.key.name" not in body


def test_a_trust_root_is_recorded_with_what_it_holds():
    """Names and ids; the whole record stands beside it, byte for byte."""
    world = certified_story()
    put = newest(world, "trust", provenance__trust__root="sigstore", provenance__trust__record="root-put")
    assert put["event.action"] == "trust-root-updated"
    assert put["provenance.trust.format"] == "sigstore-trusted-root"
    assert set(put["provenance.log.id"]) == {REKOR.id, SECOND.id}
    assert FULCIO.key_id in put["provenance.ca.related"]
    removed = newest(world, "trust", provenance__trust__record="root-removed")
    assert (removed["event.type"], removed["provenance.trust.root"]) == ("deletion", "corp")
    listed = newest(world, "trust", provenance__trust__record="status-list-put")
    assert listed["provenance.ca.related"][0] == CORP.key_id


def test_a_trust_root_that_cannot_be_read_is_only_named():
    """Every reader refused it; that somebody tried is on record."""
    world = CertifiedRecord(keys=())
    world.root("bad", "not a root", "certificates")
    body = newest(world, "trust", provenance__trust__record="root-put")
    assert body["provenance.trust.root"] == "bad"
    assert "provenance.log.id" not in body


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("identity", "provenance.signature.identity", CI),
        ("identity", "provenance.signature.issuer", ISSUER),
        ("ca", "provenance.ca.related", CORP.key_id),
        ("builder", "provenance.builder", BUILDER),
        ("commit", "provenance.commit", COMMIT),
        ("log", "provenance.log.id", REKOR.id),
    ],
)
def test_a_revocation_is_found_by_what_it_revokes(kind, field, value):
    """Under the very field that evidence has it in."""
    written: list[dict[str, Any]] = [d.body for d in certified_story().written]
    told = [body for body in written if body.get("provenance.trust.record") == "revocation-put"]
    (body,) = [b for b in told if str(b["provenance.revocation.subject"]).startswith(f"{kind}:")]
    assert value in body[field]
    assert body.get("provenance.revocation.last_good_index") == (6 if kind == "log" else None)


PYTHON = {
    "keyword": (str,), "text": (str,), "date": (str,), "long": (int,), "boolean": (bool,), "ip": (str,),
    "unindexed": (str,),
}  # fmt: skip


def test_documents_use_the_table_as_it_says():
    """Names, homes and types of every document of a story; columns have one value; empty values are left out."""
    seen: set[str] = set()
    for made in (*story().written, *certified_story().written):
        short = next(name for name, home in HOMES.items() if home == made.home)
        seen.add(short)
        assert made.body["event.kind"] in ECS_KINDS
        assert made.body.get("event.outcome", "success") in ECS_OUTCOMES
        assert made.body["event.id"] == made.id
        for name, value in made.body.items():
            row = FIELDS[name]
            assert short in row.homes, f"{name} in {short}"
            values = value if isinstance(value, list) else [value]
            assert value not in ("", None, [], {}), f"{name} of {short} is empty"
            if row.type == "flattened":
                assert isinstance(value, dict), name
            elif row.type == "object":
                assert all(isinstance(v, dict) for v in values), name
            else:
                assert all(type(v) in PYTHON[row.type] for v in values), f"{name}={value!r}"
            if row.column:
                assert not isinstance(value, list), name
    assert seen == set(HOMES)


def written_by_all() -> list[Document]:
    archived = (made for one in told([archive()]) for made in documents(one))
    return [*story().written, *certified_story().written, *played("memory").written, *archived]


def test_dates_numbers_and_truths_stand_alone():
    """The SQLite record reads fields of these types as one value (`streams.queries.sql`)."""
    single = {name for name, row in FIELDS.items() if row.type in ("date", "long", "boolean")}
    found = {name for made in written_by_all() for name, value in made.body.items() if isinstance(value, (list, dict))}
    assert single & found == set()


def test_every_field_of_the_table_is_written_by_somebody():
    """A row nobody writes is dead, or its writer forgot it."""
    used = {name for made in written_by_all() for name in made.body}
    rest = {
        *(
            "related.ip",
            "source.ip",
            "user.roles",
            "user_agent.original",
            "http.response.status_code",
            "orchestrator.resource.id",
        ),
        *("kubernetes.audit.auditID", "kubernetes.node.name", "kubernetes.labels", "provenance.cluster.labels"),
        *(
            "orchestrator.cluster.name",
            "provenance.cluster.environment",
            "provenance.workload.static",
            "provenance.workload.service_account",
        ),
        *(
            f"provenance.admission.{n}"
            for n in ("engine", "webhook", "mark", "failed_open", "exempt", "audited", "mutated_by")
        ),
        *("provenance.admission.impersonated_by", "provenance.image.index_digest", "provenance.deadletter.excerpt"),
        *("provenance.evaluation.valid_until", "provenance.revocation.compromised_since", "provenance.finding.detail"),
        *("provenance.incident.resolved_at", "provenance.image.reference", "provenance.run.ended_after"),
    }
    assert set(FIELDS) - used - rest == set()
