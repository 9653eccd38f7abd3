"""What runs, and who signed it: pods and evidence in, one summary per repository out. Judges nothing, keeps nothing.

    seen = sightings(pods)                       what runs, by image text and digest
    questions = seen.questions                   "registry.example.com/app@sha256:…", each asked once
    found = survey(seen, evidence, trust.name_of)
    found.repositories[0].digests[0].state       signed, not-verified, attested, unsigned, unknown

`signed` needs a signature that a key or root given to the survey proves. A certificate names its owner also where its
root is not known: that name is shown and marked as not verified, because anybody can make such a certificate. It asks
no policy: `revet verify` does that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal

import msgspec

from streams.events import ObservedContainer, Pod
from verifier.errors import ImageReferenceError
from verifier.models import DigestClosure, Fact, Reason
from verifier.reasons import reason
from verifier.reference import parse_reference
from verifier.verify import ImageEvidence

SCHEMA: Final = "revet.survey/v1"

_OVER: Final = frozenset({"Succeeded", "Failed"})
"""Phases of pods that no longer run."""

SignerKind = Literal["key", "keyless", "certificate", "notation", "openpgp", "trust-data", "unknown"]
DigestState = Literal["signed", "not-verified", "attested", "unsigned", "unknown"]

STATES: Final[tuple[DigestState, ...]] = ("signed", "not-verified", "attested", "unsigned", "unknown")
"""Every state: signed by somebody given to the survey; signed, by nobody given; only attestations that say something
about it; nothing at all; not known, because a place did not answer."""


SUSPECT: Final = frozenset({"signature-invalid", "subject-mismatch"})
"""Reasons that prove something bad: a signature that names a known key and does not hold, one that was moved here."""


# ---------------------------------------------------------------------------------------------------------- what runs


class Sighting(msgspec.Struct, frozen=True):
    """One image text with one running digest."""

    image: str
    """As the spec writes it."""
    repository: str
    """Empty when the text is no reference."""
    digest: str
    """Empty when the runtime reported none that a registry can be asked for."""
    containers: int
    namespaces: tuple[str, ...]
    problem: Reason | None = None
    """Why no registry can be asked."""

    @property
    def question(self) -> str:
        """What is looked up; empty when nothing can be."""
        return f"{self.repository}@{self.digest}" if self.problem is None else ""


class Seen(msgspec.Struct, frozen=True):
    """What a set of pods runs."""

    pods: int
    containers: int
    waiting: int
    """Containers that have not started: nothing runs in them yet."""
    sightings: tuple[Sighting, ...]

    @property
    def questions(self) -> tuple[str, ...]:
        """Every repository and digest once, in order."""
        return tuple(dict.fromkeys(s.question for s in self.sightings if s.question))


def sightings(pods: Iterable[Pod]) -> Seen:
    """What these pods run; of two states of one pod the later counts. Pods that have ended are left out."""
    newest = {(pod.cluster, pod.uid): pod for pod in pods}
    running = [pod for pod in newest.values() if pod.phase not in _OVER]
    counted: Counter[tuple[str, str, str]] = Counter()
    spaces: dict[tuple[str, str, str], set[str]] = {}
    waiting = 0
    for pod in running:
        for container in pod.containers:
            if container.image_id_kind == "empty" and not _mounted(container):
                waiting += 1
                continue
            key = (container.image, _digest(container), container.image_id_kind)
            counted[key] += 1
            spaces.setdefault(key, set()).add(pod.namespace)
    found = (_sighting(*key, counted[key], spaces[key]) for key in sorted(counted))
    return Seen(len(running), sum(counted.values()), waiting, tuple(found))


def _mounted(container: ObservedContainer) -> bool:
    return container.kind == "image-volume" and bool(_digest(container))


def _digest(container: ObservedContainer) -> str:
    """The running digest. For an image volume the kubelet may report none: the pinned reference is what is mounted."""
    if container.digest or container.kind != "image-volume":
        return container.digest
    try:
        return parse_reference(container.image).digest
    except ImageReferenceError:
        return ""


def _sighting(image: str, digest: str, kind: str, containers: int, namespaces: set[str]) -> Sighting:
    repository, problem = "", None
    try:
        repository = parse_reference(image).repository
    except ImageReferenceError:
        problem = reason("reference-unparsable", found=image[:255] or "''")
    if problem is None and not digest:
        problem = reason("digest-not-addressable", found=f"a {kind} for {image[:255]}")
    return Sighting(image, repository, digest, containers, tuple(sorted(namespaces)), problem)


# -------------------------------------------------------------------------------------------------------- who signed it


class Signer(msgspec.Struct, frozen=True, order=True):
    """Who a piece of evidence is from, as far as it can be told."""

    kind: SignerKind
    name: str
    """For people: the key's name, the certificate's subject, a key id."""
    verified: bool
    """A key or root that was given proves it; otherwise it is only what the evidence says of itself."""
    key_id: str = ""
    issuer: str = ""
    """OIDC issuer of a keyless identity."""
    subject: str = ""
    authorities: tuple[str, ...] = ()
    """Ids of the authorities the certificate leads to."""


class Signature(msgspec.Struct, frozen=True, order=True):
    """One signature or attestation of one signer."""

    signer: Signer
    format: str
    predicate_type: str = ""
    """Of an attestation; empty for a signature."""


class SurveyedDigest(msgspec.Struct, frozen=True):
    """One running digest of a repository."""

    digest: str
    images: tuple[str, ...]
    """The texts it runs under."""
    containers: int
    namespaces: tuple[str, ...]
    state: DigestState
    signatures: tuple[Signature, ...]
    attestations: tuple[Signature, ...]
    problems: tuple[Reason, ...] = ()
    """Places that did not answer, and evidence that is broken or about another image."""

    @property
    def suspect(self) -> bool:
        """Does its evidence look like tampering? Such an image is looked at by a person, never exempted by a draft."""
        return any(problem.code in SUSPECT for problem in self.problems)

    @property
    def proven(self) -> frozenset[Signer]:
        """Signers of the image that something given to the survey proves."""
        return frozenset(s.signer for s in self.signatures if s.signer.verified)


class SurveyedRepository(msgspec.Struct, frozen=True):
    """One repository and every digest of it that runs."""

    repository: str
    containers: int
    digests: tuple[SurveyedDigest, ...]


class NotAsked(msgspec.Struct, frozen=True):
    """An image that no registry can be asked for."""

    image: str
    containers: int
    namespaces: tuple[str, ...]
    problem: Reason


class Survey(msgspec.Struct, frozen=True):
    """The document `revet survey -o json` prints."""

    schema: str
    pods: int
    containers: int
    waiting: int
    unreadable: int
    """Inputs that were no pod and could not be read."""
    digests: dict[str, int]
    """State -> number of (repository, digest)."""
    by_containers: dict[str, int]
    """State -> number of containers."""
    repositories: tuple[SurveyedRepository, ...]
    not_asked: tuple[NotAsked, ...]

    @property
    def complete(self) -> bool:
        """Is there an answer for everything that runs?"""
        return not self.not_asked and not self.digests["unknown"] and not self.unreadable


def survey(
    seen: Seen, evidence: Mapping[str, ImageEvidence], name_of: Callable[[str], str], unreadable: int = 0
) -> Survey:
    """The summary of what runs.

    Args:
        seen: what runs.
        evidence: by `Sighting.question`.
        name_of: key id -> name (`TrustState.name_of`).
        unreadable: inputs that could not be read.

    Raises:
        KeyError: a question has no answer at all.
    """
    asked: dict[str, list[Sighting]] = {}
    for sighting in seen.sightings:
        if sighting.question:
            asked.setdefault(sighting.question, []).append(sighting)
    by_repository: dict[str, list[SurveyedDigest]] = {}
    for question, group in asked.items():
        by_repository.setdefault(group[0].repository, []).append(_digest_of(group, evidence[question], name_of))
    repositories = tuple(
        SurveyedRepository(name, sum(d.containers for d in digests), tuple(sorted(digests, key=lambda d: d.digest)))
        for name, digests in sorted(by_repository.items())
    )
    found = [digest for repository in repositories for digest in repository.digests]
    return Survey(
        schema=SCHEMA,
        pods=seen.pods,
        containers=seen.containers,
        waiting=seen.waiting,
        unreadable=unreadable,
        digests={state: sum(d.state == state for d in found) for state in STATES},
        by_containers={state: sum(d.containers for d in found if d.state == state) for state in STATES},
        repositories=repositories,
        not_asked=tuple(
            NotAsked(s.image, s.containers, s.namespaces, s.problem) for s in seen.sightings if s.problem is not None
        ),
    )


def _digest_of(group: list[Sighting], image: ImageEvidence, name_of: Callable[[str], str]) -> SurveyedDigest:
    here = [fact for fact in image.facts if not fact.problem and _reaches(fact, image.closure)]
    signatures = {s for fact in here if fact.kind == "signature" for s in _signatures(fact, name_of)}
    attestations = {s for fact in here if fact.kind == "attestation" for s in _signatures(fact, name_of)}
    return SurveyedDigest(
        digest=group[0].digest,
        images=tuple(sorted({s.image for s in group})),
        containers=sum(s.containers for s in group),
        namespaces=tuple(sorted({name for s in group for name in s.namespaces})),
        state=_state(signatures, attestations, image),
        signatures=tuple(sorted(signatures)),
        attestations=tuple(sorted(attestations)),
        problems=tuple(dict.fromkeys(_problems(image, name_of))),
    )


def _state(signatures: set[Signature], attestations: set[Signature], image: ImageEvidence) -> DigestState:
    """Presence is proof; absence is only known when every place answered."""
    if any(s.signer.verified for s in signatures):
        return "signed"
    if signatures:
        return "not-verified"
    if image.set is None or not image.set.complete:
        return "unknown"
    return "attested" if attestations else "unsigned"


def _reaches(fact: Fact, closure: DigestClosure) -> bool:
    return any(closure.via(subject) is not None for subject in fact.subjects)


def _problems(image: ImageEvidence, name_of: Callable[[str], str]) -> Iterator[Reason]:
    if image.problem is not None:
        yield image.problem
    for place in image.set.places if image.set is not None else ():
        if place.outcome == "error":
            yield Reason(place.code or "registry-unavailable", f"{place.place}: {place.detail or 'no answer'}")
    for fact in image.facts:
        yield from _problems_of(fact, image, name_of)


def _problems_of(fact: Fact, image: ImageEvidence, name_of: Callable[[str], str]) -> Iterator[Reason]:
    """What is wrong with a piece of evidence. What a stranger wrote about another image proves nothing: no news."""
    known = name_of(fact.key_hint) if fact.key_hint else "unknown"
    if fact.problem:
        yield Reason(fact.problem, fact.problem_detail)
    elif fact.verified_by or fact.chains:
        if not _reaches(fact, image.closure):
            named = ", ".join(fact.subjects[:3]) or "nothing"
            yield Reason("subject-mismatch", f"a good {fact.format} {fact.kind} found here names {named}")
    elif fact.certificate is None and not known.startswith(("key:", "unknown")):
        yield Reason("signature-invalid", f"a {fact.kind} that claims {known} does not verify")


# --------------------------------------------------------------------------------------------------- signers of a fact


def _signatures(fact: Fact, name_of: Callable[[str], str]) -> Iterator[Signature]:
    for signer in signers_of(fact, name_of):
        yield Signature(signer, fact.format, fact.predicate_type if fact.kind == "attestation" else "")


def signers_of(fact: Fact, name_of: Callable[[str], str]) -> tuple[Signer, ...]:
    """Everybody a fact is from. A fact with a problem is from nobody."""
    if fact.problem:
        return ()
    certificate = fact.certificate
    known = [key for key in fact.verified_by if certificate is None or key != certificate.key_id]
    found = [Signer("key", name_of(key), verified=True, key_id=key) for key in known if not _is_authority(fact)]
    if certificate is not None:
        found.append(_of_certificate(fact))
    elif _is_authority(fact):
        found.append(_of_authority(fact))
    return tuple(found) or (_unknown(fact),)


def _is_authority(fact: Fact) -> bool:
    """Formats whose keys stand in a trust root (a key ring, a TUF root), not in the ring of keys."""
    return fact.format in ("openpgp-simplesigning", "tuf-trust-data")


def _of_certificate(fact: Fact) -> Signer:
    leaf = fact.certificate
    if leaf is None:  # told apart by the caller; the type checker cannot see it
        return _unknown(fact)
    subject = leaf.sans[0] if leaf.sans else leaf.subject
    kind: SignerKind = "keyless" if leaf.issuer else "certificate"
    key_id = ""  # made anew for every signature: it names nobody
    name = subject or f"certificate {leaf.sha256[:12]}"
    if fact.format.startswith("notation-"):
        kind, subject, key_id = "notation", leaf.subject, leaf.key_id
        name = leaf.subject or name
    if leaf.issuer:
        name = f"{name} by {leaf.issuer}"
    authorities = tuple(sorted({chain.authority for chain in fact.chains}))
    return Signer(kind, name, bool(authorities), key_id, leaf.issuer, subject, authorities)


def _of_authority(fact: Fact) -> Signer:
    kind: SignerKind = "openpgp" if fact.format == "openpgp-simplesigning" else "trust-data"
    authorities = tuple(sorted({chain.authority for chain in fact.chains}))
    verified = bool(authorities or fact.verified_by)
    key = fact.verified_by[0] if fact.verified_by else fact.key_hint
    return Signer(kind, f"key {key}" if key else "a key it does not name", verified, key, authorities=authorities)


def _unknown(fact: Fact) -> Signer:
    """Nobody given signed it: what it says of itself, cut, because anybody may write it."""
    hint = fact.key_hint[:64]
    return Signer("unknown", f"unknown key {hint}" if hint else "unknown key", verified=False, key_id=hint)
