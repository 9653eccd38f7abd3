"""Documents of the trust log: who changed what, in one sentence, with what it is about under its own names. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, assert_never

from pydantic import ValidationError

from streams.events import TrustChanged
from streams.sinks.document import Body, Document, document, hashes, instant, instant_or_none, prepared
from streams.sinks.judged import keys
from streams.sinks.known import Known
from verifier.errors import InputError
from verifier.trust.describe import describe
from verifier.trust.records import (
    TRUST_RECORD,
    ClusterPut,
    ExemptionEnded,
    ExemptionPut,
    KeyPut,
    KeyRemoved,
    KeyRotated,
    PolicyPut,
    PolicyRemoved,
    RevocationPut,
    RevocationWithdrawn,
    TrustRecord,
)

_ACTIONS: Final = {
    "policy-put": ("policy-updated", "change"),
    "policy-removed": ("policy-deleted", "deletion"),
    "key-put": ("signing-key-added", "creation"),
    "key-rotated": ("signing-key-rotated", "change"),
    "key-removed": ("signing-key-removed", "deletion"),
    "revocation-put": ("revoked", "deletion"),
    "revocation-withdrawn": ("reinstated", "change"),
    "exemption-put": ("exemption-added", "creation"),
    "exemption-ended": ("exemption-ended", "deletion"),
    "cluster-put": ("cluster-enrolled", "change"),
}
"""Kind of record -> (event.action, event.type)."""


def of_trust(event: TrustChanged, known: Known) -> Iterator[Document]:
    """One entry of the trust log.

    Raises:
        InputError: no reader of this version understands the record.
    """
    try:
        record = TRUST_RECORD.validate_json(event.record)
    except ValidationError as error:
        raise InputError(f"entry {event.epoch} of the trust log is not a trust record: {error}") from error
    action, kind = _ACTIONS[record.kind]
    body: dict[str, object] = {
        "message": describe(record),
        "event.kind": "event",
        "event.category": "configuration",
        "event.type": kind,
        "event.action": action,
        "event.outcome": "success",
        "event.reason": record.note,
        "user.name": record.author,
        "related.user": [record.author],
        "provenance.trust.record": record.kind,
        "provenance.trust.epoch": event.epoch,
        "provenance.trust.origin": record.origin,
        **_subject(record, known),
    }
    original: Body = {"event.original": event.record.decode("utf-8", "replace")}
    yield document("trust", event.id, event.time, prepared(body), original)


def _subject(record: TrustRecord, known: Known) -> dict[str, object]:
    match record:
        case PolicyPut(policy=policy):
            version, mode = policy.version, policy.mode
            return {
                "provenance.policy.id": policy.id,
                "provenance.policy.version": version,
                "provenance.policy.mode": mode,
            }
        case PolicyRemoved():
            return {"provenance.policy.id": record.policy_id}
        case KeyPut():
            return keys([record.key_id], [record.name])
        case KeyRotated():
            return keys([record.old_key_id, record.new_key_id], [record.name])
        case KeyRemoved():
            return keys([record.key_id], [known.key_name(record.key_id)])
        case RevocationPut():
            return _revocation(record, known)
        case RevocationWithdrawn():
            return {"provenance.revocation.id": record.revocation_id}
        case ExemptionPut():
            return _exemption(record)
        case ExemptionEnded():
            return {"provenance.exemption.id": record.exemption_id}
        case ClusterPut():
            return {
                "orchestrator.cluster.id": record.cluster_id,
                "orchestrator.cluster.name": record.name,
                "provenance.cluster.labels": record.labels,
            }
    assert_never(record)


def _revocation(record: RevocationPut, known: Known) -> dict[str, object]:
    of_key = keys([record.subject], [known.key_name(record.subject)]) if record.subject_kind == "key" else {}
    return {
        **of_key,
        "related.hash": hashes(record.subject) if record.subject_kind == "digest" else [],
        "provenance.evidence.id": record.subject if record.subject_kind == "evidence" else "",
        "provenance.revocation.id": record.id,
        "provenance.revocation.subject": f"{record.subject_kind}:{record.subject}",
        "provenance.revocation.reason": record.reason,
        "provenance.revocation.effective": instant(record.effective),
        "provenance.revocation.compromised_since": instant_or_none(record.compromised_since),
    }


def _exemption(record: ExemptionPut) -> dict[str, object]:
    return {
        "provenance.exemption.id": record.id,
        "provenance.exemption.expires": instant(record.expires),
        "provenance.exemption.ticket": record.ticket,
        "provenance.exemption.approver": record.approver,
        "provenance.policy.id": record.policy,
        "related.hash": hashes(*record.digests),
    }
