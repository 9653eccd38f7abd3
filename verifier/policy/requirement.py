"""The requirement tree over the signatures that stand: is it met, by what, and if not, how near was the nearest?

    1  a signedBy leaf is met by a *signature* (never an attestation) that reaches the running digest, made by the
       attestor, in a state that counts, with all the attestor demands (`policy.signers`), within its window, with the
       annotations and the claim asked for
    2  an attestedBy leaf is met by an attestation of its predicate type, in the same way, whose content rule holds
    3  a digestIn or registryIn leaf looks at the image alone; it is never shown as signed. denied is never met
    4  all, any, atLeast combine leaves; within one atLeast a signer counts once, for one signedBy leaf
    5  a leaf that fails names the closest candidate: what would have to be different for it to hold

It decides nothing about unverifiable or exempted: that is `verifier.verify`, which asks this module for a truth value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from verifier.content.predicates import predicate_uri, same_type
from verifier.models import DigestClosure, Micros, Scope, Standing
from verifier.policy.counting import NEVER, RETIRED, counts, in_window
from verifier.policy.failures import (
    BY_SOURCES,
    NOT_READ,
    LeafCase,
    LeafFailure,
    closest,
    code_of,
    key_text,
    leaf_failure,
    order,
)
from verifier.policy.model import AtLeast, Policy, Requirement
from verifier.policy.selection import CompiledPolicy
from verifier.policy.signers import content_shortfall, demands_due, is_signer, unmet_demand
from verifier.times import earliest


class RequirementResult(msgspec.Struct, frozen=True):
    """The truth value of a tree, and what it rests on."""

    satisfied: bool
    by: tuple[str, ...] = ()
    """Parts of a sentence: `dev (sigstore-bundle)`, `digest list`, `registry docker.io`."""
    list_only: bool = False
    """Met without any signature: shown as allowed by list, never as signed."""
    failures: tuple[LeafFailure, ...] = ()
    used: tuple[str, ...] = ()
    """Ids of the evidence that met it."""
    warnings: tuple[LeafFailure, ...] = ()
    """`counted-after-retirement`, per signature that counts only because the policy says warn."""
    conclusive: bool = True
    """False: not met, and evidence that was not seen (the set is incomplete) could change that."""
    valid_until: Micros | None = None
    """Instant at which an attestor's window starts or ends for one of the candidates; None when none is due."""


class _Case(msgspec.Struct, frozen=True):
    """All that a leaf may look at."""

    policy: Policy
    standings: Sequence[Standing]
    scope: Scope
    closure: DigestClosure
    keys_of: Mapping[str, Collection[str]]
    instant: Micros


class _Node(msgspec.Struct, frozen=True):
    """Outcome of a node; the fields as in `RequirementResult`."""

    met: bool
    by: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    warnings: tuple[LeafFailure, ...] = ()
    failures: tuple[LeafFailure, ...] = ()
    due: Micros | None = None


def evaluate(
    compiled: CompiledPolicy,
    standings: Sequence[Standing],
    scope: Scope,
    closure: DigestClosure,
    keys_of: Mapping[str, Collection[str]],
    complete: bool,
    instant: Micros | None = None,
) -> RequirementResult:
    """The requirement of a policy over the given standings. Raises nothing.

    `keys_of` maps the policy's attestors to key ids. `complete`: every place was asked and answered. `instant` is the
    instant judged at; without it a signature of unproven age is taken as made after the end of an attestor's window.
    """
    case = _Case(compiled.policy, standings, scope, closure, keys_of, NEVER if instant is None else instant)
    node = _node(compiled.policy.require, case)
    conclusive = node.met or complete or not could_hold(compiled.policy.require, scope, closure)
    return RequirementResult(
        satisfied=node.met,
        by=node.by,
        list_only=node.met and not node.used,
        failures=node.failures,
        used=node.used,
        warnings=node.warnings,
        conclusive=conclusive,
        valid_until=node.due if node.due is None or node.due < NEVER else None,
    )


def could_hold(node: Requirement, scope: Scope, closure: DigestClosure) -> bool:
    """Could the tree be met if every signature it asks for existed? False: lists decide, and they say no."""
    if node.at_least is not None:
        return sum(could_hold(child, scope, closure) for child in node.at_least.of) >= node.at_least.count
    if node.children:
        return (all if node.all is not None else any)(could_hold(child, scope, closure) for child in node.children)
    return node.attestor is not None or (node.denied is None and not _list_failure(node, scope, closure))


# ------------------------------------------------------------------------------------------------------------- nodes


def _node(node: Requirement, case: _Case) -> _Node:
    if node.all is not None:
        children = [_node(child, case) for child in node.all]
        return _merge(children, met=all(child.met for child in children))
    if node.any is not None:
        return _any(node.any, case)
    if node.at_least is not None:
        return _at_least(node.at_least, case)
    if node.attestor is not None:
        return _signed_by(node, node.attestor, case, case.standings)
    if node.denied is not None:
        return _Node(met=False, failures=(LeafFailure("denied-by-policy", "", {"detail": node.denied}),))
    failure = _list_failure(node, case.scope, case.closure)
    by = "digest list" if node.digest_in is not None else f"registry {case.scope.image.registry}"
    return _Node(met=False, failures=(failure,)) if failure else _Node(met=True, by=(by,))


def _any(children: Sequence[Requirement], case: _Case) -> _Node:
    """The first alternative that is met; one with a signature goes before one that a list alone meets."""
    nodes = [_node(child, case) for child in children]
    met = [node for node in nodes if node.met]
    if not met:
        return _merge(nodes, met=False)
    chosen = next((node for node in met if node.used), met[0])
    return msgspec.structs.replace(chosen, due=earliest(node.due for node in nodes))


def _at_least(node: AtLeast, case: _Case) -> _Node:
    """n of m, a signer counting once: Dev and Ops signed by one and the same key are one signer of two."""
    signers = {i: child.signed_by for i, child in enumerate(node.of) if child.signed_by is not None}
    people = _people(case.standings)
    holders = _assign({i: _signers_that_meet(node.of[i], signer, case, people) for i, signer in signers.items()})
    nodes = []
    for i, child in enumerate(node.of):
        if i not in signers:
            nodes.append(_node(child, case))
        elif i in holders:
            of_holder = [s for s in case.standings if people[s.who] == holders[i]]
            nodes.append(_signed_by(child, signers[i], case, of_holder))
        else:
            alone = _signed_by(child, signers[i], case, case.standings)
            nodes.append(_taken(signers[i], alone, case) if alone.met else alone)
    return _merge(nodes, met=sum(child.met for child in nodes) >= node.count)


def _signers_that_meet(leaf: Requirement, signer: str, case: _Case, people: Mapping[str, str]) -> list[str]:
    return sorted({people[s.who] for s in case.standings if not _shortfall(s, leaf, signer, case)})


def _people(standings: Iterable[Standing]) -> dict[str, str]:
    """`Standing.who` -> one name for all that a key or an identity ties together.

    An identity may have many keys, and a key stand in the ring and in certificates too: still one signer, who would
    otherwise count twice with a single signature.
    """
    names: dict[str, str] = {}

    def name_of(who: str) -> str:
        while names.setdefault(who, who) != who:
            who = names[who]
        return who

    for s in standings:
        one, other = name_of(s.who), name_of(s.key_id or s.who)
        names[max(one, other)] = min(one, other)
    return {who: name_of(who) for who in tuple(names)}


def _assign(choices: Mapping[int, Sequence[str]]) -> dict[int, str]:
    """Leaf -> key, no key twice, for as many leaves as possible (augmenting paths)."""
    holder: dict[str, int] = {}

    def place(leaf: int, tried: set[str]) -> bool:
        for key in choices[leaf]:
            if key in tried:
                continue
            tried.add(key)
            if key not in holder or place(holder[key], tried):
                holder[key] = leaf
                return True
        return False

    for leaf in choices:
        place(leaf, set())
    return {leaf: key for key, leaf in holder.items()}


def _taken(signer: str, alone: _Node, case: _Case) -> _Node:
    """A leaf whose only good signatures are by keys that already count for another leaf of the same atLeast."""
    standing = min((s for s in case.standings if s.evidence in alone.used), key=order)
    found = f"{key_text(standing)}, which already counts for another signer"
    failure = LeafFailure("wrong-signer", signer, {"expected": signer, "found": found}, standing)
    return _Node(met=False, failures=(failure,), due=alone.due)


def _merge(nodes: Sequence[_Node], *, met: bool) -> _Node:
    """Children into their parent: what met it when it is met, what failed when it is not."""
    good = [node for node in nodes if node.met] if met else []
    return _Node(
        met=met,
        by=tuple(dict.fromkeys(part for node in good for part in node.by)),
        used=tuple(dict.fromkeys(part for node in good for part in node.used)),
        warnings=tuple(warning for node in good for warning in node.warnings),
        failures=() if met else tuple(failure for node in nodes for failure in node.failures),
        due=earliest(node.due for node in nodes),
    )


# ------------------------------------------------------------------------------------------------------------ leaves


def _list_failure(leaf: Requirement, scope: Scope, closure: DigestClosure) -> LeafFailure | None:
    """A listed index covers the platform manifests it names, as a signature on it would; never the reverse."""
    if leaf.digest_in is not None:
        if closure.running in leaf.digest_in or any(index in leaf.digest_in for index in closure.indexes):
            return None
        return LeafFailure("digest-not-listed", "", {"found": closure.running or "(unknown)"})
    allowed = leaf.registry_in or ()
    if scope.image.registry in allowed:
        return None
    return LeafFailure("untrusted-registry", "", {"found": scope.image.registry, "expected": ", ".join(allowed)})


def _signed_by(leaf: Requirement, signer: str, case: _Case, standings: Sequence[Standing]) -> _Node:
    relevant = [s for s in standings if _is_about(s, leaf)]
    judged = [(s, _shortfall(s, leaf, signer, case)) for s in relevant]
    due = earliest(until for s in relevant if _ours(s, signer, case) for until in _turns(s, leaf, signer, case))
    met = sorted((s for s, code in judged if not code), key=lambda s: (s.state in RETIRED, s.via != "exact", *order(s)))
    if not met:
        return _Node(met=False, failures=(closest(_told(leaf, signer, case), judged),), due=due)
    best = met[0]
    warn = best.state in RETIRED and case.policy.soft_unproven == "warn"
    warnings = (leaf_failure("counted-after-retirement", _told(leaf, signer, case), best),) if warn else ()
    return _Node(met=True, by=(f"{signer} ({best.format})",), used=(best.evidence,), warnings=warnings, due=due)


def _is_about(s: Standing, leaf: Requirement) -> bool:
    """A leaf about attestations looks at those of its predicate type; one about signatures looks at everything."""
    if leaf.attested_by is None:
        return True
    return s.kind == "attestation" and same_type(predicate_uri(leaf.predicate_type), s.predicate_type)


def _shortfall(s: Standing, leaf: Requirement, signer: str, case: _Case) -> str:
    """The first condition of steps 1, 2 that this candidate misses, as a reason code; empty when it meets the leaf."""
    ours = _ours(s, signer, case)
    wanted = "signature" if leaf.attested_by is None else "attestation"
    if s.kind == "attestation" and wanted == "signature":
        return "attestation-only"
    if s.state == "invalid" and (ours or s.problem not in NOT_READ):
        return "signature-invalid" if ours else "invalid-of-others"
    if not ours:
        return "wrong-signer"
    if s.via is None or s.kind != wanted:
        return "subject-mismatch"
    if not counts(s.state, case.policy.soft_unproven):
        return code_of(s)
    return _unmet_demand(s, leaf, signer, case)


def _ours(s: Standing, signer: str, case: _Case) -> bool:
    return is_signer(s, case.policy.attestors[signer], case.keys_of.get(signer, ()))


def _unmet_demand(s: Standing, leaf: Requirement, signer: str, case: _Case) -> str:
    """What the policy asks beyond a signature that counts: proofs, its window, the repository claim, the content."""
    attestor = case.policy.attestors[signer]
    unmet = unmet_demand(s, attestor, case.keys_of.get(signer, ()), case.instant)
    if unmet is not None:
        return "source-revoked" if s.source_revocation and unmet.code in BY_SOURCES else unmet.code
    if not _window(s, signer, case)[0]:
        return "outside-key-window"
    if attestor.repository_claim and s.repository_claim is not True:
        return "repository-mismatch"
    signed = dict(s.annotations)
    if any(signed.get(key) != value for key, value in leaf.annotations.items()):
        return "annotation-mismatch"
    return content_shortfall(s, leaf, case.instant).code if leaf.rule is not None else ""


def _turns(s: Standing, leaf: Requirement, signer: str, case: _Case) -> Iterator[Micros]:
    """Instants at which what the policy demands of this signature changes by itself."""
    demands = demands_due(s, case.policy.attestors[signer], case.keys_of.get(signer, ()), case.instant)
    rule = content_shortfall(s, leaf, case.instant).valid_until if leaf.rule is not None else None
    yield from (t for t in (_window(s, signer, case)[1], rule, demands) if t is not None)


def _window(s: Standing, signer: str, case: _Case) -> tuple[bool, Micros | None]:
    attestor = case.policy.attestors[signer]
    return in_window(attestor.valid_from, attestor.valid_until, s.time, case.instant)


def _told(leaf: Requirement, signer: str, case: _Case) -> LeafCase:
    ids = case.keys_of.get(signer, ())
    return LeafCase(leaf, signer, case.policy.attestors[signer], ids, case.scope, case.closure, case.instant)
