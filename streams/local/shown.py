"""What one piece of evidence is, for people: who made it, by what time, and which of its parts hold. Judges nothing.

    told = shown(fact, evidence, closure, trust, now)
    told.signers[0]      ShownSigner("keyless", "ci@example.com", verified=True, state="trusted", …)
    told.parts           signature, chain, SCT, log, timestamp, roles, subject, origin, content: what was found of each

Everything is read off a fact and off trust; no policy is asked, and nothing is verified again. A certificate says whom
it was made for also when no known root vouches for it; such a name is marked, because anybody can write one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

import msgspec

from alerting.text import short_digest
from verifier.evidence.material import LogUse
from verifier.models import (
    ChainClaim,
    DigestClosure,
    Evidence,
    Fact,
    LeafCertificate,
    LogClaim,
    Micros,
    SignatureState,
    Standing,
    TimeClaim,
)
from verifier.times import LAST, SECOND, show_instant
from verifier.trust.describe import short
from verifier.trust.standing import standings
from verifier.trust.state import TrustState

NAMES_SHOWN: Final = 3
"""Names of one certificate, digests of one piece of evidence and the like that a table shows; JSON holds all."""

SignerKind = Literal["key", "keyless", "certificate", "notation", "openpgp", "trust-data"]
PartName = Literal["signature", "chain", "sct", "log", "timestamp", "roles", "subject", "origin", "content"]
Found = Literal["yes", "no", "unknown"]
"""Holds; does not hold; cannot be told with the keys and roots that were given."""


class Verified(msgspec.Struct, frozen=True):
    """A key whose signature over exactly these bytes is good."""

    name: str
    key_id: str


class ShownProof(msgspec.Struct, frozen=True):
    """The earliest accepted proof that a signature existed at `time` (RFC 3339), or before."""

    time: str
    source: str
    """`set` (a log's promise), `tsa`, `signing-authority`."""
    who: str
    """Name of the log or timestamp authority."""


class ShownSigner(msgspec.Struct, frozen=True):
    """Who made it, under one key or one authority."""

    kind: SignerKind
    name: str
    """For people: the key's name, the identity of the certificate, the user id, the roles."""
    verified: bool
    """A key or root that was given proves it; otherwise it is only what the evidence says of itself."""
    state: SignatureState
    """What trust says of it: `trusted`, `outside-window`, `expired` and so on. Policies may demand more."""
    key_id: str = ""
    issuer: str = ""
    """OIDC issuer."""
    names: tuple[str, ...] = ()
    """Subject alternative names."""
    subject: str = ""
    """Distinguished name of the certificate."""
    authority: str = ""
    """Id of the authority it leads to."""
    authority_name: str = ""
    roots: tuple[str, ...] = ()
    """Trust roots that list this authority."""
    proven: ShownProof | None = None


class ShownPart(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    part: PartName
    found: Found
    text: str


class ShownEvidence(msgspec.Struct, frozen=True):
    """One piece of evidence and what cryptography says about it."""

    id: str
    format: str
    kind: str
    place: str
    artifact: str
    """Digest of the manifest that carries it."""
    found_for: str
    """Digest it was found beside."""
    subjects: tuple[str, ...]
    """Digests the signed bytes name."""
    reaches: str | None
    """How these reach the image: exact, index_of, child_of; null when they do not."""
    verified_by: tuple[Verified, ...]
    """Keys, of the ring or given, that made it; `signers` has everybody."""
    algorithm: str
    key_hint: str
    """Key id the evidence names itself; nothing proves it."""
    signed_repository: str
    predicate_type: str
    annotations: dict[str, str]
    claimed_time: str | None
    """Time the signer claims; never trusted."""
    problem: str
    detail: str
    signers: tuple[ShownSigner, ...] = ()
    parts: tuple[ShownPart, ...] = ()
    proven: ShownProof | None = None
    """The earliest of the signers' accepted proofs."""
    certificate: LeafCertificate | None = None
    logs: tuple[LogClaim, ...] = ()
    builder: str = ""
    commits: tuple[str, ...] = ()
    scheme: str = ""
    """Notary Project signing scheme."""
    expires: str | None = None
    """Expiry that the evidence states itself."""
    undecided: tuple[str, ...] = ()
    """What could not be decided for want of a key or root: `key`, `authority`, `log:<id>`, `ct:<id>`, `timestamp`."""


# ------------------------------------------------------------------------------------------------------------ evidence


def shown(fact: Fact, evidence: Evidence, closure: DigestClosure, trust: TrustState, instant: Micros) -> ShownEvidence:
    """One piece of evidence as it stands at an instant, without any first sight. Raises nothing."""
    ways = {closure.via(subject) for subject in fact.subjects}
    stand = standings([fact], closure, {}, trust, instant)
    signers = tuple(_signers(fact, stand, trust))
    # One format of time and one length: the earliest text is the earliest time.
    proofs = [signer.proven for signer in signers if signer.proven is not None]
    return ShownEvidence(
        id=fact.evidence_id,
        format=fact.format,
        kind=fact.kind,
        place=evidence.place,
        artifact=evidence.artifact,
        found_for=evidence.subject,
        subjects=fact.subjects,
        reaches=next((way for way in ("exact", "index_of", "child_of") if way in ways), None),
        verified_by=tuple(Verified(trust.name_of(key_id), key_id) for key_id in fact.verified_by),
        algorithm=fact.algorithm,
        key_hint=fact.key_hint,
        signed_repository=fact.signed_repository,
        predicate_type=fact.predicate_type,
        annotations=dict(fact.annotations),
        claimed_time=_time(fact.claimed_time) if fact.claimed_time is not None else None,
        problem=fact.problem,
        detail=fact.problem_detail,
        signers=signers,
        parts=tuple(_parts(fact, stand, closure, trust)),
        proven=min(proofs, key=lambda proof: proof.time, default=None),
        certificate=fact.certificate,
        logs=fact.logs,
        builder=fact.builder,
        commits=fact.commits,
        scheme=fact.scheme,
        expires=_time(fact.expires) if fact.expires is not None else None,
        undecided=fact.undecided,
    )


# ------------------------------------------------------------------------------------------------------------- signers


def _signers(fact: Fact, stand: Iterable[Standing], trust: TrustState) -> Iterator[ShownSigner]:
    """One per key and authority that vouches for it; a certificate without an authority names its owner unproven."""
    proven = [one for one in stand if one.chain is not None or one.key_id in fact.verified_by]
    for one in proven:
        yield (
            _by_authority(fact, one, trust)
            if one.chain is not None
            else ShownSigner(
                kind="key",
                name=trust.name_of(one.key_id),
                verified=True,
                state=one.state,
                key_id=one.key_id,
                proven=_proof(one, trust),
            )
        )
    leaf = fact.certificate
    if leaf is not None and not any(one.chain is not None for one in proven):
        state: SignatureState = "invalid" if fact.problem else "unknown-key"
        yield _certified(fact, leaf, ShownSigner(_kind(fact), "", verified=False, state=state))


def _by_authority(fact: Fact, one: Standing, trust: TrustState) -> ShownSigner:
    label = _authority(one.authority, trust)
    roots = tuple(anchor.root for anchor in trust.anchors.authorities.get(one.authority, ()))
    roles = [name.removeprefix("role:") for name, _ in fact.annotations if name.startswith("role:")]
    signer = ShownSigner(
        kind=_kind(fact),
        name=f"role {', '.join(roles)}" if roles and fact.format == "tuf-trust-data" else label,
        verified=True,
        state=one.state,
        key_id=one.key_id,
        authority=one.authority,
        authority_name=label,
        roots=roots,
        proven=_proof(one, trust),
    )
    return signer if fact.certificate is None else _certified(fact, fact.certificate, signer)


def _certified(fact: Fact, leaf: LeafCertificate, signer: ShownSigner) -> ShownSigner:
    # Notary Project policies name subjects, all others the alternative names.
    first = leaf.subject if fact.scheme else ", ".join(leaf.sans[:NAMES_SHOWN]) or leaf.subject
    return msgspec.structs.replace(
        signer,
        name=first or f"certificate {short(leaf.sha256)}",
        key_id=leaf.key_id,
        issuer=leaf.issuer,
        names=leaf.sans,
        subject=leaf.subject,
    )


def _kind(fact: Fact) -> SignerKind:
    if fact.format in ("notation-jws", "notation-cose"):
        return "notation"
    if fact.format == "openpgp-simplesigning":
        return "openpgp"
    if fact.format == "tuf-trust-data":
        return "trust-data"
    return "keyless" if fact.certificate is not None and fact.certificate.issuer else "certificate"


def _proof(one: Standing, trust: TrustState) -> ShownProof | None:
    """Only what the evidence proves: there is no first sight without a state."""
    claim = next((claim for claim in one.attested if claim.time == one.time), None)
    return None if claim is None else ShownProof(_time(claim.time), claim.source, _source(claim, trust))


def _source(claim: TimeClaim, trust: TrustState) -> str:
    if claim.source == "set":
        return _log_name("transparency", claim.source_key, trust)
    if claim.source == "signing-authority":
        return "the signing authority"
    return _authority(claim.authority, trust) if claim.authority else f"key {short(claim.source_key)}"


def _authority(authority: str, trust: TrustState) -> str:
    known = trust.anchors.material.authorities.get(authority)
    return known.label or short(authority) if known is not None else short(authority)


def _log_name(use: LogUse, log_id: str, trust: TrustState) -> str:
    known = trust.anchors.material.log(use, log_id)
    return f"{known.origin} ({short(log_id)})" if known is not None and known.origin else short(log_id)


# --------------------------------------------------------------------------------------------------------------- parts


def _parts(fact: Fact, stand: Iterable[Standing], closure: DigestClosure, trust: TrustState) -> Iterator[ShownPart]:
    """What was looked at, in the order of the checks; what a format does not have is left out."""
    counting = tuple(stand)
    yield _signature(fact, trust)
    if "key" in fact.undecided:
        yield ShownPart("signature", "unknown", _WANTING["key"])
    yield from _chains(fact, trust)
    yield from _scts(fact, counting, trust)
    yield from _entries(fact, counting, trust)
    yield from _timestamps(fact, counting, trust)
    if fact.format == "tuf-trust-data":
        yield from _roles(fact)
    yield _subject(fact, closure)
    if fact.certificate is not None:
        yield from _origin(fact, fact.certificate)
    if fact.kind == "attestation":
        yield _content(fact)


def _signature(fact: Fact, trust: TrustState) -> ShownPart:
    if fact.problem:
        return ShownPart("signature", "no", f"{fact.problem}: {fact.problem_detail}")
    how = fact.algorithm or "good"
    if fact.verified_by:
        keys = ", ".join(f"{trust.name_of(key)} ({short(key)})" for key in fact.verified_by)
        return ShownPart("signature", "yes", f"{how}, by key {keys}")
    if fact.certificate is not None:
        key = short(fact.certificate.key_id)
        return ShownPart("signature", "yes", f"{how}, by the key of its certificate ({key})")
    if fact.chains:
        return ShownPart("signature", "yes", f"{how}, by a key of the root")
    hint = f"; it names key {fact.key_hint}" if fact.key_hint else ""
    return ShownPart("signature", "unknown", f"by no key that was given{hint}")


def _chains(fact: Fact, trust: TrustState) -> Iterator[ShownPart]:
    for chain in fact.chains:
        roots = ", ".join(anchor.root for anchor in trust.anchors.authorities.get(chain.authority, ()))
        where = f"in root {roots}" if roots else "in no root in force"
        found: Found = "yes" if roots else "no"
        yield ShownPart("chain", found, f"to {_authority(chain.authority, trust)}, {where}{_validity(chain)}")
    if fact.certificate is not None and not fact.chains:
        yield ShownPart("chain", "unknown", "its certificate leads to no authority of the roots that were given")
    elif "authority" in fact.undecided:
        yield ShownPart("chain", "unknown", _WANTING["authority"])


def _validity(chain: ChainClaim) -> str:
    """When every certificate of the chain is valid; key rings have windows of their own."""
    if (chain.valid_from, chain.valid_until) == (0, LAST):
        return ""
    return f", valid {_time(chain.valid_from)} to {_time(chain.valid_until)}"


def _scts(fact: Fact, stand: Iterable[Standing], trust: TrustState) -> Iterator[ShownPart]:
    accepted = {sct for one in stand for sct in one.scts}
    for sct in dict.fromkeys(sct for chain in fact.chains for sct in chain.scts):
        text = f"{_log_name('ct', sct.log, trust)} at {_time(sct.time)}"
        yield _counted("sct", text, counts=sct in accepted)
    yield from _unknown(fact, "sct", "ct:", "a certificate log that is in no root given")


def _entries(fact: Fact, stand: Iterable[Standing], trust: TrustState) -> Iterator[ShownPart]:
    accepted = {entry for one in stand for entry in one.logs}
    for entry in fact.logs:
        vouched = [word for word, holds in (("included", entry.included), ("promised", entry.promised)) if holds]
        when = f" at {_time(entry.time)}" if entry.time is not None else ""
        text = f"entry {entry.index} of {_log_name('transparency', entry.log, trust)}, {entry.kind}{when}"
        yield _counted("log", f"{text}: {' and '.join(vouched) or 'nothing vouches for it'}", counts=entry in accepted)
    yield from _unknown(fact, "log", "log:", "a transparency log that is in no root given")


def _timestamps(fact: Fact, stand: Iterable[Standing], trust: TrustState) -> Iterator[ShownPart]:
    accepted = {claim for one in stand for claim in one.attested}
    for claim in (claim for claim in fact.times if claim.source != "set"):
        within = f" (to within {claim.accuracy / SECOND:g} s)" if claim.accuracy else ""
        text = f"{_time(claim.time)}{within} by {_source(claim, trust)}"
        yield _counted("timestamp", text, counts=claim in accepted)
    yield from _unknown(fact, "timestamp", "timestamp", "an authority that is in no root given")


def _counted(part: PartName, text: str, *, counts: bool) -> ShownPart:
    return ShownPart(part, "yes" if counts else "no", text if counts else f"{text}; not accepted now")


def _unknown(fact: Fact, part: PartName, prefix: str, text: str) -> Iterator[ShownPart]:
    for missing in (name for name in fact.undecided if name.startswith(prefix)):
        name = short(missing.removeprefix(prefix))
        yield ShownPart(part, "unknown", f"by {text}{f': {name}' if name else ''}")


def _roles(fact: Fact) -> Iterator[ShownPart]:
    """Which roles of a repository list the digest, under which tags (Docker Content Trust)."""
    listed = sorted((role, name.removeprefix("tag:")) for name, role in fact.annotations if name.startswith("tag:"))
    for role in dict.fromkeys(role for role, _ in listed):
        tags = ", ".join([tag for one, tag in listed if one == role][:NAMES_SHOWN])
        yield ShownPart("roles", "yes", f"{role} lists it as {tags}")


_WAYS: Final[Mapping[str, str]] = {
    "exact": "this very digest",
    "index_of": "an index that lists this digest",
    "child_of": "a child of this index",
}


def _subject(fact: Fact, closure: DigestClosure) -> ShownPart:
    if not fact.subjects:
        return ShownPart("subject", "unknown", "its signed bytes could not be read, or name no image")
    way = next((way for way in _WAYS if way in {closure.via(subject) for subject in fact.subjects}), None)
    names = ", ".join(map(short_digest, fact.subjects[:NAMES_SHOWN]))
    return ShownPart("subject", "yes" if way else "no", f"{names}: {_WAYS[way] if way else 'another image'}")


def _content(fact: Fact) -> ShownPart:
    told = [
        *((fact.predicate_type,) if fact.predicate_type else ()),
        *((f"builder {fact.builder}",) if fact.builder else ()),
        *(f"commit {short(commit)}" for commit in fact.commits[:NAMES_SHOWN]),
    ]
    failed = [claim for claim in fact.rules if not claim.holds]
    if fact.rules:
        told.append(f"meets {len(fact.rules) - len(failed)} of {len(fact.rules)} content rules")
    told += [claim.detail for claim in failed[:NAMES_SHOWN] if claim.detail]
    proven = bool(fact.verified_by or fact.chains) and not fact.problem
    return ShownPart("content", "no" if failed else "yes" if proven else "unknown", "; ".join(told) or "no type")


def _origin(fact: Fact, leaf: LeafCertificate) -> Iterator[ShownPart]:
    """What the certificate says of the build; believed as far as its chain is."""
    said = dict(leaf.extensions)
    told = [f"{words} {said[name]}" for name, words in _ORIGINS.items() if said.get(name)]
    if told:
        yield ShownPart("origin", "yes" if fact.chains else "unknown", "; ".join(told))


_ORIGINS: Final[Mapping[str, str]] = {
    "buildSignerURI": "built by",
    "sourceRepositoryURI": "from",
    "sourceRepositoryDigest": "at commit",
}
"""Extensions of Fulcio that people ask for first; the certificate in JSON has all."""

_WANTING: Final[Mapping[str, str]] = {
    "key": "another signature of it is by no key that was given",
    "authority": "its certificate may lead to an authority that was not given",
}


def _time(instant: Micros) -> str:
    return show_instant(instant, "seconds")
