"""Documents of the trust log: who changed what, in one sentence, with what it is about under its own names. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, assert_never

from pydantic import ValidationError

from streams.events import TrustChanged
from streams.sinks.certified import related_cas
from streams.sinks.document import Body, Document, document, hashes, instant, instant_or_none, prepared
from streams.sinks.judged import keys
from streams.sinks.known import Known
from streams.sinks.observed import labelled
from verifier.errors import InputError
from verifier.evidence.x509 import ca_keys
from verifier.trust.describe import describe
from verifier.trust.hits import identity_of
from verifier.trust.records import (
    TRUST_RECORD,
    ClusterPut,
    ClusterRetired,
    ExemptionEnded,
    ExemptionPut,
    KeyPut,
    KeyRemoved,
    KeyRotated,
    PolicyPut,
    PolicyRemoved,
    RevocationPut,
    RevocationWithdrawn,
    RootPut,
    RootRemoved,
    StatusListPut,
    TrustRecord,
)
from verifier.trust.roots import RootDocument, read_root

_ACTIONS: Final = {
    "policy-put": ("policy-updated", "change"),
    "policy-removed": ("policy-deleted", "deletion"),
    "key-put": ("signing-key-added", "creation"),
    "key-rotated": ("signing-key-rotated", "change"),
    "key-removed": ("signing-key-removed", "deletion"),
    "root-put": ("trust-root-updated", "change"),
    "root-removed": ("trust-root-removed", "deletion"),
    "status-list-put": ("revocation-list-delivered", "change"),
    "revocation-put": ("revoked", "deletion"),
    "revocation-withdrawn": ("reinstated", "change"),
    "exemption-put": ("exemption-added", "creation"),
    "exemption-ended": ("exemption-ended", "deletion"),
    "cluster-put": ("cluster-enrolled", "change"),
    "cluster-retired": ("cluster-retired", "deletion"),
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
        case RootPut():
            return _root(record)
        case RootRemoved():
            return {"provenance.trust.root": record.name}
        case StatusListPut():
            return {
                "provenance.trust.format": record.format,
                "provenance.ca.related": related_cas([record.issuer], known),
            }
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
                **labelled(tuple(record.labels.items())),
            }
        case ClusterRetired():
            return {"orchestrator.cluster.id": record.cluster_id}
    assert_never(record)


def _root(record: RootPut) -> dict[str, object]:
    """What the root holds, by id; a document that cannot be read was refused by every reader and is only named."""
    try:
        document = read_root(record.format, record.content)
    except InputError:
        document = RootDocument(record.format, ())
    held = [name for a in document.authorities for name in (a.id, *ca_keys(a), a.label)]
    return {
        "provenance.trust.root": record.name,
        "provenance.trust.format": record.format,
        "provenance.ca.related": [record.name, *held],
        "provenance.log.id": [log.id for log in document.logs],
        **keys([a.key.key_id for a in document.authorities if a.key is not None]),
    }


def _revocation(record: RevocationPut, known: Known) -> dict[str, object]:
    return {
        **_revoked(record, known),
        "provenance.revocation.id": record.id,
        "provenance.revocation.subject": f"{record.subject_kind}:{record.subject}",
        "provenance.revocation.reason": record.reason,
        "provenance.revocation.effective": instant(record.effective),
        "provenance.revocation.compromised_since": instant_or_none(record.compromised_since),
        "provenance.revocation.last_good_index": record.last_good_index,
    }


def _revoked(record: RevocationPut, known: Known) -> dict[str, object]:
    """The revoked thing under the names by which evidence has it, so that one search finds both."""
    subject = record.subject
    match record.subject_kind:
        case "key":
            return keys([subject], [known.key_name(subject)])
        case "digest":
            return {"related.hash": hashes(subject)}
        case "evidence":
            return {"provenance.evidence.id": subject}
        case "identity":
            return _identity(subject)
        case "ca":
            return {"provenance.ca.related": related_cas([subject], known)}
        case "builder":
            return {"provenance.builder": [subject]}
        case "commit":
            return {"provenance.commit": [subject]}
        case "log":
            return {"provenance.log.id": [subject]}
    assert_never(record.subject_kind)


def _identity(subject: str) -> dict[str, object]:
    """Whatever the identity asks for, patterns included: what is exact is found by its exact text."""
    identity = identity_of(subject)
    names = (identity.subject, identity.subject_pattern, identity.subject_reg_exp)
    issuers = (identity.issuer, identity.issuer_pattern, identity.issuer_reg_exp)
    return {
        "provenance.signature.identity": [name for name in names if name],
        "provenance.signature.issuer": [name for name in issuers if name],
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
