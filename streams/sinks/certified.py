"""Fields of what evidence rests on beside keys: identities, certificates, CAs, logs, builders, commits, rules. Pure.

    body = {**certified(facts, known), …}          of an image or an answer about its evidence
    entry = {…, **for_reading(fact, known)}        of one piece of evidence

Only what cryptography vouches for is searchable as an identity, a CA or a log: a certificate that leads to no known
authority says whatever its maker wrote. Builders and commits are what a statement says, as its signer wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streams.sinks.document import instant_or_none
from streams.sinks.known import Known
from verifier.models import BuildClaim, Fact
from verifier.times import earliest
from verifier.trust.hits import builders, commits


def certified(facts: Sequence[Fact], known: Known) -> dict[str, object]:
    """Everything searchable that the facts rest on, each value once."""
    believed = [fact for fact in facts if fact.chains and not fact.problem]
    leaves = [fact.certificate for fact in believed if fact.certificate is not None]
    sound = [fact for fact in facts if (fact.chains or fact.verified_by) and not fact.problem]
    rules = [rule for fact in sound for rule in fact.rules]
    return {
        "provenance.signature.identity": [name for fact in believed for name in identities(fact)],
        "provenance.signature.issuer": [leaf.issuer for leaf in leaves],
        "provenance.signature.predicate_type": [fact.predicate_type for fact in sound],
        "provenance.signature.expires": instant_or_none(earliest(fact.expires for fact in sound)),
        "provenance.certificate.sha256": [leaf.sha256 for leaf in leaves],
        "provenance.certificate.serial_number": [leaf.serial for leaf in leaves],
        "provenance.certificate.subject": [leaf.subject for leaf in leaves],
        "provenance.ca.related": related_cas((ca for fact in believed for ca in _cas(fact)), known),
        "provenance.log.id": [log for fact in believed for log in _logs(fact)],
        "provenance.log.entry": [f"{entry.log}:{entry.index}" for fact in sound for entry in fact.logs],
        "provenance.builder": [name for fact in sound for name in builders(fact)],
        "provenance.commit": [name for fact in sound for name in commits(fact)],
        "provenance.build.type": [build.build_type for build in _builds(sound)],
        "provenance.build.run": [run for fact in sound for run in runs(fact)],
        "provenance.build.source": [source for fact in sound for source in sources(fact)],
        "provenance.image.base": [image for build in _builds(sound) for image in build.images],
        "provenance.rule.held": [rule.rule for rule in rules if rule.holds],
        "provenance.rule.broken": [rule.rule for rule in rules if not rule.holds],
    }


def _builds(facts: Iterable[Fact]) -> list[BuildClaim]:
    return [fact.build for fact in facts if fact.build is not None]


def runs(fact: Fact) -> tuple[str, ...]:
    """Runs that evidence names: of the provenance, and of the signing certificate."""
    return _said(fact.build.run if fact.build is not None else "", fact, "runInvocationURI")


def sources(fact: Fact) -> tuple[str, ...]:
    """Sources that evidence names: of the provenance, and of the signing certificate."""
    of_build = fact.build.sources if fact.build is not None else ()
    return tuple(dict.fromkeys((*of_build, *_said("", fact, "sourceRepositoryURI"))))


def _said(text: str, fact: Fact, extension: str) -> tuple[str, ...]:
    of_leaf = dict(fact.certificate.extensions).get(extension, "") if fact.certificate is not None else ""
    return tuple(dict.fromkeys(filter(None, (text, of_leaf))))


def identities(fact: Fact) -> tuple[str, ...]:
    """Whom the signing certificate was made for; empty without one."""
    leaf = fact.certificate
    return () if leaf is None else leaf.sans or ((leaf.subject,) if leaf.subject else ())


def related_cas(cas: Iterable[str], known: Known) -> list[str]:
    """Each CA by id, and by every name trust has for it."""
    ids = list(dict.fromkeys(cas))
    return list(dict.fromkeys((*ids, *(name for ca in ids for name in known.ca_names(ca)))))


def for_reading(fact: Fact, known: Known) -> dict[str, object]:
    """What one piece of evidence rests on; nothing for a bare key without log. Texts are lists: they are cleaned."""
    leaf = fact.certificate
    named: dict[str, object] = {}
    if leaf is not None:
        named = {
            "identities": list(identities(fact)),
            "issuer": leaf.issuer,
            "certificate": leaf.sha256,
            "certificate_key": leaf.key_id,
            "extensions": [f"{name}={value}" for name, value in leaf.extensions],
            "believed": bool(fact.chains),
        }
    for name, values in (
        ("authorities", [chain.authority for chain in fact.chains]),
        ("cas", related_cas(_cas(fact), known)),
        ("logs", list(dict.fromkeys(_logs(fact)))),
        ("entries", [f"{entry.log}:{entry.index}" for entry in fact.logs]),
        ("rules", [f"{rule.rule}: {'holds' if rule.holds else rule.detail}" for rule in fact.rules]),
        ("builders", list(builders(fact))),
        ("commits", list(commits(fact))),
        ("sources", list(sources(fact))),
        ("runs", list(runs(fact))),
        ("build_type", [fact.build.build_type] if fact.build is not None and fact.build.build_type else []),
        ("bases", list(fact.build.images) if fact.build is not None else []),
        ("undecided", list(fact.undecided)),
    ):
        if values:
            named[name] = values
    return named if fact.expires is None else {**named, "expires": fact.expires}


def _cas(fact: Fact) -> Iterable[str]:
    for chain in fact.chains:
        yield chain.authority
        yield from chain.key_ids
    yield from (name for claim in fact.times if claim.authority for name in (claim.authority, claim.source_key) if name)


def _logs(fact: Fact) -> Iterable[str]:
    yield from (entry.log for entry in fact.logs)
    yield from (sct.log for chain in fact.chains for sct in chain.scts)
