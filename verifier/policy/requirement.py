"""The requirement tree over the signatures that stand: is it met, by what, and if not, how near was the nearest?

    1  a signedBy leaf is met by a *signature* (never an attestation) that reaches the running digest, by a key of the
       attestor, in a state that counts, within the attestor's window, with the annotations and the claim asked for
    2  a digestIn or registryIn leaf looks at the image alone; it is never shown as signed
    3  all, any, atLeast combine leaves; within one atLeast a key counts once, for one signedBy leaf
    4  a leaf that fails names the closest candidate: what would have to be different for it to hold

It decides nothing about unverifiable or exempted: that is `verifier.verify`, which asks this module for a truth value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from verifier.models import DigestClosure, Micros, Scope, SignatureState, Standing
from verifier.policy.counting import NEVER, RETIRED, counts, in_window
from verifier.policy.model import AtLeast, Attestor, Policy, Requirement
from verifier.policy.selection import CompiledPolicy
from verifier.times import show_instant


class LeafFailure(msgspec.Struct, frozen=True):
    """Why one leaf is not met. `data` fills the sentence of `code` in `verifier.reasons` (places and digest apart)."""

    code: str
    attestor: str
    data: dict[str, str]
    standing: Standing | None = None
    """The closest candidate, from which a caller that knows trust can say more (since when, by which revocation)."""


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
    return node.signed_by is not None or not _list_failure(node, scope, closure)


# ------------------------------------------------------------------------------------------------------------- nodes


def _node(node: Requirement, case: _Case) -> _Node:
    if node.all is not None:
        children = [_node(child, case) for child in node.all]
        return _merge(children, met=all(child.met for child in children))
    if node.any is not None:
        return _any(node.any, case)
    if node.at_least is not None:
        return _at_least(node.at_least, case)
    if node.signed_by is not None:
        return _signed_by(node, node.signed_by, case, case.standings)
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
    return msgspec.structs.replace(chosen, due=_due(node.due for node in nodes))


def _at_least(node: AtLeast, case: _Case) -> _Node:
    """n of m, a key counting once: Dev and Ops signed by one and the same key are one signer of two."""
    signers = {i: child.signed_by for i, child in enumerate(node.of) if child.signed_by is not None}
    holders = _assign({i: _keys_that_meet(node.of[i], signer, case) for i, signer in signers.items()})
    nodes = []
    for i, child in enumerate(node.of):
        if i not in signers:
            nodes.append(_node(child, case))
        elif i in holders:
            nodes.append(_signed_by(child, signers[i], case, [s for s in case.standings if s.key_id == holders[i]]))
        else:
            alone = _signed_by(child, signers[i], case, case.standings)
            nodes.append(_taken(signers[i], alone, case) if alone.met else alone)
    return _merge(nodes, met=sum(child.met for child in nodes) >= node.count)


def _keys_that_meet(leaf: Requirement, signer: str, case: _Case) -> list[str]:
    return sorted({s.key_id for s in case.standings if not _shortfall(s, leaf, signer, case)})


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
    standing = min((s for s in case.standings if s.evidence in alone.used), key=_order)
    found = f"{_key_text(standing)}, which already counts for another signer"
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
        due=_due(node.due for node in nodes),
    )


def _due(times: Iterable[Micros | None]) -> Micros | None:
    return min((time for time in times if time is not None), default=None)


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
    judged = [(s, _shortfall(s, leaf, signer, case)) for s in standings]
    due = _due(_window(s, signer, case)[1] for s in standings if s.key_id in case.keys_of.get(signer, ()))
    met = sorted(
        (s for s, code in judged if not code), key=lambda s: (s.state in RETIRED, s.via != "exact", *_order(s))
    )
    if not met:
        return _Node(met=False, failures=(_closest(leaf, signer, case, judged),), due=due)
    best = met[0]
    warn = best.state in RETIRED and case.policy.soft_unproven == "warn"
    warnings = (_failure("counted-after-retirement", leaf, signer, case, best),) if warn else ()
    return _Node(met=True, by=(f"{signer} ({best.format})",), used=(best.evidence,), warnings=warnings, due=due)


def _shortfall(s: Standing, leaf: Requirement, signer: str, case: _Case) -> str:
    """The first condition of step 1 that this candidate misses, as a reason code; empty when it meets the leaf."""
    ours = s.key_id != "" and s.key_id in case.keys_of.get(signer, ())
    if s.kind == "attestation":
        return "attestation-only"
    if s.state == "invalid" and (ours or s.problem not in _NOT_READ):
        return "signature-invalid" if ours else "invalid-of-others"
    if not ours:
        return "wrong-signer"
    if s.via is None or s.kind != "signature":
        return "subject-mismatch"
    if not counts(s.state, case.policy.soft_unproven):
        return _CODE_OF[s.state]
    return _unmet_demand(s, leaf, signer, case)


def _unmet_demand(s: Standing, leaf: Requirement, signer: str, case: _Case) -> str:
    """What the policy asks beyond a signature that counts: its window, the repository claim, annotations."""
    if not _window(s, signer, case)[0]:
        return "outside-key-window"
    if case.policy.attestors[signer].repository_claim and s.repository_claim is not True:
        return "repository-mismatch"
    signed = dict(s.annotations)
    if any(signed.get(key) != value for key, value in leaf.annotations.items()):
        return "annotation-mismatch"
    return ""


def _window(s: Standing, signer: str, case: _Case) -> tuple[bool, Micros | None]:
    attestor = case.policy.attestors[signer]
    return in_window(attestor.valid_from, attestor.valid_until, s.time, case.instant)


# --------------------------------------------------------------------------------------------- the closest candidate

_CODE_OF: Final[dict[SignatureState, str]] = {
    "retired-late": "retired-key",
    "retired-unproven": "retired-key",
    "outside-window": "outside-key-window",
    "suspended": "key-suspended",
    "not-authorised": "key-removed",
    "revoked-time-unknown": "key-revoked-time-unknown",
    "revoked": "key-revoked",
    "subject-mismatch": "subject-mismatch",
    "unknown-key": "wrong-signer",
}
"""Reason code of a state that does not count."""

CLOSENESS: Final = (
    "annotation-mismatch",
    "repository-mismatch",
    "outside-key-window",
    "retired-key",
    "key-suspended",
    "key-revoked-time-unknown",
    "key-revoked",
    "key-removed",
    "subject-mismatch",
    "signature-invalid",
    "wrong-signer",
    "invalid-of-others",
    "attestation-only",
)
"""What a candidate misses, nearest first. Of several candidates the nearest names the leaf's reason: it says what would
have to be different for the leaf to hold. `invalid-of-others` is `signature-invalid` by no key of the attestor."""


def _closest(leaf: Requirement, signer: str, case: _Case, judged: Sequence[tuple[Standing, str]]) -> LeafFailure:
    if not judged:
        return LeafFailure("unsigned", signer, {"expected": _expected(leaf, signer)})
    nearest, code = min(judged, key=lambda pair: (CLOSENESS.index(pair[1]), *_order(pair[0])))
    found = _found([s for s, other in judged if other == code], code)
    return _failure("signature-invalid" if code == "invalid-of-others" else code, leaf, signer, case, nearest, found)


def _order(s: Standing) -> tuple[str, ...]:
    """Decides between equals, so that the order in which evidence was found cannot be seen."""
    return s.evidence, s.key_id, s.kind, s.state


def _found(same: Sequence[Standing], code: str) -> str:
    """All candidates that miss the same, for the sentence."""
    if code == "attestation-only":
        return ", ".join(sorted({s.predicate_type or "no predicate type" for s in same}))
    return ", ".join(sorted({_key_text(s) for s in same}))


def _failure(code: str, leaf: Requirement, signer: str, case: _Case, s: Standing, found: str = "") -> LeafFailure:
    """The failure with every value its sentence needs. What only trust knows (since when) is given by record id."""
    attestor = case.policy.attestors[signer]
    wanted = next(((k, v) for k, v in sorted(leaf.annotations.items()) if dict(s.annotations).get(k) != v), ("", ""))
    since = f"the time in revocation {s.revocation}" if s.revocation else "an earlier time"
    specific: dict[str, dict[str, str]] = {
        "annotation-mismatch": {
            "annotation": wanted[0],
            "expected": wanted[1],
            "found": dict(s.annotations).get(wanted[0], "not there"),
        },
        "repository-mismatch": {
            "found": "another one" if s.repository_claim is False else "none at all",
            "expected": case.scope.image.repository,
        },
        "subject-mismatch": {"found": "another image", "expected": case.closure.running},
        "signature-invalid": {
            "claimed": signer if s.key_id in case.keys_of.get(signer, ()) else _key_text(s),
            "detail": s.problem or "the signature does not fit the signed bytes",
        },
        "outside-key-window": {"window": _window_text(attestor) if s.state != "outside-window" else "(the key's own)"},
        "key-revoked": {"reason": s.revocation or "revoked", "timing": _timing(s)},
    }
    data = {"expected": _expected(leaf, signer), "found": found, "signer": signer, "since": since, "retired": since}
    return LeafFailure(code, signer, {**data, **specific.get(code, {})}, s)


def _expected(leaf: Requirement, signer: str) -> str:
    annotations = ", ".join(f"{key}={value}" for key, value in sorted(leaf.annotations.items()))
    return f"{signer} with {annotations}" if annotations else signer


_NOT_READ: Final = frozenset({"unsupported-evidence", "limit-exceeded"})
"""Evidence of a kind this version does not read may be a sound signature by somebody else: no sign of tampering."""


def _key_text(s: Standing) -> str:
    if s.problem in _NOT_READ:
        return "evidence of a kind that is not read"
    return f"key:{s.key_id[:12]}" if s.key_id else "an unknown key"


def _timing(s: Standing) -> str:
    if s.time is None:
        return "nothing proves when this signature was made"
    return f"the earliest proof of the signature is of {show_instant(s.time)} ({s.time_kind})"


def _window_text(attestor: Attestor) -> str:
    start = "any time" if attestor.valid_from is None else show_instant(attestor.valid_from)
    end = "any time" if attestor.valid_until is None else show_instant(attestor.valid_until)
    return f"from {start} until {end}"
