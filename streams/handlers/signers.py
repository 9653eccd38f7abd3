"""Whether a workload's images are signed by somebody else than before, though the policy accepts both.

    note_running(state, workload, cls, created)         a pod of this image was created then
    change = signer_change(state, workload, cls, "p")   SignerChange("https://git.example.com/…", "release") or None

A *signer* is the name of a key in trust, the identity of a certificate, or the id of any other key. Of the images of
one repository that ran in the workload, each signer has a first instant: the creation of the first pod whose image
carries its signature. The earliest signers are established at once, later ones SIGNER_SETTLED after that.

An image that satisfies a policy has a changed signer when

    1  the established signers' evidence alone would not satisfy it (a second signature beside the first is no change)
    2  an image from before the new signer satisfies the policy today (else it was the policy or trust that changed)

Everything is derived from the pods' creation and from evidence, so the order in which either was heard of is of no
consequence; what is stored is which image ran since when. A rotated key keeps its name, and a workflow that signs from
another branch or tag is the same workflow: neither is a change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from streams.handlers.judging import rules
from streams.state import Class, Image, ShardState, Workload, WorkloadKey, workload_text
from verifier.models import Fact, LeafCertificate, Micros, Standing
from verifier.policy.counting import counts
from verifier.policy.requirement import evaluate
from verifier.times import DAY
from verifier.trust.standing import standings
from verifier.trust.state import TrustState

SIGNER_SETTLED: Final[Micros] = 7 * DAY
"""After this long a new signer is an established one: somebody had a week to object."""

RAN_KEPT: Final = 16
"""Images remembered per workload, the newest; a rollout a day is two weeks of them."""

NAMED: Final = 3
"""Signers named on each side of a message."""

_GIT_REFERENCE: Final = "@refs/"
"""Begins the branch or tag behind a workflow's address in a certificate (`…/release.yml@refs/tags/v1.2`)."""

Slot = tuple[str, str]
"""(repository, digest)."""


class SignerChange(NamedTuple):
    """Who satisfies the policy now, and who did before; names for people, untrusted."""

    signer: str
    before: str


# ------------------------------------------------------------------------------------------------------ what ran here


def note_running(state: ShardState, workload: Workload, cls: Class, created: Micros) -> None:
    """An image runs in the workload, in a pod created then."""
    if not cls.row.digest:
        return
    ran = workload.row.ran
    text = f"{cls.row.repository}\0{cls.row.digest}"
    known = ran.get(text)
    if known is not None and known <= created:
        return
    ran[text] = created
    if len(ran) > RAN_KEPT:
        del ran[min(ran, key=lambda name: (ran[name], name))]
    state.touch("workload", workload_text(workload.key))
    _index(state, workload)


def index_rollouts(state: ShardState) -> None:
    """After a restore: find again which workloads an image matters to."""
    for workload in state.workloads.values():
        _index(state, workload)


def _index(state: ShardState, workload: Workload) -> None:
    """Only workloads that ran several images of a repository have anything to compare."""
    if len(workload.row.ran) < 2:
        return
    rolled: dict[Slot, set[WorkloadKey]] = state.memory.setdefault("rolled", {})
    for text in workload.row.ran:
        rolled.setdefault(_slot(text), set()).add(workload.key)


def rolled_out(state: ShardState, images: Iterable[Image]) -> set[WorkloadKey]:
    """Workloads that run, or ran, one of these images and others beside it."""
    rolled: Mapping[Slot, set[WorkloadKey]] = state.memory.get("rolled", {})
    if not rolled:
        return set()
    slots = ((image.evidence.repository, image.evidence.digest) for image in images)
    return {key for slot in slots for key in rolled.get(slot, ())}


def _slot(text: str) -> Slot:
    repository, _, digest = text.rpartition("\0")
    return repository, digest


# ------------------------------------------------------------------------------------------------------------ signers


def signer_of(standing: Standing, trust: TrustState) -> str:
    """The signer behind a standing: the same name as `signers` gives for its fact."""
    if not standing.authority:
        return _key_name(standing.key_id, trust)
    return _identity(standing.certificate) if standing.certificate is not None else standing.authority


def signers(facts: Iterable[Fact], trust: TrustState) -> frozenset[str]:
    """Everybody whose signature or statement an image carries, whatever it counts for."""
    return frozenset(name for fact in facts if not fact.problem for name in _signers_of(fact, trust))


def _signers_of(fact: Fact, trust: TrustState) -> Iterable[str]:
    yield from (_key_name(key_id, trust) for key_id in fact.verified_by)
    for chain in fact.chains:
        yield _identity(fact.certificate) if fact.certificate is not None else chain.authority


def _key_name(key_id: str, trust: TrustState) -> str:
    key = trust.keys.get(key_id)
    return key.name if key is not None else f"key:{key_id}"


def _identity(leaf: LeafCertificate) -> str:
    """Whom a certificate names, without the git reference a workflow ran from."""
    if not leaf.sans:
        return leaf.subject or f"certificate:{leaf.sha256}"
    name = ", ".join(dict.fromkeys(san.rpartition(_GIT_REFERENCE)[0] or san for san in leaf.sans))
    return f"{name} ({leaf.issuer})" if leaf.issuer else name


def _signers_at(state: ShardState, slot: Slot) -> frozenset[str]:
    image = state.images.get(slot)
    if image is None:
        return frozenset()
    trust, kept = state.memory.get("signers", (None, {}))
    if trust is not state.trust.keys:
        kept = {}
        state.memory["signers"] = (state.trust.keys, kept)
    evidence, names = kept.get(slot, (None, frozenset()))
    if evidence is not image.evidence:
        names = signers(image.evidence.facts, state.trust)
        kept[slot] = (image.evidence, names)
    found: frozenset[str] = names
    return found


# ------------------------------------------------------------------------------------------------------------- change


def signer_change(state: ShardState, workload: Workload, cls: Class, policy_id: str) -> SignerChange | None:
    """Does this class, which satisfies the policy, do so by a signer who is new to the workload's images?"""
    ran = workload.row.ran
    if len(ran) < 2:
        return None
    since = ran.get(f"{cls.row.repository}\0{cls.row.digest}")
    if since is None or since + SIGNER_SETTLED <= state.now:
        return None
    images = {slot: at for text, at in ran.items() if (slot := _slot(text))[0] == cls.row.repository}
    first = _first(state, images)
    start = min(first.values(), default=0)
    established = {name for name, at in first.items() if at == start or at + SIGNER_SETTLED <= state.now}
    if _signers_at(state, (cls.row.repository, cls.row.digest)) <= established:
        return None
    used = _satisfying(state, cls, cls.image, policy_id)
    fresh = frozenset() if used is None else used - established
    if not fresh or _satisfying(state, cls, cls.image, policy_id, established) is not None:
        return None
    came = min(first[name] for name in fresh)
    before = _former(state, cls, policy_id, {slot for slot, at in images.items() if at < came})
    if not before:
        return None
    due = min(at for name in fresh if (at := first[name] + SIGNER_SETTLED) > state.now)
    state.schedule(due, "signer", workload_text(workload.key))
    return SignerChange(_named(fresh), _named(before))


def _first(state: ShardState, images: Mapping[Slot, Micros]) -> dict[str, Micros]:
    """When each signer's first image began to run."""
    first: dict[str, Micros] = {}
    for slot, at in images.items():
        for name in _signers_at(state, slot):
            first[name] = min(at, first.get(name, at))
    return first


def _former(state: ShardState, cls: Class, policy_id: str, slots: set[Slot]) -> set[str]:
    """Signers by which older images satisfy the policy as it is today."""
    found = (state.images.get(slot) for slot in slots)
    by = (_satisfying(state, cls, image, policy_id) for image in found if image is not None)
    return {name for names in by if names is not None for name in names}


def _satisfying(
    state: ShardState, cls: Class, image: Image, policy_id: str, only: set[str] | None = None
) -> frozenset[str] | None:
    """Signers by which the image would satisfy the policy where this class runs (nobody's, when a list does); None when
    it would not. `only`: from the evidence of these signers alone.
    """
    current, trust, evidence = rules(state), state.trust, image.evidence
    compiled = current.compiled[policy_id]
    policy = compiled.policy
    stands = standings(evidence.facts, evidence.closure, evidence.first_seen, trust, state.now, current.timelines)
    if only is not None:
        stands = tuple(s for s in stands if signer_of(s, trust) in only)
    keys = trust.resolve_keys(policy)
    result = evaluate(compiled, stands, cls.row.scope, evidence.closure, keys, complete=True, instant=state.now)
    if not result.satisfied:
        return None
    chosen = (s for s in stands if s.evidence in result.used and counts(s.state, policy.soft_unproven))
    return frozenset(signer_of(s, trust) for s in chosen)


def _named(names: Iterable[str]) -> str:
    known = sorted(names)
    return ", ".join(known[:NAMED]) + (f" and {len(known) - NAMED} more" if len(known) > NAMED else "")


def why_settled(state: ShardState, workload: Workload, container: str, signer: str) -> str:
    """Why a changed signer is no longer told: it is established by now, or somebody else signed what runs."""
    running = (state.classes[c].row for c, names in workload.classes.items() if container in names)
    still = any(name in signer for row in running for name in _signers_at(state, (row.repository, row.digest)))
    return "quiet" if still else "converged"
