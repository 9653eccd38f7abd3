"""`revet serve ledger` killed at any instant, under load, on a real broker: no batch twice, no entry missing."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.codec import decode
from streams.engine.reading import Unreadable, read
from streams.engine.wire import WireRecord
from streams.events import DeadLetter, LedgerSealed, LedgerSigned
from streams.kafka.producer import KafkaDoor
from streams.kafka.reading import KafkaLog
from streams.ledger.chain import Chain
from streams.ledger.checking import Checker
from streams.ledger.custody import begun, new_key
from streams.ledger.entries import entries_of, packed
from streams.ledger.notes import Signing
from streams.ledger.places import Folder
from streams.ledger.port import Kept
from streams.outputs import output
from streams.serving.ledgerplace import KafkaLedgerLog, follow
from streams.sinks.document import Document
from streams.topics import DEADLETTERS, LEDGER
from tests.helpers.crew import Member
from tests.helpers.ledgered import NAME, START, decisions
from tests.helpers.pipeline import Cluster

pytestmark = [pytest.mark.needs("kafka"), pytest.mark.slow, pytest.mark.kill]

KILLS = 60 if os.environ.get("REVET_FAULTS") == "full" else 6
PACK = 40


class Documents:
    """Implements `KeptStore`: the record that the entries are of."""

    def __init__(self) -> None:
        self.kept: list[Document] = []

    def scan(self, since: int | None, until: int | None) -> Iterator[Kept]:
        assert since is until is None
        return (Kept(one.home, one.id, one.time, one.body) for one in self.kept)

    def lookup(self, ids: object) -> Iterator[Kept]:
        return iter(())


def wait(found: Callable[[], bool], seconds: float = 90) -> None:
    """Until it is so."""
    until = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_killed_at_any_instant(kafka_server, tmp_path: Path) -> None:
    state, folder = tmp_path / "state", tmp_path / "checkpoints"
    own = {
        "REVET_LEDGER_ENABLED": "true",
        "REVET_LEDGER_KEY_FILE": str(tmp_path / "ledger.pem"),
        "REVET_LEDGER_DIRECTORY": str(folder),
        "REVET_LEDGER_STATE": str(state),
        "REVET_LEDGER_SECONDS": "1",
        "REVET_LEDGER_ENTRIES": str(2 * PACK),
        "REVET_LEDGER_VERIFY_MINUTES": "0",
    }
    cluster = Cluster(kafka_server.bootstrap, "", tmp_path, 2, **own)
    cluster.prepare()
    key, chance, documents = new_key(tmp_path / "ledger.pem"), random.Random(20261122), Documents()
    door = KafkaDoor(cluster.settings.kafka, part="ledger")
    member = Member("ledger", 0, tmp_path, cluster.environ)

    def write(number: int) -> None:
        made = list(decisions(number, len(documents.kept)))
        documents.kept += made
        door.send([output(pack) for pack in packed(entries_of(made), time.time_ns() // 1000)])

    garbage = WireRecord(LEDGER, 0, b"", b"\x00 no entry")
    try:
        door.begin([garbage]).wait()
        door.send([output(pack) for pack in packed([begun(NAME, key.key, "test", START)], START)])
        for _ in range(KILLS):
            member.start()
            if chance.random() < 0.7:
                wait(member.is_ready)
            for _ in range(chance.randrange(1, 6)):
                write(chance.randrange(1, 2 * PACK))
                time.sleep(chance.random() * 0.4)
            assert member.poll() is None, member.err()
            member.end(signal.SIGKILL)
        member.start()
        wait(lambda: done(cluster, len(documents.kept) + 1))
        assert member.end(signal.SIGTERM) == 0
    finally:
        door.close()
    check(cluster, key, documents, folder)
    assert b"revet.ledger-fold/v1" in state.read_bytes()


def done(cluster: Cluster, entries: int) -> bool:
    chain = Chain()
    follow(KafkaLedgerLog(cluster.settings), chain, -1)
    return chain.size == entries and chain.number - 1 in chain.checkpoints


def check(cluster: Cluster, key: Signing, documents: Documents, folder: Path) -> None:
    log = KafkaLog(cluster.settings.kafka)
    events = [event for record in log.read(LEDGER) if not isinstance(event := read(record), Unreadable)]
    letters = [decode(record.value) for record in log.read(DEADLETTERS)]
    assert {letter.source for letter in letters if isinstance(letter, DeadLetter)} == {f"{LEDGER}/0:0"}
    assert len({letter.id for letter in letters if isinstance(letter, DeadLetter)}) == 1
    headers = [event.number for event in events if isinstance(event, LedgerSealed)]
    assert headers == list(range(len(headers)))  # none twice, none missing
    assert len(headers) > KILLS
    notes = [event.id for event in events if isinstance(event, LedgerSigned)]
    assert len(notes) == len(set(notes))
    published = list(Folder(folder).notes())
    assert {note.number for note in published} == {event.number for event in events if isinstance(event, LedgerSigned)}
    checker = Checker(KafkaLedgerLog(cluster.settings), documents, (key.key,), published)
    report = checker.check(None, None, time.time_ns() // 1000)
    assert (report.counts, report.records, report.waiting) == ({}, len(documents.kept), 0)
    assert report.signed == report.batches - 1 == headers[-1]
