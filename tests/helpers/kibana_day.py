"""A small day for the pages of Kibana: few enough things that every answer can be worked out by hand.

    day()          documents of 2026-11-20, made by the makers of the record where an event is simple to write
    WINDOW         the time that is looked at: the whole day

Clusters: `c1` (prod-eu, `env: prod`) and `c2` (test-eu, `environment: test`). Namespaces: `pay` of payments, `shop` of
shop. Digests A, B, C, D; see `CONTAINERS`.
"""

from collections.abc import Iterator
from typing import Final

from alerting.models import Cause, Finding, Incident
from alerting.routing import Ownership
from dashboards.asked import Window
from streams.events import (
    ConfigurationObserved,
    ContainerChanged,
    DeadLetter,
    DecisionObserved,
    FeedSeen,
    ImageAsked,
    Owner,
    PolicyVerdict,
    TrustChanged,
)
from streams.sinks.document import Document, document, hashes, image_fields, instant, prepared
from streams.sinks.documents import documents
from streams.sinks.judged import keys
from streams.sinks.known import KnownNothing, Labels
from streams.sinks.observed import place
from verifier.times import parse_instant
from verifier.trust.records import ClusterPut, ExemptionPut, PolicyRemoved, RevocationPut

DAY: Final = "2026-11-20"
WINDOW: Final = Window(f"{DAY}T00:00:00Z", "2026-11-21T00:00:00Z", 86_400)
A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")
REPOSITORIES: Final = {A: "r.example/pay/api", B: "r.example/pay/fx", C: "r.example/shop/web", D: "q.example/tool"}
TEAMS: Final = {"pay": "payments", "shop": "shop"}


def at(clock: str) -> int:
    """`12:30` of the day, microseconds."""
    return parse_instant(f"{DAY}T{clock}:00Z")


class DayKnown(KnownNothing):
    """Whose namespaces are, and what clusters and keys are called."""

    def owner(self, cluster: str, namespace: str) -> Ownership | None:
        del cluster
        return Ownership(TEAMS[namespace], "label:team") if namespace in TEAMS else None

    def key_name(self, key_id: str) -> str:
        return {"1" * 64: "dev"}.get(key_id, "")

    def cluster(self, cluster: str) -> tuple[str, Labels]:
        return {"c1": ("prod-eu", (("env", "prod"),)), "c2": ("test-eu", (("environment", "test"),))}[cluster]


KNOWN: Final = DayKnown()

CONTAINERS: Final = (
    # id, cluster, namespace, workload, digest, verdict, started, ended, admitted, exempted
    ("k1", "c1", "pay", "api", A, "valid", "01:00", "", "d1", ""),
    ("k2", "c1", "pay", "api", A, "valid", "01:00", "", "d1", ""),
    ("k3", "c1", "pay", "api", A, "valid", "01:00", "", "d1", ""),
    ("k4", "c1", "pay", "api", A, "valid", "01:00", "", "d1", ""),
    ("k5", "c1", "pay", "fx", B, "violates", "02:00", "", "", ""),
    ("k6", "c1", "pay", "fx", B, "violates", "02:00", "", "", "ex1"),
    ("k7", "c1", "shop", "web", C, "unverifiable", "03:00", "", "d2", ""),
    ("k8", "c2", "shop", "api", A, "valid", "01:30", "", "d3", ""),
    ("k9", "c2", "shop", "tool", D, "ungoverned", "04:00", "", "d4", ""),
    ("k10", "c1", "pay", "fx", B, "violates", "02:00", "05:00", "", ""),
)
CODES: Final = {"violates": ("unsigned",), "unverifiable": ("registry-unavailable",)}


def day() -> list[Document]:
    """Everything of the day."""
    events = [*_containers(), *_findings(), *_incidents(), *_decisions(), *_sight(), *_trust()]
    return [made for event in events for made in documents(event, KNOWN)] + [*_verdicts(), *_images()]


def _containers() -> Iterator[ContainerChanged]:
    for id_, cluster, namespace, workload, digest, verdict, started, ended, admitted, exempted in CONTAINERS:
        policy = "" if verdict == "ungoverned" else "signed"
        yield ContainerChanged(
            id=id_, time=at(ended or started), sequence=1, cluster=cluster, namespace=namespace,
            pod=f"{workload}-{id_}", pod_uid=f"u-{id_}", owner=Owner("Deployment", workload), node="n1",
            service_account="default", kind="main", name="app", image=f"{REPOSITORIES[digest]}:1",
            repository=REPOSITORIES[digest], digest=digest, state="terminated" if ended else "running",
            started=at(started), ended=at(ended) if ended else None, end_reason="replaced" if ended else "",
            class_id=f"class-{workload}-{digest[7:9]}", admitted_by=admitted,
            verdicts=(PolicyVerdict(policy, "v1", verdict, CODES.get(verdict, ()), exempted),),
        )  # fmt: skip


REVOKED: Final = Cause("revocation", "key:" + "1" * 64, "dev", at("12:00"), 2)


def _finding(**fields: object) -> Finding:
    base: dict[str, object] = {
        "owner_kind": "Deployment", "container": "app", "policy": "signed", "image": "", "repository": "",
        "cause": Cause(), "members": 1,
    }  # fmt: skip
    made = base | fields
    digest = str(made.get("digest", ""))
    if digest:
        made |= {"repository": REPOSITORIES[digest], "image": f"{REPOSITORIES[digest]}:1"}
    made.setdefault("changed", made["opened"])
    return Finding(**made)  # type: ignore[arg-type]  # written by hand below


def _findings() -> Iterator[Finding]:
    pay = {"cluster": "c1", "namespace": "pay"}
    yield _finding(id="f1", code="unsigned", state="open", severity="high", **pay, owner_name="fx", digest=B,
                   incident="i1", opened=at("02:00"), members=2, message="unsigned")  # fmt: skip
    yield _finding(id="f2", code="unverifiable-too-long", state="open", severity="medium", cluster="c1",
                   namespace="shop", owner_name="web", digest=C, incident="i2", opened=at("04:00"),
                   reasons=("registry-unavailable",))  # fmt: skip
    revoked = {"code": "key-revoked", "severity": "critical", "digest": A, "incident": "i3", "cause": REVOKED,
               "opened": at("12:00"), "owner_name": "api"}  # fmt: skip
    yield _finding(id="f3", state="open", **pay, **revoked, members=4)
    yield _finding(id="f3", state="closed", **pay, **revoked, members=0, changed=at("13:00"), closed=at("13:00"),
                   close_reason="replaced", sequence=1)  # fmt: skip
    yield _finding(id="f4", state="open", cluster="c2", namespace="shop", **revoked)
    yield _finding(id="f5", code="visibility-lost", state="open", severity="high", cluster="c2", namespace="",
                   owner_kind="", owner_name="", container="", policy="", digest="", incident="i4",
                   opened=at("20:00"), members=0)  # fmt: skip


def _incidents() -> Iterator[Incident]:
    rows = (
        # id, kind, subject, severity, state, opened, resolved, containers, peak, team, by, final
        ("i1", "unsigned", "signed r.example/pay/fx", "high", "open", "02:00", "", 2, 3, "payments", "", True),
        ("i2", "unverifiable-too-long", "signed", "medium", "acknowledged", "04:00", "", 1, 1, "shop", "alice", True),
        ("i3", "key-revoked", "key dev", "critical", "open", "12:00", "", 1, 5, "shop", "", False),
        ("i4", "visibility-lost", "cluster test-eu", "high", "resolved", "20:00", "21:00", 0, 0, "security", "", True),
    )
    for number, (id_, kind, subject, severity, state, opened, resolved, containers, peak, team, by, final) in enumerate(
        rows
    ):
        yield Incident(
            id=id_, short_id=f"INC-{number + 1}", kind=kind, subject=subject,
            cause=REVOKED if kind == "key-revoked" else Cause(), policy="signed", severity=severity, state=state,  # type: ignore[arg-type]  # literals above
            epoch=3, revision=1, opened=at(opened), changed=at(resolved or opened),
            resolved=at(resolved) if resolved else None, containers=containers, workloads=1, namespaces=1, clusters=1,
            peak_containers=peak, teams=((team, containers, 1),), examples=(), closed=(), message=kind,
            acknowledged_by=by, final=final,
        )  # fmt: skip


def _decisions() -> Iterator[object]:
    def decided(number: int, clock: str, **fields: object) -> DecisionObserved:
        base: dict[str, object] = {
            "id": f"d{number}", "time": at(clock), "cluster": "c1", "namespace": "pay",
            "owner": Owner("Deployment", "api"), "outcome": "admitted", "operation": "create", "resource": "pods",
            "name": f"api-{number}", "uid": f"u-k{number}", "user": "ci", "engine": "webhook", "by": "verify",
            "images": (ImageAsked("app", "main", "r.example/pay/api:1"),),
        }  # fmt: skip
        return DecisionObserved(**(base | fields))  # type: ignore[arg-type]  # written by hand below

    for number in range(1, 7):
        yield decided(number, "01:00")
    bad = {
        "namespace": "shop", "outcome": "denied", "user": "bob", "message": "no signature", "uid": "",
        "images": (ImageAsked("app", "main", "r.example/shop/x:1"),),
    }  # fmt: skip
    yield decided(7, "06:10", **bad)
    yield decided(8, "06:20", **bad)
    yield decided(9, "06:30", **bad, dry_run=True)
    yield decided(10, "07:00", user="eve", failed_open=("verify",), break_glass="revet.dev/break-glass=1", engine="",
                  by="")  # fmt: skip
    yield ConfigurationObserved(
        id="g1", time=at("06:45"), cluster="c1", operation="update",
        resource="validatingwebhookconfigurations", name="verify", user="eve", outcome="admitted",
    )  # fmt: skip


def _sight() -> Iterator[object]:
    for cluster, feed, since, seen in (
        ("c1", "audit", "00:00", "23:59"),
        ("c1", "pods", "00:00", "10:02"),
        ("c1", "pods", "10:31", "23:59"),
        ("c2", "pods", "00:00", "19:50"),
    ):
        yield FeedSeen(f"{cluster}-{feed}-{since}", at(seen), cluster, feed, at(since))  # type: ignore[arg-type]  # literals
    for number, (clock, code) in enumerate((("06:00", "not-json"), ("06:05", "not-json"), ("18:00", "too-large"))):
        yield DeadLetter(f"l{number}", at(clock), f"audit:{number}", code, "could not be read", 10, "e" * 64)


def _trust() -> Iterator[TrustChanged]:
    records = (
        ExemptionPut(author="ann", at=at("01:00"), id="ex1", policy="signed", namespaces=("pay",), approver="bea",
                     ticket="T-1", starts=at("01:00"), expires=at("23:00")),
        RevocationPut(author="ann", at=at("12:00"), id="r1", subject_kind="key", subject="1" * 64,
                      reason="keyCompromise", effective=at("11:00"), compromised_since=at("11:00")),
        ClusterPut(author="ben", at=at("14:00"), cluster_id="c1", name="prod-eu", labels={"env": "prod"}),
        PolicyRemoved(author="ben", at=at("15:00"), policy_id="old"),
    )  # fmt: skip
    for epoch, record in enumerate(records, 1):
        yield TrustChanged(f"t{epoch}", record.at, epoch, record.model_dump_json(by_alias=True).encode())


def _verdicts() -> Iterator[Document]:
    rows = (
        # time, cluster, namespace, digest, verdict, previous, trigger, members
        ("01:00", "c1", "pay", A, "valid", "", "new-class", 4),
        ("01:30", "c2", "shop", A, "valid", "", "new-class", 1),
        ("02:00", "c1", "pay", B, "violates", "", "new-class", 2),
        ("03:00", "c1", "shop", C, "unverifiable", "", "new-class", 1),
        ("12:00", "c1", "pay", A, "violates", "valid", "trust", 4),
        ("13:00", "c1", "pay", A, "valid", "violates", "trust", 4),
    )
    for number, (clock, cluster, namespace, digest, verdict, previous, trigger, members) in enumerate(rows):
        told = {
            "event.kind": "event",
            "event.action": "image-verified",
            **place(cluster, namespace, KNOWN),
            "related.hash": hashes(digest),
            "provenance.verdict": verdict,
            "provenance.previous_verdict": previous,
            "provenance.reason.code": CODES.get(verdict, ()),
            "provenance.policy.id": "signed",
            "provenance.evaluation.trigger": trigger,
            "provenance.cause.label": "key dev revoked" if trigger == "trust" else "",
            "provenance.class.members": members,
        }
        image = image_fields(f"{REPOSITORIES[digest]}:1", REPOSITORIES[digest], digest)
        yield document("verification", f"v{number}", at(clock), prepared(told), image)


def _images() -> Iterator[Document]:
    rows = ((A, True, True, ""), (B, False, True, ""), (C, False, False, "registry-unavailable"))
    for number, (digest, signed, complete, problem) in enumerate(rows):
        body = {
            "event.kind": "state",
            "provenance.image.repository": REPOSITORIES[digest],
            "provenance.image.registry": REPOSITORIES[digest].partition("/")[0],
            "provenance.image.digest": digest,
            "related.hash": hashes(digest),
            "provenance.signature.exists": signed,
            **(keys(["1" * 64], ["dev"]) if signed else {}),
            "provenance.builder": ["https://builder.example/1"] if signed else [],
            "provenance.commit": ["c0ffee"] if signed else [],
            "provenance.evidence.complete": complete,
            "provenance.evidence.problem": [problem],
            "provenance.evidence.first_seen": instant(at("00:30")) if signed else None,
            "provenance.evidence.fetched_at": instant(at("00:40")),
        }
        yield document("images", f"image-{number}", at("00:40"), prepared(body), version=1)
