"""The closed list of reasons. A code not in this table cannot be used; each says what it means and what to do.

`revet explain CODE` prints a row; documents, messages and metrics carry the code unchanged.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from verifier.models import Reason


class ReasonRow(NamedTuple):
    """`sentence` may hold {placeholders} that `reason()` fills; `effect` is the outcome the reason argues for."""

    effect: str
    sentence: str
    meaning: str
    todo: str


REASONS: Final[dict[str, ReasonRow]] = {
    # valid
    "satisfied": ReasonRow(
        "valid", "every requirement is met: {by}", "The policy's whole requirement tree holds.", "Nothing."
    ),
    "satisfied-by-list": ReasonRow(
        "valid", "allowed by list: {by}", "A digest or registry list allows it; that is not a signature.", "Nothing."
    ),
    "counted-after-retirement": ReasonRow(
        "valid",
        "signed by {signer}, retired at {retired}; no proof that the signature is older, counted by policy",
        "A superseded key's signature without proof of its age counts by default (softUnproven: warn).",
        "Sign again with the key's successor, or set softUnproven.",
    ),
    # violates
    "unsigned": ReasonRow(
        "violates",
        "expected a signature of {expected}; found none at {places}",
        "Every place was asked and no signature exists for this digest or an index that lists it.",
        "Sign the image with one of the expected keys, or exempt it.",
    ),
    "attestation-only": ReasonRow(
        "violates",
        "expected a signature of {expected}; found only attestations ({found})",
        "An attestation (an SBOM, a scan) says something about an image; it does not sign it.",
        "Sign the image itself.",
    ),
    "wrong-signer": ReasonRow(
        "violates",
        "expected a signature of {expected}; found {found}",
        "Signatures exist, but none of them counts for this requirement.",
        "Find out who signed; sign with an expected key, or add the key to the policy.",
    ),
    "annotation-mismatch": ReasonRow(
        "violates",
        "{signer} signed, but {annotation} is {found}, expected {expected}",
        "The signed annotations are not the ones the policy asks for.",
        "Sign with the right annotations.",
    ),
    "repository-mismatch": ReasonRow(
        "violates",
        "the signed payload names repository {found}, found in {expected}",
        "A signature made for another repository was copied here (cross-repository replay).",
        "Sign in this repository.",
    ),
    "signature-invalid": ReasonRow(
        "violates",
        "a signature that claims {claimed} does not verify: {detail}",
        "The evidence is broken or forged: it names a known key or this image and does not hold.",
        "Treat as tampering until explained; compare the digest with the build's output.",
    ),
    "subject-mismatch": ReasonRow(
        "violates",
        "a good signature of {signer} names {found}, not {expected}",
        "The signed bytes name another image: the manifest was replaced or the signature was moved.",
        "Treat as tampering until explained; find out who replaced the manifest.",
    ),
    "key-revoked": ReasonRow(
        "violates",
        "signed by {signer}, revoked ({reason}); {timing}",
        "A key was compromised and the signature is not proven to be older than the compromise.",
        "Rebuild and sign with a sound key; see `revet blast-radius --key`.",
    ),
    "key-revoked-time-unknown": ReasonRow(
        "violates",
        "signed by {signer}, compromised since {since}; nothing proves when this signature was made",
        "Without a trusted time a signature of a compromised key cannot be told from a forged one.",
        "Rebuild and sign with a sound key.",
    ),
    "evidence-revoked": ReasonRow(
        "violates",
        "this signature was revoked by itself ({reason})",
        "One piece of evidence was revoked.",
        "Sign again.",
    ),
    "digest-denied": ReasonRow(
        "violates", "digest {digest} is denied ({reason})", "The image itself was revoked.", "Replace the image."
    ),
    "key-suspended": ReasonRow(
        "violates",
        "signed by {signer}, which is on hold since {since}",
        "A decision about the key is pending; the signature does not count meanwhile.",
        "Wait for the decision or sign with another key.",
    ),
    "key-removed": ReasonRow(
        "violates",
        "signed by {signer}, which is no longer in the trust ring",
        "The key was taken out of trust; that is not a revocation.",
        "Sign with a key that is in the ring.",
    ),
    "outside-key-window": ReasonRow(
        "violates",
        "signed by {signer}; not proven to be made within its window {window}",
        "A key's validity window is judged at the proven signing time.",
        "Sign with a key that is valid, or extend the window.",
    ),
    "retired-key": ReasonRow(
        "violates",
        "signed by {signer}, retired at {retired}; no proof that the signature is older",
        "The policy denies unproven signatures of retired keys (softUnproven: deny).",
        "Sign with the successor.",
    ),
    "untrusted-registry": ReasonRow(
        "violates",
        "registry {found} is not in {expected}",
        "The image comes from a registry the policy does not allow.",
        "Move the image to an allowed registry.",
    ),
    "digest-not-listed": ReasonRow(
        "violates", "digest {found} is not in the policy's list", "Only listed digests are allowed.", "Add the digest."
    ),
    # unverifiable
    "evidence-pending": ReasonRow(
        "unverifiable",
        "evidence for {digest} has not been fetched yet",
        "The fetcher is at work; no finding before a deadline.",
        "Wait; see `revet doctor` when it lasts.",
    ),
    "keys-pending": ReasonRow(
        "unverifiable",
        "a key was added and the evidence of {digest} has not been checked against it yet",
        "Work for the fetcher, from the evidence store.",
        "Wait; see `revet doctor` when it lasts.",
    ),
    "registry-unauthorized": ReasonRow(
        "unverifiable", "{place}: access refused", "401 or 403.", "Give revet read access."
    ),
    "registry-not-found": ReasonRow(
        "unverifiable",
        "{place}: the image is not there",
        "The registry does not know the repository or digest.",
        "Check the reference; a deleted image cannot be verified again.",
    ),
    "registry-rate-limited": ReasonRow(
        "unverifiable", "{place}: too many requests", "429.", "Wait or use credentials."
    ),
    "registry-unavailable": ReasonRow(
        "unverifiable", "{place}: no answer ({detail})", "Time-out, 5xx or no connection.", "Check the registry."
    ),
    "registry-protocol": ReasonRow(
        "unverifiable",
        "{place}: an answer that breaks the protocol ({detail})",
        "Bytes that do not match their digest, a wrong type.",
        "Check the registry or a proxy in between.",
    ),
    "no-evidence-source": ReasonRow(
        "unverifiable",
        "no evidence source is configured for {digest}",
        "revet was not told where to look.",
        "Give --evidence oci-layout:DIR or --evidence registry.",
    ),
    "digest-unknown": ReasonRow(
        "unverifiable", "the runtime reported no digest yet", "The container is waiting or was never pulled.", "Wait."
    ),
    "digest-not-addressable": ReasonRow(
        "unverifiable",
        "the runtime reported {found}, which is not a manifest digest",
        "Images loaded without a registry have a configuration digest or a storage id only.",
        "Pull the image from a registry, pinned by digest.",
    ),
    "reference-unparsable": ReasonRow(
        "unverifiable",
        "image {found} is not a reference",
        "The reference follows no known grammar.",
        "Correct the reference.",
    ),
    "evidence-too-large": ReasonRow(
        "unverifiable",
        "{what} is {found}, limit {limit}",
        "A guard rail against hostile input.",
        "See docs/policy.md, limits.",
    ),
    # ungoverned
    "ungoverned": ReasonRow(
        "ungoverned", "no policy matches", "Facts are recorded; nothing is asked of it.", "Write a policy."
    ),
    # evidence problems (facts)
    "payload-malformed": ReasonRow("", "{detail}", "The signed payload is not what its format demands.", "Sign again."),
    "signature-malformed": ReasonRow("", "{detail}", "The signature is not readable.", "Sign again."),
    "bundle-malformed": ReasonRow("", "{detail}", "The bundle is not what its format demands.", "Sign again."),
    "payload-digest-mismatch": ReasonRow(
        "", "{detail}", "The bytes are not the ones the manifest names.", "Check the registry."
    ),
    "limit-exceeded": ReasonRow("", "{detail}", "A guard rail against hostile input.", "See docs/policy.md, limits."),
    "unsupported-evidence": ReasonRow(
        "", "{detail}", "Evidence of a kind this version does not read.", "See docs/policy.md."
    ),
}


def reason(code: str, policy: str = "", **values: object) -> Reason:
    """A reason with its sentence filled in.

    Raises:
        KeyError: the code is not in the table, or a placeholder has no value.
    """
    return Reason(code=code, message=REASONS[code].sentence.format(**values), policy=policy)
