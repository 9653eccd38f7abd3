"""From documents to trust records: only what differs from trust, in an order that opens no gap on the way.

    made = plan(trust, documents, By("alice", now, note="onboarding"))
    made.records        each made for the epoch after the one before it
    made.unchanged      documents that say what is already so
    made.notes          what somebody may have expected to happen and does not

Every entry of the log is judged by itself, so what is trusted is added before something needs it, exemptions stand
before the policy they are about, and what goes away goes last. It reads no files and applies nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from verifier.errors import InputError, PolicyError, TrustError
from verifier.evidence.keys import load_public_key
from verifier.models import Micros
from verifier.policy.attestors import PUBLIC_GOOD, Attestor
from verifier.policy.documents import (
    AnyDocument,
    ClusterDocument,
    Document,
    ExemptionDocument,
    KeyDocument,
    PolicyDocument,
    TrustRootDocument,
)
from verifier.trust.changes import (
    By,
    ExemptionScope,
    add_key,
    end_exemption,
    exempt,
    put_cluster,
    put_policy,
    remove_key,
    remove_policy,
)
from verifier.trust.describe import short
from verifier.trust.exemptions import ExemptionEntry
from verifier.trust.records import ExemptionPut, TrustRecord
from verifier.trust.rootchanges import put_root, remove_root
from verifier.trust.state import TrustState

BARE_KEY: Final = ".pub"
"""Suffix of a file that holds nothing but a key: it says nothing of owner or window, so it changes neither."""

_ORDER: Final = ("Cluster", "Key", "TrustRoot", "Policy", "Exemption")
"""The order documents are checked in: each may refer to those before."""

_RANK: Final = {
    "cluster-put": 0,
    "key-put": 1,
    "root-put": 2,
    "exemption-put": 3,
    "policy-put": 4,
    "exemption-ended": 5,
    "policy-removed": 6,
    "key-removed": 7,
    "root-removed": 8,
}
"""The order of records in the log."""


class Plan(NamedTuple):
    """What to append."""

    records: tuple[TrustRecord, ...]
    unchanged: tuple[str, ...]
    """`Policy payments`, for each document that says what is already so."""
    notes: tuple[str, ...]
    after: TrustState
    """Trust once all of it is applied."""


def plan(trust: TrustState, documents: Iterable[Document], by: By, *, prune: bool = False, shipped: str = "") -> Plan:
    """The records that bring trust to what the documents say.

    With `prune`, what is in trust and not among the documents goes away, for each kind that is among them. Clusters
    and revocations never go away by being left out. `shipped` is the public Sigstore root this version brings: it is
    put in force when a policy is the first to name it, which a note says.

    Raises:
        PolicyError: a document that cannot be applied, with its place.
    """
    given = list(documents)
    planner = _Planner(trust, by, shipped)
    for kind in _ORDER:
        for document in given:
            if document.body.kind == kind:
                planner.put(document)
    if prune:
        planner.prune(given)
    return planner.done(trust)


class _Planner:
    """Takes document after document; `trust` is what trust would be by then."""

    def __init__(self, trust: TrustState, by: By, shipped: str) -> None:
        self.trust = trust
        self._by = by
        self._shipped = shipped
        self._records: list[TrustRecord] = []
        self._unchanged: list[str] = []
        self._notes: list[str] = []
        self._kept: set[str] = set()
        """Exemptions that some document stands for."""

    def put(self, document: Document) -> None:
        """One document; nothing when it says what is already so."""
        body = document.body
        origin = self._by.origin
        by = self._by._replace(origin=f"file:{document.file}" if origin == "cli" else f"{origin} {document.file}")
        try:
            record = self._record(document, body, by)
        except PolicyError:
            raise
        except (InputError, ValueError) as error:
            line, column = document.place("spec")
            raise PolicyError(str(error), file=document.file, line=line, column=column, field="spec") from error
        if record is None:
            self._unchanged.append(f"{body.kind} {document.name}")
        else:
            self._add(record)

    def _record(self, document: Document, body: AnyDocument, by: By) -> TrustRecord | None:
        match body:
            case ClusterDocument():
                return self._cluster(body, by)
            case KeyDocument():
                return self._key(body, by, bare=document.file.endswith(BARE_KEY))
            case TrustRootDocument():
                return self._root(body, by)
            case PolicyDocument():
                return self._policy(body, by)
            case ExemptionDocument():
                return self._exemption(body, by)

    def _root(self, body: TrustRootDocument, by: By) -> TrustRecord | None:
        old = self.trust.anchors.roots.get(body.root_name)
        if old is not None and (old.format, old.content) == (body.spec.format, body.spec.content):
            return None
        return put_root(self.trust, by, body.root_name, body.spec.format, body.spec.content)

    def _cluster(self, body: ClusterDocument, by: By) -> TrustRecord | None:
        spec, name = body.spec, body.metadata.name
        old = self.trust.clusters.get(spec.id)
        if old is not None and not old.enrolled:
            # A file that nobody took away must not bring back what somebody retired.
            self._notes.append(f"cluster {old.name} is retired; to bring it back: revet cluster enroll {name}")
            return None
        if old is not None and (old.name, dict(old.labels), old.feeds) == (name, spec.labels, spec.feeds):
            return None
        return put_cluster(self.trust, by, spec.id, name, labels=spec.labels, feeds=spec.feeds)

    def _key(self, body: KeyDocument, by: By, *, bare: bool) -> TrustRecord | None:
        spec, name = body.spec, body.metadata.name
        window = (spec.valid_from, spec.valid_until)
        key_id = load_public_key(spec.pem).key_id
        old = self.trust.keys.get(key_id)
        if old is not None and old.removed_at is None and old.name == name:
            current = self.trust.names.get(name, key_id)
            if current != key_id:
                self._notes.append(f"key {name} was rotated to {short(current)}; the file still holds {short(key_id)}")
            if bare or (old.owner, old.valid_from, old.valid_until) == (spec.owner, *window):
                return None
        return add_key(
            self.trust, by, name, spec.pem, owner=spec.owner, valid_from=spec.valid_from, valid_until=spec.valid_until
        )

    def _policy(self, body: PolicyDocument, by: By) -> TrustRecord | None:
        if self._shipped and needs_public_good(body.spec.attestors.values()) and not self._has_public_good():
            self._notes.append(
                f"trust root {PUBLIC_GOOD} is put in force, as this version ships it, for policy {body.metadata.name}"
            )
            self._add(put_root(self.trust, by, PUBLIC_GOOD, "sigstore-trusted-root", self._shipped))
        record = put_policy(self.trust, by, body.to_policy())
        old = self.trust.policies.get(record.policy.id)
        return None if old is not None and old.policy == record.policy else record

    def _has_public_good(self) -> bool:
        return PUBLIC_GOOD in self.trust.anchors.roots

    def _exemption(self, body: ExemptionDocument, by: By) -> TrustRecord | None:
        spec, name = body.spec, body.metadata.name
        starts, expires = spec.window(by.at)
        scope = ExemptionScope(spec.policy, spec.reasons, spec.namespaces, spec.images, spec.clusters, spec.digests)
        by = by._replace(origin=f"{by.origin}#{name}", note=spec.why)
        words = {"owner": spec.owner, "approver": spec.approver, "ticket": spec.ticket}
        record = exempt(self.trust, by, scope, starts=starts, expires=expires, **words)
        named = [e for e in self.trust.exemptions.values() if e.record.origin.endswith(f"#{name}")]
        for entry in (e for e in self.trust.exemptions.values() if _says_the_same(e, record, body)):
            self._kept.add(entry.id)
            if _is_over(entry, by.at):
                # Applying one file every night must not renew what was given for thirty days.
                self._notes.append(f"exemption {name} is over; to renew it change its time, its why or its ticket")
            return None
        self._kept.add(record.id)
        for entry in named:
            if not _is_over(entry, by.at):
                self._add(end_exemption(self.trust, by, entry.id))
        return record

    def prune(self, given: list[Document]) -> None:
        """Take away what no document stands for."""
        kinds = {document.body.kind for document in given}
        names = {kind: {_name_of(d) for d in given if d.body.kind == kind} for kind in kinds}
        for kind in sorted(kinds, reverse=True):
            for record in _GONE[kind](self, names[kind]):
                self._add(record)

    def gone_policies(self, names: set[str]) -> list[TrustRecord]:
        """Policies in force that are not named."""
        return [remove_policy(self.trust, self._by, p) for p in sorted(self.trust.policies.keys() - names)]

    def gone_keys(self, names: set[str]) -> list[TrustRecord]:
        """Keys of the ring under names that are not named; what a name's earlier keys signed stays good."""
        ring = [key for key in self.trust.keys.values() if key.removed_at is None and key.name not in names]
        return [remove_key(self.trust, self._by, key.key_id) for key in sorted(ring, key=lambda k: (k.name, k.key_id))]

    def gone_roots(self, names: set[str]) -> list[TrustRecord]:
        """Trust roots that no document names; the public one stays while a policy in force rests on it."""
        used = {
            text
            for entry in self.trust.policies.values()
            for a in entry.policy.attestors.values()
            for text in a.root_texts
        }
        gone = [name for name in sorted(self.trust.anchors.roots) if name not in names]
        return [remove_root(self.trust, self._by, name) for name in gone if name != PUBLIC_GOOD or name not in used]

    def gone_exemptions(self, _names: set[str]) -> list[TrustRecord]:
        """Exemptions in force that no document stands for."""
        found = [e for e in self.trust.exemptions.values() if not _is_over(e, self._by.at)]
        return [end_exemption(self.trust, self._by, e.id) for e in found if e.id not in self._kept]

    def gone_clusters(self, names: set[str]) -> list[TrustRecord]:
        """None: a cluster that is left out may only be out of sight."""
        left = sorted(c.name for c in self.trust.clusters.values() if c.enrolled and c.name not in names)
        if left:
            self._notes.append(f"clusters stay enrolled although no document names them: {', '.join(left)}")
        return []

    def _add(self, record: TrustRecord) -> None:
        record = record.model_copy(update={"expects": self.trust.epoch})  # several are made from one state
        self.trust, applied = self.trust.apply(record, self.trust.epoch + 1)
        if not applied.applied:
            raise TrustError(applied.message)
        self._records.append(record)

    def done(self, start: TrustState) -> Plan:
        """The records in the order of the log, each made for the epoch before it."""
        ordered = sorted(self._records, key=lambda record: _RANK[record.kind])
        records = [r.model_copy(update={"expects": start.epoch + i}) for i, r in enumerate(ordered)]
        after = start
        for record in records:
            after, applied = after.apply(record, after.epoch + 1)
            if not applied.applied:
                raise TrustError(applied.message)
        return Plan(tuple(records), tuple(self._unchanged), tuple(self._notes), after)


_GONE: Final[dict[str, Callable[[_Planner, set[str]], list[TrustRecord]]]] = {
    "Policy": _Planner.gone_policies,
    "Key": _Planner.gone_keys,
    "TrustRoot": _Planner.gone_roots,
    "Exemption": _Planner.gone_exemptions,
    "Cluster": _Planner.gone_clusters,
}

_CONTENT: Final = (
    *("policy", "reasons", "namespaces", "images", "clusters", "digests"),
    *("owner", "approver", "ticket", "note"),
)


def _name_of(document: Document) -> str:
    """The name trust knows a document's thing by."""
    return document.body.root_name if isinstance(document.body, TrustRootDocument) else document.name


def needs_public_good(attestors: Iterable[Attestor]) -> bool:
    """Does one of them rest on the public Sigstore root?"""
    return any(PUBLIC_GOOD in attestor.root_texts for attestor in attestors)


def _is_over(entry: ExemptionEntry, at: Micros) -> bool:
    return entry.ended_epoch is not None or entry.expires <= at


def _says_the_same(entry: ExemptionEntry, wanted: ExemptionPut, body: ExemptionDocument) -> bool:
    """Is this what the document asks for, whenever it was applied? Of times it leaves open only the length is asked."""
    known, spec = entry.record, body.spec
    if any(getattr(known, name) != getattr(wanted, name) for name in _CONTENT):
        return False
    if spec.starts is not None and known.starts != spec.starts:
        return False
    if spec.expires is not None:
        return known.expires == spec.expires
    return known.expires - known.starts == wanted.expires - wanted.starts
