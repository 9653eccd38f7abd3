"""What stands behind a signature beside a key: certificates and their authorities, log entries, timestamps.

    proofs = prove(content, matches, keyset)
    proofs.chains, proofs.logs, proofs.times

Steps (Sigstore client specification, section "Verification"), for a signature that its key made:

    1  the certificate's key made the signature; its chain leads to known authorities
    2  its SCTs are by known CT logs over this very certificate
    3  every log entry of a known log is about this very signature, and proven
    4  every timestamp of a known authority is over this very signature

A proof that is there, by a source that is known, and does not hold makes the evidence bad: it says that something was
moved or forged. A proof by a source that is not known proves nothing and is named in `undecided`. Windows are not
looked at here: when a source or an authority counted is for trust to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from verifier.errors import EvidenceError
from verifier.evidence.keys import PublicKey
from verifier.evidence.logentry import LogEntry
from verifier.evidence.material import Material
from verifier.evidence.rekor import check_entry
from verifier.evidence.rekorbody import Signed
from verifier.evidence.sct import verify_scts
from verifier.evidence.signed import SignedContent
from verifier.evidence.timestamps import verify_timestamp
from verifier.evidence.x509 import Certificate, find_chains, load_certificate, read_leaf
from verifier.facts.candidates import KeySet
from verifier.models import ChainClaim, LeafCertificate, LogClaim, SctClaim, TimeClaim


class Proofs(msgspec.Struct, frozen=True, gc=False):
    """What a fact holds beside keys and content; the fields as in `Fact`."""

    certificate: LeafCertificate | None = None
    algorithm: str = ""
    """How the certificate's key signed; empty when it did not."""
    chains: tuple[ChainClaim, ...] = ()
    logs: tuple[LogClaim, ...] = ()
    times: tuple[TimeClaim, ...] = ()
    undecided: tuple[str, ...] = ()


NO_PROOFS: Final = Proofs()

KEY: Final = "key"
AUTHORITY: Final = "authority"
TIMESTAMP: Final = "timestamp"
LOG: Final = "log:"
"""Members of `Fact.undecided`; the last one is followed by the log's id."""


def prove(content: SignedContent, matches: Mapping[str, str], keyset: KeySet) -> Proofs:
    """Steps 1-4 for one piece of evidence. `matches`: key ids that made the signature, as `facts` found them.

    Raises:
        EvidenceError: a proof that is malformed, or is there and does not hold.
    """
    leaf = load_certificate(content.certificates[0]) if content.certificates else None
    if leaf is None and len(content.signatures) == 1 and not (content.entries or content.timestamps):
        return NO_PROOFS
    algorithm, makers = _makers(content, leaf, matches, keyset)
    certificate = read_leaf(leaf) if leaf is not None else None
    if not makers:
        return Proofs(certificate=certificate)
    chains, unknown = _chains(leaf, content, keyset) if leaf is not None and algorithm else ((), ())  # 1, 2
    logs, times, undecided = _dated(content, makers, keyset)  # 3, 4
    others = (KEY,) if len({maker.signature for maker in makers}) < len(set(content.signatures)) else ()
    return Proofs(certificate, algorithm, chains, logs, times, (*others, *unknown, *undecided))


def _makers(
    content: SignedContent, leaf: Certificate | None, matches: Mapping[str, str], keyset: KeySet
) -> tuple[str, tuple[Signed, ...]]:
    """(algorithm of the certificate's signature if it made one, the known signers with the signature of each)."""
    algorithm, signature = made_by(leaf.key, content) if leaf is not None else ("", b"")
    makers = [_signed(content, leaf.key, leaf, signature)] if leaf is not None and algorithm else []
    for key_id in matches:
        if makers and (len(content.signatures) == 1 or key_id == makers[0].key_id):
            continue  # one signature has one signer; the certificate's key may be in the ring too
        key = keyset.keys[key_id]
        own = content.signatures[0] if len(content.signatures) == 1 else made_by(key, content)[1]
        makers.append(_signed(content, key, None, own))
    return algorithm, tuple(makers)


def made_by(key: PublicKey, content: SignedContent) -> tuple[str, bytes]:
    """(algorithm, signature) of the first signature this key made; both empty when it made none."""
    for signature in content.signatures:
        if content.message is not None:
            algorithm = key.verify(signature, content.message)
        else:
            algorithm = key.verify_digest(signature, content.message_sha256)
        if algorithm:
            return algorithm, signature
    return "", b""


def _chains(
    leaf: Certificate, content: SignedContent, keyset: KeySet
) -> tuple[tuple[ChainClaim, ...], tuple[str, ...]]:
    authorities = keyset.material.used_for("signing")
    given = tuple(load_certificate(der) for der in content.certificates[1:])
    claims, _why = find_chains(leaf, given, authorities, "code-signing")
    if not claims:
        return (), (AUTHORITY,)
    spare = (AUTHORITY,) if leads_elsewhere(given, claims, keyset.material) else ()
    found = [_certified(claim, leaf, given, keyset) for claim in claims]
    unknown = dict.fromkeys(f"ct:{log}" for _, logs in found for log in logs)
    return tuple(claim for claim, _ in found), (*spare, *unknown)


def leads_elsewhere(given: Iterable[Certificate], claims: Iterable[ChainClaim], material: Material) -> bool:
    """Is a certificate that came along in none of the chains? It may lead to an authority that is not known yet."""
    chains = tuple(claims)
    used = {serial.partition(":")[2] for chain in chains for serial in chain.serials}
    anchors = {der for chain in chains for der in material.authorities[chain.authority].certificates}
    return any(certificate.serial not in used and certificate.der not in anchors for certificate in given)


def _certified(
    claim: ChainClaim, leaf: Certificate, given: Iterable[Certificate], keyset: KeySet
) -> tuple[ChainClaim, tuple[str, ...]]:
    """The chain with its SCTs, which are over the leaf and the key that issued it."""
    anchors = map(load_certificate, keyset.material.authorities[claim.authority].certificates)
    issuers = {c.key_id: c for c in (*given, *anchors)}
    issuer = issuers.get(claim.key_ids[0]) if claim.key_ids else None
    scts: tuple[SctClaim, ...] = ()
    unknown: tuple[str, ...] = ()
    if issuer is not None:
        scts, unknown = verify_scts(leaf, issuer, keyset.material)
    return msgspec.structs.replace(claim, scts=scts), unknown


def _signed(content: SignedContent, key: PublicKey, leaf: Certificate | None, signature: bytes) -> Signed:
    return Signed(
        signature=signature,
        key_id=key.key_id,
        certificate=leaf.der if leaf is not None else None,
        message=content.message,
        message_sha256=content.message_sha256,
        payload=content.payload or None,
        envelope=content.envelope,
    )


def _dated(
    content: SignedContent, makers: Sequence[Signed], keyset: KeySet
) -> tuple[tuple[LogClaim, ...], tuple[TimeClaim, ...], tuple[str, ...]]:
    """Steps 3 and 4: (log claims, times, what is by a source that is not known)."""
    logs: list[LogClaim] = []
    times: dict[TimeClaim, None] = {}
    undecided: dict[str, None] = {}
    for entry in content.entries:
        claim = _logged(entry, makers, keyset, need_proof=content.proof_needed)
        if isinstance(claim, str):
            undecided[LOG + claim] = None
        elif claim is not None:
            logs.append(claim)
            if claim.time is not None:
                times[TimeClaim("set", "attested", claim.time, claim.log)] = None
    authorities = keyset.material.used_for("timestamping")
    stamped = content.stamped if content.envelope is not None else makers[0].signature
    for token in content.timestamps:
        stamp = verify_timestamp(token, stamped, authorities, response=True)
        times |= dict.fromkeys(stamp.claims)  # a token given twice is one proof
        if not stamp.known:
            undecided[TIMESTAMP] = None
    return tuple(logs), tuple(times), tuple(undecided)


def _logged(entry: LogEntry, makers: Sequence[Signed], keyset: KeySet, *, need_proof: bool) -> LogClaim | str | None:
    """What an entry proves; None when it is about one signature of an envelope and not about another.

    A fact has one set of proofs for all who signed. The entry of an old signature must not date one that somebody
    added to the envelope since, so there it proves nothing; one that holds for none of them is a forgery.
    """
    found: LogClaim | str | None = None
    problem: EvidenceError | None = None
    for signed in makers:
        try:
            found = check_entry(entry, signed, keyset.material, need_proof=need_proof)
        except EvidenceError as error:
            problem = problem or error
    if problem is not None and found is None:
        raise problem
    return found if problem is None else None
