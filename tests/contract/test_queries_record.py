"""One suite for every record: what a sink keeps, what a reader answers. Hand-computed, on a small world."""

from __future__ import annotations

import msgspec
import pytest

from alerting.routing import OwnerRule, Routes
from streams.events import ClaimObserved, DeadLetter
from streams.queries.blast import blast_radius
from streams.queries.conditions import EVERYTHING, Is, Not, compare, exists, is_, one_of
from streams.queries.coverage import coverage
from streams.queries.lists import deadletters, evidence, incidents, search, verdict_document
from streams.queries.port import ALL_HISTORY, MAX_PAGE, Group, every, one
from streams.queries.questions import Asked, ask, question
from streams.queries.results import SCHEMAS, Answer, as_json
from streams.queries.subjects import resolve
from streams.queries.trace import trace
from streams.sinks.document import Document, document, instant, prepared
from streams.sinks.judged import stored_verdict
from tests.helpers.recorded import RECORDS, RecordedWorld
from tests.helpers.stores import STORES, opened
from tests.helpers.world import MINUTE, START, digest_of, policy
from verifier.errors import InputError
from verifier.trust import changes
from verifier.trust.changes import By

CONTAINERS = "revet-state-containers"
T = START + 60 * MINUTE
"""When everything starts to run in the story."""
LEAK = START + 30 * MINUTE
"""When the key leaked."""


@pytest.fixture(params=STORES)
def store(request) -> str:
    return opened(request)


# ------------------------------------------------------------------------------------------------ the two ports


def doc(home: str, id_: str, time: int, version: int | None = None, **body: object) -> Document:
    names = {"ns": "orchestrator.namespace", "policy": "provenance.policy.id", "note": "event.reason"}
    return document(home, id_, time, prepared({names[k]: v for k, v in body.items()}), version=version)


def test_history_keeps_the_first_of_an_id(store):
    """A replay writes the same ids again and changes nothing."""
    sink, reader = RECORDS[store]()
    sink.write([doc("admission", "a", 1, note="first")])
    sink.write([doc("admission", "a", 2, note="second"), doc("admission", "a", 1, note="first")])
    (hit,) = reader.find("revet.admission", EVERYTHING).hits
    assert (hit.time, hit.body["event.reason"]) == (1, "first")


def test_the_same_id_in_two_homes_is_two_documents(store):
    """Ids are unique within a dataset."""
    sink, reader = RECORDS[store]()
    sink.write([doc("admission", "a", 1), doc("trust", "a", 2)])
    assert [h.home for h in reader.find(ALL_HISTORY, EVERYTHING).hits] == ["revet.admission", "revet.trust"]


def test_state_keeps_the_newest_version(store):
    """A stale owner's late write loses; an identical redelivery is accepted."""
    sink, reader = RECORDS[store]()
    sink.write([doc("containers", "k", 5, 7, ns="new")])
    sink.write([doc("containers", "k", 9, 6, ns="late")])
    (hit,) = reader.find(CONTAINERS, EVERYTHING).hits
    assert hit.body["orchestrator.namespace"] == "new"
    sink.write([doc("containers", "k", 6, 7, ns="equal")])
    (hit,) = reader.find(CONTAINERS, EVERYTHING).hits
    assert (hit.time, hit.body["orchestrator.namespace"]) == (6, "equal")


def test_writing_nothing_is_fine(store):
    """An empty batch."""
    sink, reader = RECORDS[store]()
    sink.write([])
    assert reader.find(ALL_HISTORY, EVERYTHING).hits == ()


def test_bodies_come_back_as_they_were_written(store):
    """Types, order of values, structures."""
    sink, reader = RECORDS[store]()
    body = {
        "message": "é\x1b[0m",
        "provenance.policy.id": ["b", "a"],
        "provenance.class.members": 3,
        "provenance.signature.exists": False,
        "kubernetes.labels": {"a.b/c": "d"},
        "provenance.signatures": [{"keys": ["x"], "time": None}],
    }
    made = document("verification", "v", 1, prepared(body))
    sink.write([made])
    hit = one(reader, "revet.verification", EVERYTHING)
    assert hit is not None
    assert hit.body == made.body


@pytest.mark.parametrize("newest_first", [False, True])
def test_pages_cover_everything_once(store, newest_first):
    """In order, also where times are equal, also while new documents arrive behind."""
    sink, reader = RECORDS[store]()
    sink.write([doc("admission", f"d{n:02}", n // 4) for n in range(23)])
    seen, after = [], ""
    while True:
        page = reader.find("revet.admission", EVERYTHING, newest_first=newest_first, limit=5, after=after)
        seen += [hit.id for hit in page.hits]
        after = page.after
        if not after:
            break
    expected = [f"d{n:02}" for n in range(23)]
    assert seen == (expected[::-1] if newest_first else expected)
    assert len(list(every(reader, "revet.admission", EVERYTHING))) == 23


def test_groups_count_and_sort(store):
    """A missing value is an empty text."""
    sink, reader = RECORDS[store]()
    sink.write([doc("containers", str(n), 0, 1, ns=ns) for n, ns in enumerate(["b", "a", "b", ""])])
    groups = reader.groups(CONTAINERS, EVERYTHING, ("orchestrator.namespace", "provenance.verdict"))
    assert groups == [Group(("", ""), 1), Group(("a", ""), 1), Group(("b", ""), 2)]
    assert reader.groups(CONTAINERS, is_("namespace", "zz"), ("orchestrator.namespace",)) == []


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (is_("policy", "b"), {"0", "1"}),
        (Not(is_("policy", "b")), {"2"}),
        (exists("policy"), {"0", "1"}),
        (one_of("namespace", ("x", "y")), {"0", "2"}),
        (one_of("namespace", ()), set()),
        (compare("namespace", ">=", "y"), {"1", "2"}),
        (Is("@timestamp", instant(1)), {"1"}),
        (compare("@timestamp", ">", instant(0)), {"1", "2"}),
        (is_("id", "2"), {"2"}),
    ],
)
def test_conditions(store, where, found):
    """Several values, missing values, time."""
    sink, reader = RECORDS[store]()
    sink.write(
        [
            doc("containers", "0", 0, 1, ns="x", policy=["a", "b"]),
            doc("containers", "1", 1, 1, ns="z", policy=["b"]),
            doc("containers", "2", 2, 1, ns="y"),
        ]
    )
    assert {hit.id for hit in reader.find(CONTAINERS, where).hits} == found


@pytest.mark.parametrize("limit", [0, MAX_PAGE + 1])
def test_a_page_has_limits(store, limit):
    """Never an answer that fills the memory."""
    _, reader = RECORDS[store]()
    with pytest.raises(InputError):
        reader.find(CONTAINERS, EVERYTHING, limit=limit)


# ------------------------------------------------------------------------------------------------ a story


@pytest.fixture
def world(store) -> RecordedWorld:
    """Three images by key `build`: first seen before the leak, after it, and undated. Two teams. Then the key falls,
    the later image is replaced, and the day ends.

    minute 60: early x2, late, undated start in shop (team pay); late in lab (no team). 61: key revoked, compromised
    since minute 30. 62: late of shop ends.
    """
    made = RecordedWorld(keys=("dev", "build"), store=store)
    made.feeds(since=START)
    made.namespace("shop", team="pay")
    made.trust(policy("signed", signed_by=("build",)))
    made.now = T
    early = made.image("r.example/early:1", signed_by=("build",), seen=START + 10 * MINUTE)
    late = made.image("r.example/late:1", signed_by=("build",), seen=START + 50 * MINUTE)
    undated = made.image("r.example/undated:1", bundle_by=("build",), seen=None)
    pods = [
        made.pod("shop", "early-1", {"app": early}),
        made.pod("shop", "early-2", {"app": early}),
        made.pod("shop", "late-1", {"app": late}),
        made.pod("lab", "late-9", {"app": late}),
        made.pod("shop", "undated-1", {"app": undated}),
    ]
    for pod in pods:
        made.send(made.decision(pod), pod)
    made.now += MINUTE
    by = By(author="alice", at=made.now)
    made.record(changes.revoke(made.state.trust, by, "key", "build", reason="keyCompromise", compromised_since=LEAK))
    made.now += MINUTE
    made.send(made.pod("shop", "late-1", {"app": late}, gone=True))
    made.wait(MINUTE)
    return made


LATE = digest_of("r.example/late:1")


def test_writing_a_whole_story_twice_changes_nothing(world):
    """Also backwards: versions and first ids decide, not the order of delivery."""
    before = [msgspec.json.encode(h.body) for h in every(world.reader, CONTAINERS, EVERYTHING)]
    history = [h.id for h in every(world.reader, ALL_HISTORY, EVERYTHING)]
    world.sink.write(world.written)
    world.sink.write([d for d in reversed(world.written) if d.version is None or d.version > 0])
    assert [msgspec.json.encode(h.body) for h in every(world.reader, CONTAINERS, EVERYTHING)] == before
    assert [h.id for h in every(world.reader, ALL_HISTORY, EVERYTHING)] == history


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        (LATE, "digest", (LATE,)),
        (LATE.removeprefix("sha256:"), "digest", (LATE,)),
        (LATE[:20], "digest", (LATE,)),
        ("r.example/late:1", "image", (LATE,)),
        ("r.example/late", "image", (LATE,)),
        (f"r.example/late@{LATE}", "digest", (LATE,)),
        ("shop/late-1", "pod", ("uid-shop-late-1",)),
        ("prod-eu/shop/late-1", "pod", ("uid-shop-late-1",)),
        ("late-9", "pod", ("uid-lab-late-9",)),
        ("uid-lab-late-9", "pod", ("uid-lab-late-9",)),
        ("shop/late", "workload", ("prod-eu/shop/Deployment/late",)),
        ("late", "workload", ("prod-eu/lab/Deployment/late", "prod-eu/shop/Deployment/late")),
        ("shop/Deployment/late", "workload", ("prod-eu/shop/Deployment/late",)),
        ("prod-eu/shop/Deployment/late", "workload", ("prod-eu/shop/Deployment/late",)),
        ("signed", "policy", ("signed",)),
        ("policy:signed", "policy", ("signed",)),
        (" signed ", "policy", ("signed",)),
    ],
)
def test_subjects(world, text, kind, values):
    """A text as people paste it."""
    found = resolve(world.reader, text)
    assert (found.kind, found.values) == (kind, values)


def test_a_tag_is_found_where_a_digest_is_written_behind_it(store):
    """Deployed as `tag@digest`, asked for by the tag; another tag that begins alike is another one."""
    made = RecordedWorld(keys=(), store=store)
    _, digest = made.image("r.example/pinned:1")
    other = made.image("r.example/pinned:12")
    made.send(
        made.pod("shop", "pinned-1", {"app": (f"r.example/pinned:1@{digest}", digest)}),
        made.pod("shop", "other-1", {"app": other}),
    )
    found = resolve(made.reader, "r.example/pinned:1")
    assert (found.kind, found.values) == ("image", (digest,))
    assert blast_radius(made.reader, found).containers == 1


def test_keys_incidents_and_findings_are_subjects(world):
    """By name, by whole id, by the beginning of an id."""
    key = world.signer("build").key_id
    assert resolve(world.reader, "build").values == (key,)
    assert resolve(world.reader, f"key:{key[:12]}").values == (key,)
    assert resolve(world.reader, key).kind == "key"
    (row,) = incidents(world.reader).rows
    assert resolve(world.reader, row.short_id.lower()).values == (row.id,)
    assert resolve(world.reader, row.id).name == row.short_id
    finding = world.open()[0].id
    assert resolve(world.reader, finding).kind == "finding"


def test_what_nobody_knows_is_an_error_that_says_what_was_tried(world):
    """Except a whole digest: that nothing is known of it is an answer."""
    with pytest.raises(InputError, match="nothing in the record is called 'nobody'; looked for digest"):
        resolve(world.reader, "nobody")
    with pytest.raises(InputError, match="the record knows no key 'nobody'"):
        resolve(world.reader, "key:nobody")
    with pytest.raises(InputError, match="no pod"):
        resolve(world.reader, "pod:\udcff\0'\"*", ("pod",))
    nothing = resolve(world.reader, "sha256:" + "0" * 64)
    assert nothing.known is False
    assert trace(world.reader, nothing).rows == ()


def told(world: RecordedWorld, text: str) -> list[tuple[int, str]]:
    return [((row.time - START) // MINUTE, row.kind) for row in trace(world.reader, resolve(world.reader, text)).rows]


def test_trace_of_an_image(world):
    """First seen, signed, admitted twice, judged in two namespaces, revoked, ended in one."""
    assert told(world, "r.example/late:1") == [
        (0, "trust"),  # the key was put into the ring
        (50, "first-seen"),
        (50, "signed"),
        (60, "admitted"),
        (60, "admitted"),
        (60, "started"),
        (60, "started"),
        (60, "verdict"),  # unverifiable: pending (shop); lab's class finds the evidence there already
        (60, "verdict"),
        (60, "evidence"),
        (60, "verdict"),  # valid (shop)
        (61, "trust"),  # revoked
        (61, "verdict"),
        (61, "verdict"),
        (61, "finding"),
        (61, "finding"),
        (61, "incident"),
        (62, "ended"),
        (62, "finding"),
    ]


def test_trace_says_what_changed_a_verdict_and_who_signed_when(world):
    """The cause stands in the sentence; an observed time is named as such."""
    found = trace(world.reader, resolve(world.reader, LATE))
    change = next(r for r in found.rows if r.kind == "verdict" and r.ids.get("previous") == "valid")
    assert change.ids["verdict"] == "violates"
    assert "valid -> violates" in change.text
    assert "because: alice revoked key" in change.text
    (signature,) = found.signatures
    assert (signature.signer, signature.time, signature.time_kind) == ("build", START + 50 * MINUTE, "observed")
    assert (found.first_seen, found.running, found.ended) == (START + 50 * MINUTE, 1, 1)


def test_trace_of_a_pod_is_about_that_pod(world):
    """Its own decision, start and end; verdicts of its class."""
    rows = trace(world.reader, resolve(world.reader, "shop/late-1")).rows
    assert [r.kind for r in rows if r.kind in ("admitted", "started", "ended")] == ["admitted", "started", "ended"]
    assert {r.ids["pod"] for r in rows if "pod" in r.ids} == {"late-1"}


def test_trace_of_key_policy_incident_and_finding(world):
    """Each finds the revocation and what it did."""
    (row,) = incidents(world.reader).rows
    for text in ("key:build", row.short_id, world.open()[0].id):
        found = trace(world.reader, resolve(world.reader, text))
        kinds = {r.kind for r in found.rows}
        assert {"trust", "verdict", "finding", "incident"} <= kinds, text
    assert "trust" in {r.kind for r in trace(world.reader, resolve(world.reader, "policy:signed")).rows}


def test_trace_finds_a_denial_by_the_image_it_was_about(world):
    """A denial has no digest; the name of the image connects it."""
    pod = world.pod("shop", "late-2", {"app": ("r.example/late:1", LATE)})
    world.send(world.decision(pod, "denied", by="verify.example.com", engine="webhook"))
    rows = trace(world.reader, resolve(world.reader, LATE)).rows
    assert [r.ids["webhook"] for r in rows if r.kind == "denied"] == ["verify.example.com"]


def test_trace_can_be_cut(world):
    """Only what happened in a window."""
    rows = trace(world.reader, resolve(world.reader, LATE), start=T + MINUTE, end=T + MINUTE).rows
    assert {r.kind for r in rows} == {"trust", "verdict", "finding", "incident"}


def test_blast_radius_of_a_key(world):
    """Four containers run what it signed, one has ended; signatures split at the leak."""
    answer = blast_radius(world.reader, resolve(world.reader, "key:build"), since=LEAK)
    assert (answer.containers, answer.workloads, answer.namespaces, answer.clusters, answer.ended) == (4, 3, 2, 1, 1)
    assert answer.verdicts == {"valid": 2, "violates": 2}
    split = answer.signatures
    assert split is not None
    assert (split.total, split.observed, split.undated, split.before, split.after) == (3, 2, 1, 1, 1)
    assert [(p.namespace, p.team, p.containers, p.ended) for p in answer.by_namespace] == [
        ("shop", "pay", 3, 1),
        ("lab", "unowned", 1, 0),
    ]
    assert [(p.team, p.containers, p.workloads) for p in answer.by_team] == [("pay", 3, 2), ("unowned", 1, 1)]
    assert [(i.repository, i.containers, i.ended) for i in answer.images] == [
        ("r.example/early", 2, 0),
        ("r.example/late", 1, 1),
        ("r.example/undated", 1, 0),
    ]
    assert answer.by_cluster[0].namespaces == 2


def test_blast_radius_of_a_key_that_signed_nothing(world):
    """Nothing, said in numbers."""
    answer = blast_radius(world.reader, resolve(world.reader, "key:dev"))
    assert (answer.containers, answer.ended, answer.images) == (0, 0, ())


@pytest.mark.parametrize(
    ("text", "containers", "ended"),
    [
        (LATE, 1, 1),
        ("image:r.example/early:1", 2, 0),
        ("image:r.example/early", 2, 0),
        ("policy:signed", 2, 1),
        ("workload:late", 1, 1),
        ("pod:shop/late-1", 0, 1),
    ],
)
def test_blast_radius_of_other_things(world, text, containers, ended):
    """Whatever can be named."""
    answer = blast_radius(world.reader, resolve(world.reader, text))
    assert (answer.containers, answer.ended) == (containers, ended)


def test_blast_radius_of_the_incident_is_what_the_incident_counts(world):
    """The record and the alert agree."""
    (row,) = incidents(world.reader).rows
    answer = blast_radius(world.reader, resolve(world.reader, row.short_id))
    assert (answer.containers, answer.workloads) == (row.containers, row.workloads) == (2, 2)
    assert answer.ended == 1


def test_blast_radius_at_an_instant(world):
    """Before the revocation: five containers, all valid; later: four."""
    subject = resolve(world.reader, "key:build")
    then = blast_radius(world.reader, subject, at=T + 1)
    assert (then.containers, then.verdicts, then.ended) == (5, {"valid": 5}, 0)
    after = blast_radius(world.reader, subject, at=T + MINUTE + 1)
    assert after.verdicts == {"valid": 2, "violates": 3}
    before = blast_radius(world.reader, subject, at=T - 1)
    assert before.containers == 0
    assert blast_radius(world.reader, resolve(world.reader, "policy:signed"), at=T + MINUTE + 1).containers == 3
    assert blast_radius(world.reader, resolve(world.reader, "policy:signed"), at=T + 1).containers == 0


def test_blast_radius_in_a_window(world):
    """Ended containers count when they ran in the window."""
    subject = resolve(world.reader, LATE)
    assert blast_radius(world.reader, subject, start=T + 2 * MINUTE).ended == 1
    assert blast_radius(world.reader, subject, start=T + 2 * MINUTE + 1).ended == 0
    assert blast_radius(world.reader, subject, end=T - 1).ended == 0


def test_teams_come_from_labels_and_the_table(world):
    """The routing table names who owns what has no label."""
    routes = Routes(owners=(OwnerRule(namespace="la*", team="science"),))
    answer = blast_radius(world.reader, resolve(world.reader, "key:build"), routes=routes)
    assert [p.team for p in answer.by_team] == ["pay", "science"]


def test_an_index_is_traced_to_what_runs_of_it(store):
    """Evidence on an index covers its children; so does a question about it."""
    world = RecordedWorld(store=store)
    _, index = world.image("r.example/multi:1", signed_by=("dev",), content="index")
    reference, child = world.image("r.example/multi:1", content="child")
    world.indexes[child] = (index,)
    world.send(world.pod("shop", "multi-1", {"app": (reference, child)}))
    subject = resolve(world.reader, index)
    assert subject.known
    assert blast_radius(world.reader, subject).containers == 1
    assert "started" in {r.kind for r in trace(world.reader, subject).rows}


def test_the_same_digest_in_another_repository_is_another_image(store):
    """A key that signed one copy did not sign the other."""
    world = RecordedWorld(store=store)
    one_ = world.image("r.example/a:1", signed_by=("dev",), content="same")
    other = world.image("r.example/b:1", content="same")
    world.send(world.pod("shop", "a-1", {"app": one_}), world.pod("shop", "b-1", {"app": other}))
    assert blast_radius(world.reader, resolve(world.reader, "key:dev")).containers == 1


# ------------------------------------------------------------------------------------------------ search and lists


def test_search(world):
    """Short names in, full names out, newest first."""
    found = search(world.reader, "verdict:violates and state:running")
    assert {h.body["kubernetes.pod.name"] for h in found.hits} == {"late-9", "undated-1"}
    assert found.full_query == 'provenance.verdict:"violates" and provenance.state:"running"'
    page = search(world.reader, "", limit=2)
    rest = search(world.reader, "", after=page.after)
    assert (len(page.hits), len(rest.hits), rest.after) == (2, 3, "")
    assert len(search(world.reader, "denied or admitted", "history").hits) == 5
    assert len(search(world.reader, "time > now-90s", "lifecycle", now=world.now).hits) == 1
    assert search(world.reader, f'key:"{world.signer("build").key_id}"', "trust").hits[0].body["user.name"] == "alice"
    with pytest.raises(InputError, match="no part of the record"):
        search(world.reader, "", "pods")


CLAIMED = ClaimObserved(
    "c1", T, "prod-eu", "policy-report", "kyverno", "fail", "signed", "check", "no signature", "Pod", "shop", "late-1",
    "uid-shop-late-1", ("r.example/late:1",), said=T - MINUTE, source="reports:prod-eu",
)  # fmt: skip
CLAIMS = (
    CLAIMED,
    msgspec.structs.replace(CLAIMED, id="c2", engine="ratify", feed="ratify", result="pass", name="", uid="", kind=""),
    msgspec.structs.replace(CLAIMED, id="c3", namespace="lab", result="error", said=None, at_admission=True),
)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("claim:fail", ["c1"]),
        ("claim:fail or claim:error", ["c3", "c1"]),
        ("claim_engine:kyverno and namespace:shop", ["c1"]),
        ("owner:pay", ["c2", "c1"]),
        ('asked:"r.example/late:1" and not claim:pass', ["c3", "c1"]),
        ("pod:late-1 and claim_policy:sig*", ["c3", "c1"]),
        ("resource:Pod and at_admission:true", ["c3"]),
        ("said < now-1m", ["c2", "c1"]),
        ('message:"says fail"', ["c1"]),
    ],
)
def test_claims_of_other_engines_are_searched_like_everything_else(world, query, found):
    world.observe(*CLAIMS)
    assert [hit.id for hit in search(world.reader, query, "claim", now=world.now).hits] == found


def test_a_claim_changes_no_answer_but_those_about_claims(world):
    """It is told of a pod whose key was revoked, and says that all is well."""

    def answers() -> bytes:
        reader = world.reader
        made = [as_json(trace(reader, resolve(reader, text))) for text in (LATE, "shop/late-1", "shop/late")]
        made += [as_json(blast_radius(reader, resolve(reader, "key:build"))), as_json(incidents(reader))]
        made += [as_json(search(reader, "", home)) for home in ("containers", "findings", "admission", "verification")]
        return msgspec.json.encode([*made, as_json(coverage(reader))])

    before, outputs = answers(), len(world.outputs)
    world.observe(*(msgspec.structs.replace(one, result="pass") for one in CLAIMS))
    assert answers() == before
    assert len(world.outputs) == outputs
    assert len(search(world.reader, "", "claim").hits) == 3


def test_search_at_an_instant(world):
    """What ran then, with the verdict of then."""
    assert len(search(world.reader, "verdict:valid", at=T + 1).hits) == 5
    found = search(world.reader, "verdict:violates and reason:key-revoked", at=T + MINUTE + 1)
    assert {h.body["kubernetes.pod.name"] for h in found.hits} == {"late-1", "late-9"}
    assert all("provenance.run.ended" not in h.body for h in found.hits)
    with pytest.raises(InputError, match="for containers"):
        search(world.reader, "", "findings", at=T)


def test_a_policy_that_was_taken_away_says_nothing_at_a_later_time(world):
    """Its last verdict is not the truth any more."""
    world.now += MINUTE
    world.record(changes.remove_policy(world.state.trust, By(author="alice", at=world.now), "signed"))
    subject = resolve(world.reader, "policy:signed")
    assert blast_radius(world.reader, subject, at=world.now - 1).containers == 2
    assert blast_radius(world.reader, subject, at=world.now + 1).containers == 0
    assert blast_radius(world.reader, resolve(world.reader, "key:build"), at=world.now + 1).verdicts == {
        "ungoverned": 4
    }


def test_incidents(world):
    """One, critical, whose; resolved when nothing is left."""
    (row,) = incidents(world.reader, "severity:critical", states=("open",)).rows
    assert (row.kind, row.severity, row.state, row.containers, row.workloads) == (
        "key-revoked",
        "critical",
        "open",
        2,
        2,
    )
    assert (row.peak, row.namespaces) == (3, 2)
    assert {team for team, _, _ in row.teams} == {"pay", "unowned"}
    assert incidents(world.reader, states=("resolved",)).rows == ()


def test_dead_letters_are_listed_and_said_in_every_answer(world):
    """What could not be read may have mattered."""
    for number in range(2):
        world.observe(
            DeadLetter(f"l{number}", world.now, f"a.jsonl:{number}", "json-malformed", "not JSON", 9, "ab" * 32)
        )
    rows = deadletters(world.reader, "error:json-malformed").rows
    assert [(r.source, r.code, r.size, r.state) for r in rows] == [
        ("a.jsonl:1", "json-malformed", 9, "open"),
        ("a.jsonl:0", "json-malformed", 9, "open"),
    ]
    assert (
        "2 inputs could not be read (see `revet deadletter list`)"
        in trace(world.reader, resolve(world.reader, LATE)).blind_spots
    )


def test_evidence_of_an_image(world):
    """Who signed, what was asked, whether all of it answered."""
    (row,) = evidence(world.reader, resolve(world.reader, "r.example/undated:1")).images
    assert row.complete
    assert [(s.signer, s.format, s.time_kind) for s in row.signatures] == [("build", "sigstore-bundle", "none")]
    assert row.places[0]["outcome"] == "found"


def test_a_verdict_can_be_taken_out_for_a_replay(world):
    """Byte for byte."""
    event = world.verdicts()[-1]
    hit = verdict_document(world.reader, event.verdict.id)
    assert stored_verdict(str(hit.body["event.original"])) == event.verdict
    with pytest.raises(InputError, match="no verdict"):
        verdict_document(world.reader, "v1:none")


# ------------------------------------------------------------------------------------------------ blind spots


def test_coverage_knows_gaps_and_silence(store):
    """Seen, not seen, seen again, silent."""
    world = RecordedWorld(store=store)
    world.feeds("audit", since=START)
    world.now += 10 * MINUTE
    world.feeds("audit", since=START)
    world.now += 30 * MINUTE
    world.feeds("audit", since=world.now)
    found = coverage(world.reader, now=world.now + 6 * MINUTE)
    (row,) = found.rows
    assert (row.since, row.last, row.gaps) == (
        START,
        START + 40 * MINUTE,
        ((START + 10 * MINUTE, START + 40 * MINUTE),),
    )
    assert found.blind_spots == (
        "no data for cluster prod-eu (audit) 2026-11-18T11:16:40Z to 2026-11-18T11:46:40Z",
        "no data for cluster prod-eu (audit) since 2026-11-18T11:46:40Z",
        "cluster prod-eu has no feed of running containers (pods): nothing is known of them",
    )
    inside = coverage(world.reader, start=START, end=START + 5 * MINUTE)
    assert inside.blind_spots == ("cluster prod-eu has no feed of running containers (pods): nothing is known of them",)
    early = coverage(world.reader, start=START - MINUTE, end=START)
    assert early.blind_spots[0] == "no data for cluster prod-eu (audit) before 2026-11-18T11:06:40Z"


def test_a_cluster_that_was_never_declared_is_blind(store):
    """Containers of a cluster without any feed."""
    world = RecordedWorld(store=store)
    world.send(world.pod("shop", "a-1", {"app": world.image("r.example/a:1")}))
    spots = trace(world.reader, resolve(world.reader, "r.example/a:1")).blind_spots
    assert [s.split(":")[0] for s in spots] == [
        "cluster prod-eu has no feed of admission decisions (audit)",
        "cluster prod-eu has no feed of running containers (pods)",
    ]
    assert coverage(world.reader).blind_spots == spots


def test_incomplete_evidence_is_a_blind_spot(store):
    """Absence was not proven."""
    world = RecordedWorld(store=store)
    image = world.image("r.example/a:1")
    world.broken[("r.example/a", image[1])] = "registry-unavailable"
    world.send(world.pod("shop", "a-1", {"app": image}))
    spots = trace(world.reader, resolve(world.reader, "r.example/a:1")).blind_spots
    assert any("is not complete (registry-unavailable)" in s for s in spots)


def test_an_unknown_start_is_said(store):
    """Counted as running, and named."""
    world = RecordedWorld(store=store)
    pod = world.pod("shop", "a-1", {"app": world.image("r.example/a:1")})
    containers = tuple(msgspec.structs.replace(c, started=None) for c in pod.pod.containers)
    world.send(msgspec.structs.replace(pod, pod=msgspec.structs.replace(pod.pod, containers=containers)))
    answer = blast_radius(world.reader, resolve(world.reader, "r.example/a:1"), at=START + MINUTE)
    assert answer.containers == 1
    assert any("the start of 1 of these containers is not known" in s for s in answer.blind_spots)


# ------------------------------------------------------------------------------------------------ answers


def test_every_answer_has_a_schema_and_plain_times(world):
    """JSON with RFC 3339 instants; nothing else leaves the process."""
    reader, subject = world.reader, resolve(world.reader, "key:build")
    answers: list[Answer] = [
        trace(reader, subject), blast_radius(reader, subject, at=T, since=LEAK), search(reader, ""), incidents(reader),
        deadletters(reader), coverage(reader), evidence(reader, resolve(reader, LATE)),
        ask(reader, question("ran"), Asked(subject=resolve(reader, LATE), at=T, known_at=T + MINUTE, now=T)),
    ]  # fmt: skip
    assert {type(a) for a in answers} == set(SCHEMAS)
    for answer in answers:
        plain = as_json(answer)
        text = msgspec.json.encode(plain).decode()
        assert plain["schema"] == SCHEMAS[type(answer)]
        assert str(START)[:8] not in text, "an instant that was not turned into text"
    radius = as_json(answers[1])
    assert radius["at"] == "2026-11-18T12:06:40.000000Z"
    assert radius["containers"] == 5


def test_every_record_answers_as_the_plain_one(store):
    """The same story, the same JSON, whatever keeps it."""

    def answers(name: str) -> bytes:
        world = RecordedWorld(keys=("dev",), store=name)
        world.feeds()
        world.trust(policy("signed", signed_by=("dev",)))
        world.now += MINUTE
        world.send(world.pod("shop", "a-1", {"app": world.image("r.example/a:1", signed_by=("dev",))}))
        world.send(world.pod("shop", "b-1", {"app": world.image("r.example/b:1")}))
        reader = world.reader
        made = [as_json(trace(reader, resolve(reader, t))) for t in ("key:dev", "r.example/b:1", "shop/a-1", "signed")]
        made += [as_json(blast_radius(reader, resolve(reader, t))) for t in ("key:dev", "policy:signed")]
        made += [as_json(search(reader, "verdict:*")), as_json(incidents(reader)), as_json(coverage(reader))]
        return msgspec.json.encode(made)

    # Keys are made anew in every world: compare what does not depend on them.
    assert len(answers(store)) == len(answers("memory"))
