"""Archived audit logs of four months, and a state file that looked back at them.

made = Case(folder)
made.read(made.write("audit.log", archive()))
made.asked()                                   what a blast radius says of three subjects
"""

import gzip
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from streams.collectors import Stream, read_stream
from streams.collectors.lookback import LookBack
from streams.engine.sqlite import connect
from streams.queries.blast import blast_radius
from streams.queries.port import RecordReader
from streams.queries.results import as_json
from streams.queries.sqlite import SqliteReader
from streams.queries.subjects import resolve
from tests.helpers.audit_events import event, pod
from tests.helpers.command import DEMO, LAYOUT, revet

IMAGES = json.loads((DEMO / "images.json").read_text())
SIGNED = next(i for i in IMAGES if i["signers"] and i["signers"][0]["key"] == "build-2026")
REPOSITORY = SIGNED["reference"].rpartition(":")[0]
PINNED = f"{REPOSITORY}@{SIGNED['digest']}"
GONE = "registry.example.com/gone/tool@sha256:" + "9" * 64
FIRST = datetime(2026, 3, 1, 8, tzinfo=UTC)
NOW = 1_795_300_000_000_000


def admitted(number, *images, verb="create", namespace="pay", at=None, level="RequestResponse", **more):
    time = (at or FIRST + timedelta(hours=7 * number)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    stored = pod(*images, name=f"api-{number}", namespace=namespace, uid=f"u-{number}")
    objects = {} if level == "Metadata" else {"requestObject": stored, "responseObject": stored}
    return event(
        verb,
        auditID=f"a-{number}",
        level=level,
        reference={"name": f"api-{number}", "namespace": namespace},
        requestReceivedTimestamp=time,
        stageTimestamp=time,
        **objects,
        **more,
    )


def denied(number, *images):
    refused = {"code": 403, "message": 'admission webhook "revet.example.com" denied the request: unsigned'}
    return admitted(number, *images, responseStatus={"metadata": {}, "status": "Failure", **refused})


def archive():
    """Four months: by digest, by tag, without images, denied, failed open, marked break-glass, and a read."""
    open_ = {"failed-open.validating.webhook.admission.k8s.io/round_0_index_0": "revet.example.com"}
    notes = {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""}
    events = [admitted(n, PINNED, namespace="pay" if n % 2 else "pay-staging") for n in range(40)]
    events += [admitted(100 + n, f"{REPOSITORY}:1") for n in range(5)]
    events += [admitted(200 + n, level="Metadata") for n in range(3)]
    events += [denied(300, PINNED), admitted(301, GONE), admitted(302, PINNED, annotations=notes | open_)]
    events.append(event("get", auditID="r", requestReceivedTimestamp="2026-06-20T10:59:59.000000Z"))
    return events


def asked(reader):
    """What a blast radius says of a digest, a key and a repository."""
    subjects = (f"digest:{SIGNED['digest']}", "key:build-2026", f"image:{REPOSITORY}")
    return [as_json(blast_radius(reader, resolve(reader, text))) for text in subjects]


class Case:
    """An archive written to files and read by the command; `asked` is what a look into its state gives."""

    def __init__(self, folder):
        self.folder, self.state = folder, folder / "look.sqlite"
        self.summary: dict = {}
        """What the command said of the last read."""

    def read(self, *files, code=0):
        names = [argument for file in files for argument in ("--replay", f"prod-eu={file}")]
        more = ("--trust", DEMO / "keys", "--evidence", LAYOUT, "--state", self.state, "-o", "json")
        ran = revet("run", "--look-back", *names, *more)
        assert ran.code == code, ran.err
        self.summary = ran.json if code == 0 else {}
        return self.summary

    def write(self, name, events, packed=False):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = "".join(json.dumps(one) + "\n" for one in events).encode()
        path.write_bytes(gzip.compress(data) if packed else data)
        return path

    @contextmanager
    def reader(self) -> Iterator[RecordReader]:
        connection = connect(self.state, create=False)
        try:
            yield SqliteReader(connection)
        finally:
            connection.close()

    def asked(self):
        with self.reader() as reader:
            return asked(reader)

    def rows(self, query):
        with sqlite3.connect(self.state) as connection:
            return connection.execute(query).fetchall()


def told(parts, cluster="c1"):
    """What a look-back makes of files, without a file: kinds and ids, as sets."""
    look = LookBack(cluster, NOW)
    found: list = []
    for part in parts:
        stream = Stream(cluster=cluster, source="file")
        data = b"".join(json.dumps(one).encode() + b"\n" for one in part)
        for raw in read_stream([data], source="file"):
            observed = stream.observe(raw)
            found += look.of(stream.decoded, observed)
        found += look.of(None, stream.close())
    return found
