"""Evidence in, fact out: the only place where signatures are verified.

    fact = derive_fact(evidence, key_set([("dev", dev), ("ops", ops)]))
    fact.verified_by        ("3f5c…",)      ids of the keys whose signature over exactly these bytes is good
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
from verifier.evidence.content import SignedContent, excerpt
from verifier.evidence.dsse import read_dsse
from verifier.evidence.keys import KeySet, PublicKey, looks_like_signature
from verifier.evidence.simplesigning import read_simple_signing
from verifier.models import VERIFIER_VERSION, Evidence, Fact

READERS: Final[dict[str, Callable[[Evidence], SignedContent]]] = {
    "cosign-simplesigning": read_simple_signing,
    "cosign-dsse": read_dsse,
    "sigstore-bundle": read_bundle,
}
"""One reader per evidence format; a new format is a new file and a row here."""

BATCH: Final = 64
"""Pieces that `derive_facts` reads before it verifies them: enough to matter, few enough to stay in the caches."""

_encode: Final = msgspec.json.Encoder().encode
_URL_ALPHABET: Final = bytes.maketrans(b"+/", b"-_")


def derive_fact(evidence: Evidence, keyset: KeySet) -> Fact:
    """What cryptography says about `evidence` under the keys of `keyset`. Never raises for bad evidence.

    1. Read the bytes: sizes, one meaning, and the members the format demands (cosign SIGNATURE_SPEC "Payload",
       BUNDLE_SPEC, DSSE protocol "Verification", in-toto Statement).
    2. Try every candidate key over exactly the bytes that were read: the payload (SIGNATURE_SPEC "Verification"), or
       the pre-authentication encoding (DSSE protocol "Signature Definition").
    3. Nothing matched: say so if no key could have made such a signature, or if this version cannot tell.
    4. State what the signed bytes name. Whether that is the image in question is for the verdict to say.

    A fact with a `problem` has no `verified_by`. Whether `evidence.id` belongs to the bytes is settled when evidence is
    fetched or read back (`identity.check_evidence_id`).
    """
    content = _read(evidence)  # 1
    matches = _matches(content, keyset.keys.values())  # 2
    return _fact(evidence, keyset, content, matches)  # 3, 4


def derive_facts(evidence: Sequence[Evidence], keyset: KeySet) -> list[Fact]:
    """`derive_fact` of each, in order; about 5 % quicker in quantity.

    Verifying a signature sweeps everything else out of the processor's caches; so each step is done for a batch before
    the next begins.
    """
    facts: list[Fact] = []
    keys = keyset.keys.values()
    for start in range(0, len(evidence), BATCH):
        batch = evidence[start : start + BATCH]
        contents = [_read(piece) for piece in batch]
        matches = [_matches(content, keys) for content in contents]
        facts += map(_fact, batch, repeat(keyset), contents, matches)
    return facts


def extend_fact(fact: Fact, evidence: Evidence, previous: KeySet, keyset: KeySet) -> Fact:
    """`derive_fact(evidence, keyset)`, at the price of the keys that `previous` did not have.

    `fact` is what `previous` said about `evidence`; when it is not, everything is derived anew. Adding keys is the only
    trust change that costs cryptography.
    """
    gone = previous.keys.keys() - keyset.keys.keys()
    if not _is_about(fact, evidence, previous) or fact.problem or gone.intersection(fact.verified_by):
        return derive_fact(evidence, keyset)
    content = _read(evidence)
    added = (key for key_id, key in keyset.keys.items() if key_id not in previous.keys)
    matches = dict.fromkeys(fact.verified_by, fact.algorithm) | _matches(content, added)
    return _fact(evidence, keyset, content, matches)


def _is_about(fact: Fact, evidence: Evidence, keyset: KeySet) -> bool:
    """Whether `fact` is what this code said. The place counts: for a signed manifest it decides."""
    same_evidence = fact.evidence_id == evidence.id and fact.format == evidence.format
    same_place = fact.subject == evidence.subject and fact.repository == evidence.repository
    return same_evidence and same_place and fact.keyset == keyset.id and fact.verifier == VERIFIER_VERSION


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
    message, digest = content.message, content.message_sha256
    found: dict[str, str] = {}
    for key in keys:
        for signature in content.signatures:
            algorithm = key.verify(signature, message) if message is not None else key.verify_digest(signature, digest)
            if algorithm:
                found[key.key_id] = algorithm
                break
    return found


def _fact(
    evidence: Evidence, keyset: KeySet, content: SignedContent | EvidenceError, matches: Mapping[str, str]
) -> Fact:
    """Steps 3 and 4."""
    if isinstance(content, EvidenceError):
        return _broken(evidence, keyset, content)
    problem, detail = ("", "") if matches else _why_not(content, keyset)
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
        algorithm=matches[verified_by[0]] if verified_by else "",
        key_hint=content.key_hint,
        claimed_time=content.claimed_time,
        problem=problem,
        problem_detail=detail,
    )


def _why_not(content: SignedContent, keyset: KeySet) -> tuple[str, str]:
    """Step 3: (reason code, detail); empty when it is simply nobody's signature among the keys given."""
    if content.unsupported:
        return "unsupported-evidence", content.unsupported
    for signature in content.signatures:
        if not looks_like_signature(signature):
            return "signature-malformed", f"{len(signature)} bytes that no ECDSA, RSA or Ed25519 key could have made"
    if content.message is None and not _digest_suffices(content.key_hint, keyset):
        return "unsupported-evidence", "the key in question does not hash with SHA-256, and only that digest is known"
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
