"""Evidence in, fact out: the only place where signatures are verified.

    fact = derive_fact(evidence, key_set([("dev", dev), ("ops", ops)], material, rules))
    fact.verified_by        ("3f5c…",)      ids of the keys whose signature over exactly these bytes is good
    fact.chains             (…)             authorities its certificate leads to
    fact.problem            ""              or why the evidence itself is no good

A fact knows no policy, no revocation, no time but what the evidence says; all that is decided later, over facts, as
often as trust changes. Bad evidence is an answer here, never an exception.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Final

import msgspec

from verifier.canonical import ID_LENGTH, ID_PREFIX
from verifier.errors import EvidenceError
from verifier.evidence.bundle import read_bundle
from verifier.evidence.content import excerpt
from verifier.evidence.dsse import read_dsse
from verifier.evidence.keys import PublicKey, looks_like_signature
from verifier.evidence.signed import SignedContent
from verifier.evidence.simplesigning import read_simple_signing
from verifier.facts.candidates import KeySet, may_say_more
from verifier.facts.offline import OFFLINE_READERS
from verifier.facts.proofs import NO_PROOFS, Proofs, made_by, prove
from verifier.facts.statements import NOTHING_SAID, Said, read_said, rules_for
from verifier.models import VERIFIER_VERSION, Evidence, Fact

READERS: Final[dict[str, Callable[[Evidence], SignedContent]]] = {
    "cosign-simplesigning": read_simple_signing,
    "cosign-dsse": read_dsse,
    "sigstore-bundle": read_bundle,
}
"""One reader per Sigstore format; a new format is a new file and a row here, or in `offline.OFFLINE_READERS`, whose
formats bring their own signers."""

BATCH: Final = 64
"""Pieces that `derive_facts` reads before it verifies them: enough to matter, few enough to stay in the caches."""

_encode: Final = msgspec.json.Encoder().encode
_URL_ALPHABET: Final = bytes.maketrans(b"+/", b"-_")


def derive_fact(evidence: Evidence, keyset: KeySet) -> Fact:
    """What cryptography says about `evidence` under the candidates of `keyset`. Never raises for bad evidence.

    1. Read the bytes: sizes, one meaning, and the members the format demands (cosign SIGNATURE_SPEC "Payload",
       BUNDLE_SPEC, DSSE protocol "Verification", in-toto Statement).
    2. Try every candidate key over exactly the bytes that were read: the payload (SIGNATURE_SPEC "Verification"), or
       the pre-authentication encoding (DSSE protocol "Signature Definition").
    3. Check what comes with the signature: certificate and chain, log entries, timestamps (`proofs`).
    4. Nobody made it: say so if no key could have made such a signature, or if this version cannot tell.
    5. Evaluate the content rules of its predicate type, once (`statements`).
    6. State what the signed bytes name. Whether that is the image in question is for the verdict to say.

    A fact with a `problem` has no `verified_by` and no `chains`. Whether `evidence.id` belongs to the bytes is settled
    when evidence is fetched or read back (`identity.check_evidence_id`).
    """
    if evidence.format in OFFLINE_READERS:
        return _offline(evidence, keyset)
    content = _read(evidence)  # 1
    matches = _matches(content, keyset.keys.values())  # 2
    return _fact(evidence, keyset, content, matches)  # 3 - 6


def derive_facts(evidence: Sequence[Evidence], keyset: KeySet) -> list[Fact]:
    """`derive_fact` of each, in order; about 5 % quicker in quantity.

    Verifying a signature sweeps everything else out of the processor's caches; so each step is done for a batch before
    the next begins.
    """
    facts: list[Fact] = []
    keys = keyset.keys.values()
    for start in range(0, len(evidence), BATCH):
        batch = evidence[start : start + BATCH]
        if any(piece.format in OFFLINE_READERS for piece in batch):
            facts += [derive_fact(piece, keyset) for piece in batch]
            continue
        contents = [_read(piece) for piece in batch]
        matches = [_matches(content, keys) for content in contents]
        facts += map(_fact, batch, repeat(keyset), contents, matches)
    return facts


def is_open(fact: Fact, keyset: KeySet) -> bool:
    """Could other candidates than the fact was made under say more about it?

    Nothing vouches for it yet, a source was not known, an authority was written anew (`may_say_more`), or a content
    rule is newer than the fact. A fact that is not open stays as it is when keys, roots and rules are added.
    """
    if fact.verifier != VERIFIER_VERSION:
        return True
    if fact.keyset == keyset.id:
        return False
    if may_say_more(fact, keyset.keys, keyset.material):
        return True
    if fact.problem:
        return False
    known = {claim.rule for claim in fact.rules}
    return any(rule.id not in known for rule in rules_for(fact.kind, fact.predicate_type, keyset))


def _offline(evidence: Evidence, keyset: KeySet) -> Fact:
    """A fact of a format whose reader also verifies; the same promise."""
    try:
        fact = OFFLINE_READERS[evidence.format](evidence, keyset.material)
    except EvidenceError as error:
        return _broken(evidence, keyset, error)
    return msgspec.structs.replace(fact, id=_fact_id(evidence.id, keyset.id), keyset=keyset.id)


def _read(evidence: Evidence) -> SignedContent | EvidenceError:
    """Step 1; the error is the answer for what cannot be read."""
    reader = READERS.get(evidence.format)
    if reader is None:
        return EvidenceError("unsupported-evidence", f"format {excerpt(evidence.format)} is not known")
    try:
        return reader(evidence)
    except EvidenceError as error:
        return error


def _matches(content: SignedContent | EvidenceError, keys: Iterable[PublicKey]) -> dict[str, str]:
    """Step 2: key id -> algorithm. All keys are tried, so that the answer for a set is that of its parts together."""
    if isinstance(content, EvidenceError) or content.kind == "unknown":
        return {}
    made = ((key.key_id, made_by(key, content)[0]) for key in keys)
    return {key_id: algorithm for key_id, algorithm in made if algorithm}


def _fact(
    evidence: Evidence, keyset: KeySet, content: SignedContent | EvidenceError, matches: Mapping[str, str]
) -> Fact:
    """Steps 3 to 6."""
    if isinstance(content, EvidenceError):
        return _broken(evidence, keyset, content)
    try:
        proofs = prove(content, matches, keyset) if content.kind != "unknown" else NO_PROOFS
        made = bool(matches or proofs.algorithm)
        said = read_said(content, keyset) if made and content.kind == "attestation" else NOTHING_SAID
    except EvidenceError as error:
        return _broken(evidence, keyset, error)
    problem, detail = ("", "") if made else _why_not(content)
    if problem == "" and not made and content.message is None and not _digest_suffices(content.key_hint, keyset):
        problem, detail = "unsupported-evidence", _ONLY_DIGEST
        proofs = msgspec.structs.replace(proofs, undecided=(*proofs.undecided, "key"))
    return _stated(evidence, keyset, content, matches, proofs, said, problem, detail)


def _stated(
    evidence: Evidence,
    keyset: KeySet,
    content: SignedContent,
    matches: Mapping[str, str],
    proofs: Proofs,
    said: Said,
    problem: str,
    detail: str,
) -> Fact:
    verified_by = tuple(sorted(matches))
    return Fact(
        id=_fact_id(evidence.id, keyset.id),
        evidence_id=evidence.id,
        format=evidence.format,
        kind=content.kind,
        repository=evidence.repository,
        subject=evidence.subject,
        subjects=content.subjects,
        verified_by=verified_by,
        keyset=keyset.id,
        signed_repository=content.signed_repository,
        predicate_type=content.predicate_type,
        annotations=content.annotations,
        algorithm=matches[verified_by[0]] if verified_by else proofs.algorithm,
        key_hint=content.key_hint,
        claimed_time=content.claimed_time,
        times=proofs.times,
        problem=problem,
        problem_detail=detail,
        certificate=proofs.certificate,
        chains=proofs.chains,
        logs=proofs.logs,
        rules=said.rules,
        builder=said.builder,
        commits=said.commits,
        build=said.build,
        undecided=proofs.undecided,
    )


_ONLY_DIGEST: Final = "the key in question does not hash with SHA-256, and only that digest is known"


def _why_not(content: SignedContent) -> tuple[str, str]:
    """Step 3: (reason code, detail); empty when it is simply nobody's signature among the keys given."""
    if content.unsupported:
        return "unsupported-evidence", content.unsupported
    if content.certificates:
        return "signature-mismatch", "the signature is not by the key of the certificate that comes with it"
    for signature in content.signatures:
        if not looks_like_signature(signature):
            return "signature-malformed", f"{len(signature)} bytes that no ECDSA, RSA or Ed25519 key could have made"
    return "", ""


def _digest_suffices(hint: str, keyset: KeySet) -> bool:
    """Whether a digest was enough to try the keys in question: the one that is hinted at, or else all."""
    hinted = keyset.keys.get(hint)
    return all(key.signs_sha256 for key in ([hinted] if hinted else keyset.keys.values()))


def _fact_id(evidence_id: str, keyset_id: str) -> str:
    """`stable_id("fact", evidence_id, keyset_id, VERIFIER_VERSION)`, at a tenth of the cost, which was a tenth of the
    whole verification. The encoders agree on lists of text; a test keeps the two equal.
    """
    content = _encode(("fact", evidence_id, keyset_id, VERIFIER_VERSION))
    digest = b2a_base64(hashlib.sha256(content).digest(), newline=False)
    return ID_PREFIX + digest[:ID_LENGTH].translate(_URL_ALPHABET).decode()


def _broken(evidence: Evidence, keyset: KeySet, error: EvidenceError) -> Fact:
    """The fact about evidence that could not be read."""
    return Fact(
        id=_fact_id(evidence.id, keyset.id),
        evidence_id=evidence.id,
        format=evidence.format,
        kind="unknown",
        repository=evidence.repository,
        subject=evidence.subject,
        subjects=(),
        verified_by=(),
        keyset=keyset.id,
        problem=error.code,
        problem_detail=str(error),
    )
