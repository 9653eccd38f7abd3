"""Trust as of an epoch: policies, keys, revocations, exemptions and clusters, folded from the trust log.

A `TrustState` is a value: applying a record gives a new one that shares every part that did not change, so each epoch
can be kept, compared (`diff`) and judged against again. Applying never raises for a well-formed record: one that cannot
take effect (stale expectation, unknown id, a name that is taken) is *ignored*, the same by every reader, and says why.

    state = TrustState.empty()
    state, applied = state.apply(record, at_epoch=state.epoch + 1)
    applied.applied, applied.code, applied.message

What it refuses to do: decide about a signature (`trust.standing`), select images (`policy.selection`), read the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeVar, assert_never, get_args

from verifier.content.evaluate import rule_id
from verifier.content.predicates import predicate_uri
from verifier.errors import InputError, TrustError
from verifier.evidence.base64text import decode_base64
from verifier.evidence.crl import RevocationList, read_crl
from verifier.evidence.keys import PublicKey, load_public_key
from verifier.evidence.material import AuthorityUse
from verifier.evidence.openpgp import OpenPgpKey
from verifier.evidence.x509 import load_certificate
from verifier.facts.candidates import CandidateRule, KeySet, key_set, keyset_id
from verifier.models import Micros
from verifier.policy.attestors import Attestor
from verifier.policy.model import Policy
from verifier.policy.pem import is_pem
from verifier.trust.anchors import Anchors, root_name_problem
from verifier.trust.exemptions import ExemptionEntry, exemption_problem
from verifier.trust.hits import identity_of, is_identity
from verifier.trust.records import (
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
    SubjectKind,
    TrustRecord,
)
from verifier.trust.revocation import earliest

_T = TypeVar("_T")

SUBJECT_KINDS: Final[tuple[SubjectKind, ...]] = get_args(SubjectKind)


class PolicyEntry(NamedTuple):
    """A policy in force."""

    policy: Policy
    first_epoch: int
    """Epoch at which this policy id first took effect (again, after a removal)."""
    first_at: Micros
    epoch: int
    """Epoch of this version."""
    at: Micros
    inline: tuple[str, ...] = ()
    """Key ids of attestor keys written as PEM text, sorted."""
    roots: tuple[tuple[AuthorityUse, str], ...] = ()
    """Trust roots written as text, each with what it is used for."""
    previous: Policy | None = None
    """The version before this one, so that what a change of policy broke can be told from what was broken before."""


class ManagedKey(NamedTuple):
    """A key of the ring. Superseded and removed keys stay: what they signed still has to be named and judged."""

    key_id: str
    name: str
    pem: str
    owner: str
    valid_from: Micros | None
    valid_until: Micros | None
    superseded_at: Micros | None
    """When another key took its name over; None while it is the current one."""
    removed_at: Micros | None
    """When it was taken out of trust (DELISTED); None while it is in the ring."""
    added_epoch: int


class RevocationEntry(NamedTuple):
    """A revocation and, when it was taken back, since when."""

    record: RevocationPut
    epoch: int
    withdrawn_at: Micros | None = None
    withdrawn_epoch: int | None = None
    withdrawn_by: str = ""

    @property
    def id(self) -> str:
        """Id of the record."""
        return self.record.id

    @property
    def active(self) -> bool:
        """False once withdrawn. Active is not yet effective: that depends on the instant."""
        return self.withdrawn_epoch is None


class ClusterEntry(NamedTuple):
    """An enrolled cluster."""

    cluster_id: str
    name: str
    labels: tuple[tuple[str, str], ...]
    """Sorted, in the shape `Scope.cluster_labels` has."""
    feeds: tuple[str, ...]
    first_epoch: int
    first_at: Micros
    epoch: int
    at: Micros
    retired_at: Micros | None = None

    @property
    def enrolled(self) -> bool:
        """False once retired (since `retired_at`): it is no more."""
        return self.retired_at is None


class Applied(NamedTuple):
    """What became of a record."""

    applied: bool
    code: Literal["", "stale", "duplicate", "unknown", "conflict", "refused"] = ""
    """Why it was ignored: it expected another epoch; it changes nothing; it names nothing known; it collides with
    something; it breaks a rule that every reader enforces."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class TrustState:
    """Everything trusted and distrusted at one epoch. Immutable; the mappings are never changed in place."""

    epoch: int
    policies: Mapping[str, PolicyEntry]
    keys: Mapping[str, ManagedKey]
    """By key id; also superseded and removed ones."""
    names: Mapping[str, str]
    """Name -> key id of the current key."""
    named: Mapping[str, tuple[str, ...]]
    """Name -> every key that has or had it, in the order of adding."""
    revocations: Mapping[str, RevocationEntry]
    """By revocation id; also withdrawn ones."""
    by_subject: Mapping[SubjectKind, Mapping[str, tuple[RevocationPut, ...]]]
    """Revocations that are not withdrawn, by what they hit; sorted by id."""
    exemptions: Mapping[str, ExemptionEntry]
    clusters: Mapping[str, ClusterEntry]
    candidates: Mapping[str, str]
    """Key id -> PEM of every key evidence is checked against. Only grows, so that taking something out of trust never
    makes facts stale: only an added key costs cryptography."""
    keyset_id: str
    """Id of the candidate set (keys, material, rules); facts carry the one they were computed under."""
    anchors: Anchors
    """Trust roots in force, and everything roots ever brought."""
    rules: Mapping[str, CandidateRule]
    """Content rules by id. Only grows, as the candidates do."""

    @staticmethod
    def empty() -> TrustState:
        """Epoch 0, before the first record of the log."""
        by_subject: dict[SubjectKind, dict[str, tuple[RevocationPut, ...]]] = {kind: {} for kind in SUBJECT_KINDS}
        return TrustState(0, {}, {}, {}, {}, {}, by_subject, {}, {}, {}, keyset_id(()), Anchors.empty(), {})

    def apply(self, record: TrustRecord, at_epoch: int) -> tuple[TrustState, Applied]:
        """The state after entry `at_epoch` of the log, and what became of the record.

        An ignored record still moves the epoch on (it is an entry of the log); one whose epoch is already behind is a
        redelivery and changes nothing at all. Raises nothing.
        """
        if at_epoch <= self.epoch:
            return self, Applied(False, "duplicate", f"entry {at_epoch} is already applied (at epoch {self.epoch})")
        if record.expects is not None and record.expects != self.epoch:
            ignored = Applied(False, "stale", f"made for epoch {record.expects}, the log is at {self.epoch}; ask again")
            return replace(self, epoch=at_epoch), ignored
        outcome = _apply(self, record, at_epoch)
        if isinstance(outcome, Applied):
            return replace(self, epoch=at_epoch), outcome
        return replace(outcome, epoch=at_epoch), Applied(True)

    def candidate_keys(self) -> dict[str, str]:
        """Key id -> PEM of every key that evidence is checked against.

        The ring, with superseded and removed keys (what they signed is not signed by a stranger), and keys that a
        policy carries or once carried as PEM text.
        """
        return dict(self.candidates)

    def candidate_set(self) -> KeySet:
        """Everything that evidence is checked against; its id is `keyset_id`."""
        keys = ((self.name_of(key_id), load_public_key(pem)) for key_id, pem in self.candidates.items())
        return key_set(keys, self.anchors.material, self.rules.values())

    def resolve_keys(self, policy: Policy) -> dict[str, tuple[str, ...]]:
        """Attestor name -> ids of the keys, or of the authorities, that stand for it.

        A name in the ring covers its current key and those it superseded (what these may still do is judged by
        `trust.standing`); PEM text covers itself; an unknown name covers nothing. The authorities of Notary Project
        stores come with the store's type in front, `ca:<id>`.

        Raises:
            InputError: PEM text that is no public key, in a policy that never was applied.
        """
        return {name: tuple(dict.fromkeys(self._ids(attestor))) for name, attestor in policy.attestors.items()}

    def _ids(self, attestor: Attestor) -> Iterator[str]:
        for text in attestor.keys:
            yield from self.key_ids(text)
        for use, text in root_texts(attestor):
            yield from filter(self._fingerprinted(attestor), self.anchors.resolve(text, use))
        for store in attestor.notary.stores if attestor.notary is not None else ():
            kind = store.partition(":")[0]
            stored: AuthorityUse = "timestamping" if kind == "tsa" else "notation"
            yield from (f"{kind}:{authority}" for authority in self.anchors.resolve(store, stored))

    def _fingerprinted(self, attestor: Attestor) -> Callable[[str], bool]:
        """Does an authority have one of the fingerprints an OpenPGP attestor is restricted to?"""
        wanted = {text.replace(" ", "").lower() for text in attestor.openpgp.fingerprints} if attestor.openpgp else None
        authorities = self.anchors.material.authorities
        return lambda authority: not wanted or not wanted.isdisjoint(fingerprints(authorities[authority].key))

    def key_ids(self, text: str) -> tuple[str, ...]:
        """Key ids that one attestor key, a name or PEM text, stands for. Raises InputError as `resolve_keys`."""
        return (load_public_key(text).key_id,) if is_pem(text) else self.named.get(text, ())

    def name_of(self, key_id: str) -> str:
        """Name of a key for people: its name in the ring, else `key:<12 hex>`, else `unknown`."""
        key = self.keys.get(key_id)
        if key is not None:
            return key.name
        return f"key:{key_id[:12]}" if key_id else "unknown"

    def authorised(self, key_id: str) -> bool:
        """Is the key in the ring, or carried by a policy in force? A removal from the ring beats the policy."""
        key = self.keys.get(key_id)
        if key is not None:
            return key.removed_at is None
        return any(key_id in entry.inline for entry in self.policies.values())

    def revocations_of(self, kind: SubjectKind, subject: str) -> tuple[RevocationPut, ...]:
        """Revocations of one thing that are not withdrawn, whether effective yet or not."""
        return self.by_subject[kind].get(subject, ())

    def digest_denials(self, digests: Iterable[str], instant: Micros) -> tuple[RevocationPut, ...]:
        """Revocations in force at `instant` that deny one of these digests (a closure: an index denies its children).

        An image has no signing time, so a denied digest is denied whole, whatever the reason's class.
        """
        denials = self.by_subject["digest"]
        if not denials:
            return ()
        return tuple(r for d in digests for r in denials.get(d, ()) if r.effective <= instant)

    def denials_due(self, digests: Iterable[str], instant: Micros) -> Micros | None:
        """The next instant at which `digest_denials` will answer more; None when nothing lies ahead."""
        denials = self.by_subject["digest"]
        due: Micros | None = None
        for record in (r for d in digests for r in denials.get(d, ()) if r.effective > instant):
            due = earliest(due, record.effective)
        return due


def fingerprints(key: PublicKey | None) -> tuple[str, ...]:
    """What a key goes by: its key id (SHA-256 of the SubjectPublicKeyInfo) and, for OpenPGP, its v4 fingerprint."""
    if isinstance(key, OpenPgpKey):
        return key.key_id, key.packet.fingerprint.hex()
    return () if key is None else (key.key_id,)


def root_texts(attestor: Attestor) -> Iterator[tuple[AuthorityUse, str]]:
    """(use, name or text) of the roots an attestor rests on, Notary Project stores apart."""
    for keyed in (attestor.keyless, attestor.certificates):
        yield from (("signing", text) for text in (keyed.roots if keyed is not None else ()))
    yield from (("openpgp", text) for text in (attestor.openpgp.keyrings if attestor.openpgp is not None else ()))
    yield from (("tuf", text) for text in (attestor.trust_data.roots if attestor.trust_data is not None else ()))


def fold(records: Iterable[TrustRecord], start: TrustState | None = None) -> TrustState:
    """The state after these consecutive log entries; ignored ones count as entries. Raises nothing."""
    state = TrustState.empty() if start is None else start
    for record in records:
        state, _ = state.apply(record, state.epoch + 1)
    return state


# ------------------------------------------------------------------------------------------------ one function per kind

_ignored = partial(Applied, False)


def _apply(state: TrustState, record: TrustRecord, epoch: int) -> TrustState | Applied:
    match record:
        case PolicyPut():
            return _policy_put(state, record, epoch)
        case PolicyRemoved():
            return _policy_removed(state, record)
        case KeyPut():
            return _key_put(state, record, epoch)
        case KeyRotated():
            return _key_rotated(state, record, epoch)
        case KeyRemoved():
            return _key_removed(state, record)
        case RootPut() | RootRemoved() | StatusListPut():
            return _root_changed(state, record, epoch)
        case RevocationPut():
            return _revocation_put(state, record, epoch)
        case RevocationWithdrawn():
            return _revocation_withdrawn(state, record, epoch)
        case ExemptionPut():
            return _exemption_put(state, record, epoch)
        case ExemptionEnded():
            return _exemption_ended(state, record, epoch)
        case ClusterPut():
            return _cluster_put(state, record, epoch)
        case ClusterRetired():
            return _cluster_retired(state, record, epoch)
    assert_never(record)


def _policy_put(state: TrustState, record: PolicyPut, epoch: int) -> TrustState | Applied:
    policy, old = record.policy, state.policies.get(record.policy.id)
    if old is not None and old.policy == policy:
        return _ignored("duplicate", f"policy {policy.id} already is version {policy.version}")
    texts = {text for attestor in policy.attestors.values() for text in attestor.keys if is_pem(text)}
    try:
        carried = {load_public_key(text).key_id: text for text in sorted(texts)}
    except InputError as error:
        return _ignored("refused", f"policy {policy.id} carries a key that cannot be read: {error}")
    first = (old.first_epoch, old.first_at) if old is not None else (epoch, record.at)
    previous = old.policy if old is not None else None
    inline = tuple((u, t) for a in policy.attestors.values() for u, t in root_texts(a) if is_pem(t))
    entry = PolicyEntry(policy, *first, epoch, record.at, tuple(sorted(carried)), inline, previous)
    try:
        with_policy = _with_policies(state, {**state.policies, policy.id: entry})
    except InputError as error:
        return _ignored("refused", f"policy {policy.id} carries a trust root that cannot be read: {error}")
    rules = {rule.id: rule for rule in candidate_rules(policy)}
    return _with_candidates(with_policy, carried, rules)


def _policy_removed(state: TrustState, record: PolicyRemoved) -> TrustState | Applied:
    if record.policy_id not in state.policies:
        return _ignored("unknown", f"there is no policy {record.policy_id}")
    return _with_policies(state, _without(state.policies, record.policy_id))


def _with_policies(state: TrustState, policies: Mapping[str, PolicyEntry]) -> TrustState:
    """These policies in force, and the roots written inside them."""
    texts = tuple(dict.fromkeys(text for entry in policies.values() for text in entry.roots))
    anchors = state.anchors.with_inline(texts) if texts or state.anchors.inline else state.anchors
    return replace(state, policies=policies, anchors=anchors)


def candidate_rules(policy: Policy) -> Iterator[CandidateRule]:
    """The content rules of a policy's requirement."""
    for leaf in policy.require.leaves():
        if leaf.rule is not None:
            wanted = predicate_uri(leaf.predicate_type)
            yield CandidateRule(rule_id(leaf.rule, (wanted,)), leaf.rule, wanted)


def _key_put(state: TrustState, record: KeyPut, epoch: int) -> TrustState | Applied:
    problem = _ring_problem(state, record.name, record.key_id, record.pem)
    if problem is not None:
        return problem
    old = state.keys.get(record.key_id)
    if old is not None and old.removed_at is None:
        key = old._replace(owner=record.owner, valid_from=record.valid_from, valid_until=record.valid_until)
        if key == old:
            return _ignored("duplicate", f"key {record.name} already is so")
        return _with_keys(state, key)
    if record.name in state.names:
        return _taken(state, record.name)
    window = (record.valid_from, record.valid_until)
    return _with_keys(
        state, ManagedKey(record.key_id, record.name, record.pem, record.owner, *window, None, None, epoch)
    )


def _key_rotated(state: TrustState, record: KeyRotated, epoch: int) -> TrustState | Applied:
    current = state.names.get(record.name)
    if current is None:
        return _ignored("unknown", f"there is no key named {record.name}")
    if current != record.old_key_id:
        return _ignored("conflict", f"{record.name} is key {current[:12]}, not {record.old_key_id[:12]}; ask again")
    if record.new_key_id == current:
        return _ignored("duplicate", f"{record.name} already is key {current[:12]}")
    problem = _ring_problem(state, record.name, record.new_key_id, record.new_pem)
    if problem is not None:
        return problem
    old = state.keys[current]
    new = ManagedKey(record.new_key_id, record.name, record.new_pem, old.owner, None, None, None, None, epoch)
    return _with_keys(state, old._replace(superseded_at=record.effective), new)


def _key_removed(state: TrustState, record: KeyRemoved) -> TrustState | Applied:
    key = state.keys.get(record.key_id)
    if key is None:
        return _ignored("unknown", f"there is no key {record.key_id[:12]} in the ring")
    if key.removed_at is not None:
        return _ignored("duplicate", f"key {key.name} ({record.key_id[:12]}) already left the ring")
    return _with_keys(state, key._replace(removed_at=record.at))


def _revocation_put(state: TrustState, record: RevocationPut, epoch: int) -> TrustState | Applied:
    if record.id in state.revocations:
        return _ignored("duplicate", f"revocation {record.id} is already on record")
    if record.subject_kind == "identity":
        try:
            identity_of(record.subject)
        except ValueError:  # kept, it would stop every verdict that asks whom it is about
            return _ignored("refused", f"revocation {record.id} names an identity that cannot be read")
    if record.subject_kind == "identity" and not is_identity(record.subject):
        return _ignored("refused", f"revocation {record.id}: its subject is no identity")
    others = state.revocations_of(record.subject_kind, record.subject)
    hits = tuple(sorted((*others, record), key=lambda r: r.id))
    revocations = {**state.revocations, record.id: RevocationEntry(record, epoch)}
    return replace(state, revocations=revocations, by_subject=_indexed(state, record, hits))


def _revocation_withdrawn(state: TrustState, record: RevocationWithdrawn, epoch: int) -> TrustState | Applied:
    entry = state.revocations.get(record.revocation_id)
    if entry is None:
        return _ignored("unknown", f"there is no revocation {record.revocation_id}")
    if not entry.active:
        return _ignored("duplicate", f"revocation {record.revocation_id} already is withdrawn")
    withdrawn = entry._replace(withdrawn_at=record.at, withdrawn_epoch=epoch, withdrawn_by=record.author)
    others = state.revocations_of(entry.record.subject_kind, entry.record.subject)
    hits = tuple(r for r in others if r.id != entry.id)
    revocations = {**state.revocations, entry.id: withdrawn}
    return replace(state, revocations=revocations, by_subject=_indexed(state, entry.record, hits))


def _exemption_put(state: TrustState, record: ExemptionPut, epoch: int) -> TrustState | Applied:
    if record.id in state.exemptions:
        return _ignored("duplicate", f"exemption {record.id} is already on record")
    problem = exemption_problem(record)
    if problem:
        return _ignored("refused", problem)
    return replace(state, exemptions={**state.exemptions, record.id: ExemptionEntry(record, epoch)})


def _exemption_ended(state: TrustState, record: ExemptionEnded, epoch: int) -> TrustState | Applied:
    entry = state.exemptions.get(record.exemption_id)
    if entry is None:
        return _ignored("unknown", f"there is no exemption {record.exemption_id}")
    if entry.ended_epoch is not None:
        return _ignored("duplicate", f"exemption {record.exemption_id} already ended")
    ended = entry._replace(ended_at=record.at, ended_epoch=epoch, ended_by=record.author)
    return replace(state, exemptions={**state.exemptions, entry.id: ended})


def _cluster_put(state: TrustState, record: ClusterPut, epoch: int) -> TrustState | Applied:
    old = state.clusters.get(record.cluster_id)
    content = (record.name, tuple(sorted(record.labels.items())), record.feeds)
    if old is not None and old.enrolled and (old.name, old.labels, old.feeds) == content:
        return _ignored("duplicate", f"cluster {record.name} already is so")
    first = (old.first_epoch, old.first_at) if old is not None else (epoch, record.at)
    entry = ClusterEntry(record.cluster_id, *content, *first, epoch, record.at)
    return replace(state, clusters={**state.clusters, record.cluster_id: entry})


def _cluster_retired(state: TrustState, record: ClusterRetired, epoch: int) -> TrustState | Applied:
    old = state.clusters.get(record.cluster_id)
    if old is None:
        return _ignored("unknown", f"there is no cluster {record.cluster_id}")
    if not old.enrolled:
        return _ignored("duplicate", f"cluster {old.name} already is retired")
    entry = old._replace(epoch=epoch, at=record.at, retired_at=record.at)
    return replace(state, clusters={**state.clusters, entry.cluster_id: entry})


# ---------------------------------------------------------------------------------------------------------- the parts


def _ring_problem(state: TrustState, name: str, key_id: str, pem: str) -> Applied | None:
    """Why a key cannot come under a name: unreadable, not the key its id says, or known under another name."""
    try:
        actual = load_public_key(pem).key_id
    except InputError as error:
        return _ignored("refused", f"key {name} cannot be read: {error}")
    if actual != key_id:
        return _ignored("refused", f"key {name} is {actual[:12]}, the record says {key_id[:12]}")
    old = state.keys.get(key_id)
    if old is not None and old.removed_at is None and old.name != name:
        return _ignored("conflict", f"key {key_id[:12]} already is in the ring as {old.name}")
    return None


def _taken(state: TrustState, name: str) -> Applied:
    # A silent takeover of a name would hand every policy that trusts the name to another key.
    return _ignored("conflict", f"{name} already names key {state.names[name][:12]}; rotate it instead")


def _with_keys(state: TrustState, *changed: ManagedKey) -> TrustState:
    keys = {**state.keys, **{key.key_id: key for key in changed}}
    names: dict[str, str] = {}
    named: dict[str, tuple[str, ...]] = {}
    for key in sorted(keys.values(), key=lambda k: (k.added_epoch, k.key_id)):
        named[key.name] = (*named.get(key.name, ()), key.key_id)
        if key.superseded_at is None and key.removed_at is None:
            names[key.name] = key.key_id
    with_keys = replace(state, keys=keys, names=names, named=named)
    return _with_candidates(with_keys, {key.key_id: key.pem for key in changed})


def _with_candidates(
    state: TrustState, pems: Mapping[str, str], rules: Mapping[str, CandidateRule] = MappingProxyType({})
) -> TrustState:
    """With these keys and rules among the candidates; the id of the set follows what is in it."""
    keys = {**state.candidates, **{k: pem for k, pem in pems.items() if k not in state.candidates}}
    known = {**state.rules, **{k: rule for k, rule in rules.items() if k not in state.rules}}
    content = keyset_id(keys, state.anchors.material, known)
    if content == state.keyset_id:
        return state
    return replace(state, candidates=keys, rules=known, keyset_id=content)


def _root_changed(state: TrustState, record: RootPut | RootRemoved | StatusListPut, epoch: int) -> TrustState | Applied:
    match record:
        case RootPut():
            return _root_put(state, record, epoch)
        case RootRemoved():
            if record.name not in state.anchors.roots:
                return _ignored("unknown", f"there is no trust root {record.name}")
            return _with_candidates(replace(state, anchors=state.anchors.without(record.name)), {})
        case StatusListPut():
            return _status_list_put(state, record)
    assert_never(record)


def _root_put(state: TrustState, record: RootPut, epoch: int) -> TrustState | Applied:
    old = state.anchors.roots.get(record.name)
    if old is not None and (old.format, old.content) == (record.format, record.content):
        return _ignored("duplicate", f"trust root {record.name} already is so")
    if problem := root_name_problem(record.name, record.format):
        return _ignored("refused", f"trust root {record.name[:80]}: {problem}")
    try:
        anchors = state.anchors.put(record.name, record.format, record.content, epoch, record.at)
    except InputError as error:
        return _ignored("refused", f"trust root {record.name}: {error}")
    return _with_candidates(replace(state, anchors=anchors), {})


def _status_list_put(state: TrustState, record: StatusListPut) -> TrustState | Applied:
    try:
        found = read_status_list(record, state.anchors)
    except InputError as error:
        return _ignored("refused", f"revocation list of {record.issuer[:12]}: {error}")
    if state.anchors.newer_list(found) is not None:
        return _ignored("duplicate", f"a revocation list of {record.issuer[:12]} at least as new is already on record")
    return replace(state, anchors=state.anchors.with_list(found))


def read_status_list(record: StatusListPut, anchors: Anchors) -> RevocationList:
    """The list in a record, its signature verified against a CA certificate of the trust roots.

    Raises:
        InputError: no such CA, bytes that are no list, or a signature that is not the CA's.
    """
    if record.format != "crl":
        raise TrustError("only revocation lists (crl) are kept")
    data = decode_base64(record.content, "revocation list", "revocation-malformed")
    loaded = (load_certificate(der) for a in anchors.material.authorities.values() for der in a.certificates)
    problem: InputError = TrustError("no trust root has a CA certificate with this key")
    for certificate in dict.fromkeys(c for c in loaded if c.key_id == record.issuer):
        try:
            return read_crl(data, certificate)
        except InputError as error:  # another certificate of the same key may bear the name the list has
            problem = error
    raise problem


def _indexed(
    state: TrustState, record: RevocationPut, hits: tuple[RevocationPut, ...]
) -> Mapping[SubjectKind, Mapping[str, tuple[RevocationPut, ...]]]:
    kind, old = record.subject_kind, state.by_subject[record.subject_kind]
    changed = {**old, record.subject: hits} if hits else _without(old, record.subject)
    return {**state.by_subject, kind: changed}


def _without(mapping: Mapping[str, _T], key: str) -> dict[str, _T]:
    return {k: v for k, v in mapping.items() if k != key}
