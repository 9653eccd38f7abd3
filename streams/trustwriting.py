"""Changing trust in a log that several write to: sign what becomes the next entry, append, read again who won.

    trust = ClusterTrust(topic, lambda: gate_of(settings.administrators))
    read = trust.read()                                       the whole log through a gate
    proposal = propose(read.gate, changes, now)               nothing is written
    proposal = signed_by(read.gate, proposal, private_key)    as many as the acts need
    confirmed = trust.submit(proposal)                        appended, read again: what counts

Two who write at once are told apart by the log's order alone: each entry names the one before it, so exactly one of
them counts and the other is ignored by every reader. `submit` says which. All but `submit` and `read` is pure.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from streams.engine.port import Record
from streams.events import TrustChanged
from streams.trustlog import Ignored, Prepared, Refused, TrustGate, event_of
from verifier.errors import EvidenceError, PlaceUnavailable, TrustError
from verifier.evidence.limits import MIB
from verifier.evidence.strictjson import StrictDecoder
from verifier.trust.records import TrustRecord
from verifier.trust.signing import Signature, TrustEntry, check, entry_hash, key_id_of, sign

SCHEMA: Final = "revet.trust-proposal/v1"
PROPOSAL_BYTES: Final = 32 * MIB
"""A proposal file: some root documents of a MiB each."""


class TrustTopic(Protocol):
    """The trust log on a broker."""

    def read(self) -> list[Record]:
        """Everything there was when reading began, in order. Raises PlaceError."""

    def append(self, events: Sequence[TrustChanged]) -> None:
        """Back when all are durable, in this order. Raises PlaceError; then some of them may be."""


class Read(NamedTuple):
    """The log as far as it was read."""

    gate: TrustGate
    entries: tuple[TrustChanged, ...]
    """Those that count: entry N has epoch N."""
    ignored: tuple[Ignored, ...]
    refused: tuple[Refused, ...]


class Proposal(NamedTuple):
    """Changes that are to become the next entries, with the signatures they have so far."""

    prepared: tuple[Prepared, ...]
    signatures: tuple[tuple[Signature, ...], ...]
    """Of each entry."""

    def names(self, gate: TrustGate, number: int) -> tuple[str, ...]:
        """Administrators who signed entry `number`."""
        return check(self.prepared[number].entry, self.signatures[number], gate.administrators).names

    def missing(self, gate: TrustGate) -> int:
        """How many administrators still have to sign, at most."""
        needs = (p.needed - len(self.names(gate, n)) for n, p in enumerate(self.prepared))
        return max(0, *needs) if self.prepared else 0


class Confirmed(NamedTuple):
    """What came of a proposal."""

    read: Read
    """The log afterwards."""
    entries: tuple[TrustChanged, ...]
    """Those of the proposal that count. All, or the first few."""


class ClusterTrust:
    """The trust log of a cluster, to commands."""

    def __init__(self, topic: TrustTopic, new_gate: Callable[[], TrustGate]) -> None:
        self._topic, self._new_gate = topic, new_gate

    def read(self) -> Read:
        """The whole log.

        Raises:
            NewerSchemaError: an entry was written by a newer revet.
            InputError: the settings name no administrator. PlaceError: the broker does not answer.
        """
        gate = self._new_gate()
        said = [gate.take(record) for record in self._topic.read()]
        return Read(
            gate,
            tuple(one for one in said if isinstance(one, TrustChanged)),
            tuple(one for one in said if isinstance(one, Ignored)),
            tuple(one for one in said if isinstance(one, Refused)),
        )

    def submit(self, proposal: Proposal) -> Confirmed:
        """Append the entries and read the log again.

        Raises:
            TrustError: a signature is missing; or another change came first, so nothing of this one counts. PlaceError:
                the broker did not take it; where it is not known whether it did, the message says so.
        """
        before = self.read()
        before.gate.follow([prepared.entry for prepared in proposal.prepared])
        refuse_unsigned(before.gate, proposal)
        events = [event_of(p.entry, s) for p, s in zip(proposal.prepared, proposal.signatures, strict=True)]
        try:
            self._topic.append(events)
        except PlaceUnavailable as error:
            return self._after_silence(proposal, error)
        return self._confirmed(proposal, self.read())

    def _after_silence(self, proposal: Proposal, error: PlaceUnavailable) -> Confirmed:
        """The broker did not say that it took it, and may have, or may yet."""
        try:
            read = self.read()
        except PlaceUnavailable:
            read = None
        if read is not None and read.gate.reached >= proposal.prepared[0].entry.epoch:
            return self._confirmed(proposal, read)
        message = f"{error}; it does not count now and may yet: see `revet trust history` before it is repeated"
        raise PlaceUnavailable(error.code, message) from error

    def _confirmed(self, proposal: Proposal, read: Read) -> Confirmed:
        first = proposal.prepared[0].entry.epoch
        known = {event.epoch: event for event in read.entries}
        won = []
        for prepared in proposal.prepared:
            event = known.get(prepared.entry.epoch)
            if event is None or entry_hash(_entry(read.gate, event)) != entry_hash(prepared.entry):
                break
            won.append(event)
        if not won:
            raise TrustError(_lost(read, first))
        return Confirmed(read, tuple(won))


def _entry(gate: TrustGate, event: TrustChanged) -> TrustEntry:
    return TrustEntry(gate.log, event.previous, event.epoch, event.time, event.record)


def _lost(read: Read, epoch: int) -> str:
    other = next((event for event in read.entries if event.epoch == epoch), None)
    if other is None:
        return f"the entry was written and does not count: trust is at epoch {read.gate.reached}; see `revet doctor`"
    names = signers(read.gate, other)
    return (
        f"another change came first: epoch {epoch} is one that {' and '.join(names)} signed; nothing of this change"
        " counts: look again, then repeat it"
    )


def signers(gate: TrustGate, event: TrustChanged) -> tuple[str, ...]:
    """Administrators who signed an entry."""
    return check(_entry(gate, event), event.signatures, gate.administrators).names


# ------------------------------------------------------------------------------------------------------------ proposals


def propose(gate: TrustGate, changes: Sequence[TrustRecord], now: int) -> Proposal:
    """What has to be signed for these changes to become the next entries. The gate stays as it is.

    Raises:
        TrustError: no reader would apply one of them.
    """
    prepared = gate.prepare(changes, now)
    for one in prepared:
        if not one.applied.applied:
            raise TrustError(one.applied.message)
    return Proposal(prepared, ((),) * len(prepared))


def signed_by(gate: TrustGate, proposal: Proposal, key: Ed25519PrivateKey) -> Proposal:
    """With the signatures of one more administrator; whoever signed already signs nothing twice.

    Raises:
        TrustError: the key is nobody's, or may not sign for these epochs.
    """
    own = key_id_of(key.public_key())
    signed = []
    for prepared, known in zip(proposal.prepared, proposal.signatures, strict=True):
        others = tuple(signature for signature in known if signature.key_id != own)
        signature = sign(prepared.entry, key)
        found = check(prepared.entry, [signature], gate.administrators)
        if not found.names:
            raise TrustError(
                f"this key ({own[:12]}) cannot sign epoch {prepared.entry.epoch}: {found.problem}; administrators in"
                f" these settings: {', '.join(sorted({a.name for a in gate.administrators}))}"
            )
        signed.append((*others, signature))
    return proposal._replace(signatures=tuple(signed))


def refuse_unsigned(gate: TrustGate, proposal: Proposal) -> None:
    """Raise TrustError when too few administrators signed."""
    for number, prepared in enumerate(proposal.prepared):
        names = proposal.names(gate, number)
        if len(names) < prepared.needed:
            why = f"it loosens trust ({prepared.loosening}) and " if prepared.loosening else "it "
            raise TrustError(
                f"epoch {prepared.entry.epoch}: {why}needs {prepared.needed} administrators to sign, has"
                f" {', '.join(names) or 'none'}; write it to a file with --propose FILE, let another sign that"
                " (`revet trust sign FILE`), then `revet trust submit FILE`"
            )


# --------------------------------------------------------------------------------------------------------- as a file


class _Signed(msgspec.Struct, frozen=True):
    key: str
    value: str


class _Written(msgspec.Struct, frozen=True):
    previous: str
    epoch: int
    time: int
    record: str
    """The exact bytes, as text."""
    signatures: tuple[_Signed, ...]


class _File(msgspec.Struct, frozen=True):
    schema: str
    log: str
    entries: tuple[_Written, ...]


_DECODER: Final = StrictDecoder(_File)


def write_proposal(gate: TrustGate, proposal: Proposal) -> bytes:
    """A proposal as a file that can be sent to another administrator. It holds nothing secret."""
    entries = tuple(
        _Written(
            prepared.entry.previous.hex(),
            prepared.entry.epoch,
            prepared.entry.time,
            prepared.entry.record.decode(),
            tuple(_Signed(s.key_id, base64.b64encode(s.value).decode()) for s in signatures),
        )
        for prepared, signatures in zip(proposal.prepared, proposal.signatures, strict=True)
    )
    data = msgspec.json.encode(_File(SCHEMA, gate.log, entries))
    return msgspec.json.format(data, indent=2) + b"\n"


def read_proposal(gate: TrustGate, data: bytes) -> Proposal:
    """The proposal in a file, for the log as it is now. What it does is read from the very bytes that are signed.

    Raises:
        TrustError: it is none, it is of another log, or the log has moved on. NewerSchemaError: a newer revet made it.
    """
    try:
        found = _DECODER.decode(data, limit=PROPOSAL_BYTES)
        if found.schema != SCHEMA or not found.entries:
            raise TrustError(f"expected a file that `--propose` wrote ({SCHEMA})")
        entries = [_entry_in(found.log, written) for written in found.entries]
        signatures = tuple(tuple(_signature(s) for s in written.signatures) for written in found.entries)
    except (EvidenceError, ValueError) as error:
        raise TrustError(f"not a proposal of a trust change: {error}") from error
    return Proposal(gate.follow(entries), signatures)


def _entry_in(log: str, written: _Written) -> TrustEntry:
    return TrustEntry(log, bytes.fromhex(written.previous), written.epoch, written.time, written.record.encode())


def _signature(signed: _Signed) -> Signature:
    return Signature(signed.key, base64.b64decode(signed.value, validate=True))
