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


_TAMPERING: Final = "Treat as tampering until explained; compare with the build's output."

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
    "identity-revoked": ReasonRow(
        "violates",
        "signed by {signer}; {what} is revoked ({reason}); {timing}",
        "What the signature rests on beside its key (an identity, a CA, a builder, a commit, a log) was revoked.",
        "Rebuild and sign where nothing was compromised; see `revet blast-radius`.",
    ),
    "source-revoked": ReasonRow(
        "violates",
        "signed by {signer}; {what}, which dated or logged the signature, is revoked ({reason})",
        "A log or timestamp authority was revoked, so what it said of this signature no longer counts.",
        "Sign again with sound services.",
    ),
    "certificate-revoked": ReasonRow(
        "violates",
        "signed by {signer} with a certificate that its CA revoked ({detail})",
        "The CA's revocation list names a certificate of the chain.",
        "Sign again with a certificate in force.",
    ),
    "outside-certificate-window": ReasonRow(
        "violates",
        "signed by {signer}; not within the validity of its certificates, {window}; {timing}",
        "A certificate, or the trust root's window for its CA, was not valid at the proven signing time. Without a"
        " trusted timestamp that time is now.",
        "Sign with a timestamp or log entry, or renew the certificate and sign again.",
    ),
    "signature-expired": ReasonRow(
        "violates",
        "signed by {signer}; the signature expired at {until}",
        "The signer limited the signature's life.",
        "Sign again.",
    ),
    "time-unproven": ReasonRow(
        "violates",
        "signed by {signer}; trusted times: {found}",
        "The attestor demands a time from a log or a timestamp authority in trust, and none of them gives one.",
        "Sign with a timestamp, or add the trust root of the service that gave it.",
    ),
    "log-entry-missing": ReasonRow(
        "violates",
        "signed by {signer}; entries in a transparency log in trust: {found}",
        "The attestor demands an entry about this signature in a log of its trust root.",
        "Sign with a log, add the log's trust root, or make the log optional.",
    ),
    "sct-missing": ReasonRow(
        "violates",
        "signed by {signer}; no CT log in trust vouches for its certificate",
        "The attestor demands that the certificate was logged when it was issued (RFC 6962).",
        "Use a CA that logs, or make the sct optional.",
    ),
    "delegation-missing": ReasonRow(
        "violates",
        "signed, but not by the delegations {expected}",
        "The policy names delegation roles of the repository's trust data that have to sign the tag.",
        "Sign the tag with these roles.",
    ),
    "attestation-missing": ReasonRow(
        "violates",
        "expected an attestation of type {type} by {expected}; found {found}",
        "Every place was asked; no such statement of this signer counts.",
        "Attest the image in its build, or exempt it.",
    ),
    "attestation-violates": ReasonRow(
        "violates",
        "the {type} attestation of {signer} breaks the rule: {detail}",
        "A statement by the right signer says what the policy does not accept.",
        "See what was found; rebuild, or change the rule.",
    ),
    "attestation-stale": ReasonRow(
        "violates",
        "the {type} attestation of {signer} no longer counts: {detail}",
        "The statement is older than the rule allows, or an exception in the rule ended.",
        "Scan or attest again.",
    ),
    "denied-by-policy": ReasonRow(
        "violates", "denied by policy: {detail}", "The policy denies whatever it matches.", "Run something else."
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
        "a key, trust root or content rule was added and the evidence of {digest} has not been checked against it yet",
        "Work for the fetcher, from the evidence store.",
        "Wait; see `revet doctor` when it lasts.",
    ),
    "content-pending": ReasonRow(
        "unverifiable",
        "the {type} attestation of {signer} has not been evaluated by the policy's rule yet",
        "Work for the fetcher, from the evidence store.",
        "Wait; see `revet doctor` when it lasts.",
    ),
    "registry-unauthorized": ReasonRow(
        "unverifiable", "{place}: access refused", "401 or 403.", "Give revet read access."
    ),
    "registry-not-allowed": ReasonRow(
        "unverifiable",
        "{place}: may not be asked ({detail})",
        "The host of the image, or one it sent revet to, is not listed or is at an address that is not public.",
        "If it is yours, list it: evidence.hosts. If not, ask who runs an image of that name.",
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
    "budget": ReasonRow(
        "unverifiable",
        "no verdict within {limit}: {detail}",
        "Admission answers within its budget (`admission.budget_seconds`), whatever a registry does.",
        "Try again: the search goes on meanwhile. Where it lasts, check the registry.",
    ),
    "trust-stale": ReasonRow(
        "unverifiable",
        "trust as this process knows it is {detail} old",
        "Admission does not judge by trust that may have changed since (`serve.stale_trust_seconds`).",
        "Check the brokers, or the state file; see `revet doctor`.",
    ),
    "unpinned": ReasonRow(
        "unverifiable",
        "{found} names no digest; it meant {digest} when it was judged",
        "A tag is judged by what it means now, and the node pulls later: nothing ties the two together.",
        "Pin the image by its digest.",
    ),
    "evidence-too-large": ReasonRow(
        "unverifiable",
        "{what} is {found}, limit {limit}",
        "A guard rail against hostile input.",
        "See docs/verification/limits.md.",
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
    "limit-exceeded": ReasonRow(
        "", "{detail}", "A guard rail against hostile input.", "See docs/verification/limits.md."
    ),
    "unsupported-evidence": ReasonRow(
        "", "{detail}", "Evidence of a kind this version does not read.", "See docs/verification.md."
    ),
    **{
        code: ReasonRow("", "{detail}", meaning, todo)
        for code, meaning, todo in (
            ("signature-mismatch", "The signature is not by the key it comes with.", _TAMPERING),
            ("certificate-malformed", "A certificate is not what X.509 or its profile demands.", "Sign again."),
            ("sct-invalid", "A CT log that is known did not sign this about the certificate.", _TAMPERING),
            ("log-entry-malformed", "A log entry is not what its format demands.", "Sign again."),
            ("log-entry-mismatch", "The log entry is about another signature (CVE-2026-22703).", _TAMPERING),
            ("log-proof-invalid", "A log that is known does not vouch for the entry.", _TAMPERING),
            ("timestamp-malformed", "A timestamp is not what RFC 3161 demands.", "Sign again."),
            ("timestamp-invalid", "The timestamp is over something else, or not by its authority.", _TAMPERING),
            ("envelope-malformed", "A Notary Project envelope is not what its format demands.", "Sign again."),
            ("critical-attribute-unknown", "The signer demands that an attribute is understood.", "Sign without it."),
            ("verification-plugin-required", "The signer demands a plugin, which revet does not run.", "Sign without."),
            ("algorithm-mismatch", "The envelope names another algorithm than its key implies.", _TAMPERING),
            ("openpgp-malformed", "The OpenPGP message is not what its format demands.", "Sign again."),
            (
                "revocation-malformed",
                "A revocation list or OCSP answer is not what its format demands.",
                "Get it again.",
            ),
            ("revocation-invalid", "A revocation list or OCSP answer is not by its CA, or out of time.", _TAMPERING),
            ("root-unavailable", "The repository of a trust root did not answer.", "Try again later."),
            ("root-refused", "What a repository of trust roots gave is not what its keys demand.", _TAMPERING),
            ("trust-data-malformed", "The trust data is not what Notary v1 writes.", "Fetch it again."),
            ("trust-data-invalid", "A role of the trust data is not signed as its root demands.", _TAMPERING),
        )
    },
}


def reason(code: str, policy: str = "", **values: object) -> Reason:
    """A reason with its sentence filled in.

    Raises:
        KeyError: the code is not in the table, or a placeholder has no value.
    """
    return Reason(code=code, message=REASONS[code].sentence.format(**values), policy=policy)
