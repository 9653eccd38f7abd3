"""POST /reports over real sockets: the same senders and answers as /audit, and nothing of it in the audit's counts."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import aiohttp
import pytest

from streams.collectors.bodies import Batch
from streams.collectors.senders import SenderRule, Senders
from streams.collectors.server import Intake, Progress, Receiver, ReceiverOptions
from streams.events import ClaimObserved, DeadLetter
from streams.local.node import LocalNode, NodeSettings
from streams.local.service import Service
from streams.queries.lists import search
from streams.queries.sqlite import SqliteReader
from streams.serving.parsing import Parsers
from streams.topics import CLAIMS
from verifier.errors import PlaceUnavailable

pytestmark = pytest.mark.asyncio

RATIFY = {
    "version": "1.1.0", "isSuccess": False, "timestamp": "2026-11-20T18:51:44.136391Z",
    "verifierReports": [
        {
            "subject": "r.example/a@sha256:" + "1" * 64,
            "verifierReports": [{"verifierName": "notation", "isSuccess": False, "message": "no signature"}],
        }
    ],
}  # fmt: skip
GATEKEEPER = {
    "id": "2026-11-20T18:51:44Z", "eventType": "violation_audited", "enforcementAction": "deny", "name": "repos",
    "kind": "K8sAllowedRepos", "message": "bad repo", "resourceKind": "Pod", "resourceNamespace": "shop",
    "resourceName": "api-1",
}  # fmt: skip
CONNAISSEUR = {"alert_message": "CONNAISSEUR rejected a request", "namespace": "shop", "images": "nginx:1"}
OPA = {
    "decision_id": "d-1", "path": "system/main", "timestamp": "2026-11-20T18:51:44.136391Z",
    "input": {"request": {"kind": {"kind": "Pod"}, "namespace": "shop", "name": "api-1"}},
    "result": {"response": {"allowed": True}},
}  # fmt: skip
REPORT = {
    "apiVersion": "openreports.io/v1alpha1", "kind": "Report", "metadata": {"namespace": "shop"}, "source": "kyverno",
    "results": [{"policy": "signed", "result": "fail"}],
}  # fmt: skip


class Taken:
    """An intake that keeps what it is given; it can fail."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.broken = False

    async def accept(self, batch: Batch) -> int:
        if self.broken:
            raise PlaceUnavailable("state-unavailable", "disk full")
        self.batches.append(batch)
        return batch.observed

    def progress(self) -> Progress:
        return Progress(ready=True, backlog=0, stalled_seconds=0.0, epoch=3)

    @property
    def claims(self) -> list[ClaimObserved]:
        return [one for batch in self.batches for one in batch.observations if isinstance(one, ClaimObserved)]


async def posted(taken: Intake, path: str, body: bytes, headers: dict[str, str] | None = None, **options) -> int:
    receiver = Receiver(taken, ReceiverOptions(**options))
    async with (
        receiver.listening("127.0.0.1", 0) as port,
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}{path}", data=body, headers=headers) as answer,
    ):
        return answer.status


def body_of(*reports: object) -> bytes:
    return b"\n".join(json.dumps(report).encode() for report in reports)


BODIES = {
    "ratify": (body_of(RATIFY), [("ratify", "notation", "fail")]),
    "gatekeeper": (body_of(GATEKEEPER), [("gatekeeper", "repos", "fail")]),
    "connaisseur": (body_of(CONNAISSEUR), [("connaisseur", "", "fail")]),
    "opa": (gzip.compress(body_of([OPA, OPA])), [("opa", "system/main", "pass")] * 2),
    "a report": (body_of(REPORT), [("kyverno", "signed", "fail")]),
    "all of them": (body_of(RATIFY, GATEKEEPER), [("ratify", "notation", "fail"), ("gatekeeper", "repos", "fail")]),
}


@pytest.mark.parametrize("name", BODIES)
async def test_what_engines_send_is_taken(name: str) -> None:
    body, expected = BODIES[name]
    taken = Taken()
    assert await posted(taken, "/reports/prod-eu", body) == 200
    assert [(one.engine, one.policy, one.result) for one in taken.claims] == expected
    assert {one.cluster for one in taken.claims} == {"prod-eu"}


async def test_one_bad_report_is_a_dead_letter_and_the_rest_is_taken() -> None:
    taken = Taken()
    assert await posted(taken, "/reports", body_of(RATIFY, {"kind": "Pod"}) + b'\n{"decision_id":') == 200
    letters = [one.code for one in taken.batches[0].observations if isinstance(one, DeadLetter)]
    assert (len(taken.claims), letters) == (1, ["kind-missing", "json-truncated"])
    assert {one.cluster for one in taken.claims} == {"local"}


async def test_what_is_not_durable_is_sent_again() -> None:
    taken = Taken()
    taken.broken = True
    assert await posted(taken, "/reports", body_of(RATIFY)) == 503


async def test_senders_are_those_of_audit_events(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("very-secret-token")
    senders = Senders((SenderRule(cluster="prod-eu", token_file=token),))
    good = {"Authorization": "Bearer very-secret-token"}
    taken = Taken()
    assert await posted(taken, "/reports", body_of(RATIFY), senders=senders) == 401
    assert await posted(taken, "/reports", body_of(RATIFY), {"Authorization": "Bearer other"}, senders=senders) == 401
    assert await posted(taken, "/reports/prod-us", body_of(RATIFY), good, senders=senders) == 403
    assert taken.batches == []
    assert await posted(taken, "/reports", body_of(RATIFY), good, senders=senders) == 200
    assert {one.cluster for one in taken.claims} == {"prod-eu"}


async def test_reports_are_counted_apart_from_audit_events() -> None:
    """What is compared with the API server's own counters must hold audit events alone."""
    receiver = Receiver(Taken(), ReceiverOptions())
    async with receiver.listening("127.0.0.1", 0) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.post("/reports", data=body_of(RATIFY, GATEKEEPER)) as answer:
            assert answer.status == 200
        async with session.get("/metrics") as answer:
            text = await answer.text()
    assert 'revet_reports_received_total{cluster="local"} 2' in text
    assert "revet_audit_events_total{" not in text
    assert "revet_audit_observations_total{" not in text
    assert "revet_audit_last_batch_age_seconds nan" in text


async def test_another_process_reads_reports_as_this_one_does() -> None:
    async with Parsers(1, 1 << 20, 24) as parsers:
        batch = await parsers.read("prod-eu", body_of(RATIFY, {"kind": "Pod"}), 7, "reports")
    assert (batch.observed, dict(batch.letters)) == (2, {"kind-missing": 1})
    assert CLAIMS in {record.topic for record in batch.records}  # type: ignore[attr-defined]  # records of a broker


async def test_on_one_machine_a_claim_is_durable_searched_and_moves_nothing(tmp_path: Path) -> None:
    node = LocalNode.open(tmp_path / "state.sqlite", NodeSettings())
    service, stop = Service(node), asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    try:
        assert await posted(service, "/reports/prod-eu", body_of(GATEKEEPER)) == 200
        assert await posted(service, "/reports/prod-eu", body_of(GATEKEEPER)) == 200
        async with asyncio.timeout(20):
            while node.engine.pending():  # noqa: ASYNC110  # looked at from outside: nobody sets an event
                await asyncio.sleep(0.05)
        found = search(SqliteReader(node.connection), "claim:fail and namespace:shop", "claim")
        rows = node.connection.execute("SELECT home FROM record WHERE home NOT LIKE '%feeds'").fetchall()
    finally:
        stop.set()
        await running
        node.close()
    assert [hit.body["provenance.claim.policy"] for hit in found.hits] == ["repos"], "sent twice, on record once"
    assert rows == [("revet.claim",)]
