"""A verdict told step by step: what each of the ten steps of `verifier.verify` found, and each signature on its way.

    told = explain(verdict, image)
    told.steps[0]          Step("1", "denied digest", "passed", "no denial names sha256:…")
    told.signatures[0]     read -> signature -> chain -> log -> time -> identity -> trust -> policy

It judges nothing: everything is read off facts and a verdict that were made already, so what is told is what was
decided. A stage that a format does not have, or that is never come to, says so instead of being left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from alerting.text import count, safe, short_digest
from verifier.models import Fact, Micros, SignatureState, SignatureView, Verdict
from verifier.times import show_instant
from verifier.verify import ImageEvidence

Found = Literal["passed", "failed", "unknown", "nothing"]
"""`unknown`: could not be told; `nothing`: there is nothing to look at here."""

MAX_QUOTED: Final = 300
"""Characters of one value of a stranger."""


class Step(msgspec.Struct, frozen=True):
    """One step and what it found."""

    name: str
    """`1` … `10` for the verdict, a word for a signature."""
    about: str
    """What the step asks."""
    found: Found
    text: str


class SignatureExplained(msgspec.Struct, frozen=True):
    """One piece of evidence under one signer, from its bytes to the policy."""

    evidence: str
    format: str
    kind: str
    signer: str
    steps: tuple[Step, ...]


class Explained(msgspec.Struct, frozen=True):
    """The way to one verdict."""

    policy: str
    """Empty: no policy governs."""
    outcome: str
    decided_by: str
    """Number of the step that decided."""
    steps: tuple[Step, ...]
    signatures: tuple[SignatureExplained, ...]


def explain(verdict: Verdict, image: ImageEvidence) -> Explained:
    """Tell a verdict. `image` is what it was reached over. Raises nothing."""
    facts = {fact.id: fact for fact in image.facts}
    shown = {view.fact for view in verdict.signatures}
    told = [_signature(view, facts.get(view.fact), verdict, image) for view in verdict.signatures]
    told += [_unseen(fact, image) for fact in image.facts if fact.id not in shown]
    decided = _decided(verdict, image)
    return Explained(
        policy=verdict.policy,
        outcome=verdict.outcome,
        decided_by=decided,
        steps=tuple(_steps(verdict, image, decided)),
        signatures=tuple(told),
    )


# -------------------------------------------------------------------------------------------------- steps of a verdict


def _decided(verdict: Verdict, image: ImageEvidence) -> str:
    """The step at which the outcome was settled."""
    codes = {reason.code for reason in verdict.reasons}
    if verdict.outcome == "ungoverned":
        return "2"
    if "digest-denied" in codes:
        return "1"
    if verdict.outcome == "valid":
        return "4"
    if verdict.outcome == "violates":
        # With an incomplete set only a leaf that no evidence could change is a violation.
        return "8" if image.set is not None and image.set.complete and image.problem is None else "5"
    pending = image.problem is not None or image.set is None or any(code.endswith("-pending") for code in codes)
    return "6" if pending else "7"


def _steps(verdict: Verdict, image: ImageEvidence, decided: str) -> Iterable[Step]:
    denied = [r.message for r in verdict.reasons if r.code == "digest-denied"]
    sound = f"nobody denied {image.digest}" if image.digest else "there is no digest to deny"
    yield Step("1", "denied digest", "failed" if denied else "passed", "; ".join(denied) or sound)
    yield _standings(verdict)
    if verdict.outcome == "ungoverned":
        yield Step("3", "requirement", "nothing", "no policy matches: nothing is asked")
        return
    yield _requirement(verdict, reached=decided != "1")
    yield _decisive("4", "presence is proof", decided, verdict, "the requirement is met", "it is not met")
    yield _decisive(
        "5", "no evidence could change it", decided, verdict, "a list, not a signature, decides", "it could"
    )
    yield _decisive("6", "pending work", decided, verdict, "not everything was looked at yet", "nothing is")
    yield _places(image, decided, verdict)
    yield _decisive("8", "complete and evaluated", decided, verdict, "every place answered", "not come to")
    yield _exemption(verdict)
    until = f"judge again at {_time(verdict.valid_until)}" if verdict.valid_until is not None else "nothing is due"
    yield Step("10", "until when", "nothing" if verdict.valid_until is None else "passed", until)


def _standings(verdict: Verdict) -> Step:
    counting = sum(view.counts for view in verdict.signatures)
    text = f"{count(len(verdict.facts), 'piece')} of evidence, {count(len(verdict.signatures), 'standing')}"
    found: Found = "passed" if counting else "nothing"
    return Step("2", "who signed", found, f"{text}, {counting} that count as a signature")


def _requirement(verdict: Verdict, *, reached: bool) -> Step:
    if not reached:
        return Step("3", "requirement", "nothing", "not asked: the digest is denied")
    why = "; ".join(f"{r.code}: {r.message}" for r in verdict.reasons)
    found: dict[str, Found] = {"valid": "passed", "violates": "failed"}
    return Step("3", "requirement", found.get(verdict.outcome, "unknown"), _quoted(why) or "no reason is given")


def _decisive(name: str, about: str, decided: str, verdict: Verdict, here: str, other: str) -> Step:
    if int(decided) < int(name):
        return Step(name, about, "nothing", f"not come to: step {decided} decided")
    if decided != name:
        return Step(name, about, "passed" if name in ("5", "6") else "nothing", other)
    found: dict[str, Found] = {"valid": "passed", "violates": "failed"}
    return Step(name, about, found.get(verdict.outcome, "unknown"), f"{here}: {verdict.outcome}")


def _places(image: ImageEvidence, decided: str, verdict: Verdict) -> Step:
    about = "every place answered"
    if int(decided) < 7 or image.set is None:
        step = _decisive("7", about, decided, verdict, "", "no place was asked")
        return msgspec.structs.replace(step, text=step.text.removeprefix(": "))
    failed = [p for p in image.set.places if p.outcome == "error"]
    if failed:
        named = "; ".join(f"{p.place}: {p.code} {p.detail}".strip() for p in failed[:3])
        return Step("7", about, "unknown", f"{_quoted(named)}: {verdict.outcome}")
    names = ", ".join(sorted({p.place for p in image.set.places})) or "none"
    return Step("7", about, "passed", f"asked: {names}")


def _exemption(verdict: Verdict) -> Step:
    about = "exemption"
    if verdict.outcome != "violates":
        return Step("9", about, "nothing", "not asked: there is no violation")
    if not verdict.exempted_by:
        return Step("9", about, "nothing", "none covers it")
    return Step("9", about, "passed", f"{verdict.exempted_by} covers it; the verdict stays violates")


# ------------------------------------------------------------------------------------------------ steps of a signature


def _signature(view: SignatureView, fact: Fact | None, verdict: Verdict, image: ImageEvidence) -> SignatureExplained:
    if fact is None:  # a verdict of the record, whose fact is no longer kept
        step = Step("read", "its bytes", "unknown", "this fact is no longer on record")
        steps: Sequence[Step] = (step, _trust(view), _policy(view, verdict))
    else:
        head = (_read(fact), _made(fact), _chain(fact), _log(fact), _when(fact, view))
        steps = (*head, _identity(fact, view, image), _trust(view), _policy(view, verdict, fact))
    return SignatureExplained(view.evidence, view.format, view.kind, _quoted(view.signer), tuple(steps))


def _unseen(fact: Fact, image: ImageEvidence) -> SignatureExplained:
    """Evidence without a standing: read, and of no consequence here."""
    named = image.closure.via(fact.subject)
    about = Step("trust", "what trust says", "nothing", "it has no standing for this image" if named else "other image")
    steps = (_read(fact), _made(fact), _chain(fact), _log(fact), about)
    return SignatureExplained(fact.evidence_id, fact.format, fact.kind, "unknown", steps)


def _read(fact: Fact) -> Step:
    about = "its bytes can be read"
    if fact.problem and not fact.subjects:
        return Step("read", about, "failed", f"{fact.problem}: {_quoted(fact.problem_detail)}")
    type_ = f", {_quoted(fact.predicate_type)}" if fact.predicate_type else ""
    names = ", ".join(map(short_digest, fact.subjects[:3])) or "nothing"
    return Step("read", about, "passed", f"{fact.format}, {fact.kind}{type_}; names {names}")


def _made(fact: Fact) -> Step:
    about = "a known key made it"
    if fact.problem:
        return Step("signature", about, "failed", f"{fact.problem}: {_quoted(fact.problem_detail)}")
    if fact.verified_by:
        keys = ", ".join(key[:12] for key in fact.verified_by)
        return Step("signature", about, "passed", f"{fact.algorithm or 'good'} by key {keys}")
    if fact.certificate is not None:
        return Step("signature", about, "passed", f"good by the key of its certificate, {fact.certificate.key_id[:12]}")
    hint = f"; it names {_quoted(fact.key_hint)}" if fact.key_hint else ""
    return Step("signature", about, "unknown", f"none of the keys given made it{hint}")


def _chain(fact: Fact) -> Step:
    about = "its certificate leads to an authority"
    if fact.certificate is None and not fact.chains:
        return Step("chain", about, "nothing", "signed by a key, without a certificate")
    if not fact.chains:
        return Step("chain", about, "unknown", "to none that is given")
    told = (f"{c.authority[:12]}, valid {_time(c.valid_from)} to {_time(c.valid_until)}" for c in fact.chains[:3])
    scts = sum(len(chain.scts) for chain in fact.chains)
    logged = f"; in {count(scts, 'certificate log')}" if scts else ""
    return Step("chain", about, "passed", f"to {', '.join(told)}{logged}")


def _log(fact: Fact) -> Step:
    about = "a transparency log holds it"
    if not fact.logs:
        missing = [name for name in fact.undecided if name.startswith("log")]
        if missing:
            return Step("log", about, "unknown", f"no key is given for {_quoted(', '.join(missing))}")
        return Step("log", about, "nothing", "it carries no entry of a known log")
    sound = [entry for entry in fact.logs if entry.included or entry.promised]
    told = ", ".join(
        f"{entry.log[:12]} entry {entry.index} ({_vouched(entry.included, entry.promised)})" for entry in fact.logs[:3]
    )
    return Step("log", about, "passed" if sound else "failed", told)


def _vouched(included: bool, promised: bool) -> str:
    words = [word for word, holds in (("included", included), ("promised", promised)) if holds]
    return " and ".join(words) or "not vouched for"


def _when(fact: Fact, view: SignatureView) -> Step:
    about = "proven to exist by"
    if view.time is not None:
        sources = ", ".join(sorted({claim.source for claim in fact.times})) or "first-seen"
        return Step("time", about, "passed", f"{_time(view.time)}, {view.time_kind} ({sources})")
    claimed = f"; its signer claims {_time(fact.claimed_time)}" if fact.claimed_time is not None else ""
    return Step("time", about, "nothing", f"nothing proves a time{claimed}")


def _identity(fact: Fact, view: SignatureView, image: ImageEvidence) -> Step:
    about = "who, and for which image"
    leaf = fact.certificate
    who = _quoted(view.signer)
    if leaf is not None:
        names = ", ".join(leaf.sans) or leaf.subject or "nobody"
        who = _quoted(f"{names}, vouched for by {leaf.issuer}" if leaf.issuer else names)
    if view.via is None:
        return Step("identity", about, "failed", f"{who}; it names another image than {image.digest}")
    ways = {"exact": "this very digest", "index_of": "an index that lists it", "child_of": "a child of it"}
    return Step("identity", about, "passed", f"{who}; it names {ways[view.via]}")


_STATES: Final[dict[SignatureState, tuple[Found, str]]] = {
    "trusted": ("passed", "by a signer in force"),
    "trusted-before-compromise": ("passed", "proven older than the compromise of its key"),
    "trusted-before-retirement": ("passed", "proven older than the retirement of its key"),
    "retired-late": ("failed", "made after its key was retired"),
    "retired-unproven": ("unknown", "its key is retired, and nothing proves that it is older"),
    "not-authorised": ("failed", "its signer is no longer in trust"),
    "outside-window": ("failed", "not proven to be made within the window of its signer"),
    "expired": ("failed", "it has expired, by its own statement or by the rules of its format"),
    "suspended": ("failed", "its signer is on hold"),
    "revoked-time-unknown": ("failed", "its signer was compromised, and nothing proves that it is older"),
    "revoked": ("failed", "revoked"),
    "subject-mismatch": ("failed", "a good signature, about another image"),
    "invalid": ("failed", "broken or forged"),
    "unknown-key": ("nothing", "by nobody who is in trust"),
}
"""State of a standing -> what it means for a person."""


def _trust(view: SignatureView) -> Step:
    found, text = _STATES.get(view.status, ("unknown", ""))
    return Step("trust", "what trust says now", found, f"{view.status}: {text}" if text else str(view.status))


def _policy(view: SignatureView, verdict: Verdict, fact: Fact | None = None) -> Step:
    about = "what the policy makes of it"
    if not verdict.policy:
        return Step("policy", about, "nothing", "no policy asks")
    if view.kind == "attestation":
        return _attested(fact)
    if not view.counts:
        return Step("policy", about, "failed", f"{verdict.policy}: does not count")
    if verdict.outcome == "valid":
        return Step("policy", about, "passed", f"{verdict.policy}: counts")
    return Step("policy", about, "unknown", f"{verdict.policy}: may count, and what it asks for is not met by it alone")


def _attested(fact: Fact | None) -> Step:
    """An attestation: which content rules it meets. Whether one of them was asked for is told by the requirement."""
    about = "what the policy makes of it"
    if fact is None or not fact.rules:
        return Step("policy", about, "nothing", "an attestation signs no image; only attestedBy asks for one")
    failed = [claim for claim in fact.rules if not claim.holds]
    told = f"meets {len(fact.rules) - len(failed)} of {count(len(fact.rules), 'content rule')}"
    why = "; ".join(_quoted(claim.detail) for claim in failed[:3] if claim.detail)
    return Step("policy", about, "failed" if failed else "passed", f"{told}: {why}" if why else told)


def _time(instant: Micros | None) -> str:
    return "-" if instant is None else show_instant(instant, "seconds")


def _quoted(text: str) -> str:
    return safe(text, MAX_QUOTED)
