"""Classes and their members: which unit is judged, who belongs to it, and what must be fetched for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from streams.events import EvidenceWanted, ObservedContainer
from streams.handlers.judging import govern, judge
from streams.handlers.shapes import identity_groups
from streams.state import (
    Class,
    ClassRow,
    ContainerRow,
    Image,
    PodKey,
    PodRow,
    ShardState,
    Workload,
)
from verifier.canonical import stable_id
from verifier.errors import ImageReferenceError
from verifier.impact import rests_on
from verifier.models import ImageReference, Reason, Scope
from verifier.reasons import reason
from verifier.reference import names_in, parse_reference
from verifier.times import MINUTE
from verifier.verify import ImageEvidence, class_id

EMPTY_CLASS_KEPT: Final = 10 * MINUTE
"""An ended instance stays until judged once, or this long; afterwards only the record's queries judge it."""
IMAGE_KEPT: Final = 30 * 24 * 60 * MINUTE
"""Facts are dropped this long after the digest last ran."""


class Shown(NamedTuple):
    """The image of a container, as far as its pod tells."""

    reference: ImageReference
    digest: str
    problem: Reason | None
    """Why nobody can be asked about it."""


def class_of(
    state: ShardState, pod: PodRow, container: ObservedContainer, wanted: list[EvidenceWanted]
) -> Class | None:
    """The class of an observed container, made and judged when new; None while the container waits for its image."""
    shown = shown_image(container)
    if shown is None:
        return None
    reference, digest, problem = shown
    scope = scope_of(state, pod, reference)
    return _class(state, scope, reference.repository, digest, problem, pod.created or state.now, wanted)


def shown_image(container: ObservedContainer) -> Shown | None:
    """What a container shows of its image; None while it waits for it."""
    reference, problem = _reference(container)
    digest = container.digest
    if not digest and problem is None:
        if container.image_id_kind in ("config-digest", "storage-id", "unknown"):
            found = f"a {container.image_id_kind} for {container.image}"
            problem = reason("digest-not-addressable", found=found)
        elif container.kind == "image-volume" and reference is not None and reference.digest:
            digest = reference.digest  # the kubelet reports none; the pinned reference is what is mounted
        elif container.kind == "image-volume":
            problem = reason("digest-unknown")
        else:
            return None
    return Shown(reference or ImageReference(registry="", path=container.image[:255]), digest, problem)


def _reference(container: ObservedContainer) -> tuple[ImageReference | None, Reason | None]:
    try:
        return parse_reference(container.image), None
    except ImageReferenceError:
        return None, reason("reference-unparsable", found=container.image)


def scope_of(state: ShardState, pod: PodRow, reference: ImageReference) -> Scope:
    """What policies can see of a pod's container."""
    entry = state.trust.clusters.get(pod.cluster)
    return Scope(
        image=reference,
        cluster=pod.cluster,
        cluster_name=entry.name if entry is not None else pod.cluster,
        cluster_labels=entry.labels if entry is not None else (),
        namespace=pod.namespace,
        service_account=pod.service_account,
        labels=pod.labels,
    )


def _class(
    state: ShardState,
    scope: Scope,
    repository: str,
    digest: str,
    problem: Reason | None,
    since: int,
    wanted: list[EvidenceWanted],
) -> Class:
    key = class_id(scope, digest)
    found = state.classes.get(key)
    if found is None:
        image = image_of(state, repository, digest, problem)
        found = state.classes[key] = Class(key, ClassRow(scope, repository, digest, since, problem=problem), image)
        if image.asked is None or not covered(state, image, scope.image):
            wanted.extend(want_evidence(state, image, str(scope.image), "new-digest"))
        image.classes = (*image.classes, key)
        state.touch("class", key)
        govern(state, found)
    if since < found.row.since:
        found.row.since = since
        state.touch("class", key)
    if found.epoch != state.trust.epoch:
        judge(state, found, state.now)
    return found


def image_of(state: ShardState, repository: str, digest: str, problem: Reason | None = None) -> Image:
    """The image row of (repository, digest), made when new."""
    image = state.images.get((repository, digest))
    if image is None:
        image = Image(ImageEvidence(repository=repository, digest=digest, problem=problem))
        state.images[(repository, digest)] = image
        state.on_new_image(image)
    return image


def covered(state: ShardState, image: Image, reference: ImageReference) -> bool:
    """Whether an index that alone is signed would be found if it were this reference that names it.

    Which index lists a digest, only tags and pinned digests tell: each has to be asked about. Those of other classes
    have been asked about when their class was made.
    """
    own = set(names_in(reference, image.evidence.digest))
    if image.evidence.set is not None:
        own.difference_update(image.evidence.set.names)
    for key in image.classes if own else ():
        own.difference_update(names_in(state.classes[key].row.scope.image, image.evidence.digest))
    return not own


def want_evidence(state: ShardState, image: Image, reference: str, why: str) -> Iterator[EvidenceWanted]:
    """Ask the fetcher, once per attempt; nothing is asked for what has no digest."""
    evidence = image.evidence
    if not evidence.digest or evidence.problem is not None:
        return
    image.asked = state.now
    image.asked_epoch = state.trust.epoch
    image.attempts += 1
    yield EvidenceWanted(
        id=stable_id("evidence-wanted", evidence.repository, evidence.digest, state.trust.keyset_id, image.attempts),
        time=state.now,
        repository=evidence.repository,
        digest=evidence.digest,
        reference=reference,
        why=why,  # type: ignore[arg-type]  # callers pass the literals of EvidenceWanted.why
        epoch=state.trust.epoch,
    )


def join(cls: Class, workload: Workload, key: PodKey, name: str) -> None:
    """One running instance more."""
    cls.members += 1
    cls.pods.append(key)
    cls.workloads[workload.key] = cls.workloads.get(workload.key, 0) + 1
    names = workload.classes.setdefault(cls.id, {})
    names[name] = names.get(name, 0) + 1


def leave(state: ShardState, cls: Class, workload: Workload, key: PodKey, name: str) -> None:
    """One running instance less; an empty class is forgotten later."""
    cls.members -= 1
    cls.pods.remove(key)
    cls.workloads[workload.key] -= 1
    if not cls.workloads[workload.key]:
        del cls.workloads[workload.key]
    names = workload.classes[cls.id]
    names[name] -= 1
    if not names[name]:
        del names[name]
    if not names:
        del workload.classes[cls.id]
    if not cls.members:
        state.schedule(state.now + EMPTY_CLASS_KEPT, "class-empty", cls.id)


def forget_class(state: ShardState, key: str) -> None:
    """Drop a class without members."""
    cls = state.classes.get(key)
    if cls is None or cls.members:
        return
    del state.classes[key]
    state.touch("class", key)
    cls.image.classes = tuple(c for c in cls.image.classes if c != key)
    if not cls.image.classes:
        evidence = cls.image.evidence
        state.schedule(state.now + IMAGE_KEPT, "image", f"{evidence.repository}\0{evidence.digest}")


def forget_image(state: ShardState, key: str) -> None:
    """Drop an image that no class has used for IMAGE_KEPT."""
    repository, _, digest = key.rpartition("\0")
    image = state.images.get((repository, digest))
    if image is None or image.classes:
        return
    del state.images[(repository, digest)]
    for fact in image.evidence.facts:
        for name in rests_on(fact):
            state.key_images.get(name, set()).discard((repository, digest))
    for group in identity_groups(image.evidence.facts):
        state.key_images.get(group, set()).discard((repository, digest))
    state.touch("image", key)


def container_id(pod: PodRow, container: ContainerRow) -> str:
    """Identity of a container instance."""
    return stable_id("container", pod.cluster, pod.uid, container.kind, container.name, runs_what(container))


def runs_what(container: ContainerRow) -> str:
    """What tells instances of one place in a pod apart: the running digest; before it is here, the image asked for."""
    return container.digest or container.image


def short_mark(event_id: str) -> bytes:
    """Six bytes that stand for an observation id in a pod's list of seen states."""
    return hashlib.blake2b(event_id.encode(), digest_size=6).digest()
