"""The receiver of the audit webhook over real sockets: what it takes, what it turns away, and what it never says."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from streams.collectors.bodies import Batch
from streams.collectors.server import MIB, Progress, Receiver, ReceiverOptions
from streams.events import DeadLetter, DecisionObserved
from streams.local.node import LocalNode, NodeSettings
from streams.local.service import Service
from streams.topics import OBSERVATIONS
from tests.helpers.cluster import PLANTED, audit_batches, demo_images, write_recording
from verifier.errors import PlaceUnavailable

pytestmark = pytest.mark.asyncio

EVENT = {
    "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "a-1",
    "stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/pay/pods/api", "verb": "create",
    "user": {"username": "alice"},
    "objectRef": {"resource": "pods", "namespace": "pay", "name": "api", "apiVersion": "v1"},
    "responseStatus": {"metadata": {}, "code": 201},
    "requestReceivedTimestamp": "2026-11-20T18:51:42.521739Z", "stageTimestamp": "2026-11-20T18:51:42.523967Z",
}  # fmt: skip


def event(audit_id: str) -> bytes:
    return json.dumps({**EVENT, "auditID": audit_id}).encode()


class Taken:
    """An intake that keeps what it is given; it can be slow, and it can fail."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken = False
        self.state = Progress(ready=True, backlog=0, stalled_seconds=0.0, epoch=3)

    async def accept(self, batch: Batch) -> int:
        await self.gate.wait()
        if self.broken:
            raise PlaceUnavailable("state-unavailable", "disk full")
        self.batches.append(batch)
        return len(batch.observations)

    def progress(self) -> Progress:
        return self.state

    @property
    def audit_ids(self) -> list[str]:
        return [o.audit_id for b in self.batches for o in b.observations if isinstance(o, DecisionObserved)]

    @property
    def letters(self) -> list[str]:
        return [o.code for b in self.batches for o in b.observations if isinstance(o, DeadLetter)]


@asynccontextmanager
async def receiving(taken: Taken, **options: object) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    receiver = Receiver(taken, ReceiverOptions(**options))  # type: ignore[arg-type]  # a table of options
    async with receiver.listening("127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
        yield session, f"http://127.0.0.1:{port}"


BODIES = {
    "one event": (event("a"), ["a"]),
    "an event list": (
        b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['
        + event("a")
        + b","
        + event("b")
        + b"]}",
        ["a", "b"],
    ),
    "an array": (b"[" + event("a") + b"," + event("b") + b"]", ["a", "b"]),
    "JSON lines": (event("a") + b"\n" + event("b") + b"\n", ["a", "b"]),
    "gzip": (gzip.compress(event("a") + b"\n" + event("b")), ["a", "b"]),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_is_taken_and_acknowledged(name: str) -> None:
    body, expected = BODIES[name]
    taken = Taken()
    async with receiving(taken) as (session, base), session.post(f"{base}/audit", data=body) as answer:
        assert answer.status == 200
    assert taken.audit_ids == expected
    assert {b.cluster for b in taken.batches} == {"local"}


async def test_the_path_names_the_cluster() -> None:
    """Never the payload: whoever may send for one cluster could speak for another one."""
    taken = Taken()
    lying = json.dumps({**EVENT, "cluster": "prod-us", "clusterName": "prod-us"}).encode()
    async with receiving(taken) as (session, base):
        async with session.post(f"{base}/audit/prod-eu", data=lying) as answer:
            assert answer.status == 200
        async with session.post(f"{base}/audit/..%2Fetc", data=event("b")) as answer:
            assert answer.status == 404
    assert {b.cluster for b in taken.batches} == {"prod-eu"}


POD = b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"},"spec":{"containers":[]}}'
BROKEN = {
    "an event that is cut": (event("a") + b"\n" + event("b")[:99] + b"\n" + event("c"), ["a", "c"], ["json-malformed"]),
    "another kind": (event("a") + b"\n" + POD, ["a"], ["kind-unexpected"]),
    "no JSON at all": (b"GET / HTTP/1.1", [], ["not-an-object"]),
    "gzip that is cut": (gzip.compress(event("a") * 200)[:60], [], ["gzip-truncated"]),
    "deflate that is none": (b"\x78\x9c\x00\x01", [], ["not-an-object"]),
    "deep nesting": (b"[" * 5000 + b"]" * 5000, [], ["too-deep"]),
    "an event of 3 MiB": (json.dumps({**EVENT, "userAgent": "x" * 3 * MIB}).encode(), [], ["event-too-large"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
async def test_one_bad_event_never_fails_its_batch(name: str) -> None:
    """The API server would send the batch five times more and then drop all of it."""
    body, good, letters = BROKEN[name]
    taken = Taken()
    headers = {"Content-Encoding": "gzip"} if "gzip" in name else {}
    async with (
        receiving(taken) as (session, base),
        session.post(f"{base}/audit", data=io.BytesIO(body), headers=headers) as answer,
    ):
        assert answer.status == 200
    assert taken.audit_ids == good
    assert taken.letters == letters


async def test_an_empty_body_is_fine() -> None:
    taken = Taken()
    async with receiving(taken) as (session, base), session.post(f"{base}/audit", data=b"") as answer:
        assert answer.status == 200


async def test_a_body_in_chunks_has_no_length() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for part in (event("a")[:50], event("a")[50:], b"\n", event("b")):
            yield part
            await asyncio.sleep(0)

    taken = Taken()
    async with receiving(taken) as (session, base), session.post(f"{base}/audit", data=chunks()) as answer:
        assert answer.status == 200
    assert taken.audit_ids == ["a", "b"]


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_beyond_the_limit_is_turned_away(announced: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    taken = Taken()
    async with receiving(taken, max_body=MIB) as (session, base):
        data = io.BytesIO(b" " * (2 * MIB)) if announced else chunks()
        async with session.post(f"{base}/audit", data=data) as answer:
            assert answer.status == 413
        async with session.post(f"{base}/audit", data=event("after")) as answer:
            assert answer.status == 200
    assert taken.audit_ids == ["after"]


async def test_a_bomb_is_a_dead_letter() -> None:
    """64 MiB of blanks in 64 KiB: read no further than the limit."""
    taken = Taken()
    bomb = gzip.compress(b" " * (64 * MIB))
    async with receiving(taken, max_body=MIB) as (session, base), session.post(f"{base}/audit", data=bomb) as answer:
        assert answer.status == 200
    assert taken.audit_ids == []
    assert "gzip-expands" in taken.letters


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer let-me-in", 200),
        ("bearer let-me-in", 200),
        ("Bearer let-me-i", 401),
        ("Bearer let-me-in-too", 401),
        ("Basic let-me-in", 401),
        ("", 401),
    ],
)
async def test_only_who_has_the_token_may_send(header: str, status: int) -> None:
    taken = Taken()
    async with receiving(taken, token=b"let-me-in") as (session, base):
        headers = {"Authorization": header} if header else {}
        async with session.post(f"{base}/audit", data=event("a"), headers=headers) as answer:
            assert answer.status == status
        async with session.get(f"{base}/metrics", headers=headers) as answer:
            assert answer.status == status
        async with session.get(f"{base}/healthz") as answer:
            assert answer.status == 200
    assert taken.audit_ids == (["a"] if status == 200 else [])


async def test_200_comes_after_the_batch_is_durable() -> None:
    taken = Taken()
    taken.gate.clear()
    async with receiving(taken) as (session, base):
        post = asyncio.create_task(session.post(f"{base}/audit", data=event("a")))
        await asyncio.sleep(0.2)
        assert not post.done()
        taken.gate.set()
        assert (await post).status == 200


async def test_what_is_not_durable_is_sent_again() -> None:
    taken = Taken()
    taken.broken = True
    async with receiving(taken) as (session, base), session.post(f"{base}/audit", data=event("a")) as answer:
        assert answer.status == 503


async def test_a_sender_that_dawdles_is_not_waited_for() -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    taken = Taken()
    async with receiving(taken, body_seconds=0.3) as (session, base):
        try:
            async with session.post(f"{base}/audit", data=drip()) as answer:
                assert answer.status == 408
        except aiohttp.ClientError:
            pass  # the connection may be closed while the client still writes
    assert taken.batches == []


async def test_only_so_many_bodies_at_a_time() -> None:
    """The others wait; nobody is turned away."""
    taken = Taken()
    taken.gate.clear()
    async with receiving(taken, max_requests=2) as (session, base):
        posts = [asyncio.create_task(session.post(f"{base}/audit", data=event(str(n)))) for n in range(6)]
        await asyncio.sleep(0.2)
        taken.gate.set()
        answers = await asyncio.gather(*posts)
        assert [answer.status for answer in answers] == [200] * 6
    assert sorted(taken.audit_ids) == [str(n) for n in range(6)]


# ------------------------------------------------------------------------------------------------- how it is doing


async def test_health_tells_of_progress() -> None:
    taken = Taken()
    async with receiving(taken) as (session, base):
        async with session.get(f"{base}/healthz") as answer:
            assert (answer.status, (await answer.json())["last_batch_age_seconds"]) == (200, None)
        await (await session.post(f"{base}/audit", data=event("a"))).read()
        taken.state = Progress(ready=True, backlog=10, stalled_seconds=61.0, epoch=3)
        async with session.get(f"{base}/healthz") as answer:
            body = await answer.json()
            assert (answer.status, body["status"], body["backlog"], body["trust_epoch"]) == (503, "stalled", 10, 3)
            assert body["last_batch_age_seconds"] >= 0
        async with session.get(f"{base}/readyz") as answer:
            assert answer.status == 200
        taken.state = Progress(ready=False, backlog=0, stalled_seconds=0.0, epoch=0)
        async with session.get(f"{base}/readyz") as answer:
            assert answer.status == 503


async def test_metrics_are_what_prometheus_reads() -> None:
    taken = Taken()
    async with receiving(taken) as (session, base):
        await (await session.post(f"{base}/audit/prod-eu", data=event("a") + b"\n{")).read()
        async with session.get(f"{base}/metrics") as answer:
            text = await answer.text()
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    sample = re.compile(r'[a-z_]+(\{[a-z]+="[^"\n\\]*"\})? (\d+(\.\d+)?|nan)')
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line for line in lines if not sample.fullmatch(line)] == []
    assert 'revet_audit_events_total{cluster="prod-eu"} 2' in lines
    assert 'revet_audit_requests_total{code="200"} 1' in lines
    assert 'revet_audit_deadletters_total{code="json-truncated"} 1' in lines
    assert "revet_trust_epoch 3" in lines


# ------------------------------------------------------------------------------------------------- with a real node


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, str, LocalNode]]:
    node = LocalNode.open(path, NodeSettings())
    service = Service(node)
    receiver = Receiver(service, ReceiverOptions(cluster="c1"))
    service.quiet = receiver.quiet
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    try:
        async with receiver.listening("127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
            yield session, f"http://127.0.0.1:{port}", node
    finally:
        stop.set()
        await running
        node.close()


async def test_senders_at_once_and_again_are_on_record_once(tmp_path: Path) -> None:
    """Eight senders, every batch sent twice, as after an answer that was lost."""
    recording = write_recording(tmp_path / "r", events=800, images=demo_images(), seed=3)
    bodies = list(audit_batches(recording, 40))
    async with serving(tmp_path / "s.sqlite") as (session, base, node):

        async def send(body: bytes) -> int:
            async with session.post(f"{base}/audit", data=body) as answer:
                return answer.status

        assert set(await asyncio.gather(*(send(body) for body in bodies + bodies))) == {200}
        rows = node.connection.execute("SELECT value FROM log WHERE topic = ?", (OBSERVATIONS,)).fetchall()
        told = [audit_id for audit_id in recording.audit_ids if any(audit_id.encode() in value for (value,) in rows)]
        assert told == list(recording.audit_ids)
        for _ in range(200):
            if not node.engine.pending():
                break
            await asyncio.sleep(0.05)
        found = node.connection.execute("SELECT count(*) FROM record WHERE home = 'revet.admission'").fetchone()
    assert found == (len(recording.audit_ids),)


async def test_planted_secrets_appear_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In environment, arguments and annotations of good events, in broken ones, in headers: in no file and no log."""
    caplog.set_level(logging.DEBUG)
    recording = write_recording(tmp_path / "r", events=300, images=demo_images(), seed=4)
    assert PLANTED.encode() in recording.audit.read_bytes()
    path = tmp_path / "s.sqlite"
    async with serving(path) as (session, base, _node):
        for body in [*audit_batches(recording, 50), b'{"kind":"Event","x":"' + PLANTED.encode(), PLANTED.encode()]:
            async with session.post(f"{base}/audit", data=body, headers={"X-Token": PLANTED}) as answer:
                assert answer.status == 200
                assert PLANTED not in await answer.text()
        async with session.get(f"{base}/metrics") as answer:
            assert PLANTED not in await answer.text()
    assert _files_with(tmp_path, PLANTED) == []
    assert PLANTED not in caplog.text


def _files_with(folder: Path, text: str) -> list[Path]:
    return [file for file in folder.glob("s.sqlite*") if text.encode() in file.read_bytes()]


async def test_options_show_no_token() -> None:
    assert "hunter2" not in repr(ReceiverOptions(token=b"hunter2"))
