"""The working set of one shard, and what of it must be stored.

Pods are held packed (msgpack bytes under a 16-byte key) so that a million containers fit; classes, images and workloads
are objects. Everything that can be rebuilt from pods and classes is rebuilt on restore, not stored.

    state = ShardState(shard=0, shards=1)
    for output in handle(state, event): ...
    store.put(state.take_dirty())
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from alerting.models import Cause, Finding, Member, Severity
from streams.events import ContainerKind, EvidenceFound, Owner, RunState
from streams.sight import FeedRow
from verifier.models import Micros, Reason, Scope
from verifier.trust.state import TrustState
from verifier.verify import Decided, ImageEvidence

SEEN_KEPT: Final = 24
"""Observation ids remembered per pod: a redelivered batch repeats at most a pod's recent states."""

PodKey = bytes
WorkloadKey = tuple[str, str, str, str]
"""(cluster, namespace, owner kind, owner name)"""


class ContainerRow(msgspec.Struct, array_like=True, gc=False):
    """One container instance inside a packed pod."""

    kind: ContainerKind
    name: str
    digest: str
    class_id: str
    state: RunState
    image: str
    started: int | None
    ended: int | None
    end_reason: str
    launched: int | None = None
    """When the process that runs now began; tells whether a container was restarted after its image was patched."""


class PodRow(msgspec.Struct, array_like=True, gc=False):
    """A pod as the shard keeps it. Packed; see `ShardState.pod`."""

    cluster: str
    namespace: str
    name: str
    uid: str
    owner: Owner
    node: str
    service_account: str
    labels: tuple[tuple[str, str], ...]
    created: int
    mirror: bool
    containers: list[ContainerRow]
    seen: list[bytes]
    admitted_by: str = ""
    denied_by: str = ""
    break_glass: str = ""
    """`user\\0mark` of the break-glass admission."""
    gone: int | None = None
    unadmitted: bool = False
    phase: str = ""
    version: str = ""  # resource version of its newest state

    @property
    def workload(self) -> WorkloadKey:
        """Key of the workload this pod belongs to."""
        return (self.cluster, self.namespace, self.owner.kind, self.owner.name)


class _SharedRow(msgspec.Struct, frozen=True, gc=False):
    """What many pods have in common; kept once."""

    cluster: str
    namespace: str
    owner: Owner
    service_account: str
    labels: tuple[tuple[str, str], ...]


class _SharedContainer(msgspec.Struct, frozen=True, gc=False):
    """What many containers have in common; kept once."""

    kind: ContainerKind
    name: str
    digest: str
    class_id: str
    state: RunState
    image: str
    end_reason: str


class _SmallRow(msgspec.Struct, array_like=True, gc=False):
    """A pod in memory: numbers of shared parts, and what is its own."""

    shared: int
    node: int
    name: str
    uid: str
    created: int
    mirror: bool
    containers: list[tuple[int, int | None, int | None, int | None]]
    """(shared container, started, ended, launched)"""
    seen: bytes
    admitted_by: str
    denied_by: str
    break_glass: str
    gone: int | None
    unadmitted: bool
    phase: str
    version: str


_SMALL_ENCODER = msgspec.msgpack.Encoder()
_SMALL_DECODER = msgspec.msgpack.Decoder(_SmallRow)
_POD_DECODER = msgspec.msgpack.Decoder(PodRow)
_POD_ENCODER = msgspec.msgpack.Encoder()
MARK_SIZE: Final = 6
"""Bytes that stand for one observation id in a pod's list of seen states."""

Part = TypeVar("Part", _SharedRow, _SharedContainer, str)


class _Interned(Generic[Part]):
    """Values and their numbers."""

    __slots__ = ("numbers", "values")

    def __init__(self) -> None:
        self.values: list[Part] = []
        self.numbers: dict[Part, int] = {}

    def number(self, value: Part) -> int:
        """The number of a value, a new one when it is new."""
        found = self.numbers.get(value)
        if found is None:
            found = self.numbers[value] = len(self.values)
            self.values.append(value)
        return found


def pod_key(cluster: str, uid: str) -> PodKey:
    """16 bytes that stand for (cluster, pod UID); short keys are what makes a million pods fit."""
    return hashlib.blake2b(f"{cluster}\0{uid}".encode(), digest_size=16).digest()


class DeniedRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A denial that a running pod may later contradict."""

    decision: str
    time: int
    name: str
    images: tuple[str, ...]
    by: str


class WorkloadRow(msgspec.Struct, array_like=True):
    """What a shard remembers of a workload beyond its pods. Stored whole."""

    denials: list[DeniedRow] = []
    admissions: dict[str, str] = {}
    """pod uid -> decision id, for pods not seen yet (at most ADMISSIONS_KEPT)."""
    break_glass: dict[str, str] = {}
    """pod uid or name -> mark, for pods not seen yet."""
    failed_open: dict[str, tuple[int, str]] = {}
    """webhook -> (when it last let something of this workload through unchecked, the image)."""
    tags: dict[str, str] = {}
    """`container\\0reference` -> first digest seen running under that tag."""
    ran: dict[str, int] = {}
    """`repository\\0digest` -> creation of the first pod that ran it, newest RAN_KEPT (`handlers.signers`)."""


class Suspect(NamedTuple):
    """One thing a pod gives away: a finding code, where, which digest, and what the finding's sentence needs."""

    code: str
    container: str = ""
    digest: str = ""
    detail: tuple[tuple[str, str], ...] = ()


class Workload:
    """A workload's live side: which classes and pods it has, which findings are open."""

    __slots__ = ("alive", "classes", "findings", "key", "row", "suspects")

    def __init__(self, key: WorkloadKey, row: WorkloadRow | None = None) -> None:
        self.key = key
        self.row = row or WorkloadRow()
        self.alive = 0
        """Pods that run or may run again."""
        self.classes: dict[str, dict[str, int]] = {}
        """class id -> container name -> running instances."""
        self.suspects: dict[PodKey, tuple[Suspect, ...]] = {}
        """pod -> what the pod itself gives away."""
        self.findings: dict[str, str] = {}
        """finding slot -> finding id, open ones."""


class Image:
    """One (repository, digest): its evidence and the classes that run it."""

    __slots__ = ("asked", "asked_epoch", "attempts", "classes", "complete_at",
                 "evidence", "key", "key_epoch", "shapes", "shapes_of")  # fmt: skip

    def __init__(self, evidence: ImageEvidence) -> None:
        self.evidence = evidence
        self.classes: tuple[str, ...] = ()
        """Ids of the classes that run it; a tuple, because there are many images and few classes of each."""
        self.asked: Micros | None = None
        self.asked_epoch = -1
        """Trust epoch of the newest request."""
        self.attempts = 0
        self.complete_at: Micros = 0
        """When every place last answered, as far as this shard knows; 0: it does not."""
        self.key: tuple[int, ...] = ()
        """Interned shape under the current trust (see handlers.judging)."""
        self.key_epoch = -1
        self.shapes: tuple[Any, ...] = ()
        """What of its facts no trust change touches (handlers.judging), worked out for `shapes_of`."""
        self.shapes_of: ImageEvidence | None = None


class ClassRow(msgspec.Struct, array_like=True):
    """Stored part of a class: what was last said of it, so that a restart repeats nothing."""

    scope: Scope
    repository: str
    digest: str
    since: int
    spoken: dict[str, tuple[str, str, tuple[str, ...], str]] = {}
    """policy id -> (policy version, outcome, codes, exempted_by) last emitted; `""` for ungoverned."""
    uncertain_since: int | None = None
    problem: Reason | None = None
    """Why nothing can be asked about its image (`ImageEvidence.problem`)."""
    spoken_at: int = 0
    """Time of the newest verdict that was emitted; the next one is later, so that their times tell their order."""


class Judged(msgspec.Struct, frozen=True):
    """One policy's current answer for a class."""

    decided: Decided
    codes: tuple[str, ...]
    exempted_by: str
    valid_until: Micros | None


class Class:
    """Live side of a class."""

    __slots__ = ("epoch", "id", "image", "judged", "members", "pods", "policies", "row", "workloads")

    def __init__(self, class_id: str, row: ClassRow, image: Image) -> None:
        self.id = class_id
        self.row = row
        self.image = image
        self.policies: tuple[str, ...] = ()
        self.judged: dict[str, Judged] = {}
        self.epoch = -1
        self.members = 0
        self.pods: list[PodKey] = []
        self.workloads: dict[WorkloadKey, int] = {}


class PartRow(msgspec.Struct):
    """Live counts of one (incident, cluster, namespace)."""

    kind: str
    subject: str
    cause: Cause
    policy: str
    severity: Severity
    findings: dict[str, Member]
    opened: int
    sequence: int = 0
    message: str = ""
    closed: dict[str, int] = {}


Dirty = tuple[str, str, bytes | None]
"""(kind, key, packed value or None to delete)"""


class ShardState:
    """Everything one shard knows. Handlers read and change it; `take_dirty` says what must be stored."""

    def __init__(self, shard: int = 0, shards: int = 1) -> None:
        self.shard, self.shards = shard, shards
        self.now: Micros = 0
        self.max_age: Micros = 0
        """How old an answer about an image may become before it is asked again; 0: any age, as in recordings."""
        self.sequence = 0
        self.trust = TrustState.empty()
        self.pods: dict[PodKey, bytes] = {}
        self.workloads: dict[WorkloadKey, Workload] = {}
        self.classes: dict[str, Class] = {}
        self.images: dict[tuple[str, str], Image] = {}
        self.findings: dict[str, Finding] = {}
        self.parts: dict[tuple[str, str, str], PartRow] = {}
        self.feeds: dict[tuple[str, str], FeedRow] = {}
        self.due: list[tuple[Micros, str, str]] = []
        self.due_set: set[tuple[Micros, str, str]] = set()
        self.dirty_parts: set[tuple[str, str, str]] = set()
        self.on_new_image: Callable[[Image], None] = lambda _: None
        """Called with an image that no class of this shard had before: others may know of it (`streams.clustered`)."""
        self.memory: dict[str, Any] = {}
        """What handlers remember between events and can always make anew (`handlers.judging.rules`); never stored."""
        self.notes: dict[str, bytes] = {}
        """What a handler stores in a form of its own, by name (`handlers.causes`)."""
        self.sweep: Iterator[Sequence[object]] | None = None
        """Re-judging in slices after a trust change; driven between live events."""
        self.key_images: dict[str, set[tuple[str, str]]] = {}
        """key id -> images with a signature of it: what a revocation touches, without repartitioning."""
        self._dirty: dict[tuple[str, str], None] = {}
        self._rows: _Interned[_SharedRow] = _Interned()
        self._containers: _Interned[_SharedContainer] = _Interned()
        self._nodes: _Interned[str] = _Interned()

    # ------------------------------------------------------------------ pods

    def pod(self, key: PodKey) -> PodRow | None:
        """The pod under `key`, decoded, or None."""
        packed = self.pods.get(key)
        return None if packed is None else self._grown(_SMALL_DECODER.decode(packed))

    def put_pod(self, key: PodKey, row: PodRow) -> None:
        """Store a pod."""
        self.pods[key] = _SMALL_ENCODER.encode(self._shrunk(row))
        self.touch("pod", key.hex())

    def _shrunk(self, row: PodRow) -> _SmallRow:
        shared = _SharedRow(row.cluster, row.namespace, row.owner, row.service_account, row.labels)
        return _SmallRow(
            shared=self._rows.number(shared),
            node=self._nodes.number(row.node),
            name=row.name,
            uid=row.uid,
            created=row.created,
            mirror=row.mirror,
            containers=[
                (self._containers.number(_shared_container(c)), c.started, c.ended, c.launched) for c in row.containers
            ],
            seen=b"".join(row.seen),
            admitted_by=row.admitted_by,
            denied_by=row.denied_by,
            break_glass=row.break_glass,
            gone=row.gone,
            unadmitted=row.unadmitted,
            phase=row.phase,
            version=row.version,
        )

    def _grown(self, small: _SmallRow) -> PodRow:
        shared = self._rows.values[small.shared]
        seen = small.seen
        return PodRow(
            cluster=shared.cluster,
            namespace=shared.namespace,
            name=small.name,
            uid=small.uid,
            owner=shared.owner,
            node=self._nodes.values[small.node],
            service_account=shared.service_account,
            labels=shared.labels,
            created=small.created,
            mirror=small.mirror,
            containers=[self._container(*own) for own in small.containers],
            seen=[seen[i : i + MARK_SIZE] for i in range(0, len(seen), MARK_SIZE)],
            admitted_by=small.admitted_by,
            denied_by=small.denied_by,
            break_glass=small.break_glass,
            gone=small.gone,
            unadmitted=small.unadmitted,
            phase=small.phase,
            version=small.version,
        )

    def _container(self, number: int, started: int | None, ended: int | None, launched: int | None) -> ContainerRow:
        s = self._containers.values[number]
        return ContainerRow(
            s.kind, s.name, s.digest, s.class_id, s.state, s.image, started, ended, s.end_reason, launched
        )

    def load_pod(self, key: PodKey, row: PodRow) -> None:
        """Put a stored pod back."""
        self.pods[key] = _SMALL_ENCODER.encode(self._shrunk(row))

    def drop_pod(self, key: PodKey) -> None:
        """Forget a pod (after it ended and was judged, or ten minutes)."""
        if self.pods.pop(key, None) is not None:
            self.touch("pod", key.hex())

    def workload(self, key: WorkloadKey) -> Workload:
        """The workload under `key`, made when new."""
        found = self.workloads.get(key)
        if found is None:
            found = self.workloads[key] = Workload(key)
        return found

    # ------------------------------------------------------------------ time

    def schedule(self, at: Micros, kind: str, key: str) -> None:
        """Ask for `kind`/`key` to be looked at when the clock reaches `at`; the same request twice is one."""
        entry = (at, kind, key)
        if entry not in self.due_set:
            self.due_set.add(entry)
            heapq.heappush(self.due, entry)

    def due_until(self, now: Micros) -> Iterator[tuple[Micros, str, str]]:
        """Take every entry due at or before `now`, earliest first."""
        while self.due and self.due[0][0] <= now:
            entry = heapq.heappop(self.due)
            self.due_set.discard(entry)
            yield entry

    def next_due(self) -> Micros | None:
        """When the next entry is due."""
        return self.due[0][0] if self.due else None

    # ------------------------------------------------------------------ storing

    def touch(self, kind: str, key: str) -> None:
        """Remember that (kind, key) must be stored."""
        self._dirty[(kind, key)] = None

    def take_dirty(self) -> list[Dirty]:
        """What changed since the last call, packed, in the order of first change."""
        taken = [(kind, key, self._packed(kind, key)) for kind, key in self._dirty]
        self._dirty.clear()
        return taken

    def _packed(self, kind: str, key: str) -> bytes | None:
        return _PACK[kind](self, key)

    def restore(self, entries: Iterable[tuple[str, str, bytes]]) -> None:
        """Load what `take_dirty` once gave (any order); the caller then folds trust and evidence and calls
        `handlers.restored` to rebuild and re-judge.
        """
        for kind, key, value in entries:
            _UNPACK[kind](self, key, value)


# -------------------------------------------------------------------------- packing, one row per kind


def _shared_container(c: ContainerRow) -> _SharedContainer:
    return _SharedContainer(c.kind, c.name, c.digest, c.class_id, c.state, c.image, c.end_reason)


def _pack_pod(state: ShardState, key: str) -> bytes | None:
    row = state.pod(bytes.fromhex(key))  # stored whole: numbers of shared parts mean nothing to another process
    return None if row is None else _POD_ENCODER.encode(row)


def _unpack_pod(state: ShardState, key: str, value: bytes) -> None:
    state.load_pod(bytes.fromhex(key), _POD_DECODER.decode(value))


def _pack_class(state: ShardState, key: str) -> bytes | None:
    found = state.classes.get(key)
    return None if found is None else msgspec.msgpack.encode(found.row)


def _unpack_class(state: ShardState, key: str, value: bytes) -> None:
    row = msgspec.msgpack.decode(value, type=ClassRow)
    image = state.images.get((row.repository, row.digest))
    if image is None:
        image = state.images[(row.repository, row.digest)] = Image(
            ImageEvidence(repository=row.repository, digest=row.digest, problem=row.problem)
        )
    state.classes[key] = Class(key, row, image)
    image.classes = (*image.classes, key)


def _pack_workload(state: ShardState, key: str) -> bytes | None:
    parts = msgspec.json.decode(key, type=WorkloadKey)
    found = state.workloads.get(parts)
    if found is None or found.row == WorkloadRow():
        return None
    return msgspec.msgpack.encode(found.row)


def _unpack_workload(state: ShardState, key: str, value: bytes) -> None:
    parts = msgspec.json.decode(key, type=WorkloadKey)
    state.workloads[parts] = Workload(parts, msgspec.msgpack.decode(value, type=WorkloadRow))


def workload_text(key: WorkloadKey) -> str:
    """The text under which a workload is stored."""
    return msgspec.json.encode(key).decode()


def workload_key(text: str) -> WorkloadKey:
    """The inverse of `workload_text`."""
    cluster, namespace, kind, name = msgspec.json.decode(text, type=tuple[str, str, str, str])
    return cluster, namespace, kind, name


def _pack_finding(state: ShardState, key: str) -> bytes | None:
    found = state.findings.get(key)
    return None if found is None else msgspec.msgpack.encode(found)


def _part_key(text: str) -> tuple[str, str, str]:
    return msgspec.json.decode(text, type=tuple[str, str, str])


def part_text(key: tuple[str, str, str]) -> str:
    """The text under which an incident part is stored."""
    return msgspec.json.encode(key).decode()


def _pack_part(state: ShardState, key: str) -> bytes | None:
    found = state.parts.get(_part_key(key))
    return None if found is None else msgspec.msgpack.encode(found)


def _unpack_part(state: ShardState, key: str, value: bytes) -> None:
    state.parts[_part_key(key)] = msgspec.msgpack.decode(value, type=PartRow)


def _pack_feed(state: ShardState, key: str) -> bytes | None:
    cluster, _, feed = key.rpartition("\0")
    found = state.feeds.get((cluster, feed))
    return None if found is None else msgspec.msgpack.encode(found)


def _unpack_feed(state: ShardState, key: str, value: bytes) -> None:
    cluster, _, feed = key.rpartition("\0")
    state.feeds[(cluster, feed)] = msgspec.msgpack.decode(value, type=FeedRow)


def _pack_meta(state: ShardState, _key: str) -> bytes | None:
    return msgspec.msgpack.encode((state.now, state.sequence))


def _unpack_meta(state: ShardState, _key: str, value: bytes) -> None:
    state.now, state.sequence = msgspec.msgpack.decode(value, type=tuple[int, int])


def _pack_image(state: ShardState, key: str) -> bytes | None:
    repository, _, digest = key.rpartition("\0")
    found = state.images.get((repository, digest))
    if found is None or found.evidence.set is None:
        return None
    event = EvidenceFound(
        id="",
        time=found.complete_at,
        set=found.evidence.set,
        facts=found.evidence.facts,
        first_seen=tuple(sorted(found.evidence.first_seen.items())),
    )
    return msgspec.msgpack.encode(event)


def _unpack_image(state: ShardState, key: str, value: bytes) -> None:
    repository, _, digest = key.rpartition("\0")
    event = msgspec.msgpack.decode(value, type=EvidenceFound)
    evidence = ImageEvidence(
        repository=repository, digest=digest, set=event.set, facts=event.facts, first_seen=dict(event.first_seen)
    )
    image = state.images.setdefault((repository, digest), Image(evidence))
    image.evidence = evidence
    image.complete_at = event.time


_PACK: Final[dict[str, Callable[[ShardState, str], bytes | None]]] = {
    "pod": _pack_pod,
    "class": _pack_class,
    "workload": _pack_workload,
    "finding": _pack_finding,
    "part": _pack_part,
    "feed": _pack_feed,
    "image": _pack_image,
    "meta": _pack_meta,
    "note": lambda state, key: state.notes.get(key),
}
_UNPACK: Final[dict[str, Callable[[ShardState, str, bytes], None]]] = {
    "pod": _unpack_pod,
    "class": _unpack_class,
    "workload": _unpack_workload,
    "finding": lambda state, key, value: state.findings.update({key: msgspec.msgpack.decode(value, type=Finding)}),
    "part": _unpack_part,
    "feed": _unpack_feed,
    "image": _unpack_image,
    "meta": _unpack_meta,
    "note": lambda state, key, value: state.notes.update({key: value}),
}
