"""Recorded samples of every schema version stay readable, and the version that is written has a sample of every kind.

Whoever changes a record so that its bytes change, without a new version, finds out here. Recorded anew with
`REVET_REGENERATE=1 pytest tests/unit/test_record_versions.py`, which only ever writes the newest version.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from alerting.models import Incident, IncidentAction, IncidentContext, Proposal
from streams.codec import OLDEST_VERSION, SCHEMA_VERSION, Event, NewerSchemaError, decode, encode
from streams.events import (
    AuditCounted,
    ClaimObserved,
    ContainerChanged,
    EvidenceWanted,
    FeedSeen,
    LedgerChecked,
    LedgerDay,
    LedgerEntry,
    LedgerSealed,
    LedgerSigned,
    LedgerWritten,
    PastSeen,
    PodObserved,
    ProgressSeen,
    PullsTaken,
    TrustChanged,
    VerdictReached,
)
from streams.sinks.documents import documents
from verifier.errors import InputError

FOLDER = Path(__file__).parents[1] / "assets" / "records"
SAMPLES = [
    (version, path)
    for version in range(OLDEST_VERSION, SCHEMA_VERSION + 1)
    for path in sorted((FOLDER / f"v{version}").glob("*.msgpack"))
]
KINDS = {kind.__name__: kind for kind in get_args(Event)}


def versioned(data: bytes) -> list[Any]:
    found: list[Any] = msgspec.msgpack.decode(data)
    return found


@pytest.mark.parametrize(("version", "path"), SAMPLES, ids=lambda value: getattr(value, "stem", str(value)))
def test_a_recorded_sample_is_read(version: int, path: Path) -> None:
    data = path.read_bytes()
    assert versioned(data)[0] == version
    event = decode(data)
    assert type(event) is KINDS[path.stem]
    assert decode(encode(event)) == event
    list(documents(event))  # a reader of today makes documents of it


@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_version_that_is_written_has_a_sample_of_every_kind(name: str) -> None:
    path = FOLDER / f"v{SCHEMA_VERSION}" / f"{name}.msgpack"
    if os.environ.get("REVET_REGENERATE"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(sample(name)))
    assert encode(decode(path.read_bytes())) == path.read_bytes(), "other bytes need another schema version"


def sample(name: str) -> object:
    """The older sample, with what the newest version adds filled in."""
    if name == "ProgressSeen":
        return ProgressSeen("progress:judge-1:3:1", 1, "judge", "judge-1", 3, 17, 2, 9, "0123456789abcdef")
    if name == "ClaimObserved":
        return ClaimObserved(
            "v1:c", 2, "c1", "policy-report", "kyverno", "fail", "signed", "check", "no signature", "Pod", "shop",
            "api-1", "u1", ("r.example/a:1",), at_admission=True, said=1, source="reports:c1",
        )  # fmt: skip
    if name == "PastSeen":
        return PastSeen("v1:h", 2, FeedSeen("v1:h", 2, "c1", "audit", 1))
    older = FOLDER / f"v{SCHEMA_VERSION - 1}" / f"{name}.msgpack"
    if not older.exists():
        return NEW[name]
    event = decode(older.read_bytes())
    if isinstance(event, Incident):
        proposed = (Proposal(4, "ann (slack:U0ANN0001)", "vendor signs soon", 7, "SEC-12"),)
        return msgspec.structs.replace(event, proposals=proposed, deployed_by="ci", good_image="r.example/a@sha256:00")
    if isinstance(event, IncidentAction):
        return msgspec.structs.replace(event, action="propose", text="vendor signs soon", days=7, ticket="SEC-12")
    if isinstance(event, PodObserved):
        return msgspec.structs.replace(event, gone=True, gone_reason="vanished", gone_after=1)
    if isinstance(event, ContainerChanged):
        return msgspec.structs.replace(event, ended=2, end_reason="pod-vanished", ended_after=1)
    if isinstance(event, TrustChanged):
        return msgspec.structs.replace(event, previous=b"\1" * 32, signatures=(("a1", b"\2" * 64),))
    if isinstance(event, EvidenceWanted):
        return msgspec.structs.replace(event, epoch=7)
    if isinstance(event, VerdictReached):
        return msgspec.structs.replace(event, read=(("revet.facts", 3), ("revet.trust", 7)))
    return event


NEW = {
    "PullsTaken": PullsTaken("v1:p", 1, "docker.io", 2, "fetch-1"),
    "AuditCounted": AuditCounted("audit-counted:c1/cp-1:1", 1, "c1", "cp-1", 2, 3, 4),
    "IncidentContext": IncidentContext("v1:x", 1, "v1:i", "ci", "r.example/a@sha256:00"),
    "LedgerWritten": LedgerWritten("ledger:1", 1, (LedgerEntry("record", "revet.trust", "v1:t", 2, b"\1" * 32, ""),)),
    "LedgerSealed": LedgerSealed("ledger-batch:0:1", 1, 0, 0, 1, b"\1" * 32, b"", 2, 2, "ledger:1"),
    "LedgerSigned": LedgerSigned("ledger-checkpoint:0:1", 1, 0, "note"),
    "LedgerChecked": LedgerChecked("ledger:recent:1", 1, "recent", 0, 2, 1, 1, "record-missing: revet.trust v1:t"),
    "LedgerDay": LedgerDay("ledger-day:l:2026-11-22", 1, "l", 3, 40, b"\1" * 32, "ledger-1", "AbCd"),
}
"""Kinds that the newest version adds."""


def test_a_newer_version_is_held_and_an_impossible_one_is_refused() -> None:
    data = versioned((FOLDER / "v1" / "FeedSeen.msgpack").read_bytes())
    with pytest.raises(NewerSchemaError):
        decode(msgspec.msgpack.encode([SCHEMA_VERSION + 1, *data[1:]]))
    with pytest.raises(NewerSchemaError):
        decode(msgspec.msgpack.encode([SCHEMA_VERSION + 1, {"type": "of-the-future"}]))
    with pytest.raises(InputError, match="it says 0"):
        decode(msgspec.msgpack.encode([0, *data[1:]]))
