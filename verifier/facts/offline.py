"""Facts of formats that bring their own kind of signer: Notary Project, OpenPGP, Docker Content Trust.

    OFFLINE_READERS["notation-jws"](evidence, material)       a Fact, but for its id and key set

Each reader verifies in its own file; here its answer becomes a fact. "Offline": nothing of these formats asks a server;
revocation lists, key rings and trust data are given as data.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final

import msgspec

from verifier.evidence.limits import SIGNED_ANNOTATIONS
from verifier.evidence.material import Material
from verifier.evidence.notation import notation_fact_parts, read_notation
from verifier.evidence.openpgp import openpgp_fact_parts
from verifier.evidence.trustdata import trustdata_fact_parts
from verifier.evidence.x509 import load_certificate
from verifier.facts.proofs import AUTHORITY, leads_elsewhere
from verifier.models import ChainClaim, Evidence, Fact
from verifier.times import LAST


def notation_fact(evidence: Evidence, material: Material) -> Fact:
    """A JWS or COSE envelope (specs/signature-specification.md).

    Raises:
        EvidenceError: as `notation_fact_parts`.
    """
    parts = notation_fact_parts(evidence, material)
    problem = "" if parts.signature_good else "signature-mismatch"
    detail = "" if parts.signature_good else "the signature is not by the key of the certificate in the envelope"
    # A token is not signed itself, and policies without a tsa store never read it: a bad one only proves no time.
    detail = detail or parts.timestamp_problem
    undecided = parts.undecided
    if parts.chains and AUTHORITY not in undecided:
        given = map(load_certificate, read_notation(evidence).certificates[1:])
        undecided = (AUTHORITY, *undecided) if leads_elsewhere(given, parts.chains, material) else undecided
    return _fact(
        evidence,
        subjects=parts.subjects,
        annotations=parts.annotations,
        algorithm=parts.algorithm,
        claimed_time=parts.claimed_time,
        times=() if problem else parts.times,
        certificate=parts.certificate,
        chains=() if problem else _revocable(parts.chains, parts.revocable),
        scheme=parts.scheme,
        expires=parts.expires,
        undecided=() if problem else undecided,
        problem=problem,
        problem_detail=detail,
    )


def _revocable(chains: Iterable[ChainClaim], named: Collection[str]) -> tuple[ChainClaim, ...]:
    """The chains, each with which of its certificates can be asked about."""
    return tuple(
        msgspec.structs.replace(chain, revocable=tuple(serial for serial in chain.serials if serial in named))
        for chain in chains
    )


def openpgp_fact(evidence: Evidence, material: Material) -> Fact:
    """An OpenPGP message around a simple-signing payload (containers-signature.5).

    Raises:
        EvidenceError: as `openpgp_fact_parts`.
    """
    parts = openpgp_fact_parts(evidence, material)
    bad = bool(parts.hinted) and not parts.signature_good
    return _fact(
        evidence,
        subjects=parts.subjects,
        annotations=parts.annotations,
        algorithm=parts.algorithm,
        claimed_time=parts.claimed_time,
        # When a key was made, and until when it is good, is the ring's to say, and a ring may be prolonged: the windows
        # of the rings in force count (`trust.chains`), not those of the day the fact was made.
        chains=tuple(msgspec.structs.replace(chain, valid_from=0, valid_until=LAST) for chain in parts.chains),
        expires=parts.expires,
        undecided=parts.undecided,
        signed_repository=parts.signed_repository,
        problem="signature-mismatch" if bad else "",
        problem_detail="the signature names a known key and is not by it" if bad else "",
    )


def trust_data_fact(evidence: Evidence, material: Material) -> Fact:
    """Stored TUF metadata of a repository (Notary v1).

    Raises:
        EvidenceError: as `trustdata_fact_parts`.
    """
    parts = trustdata_fact_parts(evidence, material)
    here = [(tag, role) for tag, digest, role in parts.tags if digest == evidence.subject]
    named = [*((f"tag:{tag}", role) for tag, role in here), *((f"role:{role}", "") for _, role in here)]
    # Trust data is about a whole repository; that it does not name this digest says nothing against it.
    return _fact(
        evidence,
        subjects=(evidence.subject,) if here else (),
        annotations=tuple(sorted(set(named)))[:SIGNED_ANNOTATIONS],
        algorithm=parts.algorithm,
        chains=parts.chains if here else (),
        expires=parts.expires,
        undecided=parts.undecided,
        signed_repository=parts.signed_repository,
    )


def _fact(evidence: Evidence, **members: object) -> Fact:
    return Fact(
        id="",
        evidence_id=evidence.id,
        format=evidence.format,
        kind="signature",
        repository=evidence.repository,
        subject=evidence.subject,
        verified_by=(),
        keyset="",
        **members,  # type: ignore[arg-type]  # the members named above, each of the type its reader states
    )


OFFLINE_READERS: Final[dict[str, Callable[[Evidence, Material], Fact]]] = {
    "notation-jws": notation_fact,
    "notation-cose": notation_fact,
    "openpgp-simplesigning": openpgp_fact,
    "tuf-trust-data": trust_data_fact,
}
