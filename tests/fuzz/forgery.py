"""What no mutation may achieve: a fact that vouches for something nobody signed.

    run("forgery, keyless, Rekor v1", 1000, seed=7)

Evidence that is good is mutated, payload or annotation, and made a fact. If anybody vouches for the result (a key, a
chain), then the signed bytes, read here by other code than the verifier's, are those of the original, and everything
the fact says of them is what the original's fact says; its proofs of time are some of the original's. Decoration that
nobody signs may change and be dropped.
"""

import json
import time
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Callable
from random import Random
from typing import Final

import msgspec

from tests.fuzz import runner, world
from tests.fuzz.mutators import mutate
from tests.fuzz.runner import Finding, Report
from tests.fuzz.targets import keyset
from verifier.facts.derive import derive_fact
from verifier.models import Evidence, Fact

PREFIX: Final = "forgery, "
NAMES: Final = tuple(PREFIX + name for name in world.good())

SAID: Final = (
    *("kind", "subjects", "signed_repository", "predicate_type", "annotations", "rules", "builder", "commits"),
    *("scheme", "expires"),
)
"""Members of a fact that come from signed bytes alone."""

_FAMILY: Final = {"notation-cose": "cbor", "openpgp-simplesigning": "openpgp"}


def run(name: str, count: int, seed: int, *, start: int = 0, most_findings: int = 20) -> Report:
    """As `runner.run`, for one piece of good evidence."""
    good, report = world.good()[name.removeprefix(PREFIX)], Report(name)
    known = derive_fact(good, keyset())
    if not vouched_for(known):
        raise AssertionError(f"{name}: nobody vouches for the original")
    began = time.thread_time()
    for number in range(start, start + count):
        random = Random(f"{name} {seed} {number}")
        forged = mutated(good, random)
        found = judged(good, known, forged, report)
        report.inputs += 1
        if found:
            report.findings.append(Finding(name, seed, number, *found, forged.payload))
            if len(report.findings) >= most_findings:
                break
    report.cpu_seconds = time.thread_time() - began
    return report


def mutated(good: Evidence, random: Random) -> Evidence:
    """The payload, or one of the annotations, changed."""
    others = [piece.payload for piece in world.good().values() if piece.format == good.format]
    carried = [name for name, text in good.annotations.items() if text]
    if carried and random.random() < 0.6:
        name = random.choice(carried)
        family = (
            "json"
            if good.annotations[name].startswith("{")
            else "armor"
            if "---" in good.annotations[name]
            else "bytes"
        )
        changed = mutate(good.annotations[name].encode(), others, family, random).decode("utf-8", "surrogateescape")
        return msgspec.structs.replace(good, annotations={**good.annotations, name: changed})
    family = _FAMILY.get(good.format, "json")
    return msgspec.structs.replace(good, payload=mutate(good.payload, others, family, random))


def judged(good: Evidence, known: Fact, forged: Evidence, report: Report) -> tuple[str, str] | None:
    """(kind, what is wrong), or None."""
    began = time.thread_time_ns()
    try:
        with runner.limited():
            fact = derive_fact(forged, keyset())
    except (Exception, runner.HangError) as error:  # noqa: BLE001 - this is the question
        return "raised", f"{type(error).__name__}: {str(error)[:300]!a}"
    report.slowest_ms = max(report.slowest_ms, (time.thread_time_ns() - began) / 1e6)
    report.refused += bool(fact.problem)
    if fact.problem and vouched_for(fact):
        return "forged", f"vouched for in spite of {fact.problem}"
    if not vouched_for(fact):
        return None
    wrong = wrongs(good, known, forged, fact)
    for other in world.good().values():  # a splice may have made another good piece whole again: that one was signed
        if wrong and other.format == good.format and other is not good:
            wrong = wrongs(other, derive_fact(other, keyset()), forged, fact) and wrong
    return ("forged", "; ".join(wrong)[:500]) if wrong else None


def wrongs(good: Evidence, known: Fact, forged: Evidence, fact: Fact) -> list[str]:
    """What the forged evidence passes for beyond this good one."""
    changed = [] if signed_bytes(forged) == signed_bytes(good) else ["the signed bytes are others"]
    return [*differences(known, fact), *changed]


def vouched_for(fact: Fact) -> bool:
    return bool(fact.verified_by or fact.chains)


def differences(known: Fact, fact: Fact) -> list[str]:
    """What the fact says beyond the original's."""
    wrong = [f"{name}: {getattr(fact, name)!a}" for name in SAID if getattr(fact, name) != getattr(known, name)]
    wrong += [
        f"{name} grew" for name in ("verified_by", "times") if not set(getattr(fact, name)) <= set(getattr(known, name))
    ]
    if {chain.authority for chain in fact.chains} - {chain.authority for chain in known.chains}:
        wrong.append("another authority")
    if {(log.log, log.kind) for log in fact.logs} - {(log.log, log.kind) for log in known.logs}:
        wrong.append("another log")
    if fact.chains and fact.certificate != known.certificate:
        wrong.append("another certificate")
    return wrong


# -------------------------------------------------------------------------------------- signed bytes, a second opinion


def signed_bytes(evidence: Evidence) -> object:
    """The bytes a signature is over, by plain decoders; None where there is no second reader (COSE, OpenPGP, TUF)."""
    return _SIGNED[evidence.format](evidence.payload)


def _envelope(document: dict) -> bytes:
    body = document["payload"].translate(str.maketrans("-_", "+/"))
    kind, raw = document["payloadType"].encode(), b64decode(body + "=" * (-len(body) % 4))
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(raw), raw)


def _bundle(payload: bytes) -> bytes:
    document = json.loads(payload)
    if document.get("dsseEnvelope"):
        return _envelope(document["dsseEnvelope"])
    return world.MANIFEST  # a message signature is over what is found, which the verifier compares by its digest


def _jws(payload: bytes) -> bytes:
    document = json.loads(payload)
    body = document["payload"]
    return document["protected"].encode() + b"." + urlsafe_b64decode(body + "=" * (-len(body) % 4))


_SIGNED: Final[dict[str, Callable[[bytes], object]]] = {
    "cosign-simplesigning": lambda payload: payload,
    "cosign-dsse": lambda payload: _envelope(json.loads(payload)),
    "sigstore-bundle": _bundle,
    "notation-jws": _jws,
    "notation-cose": lambda _payload: None,
    "openpgp-simplesigning": lambda _payload: None,
    "tuf-trust-data": lambda _payload: None,
}
