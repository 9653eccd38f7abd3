"""Where revet answers otherwise than the real tools: one row each, with the reason. docs/differences.md is made of it.

    explained(case, "cosign3")        the row by which this tool says the opposite of revet, or None: they agree
    table()                           the rows as the page has them

Rows with `shows` are compared with the tools by tests/integration/test_oracle_agreement.py, both ways: a difference
without a row fails, and so does a row without its difference. The others name the test, or say who wrote it down.
"""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from tests.helpers.oracle_world import Case

BOTH = ("cosign2", "cosign3")
ACCEPTS, REFUSES, SAME, NONE = "accepts", "refuses", "as revet", "-"


class Row(NamedTuple):
    """One difference."""

    id: str
    case: str
    cosign2: str
    cosign3: str
    notation: str
    others: str
    """What is known of sigstore-go, sigstore-python, Kyverno: from their sources, advisories and threads."""
    revet: str
    why: str
    clause: str
    shows: tuple[str, ...] = ()
    """Patterns of case names. They mean the cases that revet answers as `revet` says."""
    test: str = ""
    """Where it is shown, if not by cases: file::test."""

    @property
    def tools(self) -> tuple[str, ...]:
        """Tools that say the opposite in the cases of `shows`."""
        said = {"cosign2": self.cosign2, "cosign3": self.cosign3, "notation": self.notation}
        return tuple(tool for tool, answer in said.items() if answer in {ACCEPTS, REFUSES})


SIGNATURE_SPEC = "cosign SIGNATURE_SPEC"
AGREEMENT = "tests/integration/test_notation_agreement.py::test_the_same_answer"
JSON_AGREEMENT = "tests/integration/test_notation_agreement.py::test_the_same_answer_about_json"
REKOR = "tests/integration/test_rekor_agreement.py::test_bundles"
FAILURES = "tests/conformance/test_known_failures.py"

ROWS = (
    # ---------------------------------------------------------------------------------- what counts as a signature
    Row(
        "attestation-only",
        "only an attestation by the key hangs on the image, in a bundle",
        ACCEPTS,
        ACCEPTS,
        NONE,
        "Kyverno `SigstoreBundle`: accepts",
        REFUSES,
        "Whoever may attest a scan has not thereby released the image; only `sign/v1` statements, simple signing and "
        "message signatures sign it",
        "cosign BUNDLE_SPEC, predicate `https://sigstore.dev/cosign/sign/v1`",
        ("several/bundle attestation only",),
    ),
    Row(
        "bundle-hides-classic",
        "a bundle of anybody beside a good classic signature",
        REFUSES,
        REFUSES,
        NONE,
        NONE,
        ACCEPTS,
        "Adding evidence must not take evidence away: else whoever may push a referrer decides what is signed",
        "OCI distribution 1.1, referrers; both places are asked",
        ("several/a stranger's bundle beside a classic signature", "several/both generations, both asked"),
    ),
    Row(
        "message-signature",
        "a bundle whose `messageSignature` is over the manifest",
        REFUSES,
        REFUSES,
        NONE,
        "sigstore-go, sigstore-python: accept it for files",
        ACCEPTS,
        "The format allows it, and the manifest is the artifact; its digest is the one that runs",
        "sigstore_bundle.proto, `message_signature`",
        ("several/message signature",),
    ),
    Row(
        "bundle-annotations",
        "annotations are asked for (`-a`) and the bundle has others, or none",
        ACCEPTS,
        SAME,
        NONE,
        NONE,
        REFUSES,
        "cosign 2 looks at annotations of classic signatures only; what is asked for has to be signed in either",
        "in-toto Statement v1, `subject[].annotations`",
        tuple(f"bundle/{key}/annotation *" for key in ("p256", "rsa2048", "rsa3072", "rsa4096", "ed25519")),
    ),
    # ------------------------------------------------------------------------------------------------- algorithms
    Row(
        "hash-of-the-key",
        "a P-384 or P-521 key over the hash it implies, as `cosign sign` itself writes it, with default flags",
        REFUSES,
        REFUSES,
        NONE,
        NONE,
        ACCEPTS,
        "`--key` assumes SHA-256. revet tries the hash the key implies, then SHA-256, never a weaker one, and says "
        "which one matched",
        "Sigstore algorithm registry; FIPS 186-5 section 6",
        (
            *(f"{family}/p384/*" for family in ("classic", "bundle", "attest-classic", "attest-bundle", "byo-classic")),
            *(f"{family}/p521/*" for family in ("classic", "bundle", "byo-classic")),
            *(f"keyless-classic/{key} good" for key in ("p384", "p521")),
        ),
    ),
    Row(
        "ed25519ph",
        "Ed25519ph, which cosign writes for Ed25519 keys, with default flags",
        REFUSES,
        REFUSES,
        NONE,
        NONE,
        ACCEPTS,
        "cosign signs prehashed and verifies plain Ed25519. Both are of the same key; revet tries both",
        "RFC 8032 section 5.1",
        ("classic/ed25519ph/*", "bundle/ed25519ph/*"),
    ),
    Row(
        "rsa-pss",
        "RSA-PSS by a key given as a public key",
        REFUSES,
        REFUSES,
        NONE,
        NONE,
        ACCEPTS,
        "A public key does not say its padding, and cosign assumes PKCS#1 v1.5. revet tries both",
        "RFC 8017 section 8; Sigstore algorithm registry, `PKIX_RSA_PSS_*`",
        ("classic/rsa2048-pss/*", "bundle/rsa2048-pss/*"),
    ),
    # ------------------------------------------------------------------------------------------------ certificates
    Row(
        "chain-in-annotation",
        "the trust root has the anchor alone and the classic signature brings the intermediate",
        SAME,
        REFUSES,
        NONE,
        NONE,
        ACCEPTS,
        "cosign 3 with a trusted root leaves the chain annotation aside. An intermediate that comes along is no "
        "anchor; whether it leads to one is what is checked",
        f"{SIGNATURE_SPEC}, `dev.sigstore.cosign/chain`; RFC 5280 section 6.1",
        ("byo-classic/p256/intermediate comes along",),
    ),
    Row(
        "stamp-not-asked-for",
        "a certificate of one's own CA that has ended, with a good timestamp, without `--use-signed-timestamps`",
        SAME,
        REFUSES,
        NONE,
        NONE,
        ACCEPTS,
        "cosign 3 then judges the certificate by its clock. A timestamp that is there, by an authority of the trust "
        "root, is a proof whether or not somebody thought of asking",
        "RFC 3161 section 1; Sigstore client specification, verification of the certificate at the trusted time",
        ("byo-*/p256/expired, stamped in time, not asked for",),
    ),
    Row(
        "ballast-in-chain",
        "a v0.3 bundle of one's own CA whose chain holds the self-signed root, or the leaf again",
        NONE,
        REFUSES,
        NONE,
        "the check is sigstore-go's",
        ACCEPTS,
        "The format forbids a root for 0.1 and 0.2, where revet refuses it too. In 0.3 it is ballast: nothing inside a "
        "bundle is ever an anchor",
        "sigstore_bundle.proto, `x509_certificate_chain`",
        ("byo-bundle/p256/root comes along", "byo-bundle/p256/leaf comes along twice"),
    ),
    Row(
        "damaged-certificate-in-token",
        "a timestamp token that brings a damaged copy of a CA certificate which the trust root has",
        REFUSES,
        REFUSES,
        NONE,
        NONE,
        ACCEPTS,
        "A token does not sign the certificates it brings. The chain is built from the trust root's; what comes along "
        "is needed only where the root has less",
        "RFC 5652 section 5.1; RFC 3161 section 2.4.2",
        ("stamped-*/stamp with a damaged CA certificate",),
    ),
    Row(
        "damaged-token",
        "a timestamp token with a bit changed outside of what its authority signed (status, framing, lists)",
        ACCEPTS,
        ACCEPTS,
        NONE,
        NONE,
        REFUSES,
        "A token is read strictly or not at all: what is not DER, or contradicts itself, is no token. Nothing that a "
        "timestamp authority wrote is refused by it",
        "RFC 3161 section 2.4.2; RFC 5652 section 5.1",
        test="tests/integration/test_oracle_agreement.py::"
        "test_what_is_changed_at_random_is_answered_alike_or_a_row_says_why",
    ),
    Row(
        "unknown-members",
        "a bundle with a member that no version so far has",
        REFUSES,
        REFUSES,
        NONE,
        "Go's protojson refuses what it does not know",
        ACCEPTS,
        "A later version may add members, and none can change what is read: a known one twice, or in other capitals, "
        "is refused",
        "sigstore_bundle.proto, `media_type`; ProtoJSON, unknown fields",
        ("bundle/p256/unknown member",),
    ),
    Row(
        "issuer-of-v2-alone",
        "a certificate with the issuer in extension .8 only, classic signature",
        REFUSES,
        REFUSES,
        NONE,
        "sigstore-go: .8 counts",
        ACCEPTS,
        "The classic path of cosign reads the deprecated extension .1 only; .8 is the one that replaced it",
        "Fulcio OID info, 1.3.6.1.4.1.57264.1.8",
        ("keyless-classic/issuer in .8 alone",),
    ),
    Row(
        "issuers-differ",
        "a certificate whose extensions .1 and .8 name two issuers, in a bundle",
        ACCEPTS,
        ACCEPTS,
        NONE,
        "sigstore-go: the later wins; sigstore-python: refuses",
        REFUSES,
        "Two verifiers would see two signers under one signature",
        "Fulcio OID info, .1 and .8",
        ("keyless-v?/issuers in .1 and .8 differ",),
    ),
    # -------------------------------------------------------------------------------------------- logs and windows
    Row(
        "kind-version",
        "an entry whose `kindVersion` is not that of its body",
        ACCEPTS,
        ACCEPTS,
        NONE,
        "sigstore-go: accepts; sigstore-python: refuses",
        REFUSES,
        "What is compared depends on the kind; it has to be the logged one",
        "sigstore_rekor.proto, `kind_version`",
        ("keyless-v?/kind changed",),
    ),
    Row(
        "v2-proof-index",
        "a Rekor v2 entry whose inclusion proof names another index",
        ACCEPTS,
        ACCEPTS,
        NONE,
        "sigstore-go: accepts; sigstore-python: refuses",
        REFUSES,
        "The entry's index stands for it there; a proof that says something else is no proof of this entry",
        "sigstore_rekor.proto, `InclusionProof`; RFC 6962 section 2.1.1",
        ("keyless-v2/proof index changed",),
    ),
    Row(
        "v2-proof-root",
        "a Rekor v2 entry whose inclusion proof names another root hash or tree size",
        ACCEPTS,
        ACCEPTS,
        NONE,
        "sigstore-go: accepts; sigstore-python: refuses another root hash",
        REFUSES,
        "Proof and checkpoint have to agree",
        "sigstore_rekor.proto, `InclusionProof`",
        ("keyless-v2/proof root changed", "keyless-v2/proof size changed"),
    ),
    Row(
        "v2-entry-body",
        "a Rekor v2 entry whose body is about another hash, beside a proof of the right one",
        SAME,
        ACCEPTS,
        NONE,
        NONE,
        REFUSES,
        "cosign 3 answers as if it made the entry from the bundle and left the body aside, which is sound. revet reads "
        "the body, so it has to be the one that was logged",
        "sigstore_rekor.proto, `canonicalized_body`; RFC 6962 section 2.1.1",
        ("keyless-v2/entry about another hash",),
    ),
    Row(
        "v2-log-window",
        "the trust root's window of the Rekor v2 key does not hold the timestamp",
        ACCEPTS,
        ACCEPTS,
        NONE,
        "sigstore-go, sigstore-python: accept",
        REFUSES,
        "v2 entries have no time of their own, so nobody looks. revet asks the window at the signature's accepted "
        "timestamps: a log key that was retired before then logged nothing of it",
        "Sigstore client specification section 6, validity of instances",
        ("keyless-v2/log window *",),
    ),
    Row(
        "windows-of-services",
        "CA, Rekor v1 or CT key outside its window in the trust root",
        SAME,
        SAME,
        NONE,
        "sigstore-python 4.5: accepts",
        REFUSES,
        "The windows are how a service is retired",
        "Sigstore client specification section 6; sigstore_trustroot.proto, `valid_for`",
        test=f"{FAILURES}::test_windows_of_ca_log_and_ct_log_are_judged",
    ),
    Row(
        "witness-lines",
        "a Rekor v1 checkpoint with lines of witnesses",
        NONE,
        REFUSES,
        NONE,
        NONE,
        ACCEPTS,
        "A note may have lines of others; one good line of the log is needed",
        "C2SP signed-note.md; transparency-dev checkpoint format",
        test=REKOR,
    ),
    Row(
        "unrelated-entry",
        "a valid entry of the log that is about another artifact",
        "accepted before 2.6.2",
        "accepted before 3.0.4",
        NONE,
        NONE,
        REFUSES,
        "CVE-2026-22703: hash, signature and key of the entry are compared",
        "Sigstore client specification, verification of log entries",
        test=f"{FAILURES}::test_cve_2026_22703_an_entry_about_something_else",
    ),
    Row(
        "managed-key-window",
        "a key of the ring used after its window, with a proven time",
        NONE,
        NONE,
        NONE,
        "sigstore-go before June 2026: accepts (GHSA-wqqc-jjcq-vfxm)",
        REFUSES,
        "A key's window is judged at the proven time, as a certificate's is",
        "sigstore_trustroot.proto, `PublicKey.valid_for`",
        test=f"{FAILURES}::test_ghsa_wqqc_jjcq_vfxm_a_managed_key_outside_its_window",
    ),
    Row(
        "unsorted-certificate-set",
        "a timestamp token whose certificates are not in DER order",
        NONE,
        NONE,
        SAME,
        "rfc3161-client: refuses; openssl: accepts",
        ACCEPTS,
        "Authorities write them so; the set is not signed, and its order means nothing",
        "RFC 5652 section 10.2.3",
        test=f"{FAILURES}::test_tokens_with_unsorted_certificates_are_read",
    ),
    # ---------------------------------------------------------------------------------------------------- notation
    Row(
        "unknown-critical-attribute",
        "a signed attribute that is listed as critical and that nobody knows",
        NONE,
        NONE,
        ACCEPTS,
        NONE,
        REFUSES,
        "Critical means: refuse what you do not understand. notation looks only when there is a plugin to ask",
        "Notary Project signature specification, `crit`; RFC 7515 section 4.1.11",
        test=AGREEMENT,
    ),
    Row(
        "duplicate-members",
        "a JWS header with a member twice, or again in capitals",
        NONE,
        NONE,
        ACCEPTS,
        NONE,
        REFUSES,
        "Go takes the last one, other parsers the first: two documents under one signature",
        "RFC 7515 section 4, RFC 8259 section 4",
        test=JSON_AGREEMENT,
    ),
    Row(
        "pss-salt",
        "a JWS whose PSS salt is not as long as the hash",
        NONE,
        NONE,
        ACCEPTS,
        NONE,
        REFUSES,
        "The algorithm's name says the length; notation's own COSE reader refuses it",
        "RFC 7518 section 3.5",
        test=AGREEMENT,
    ),
    Row(
        "any-extended-key-usage",
        "a signer's certificate for any purpose (2.5.29.37.0)",
        NONE,
        NONE,
        ACCEPTS,
        NONE,
        REFUSES,
        "The specification forbids it by name",
        "Notary Project signature specification, certificate requirements",
        test=AGREEMENT,
    ),
    Row(
        "two-signing-times",
        "a COSE envelope with both kinds of signing time",
        NONE,
        NONE,
        ACCEPTS,
        NONE,
        REFUSES,
        "Each scheme has one; notation's own JWS reader refuses both together",
        "Notary Project signature specification, signed attributes",
        test=AGREEMENT,
    ),
    Row(
        "signing-time-critical",
        "a JWS that lists its signing time as critical",
        NONE,
        NONE,
        REFUSES,
        NONE,
        ACCEPTS,
        "The attribute is there and understood; listing it changes nothing",
        "RFC 7515 section 4.1.11",
        test=AGREEMENT,
    ),
    Row(
        "cached-list",
        "a certificate revoked after notation cached the CA's list",
        NONE,
        NONE,
        "accepts until `nextUpdate`",
        NONE,
        REFUSES,
        "The newest list given to revet counts, whatever an older one promised",
        "RFC 5280 section 5.1.2.5",
        test=f"{FAILURES}::test_a_certificate_revoked_in_a_newer_list_falls_at_once",
    ),
    Row(
        "invalidity-date",
        "a key stolen after a timestamped signature of the ordinary scheme",
        NONE,
        NONE,
        REFUSES,
        NONE,
        ACCEPTS,
        "The specification compares the invalidity date with the timestamp; notation does so for signing authorities "
        "only. `revocationMode: notation` answers as notation does",
        "Notary Project trust policy specification, revocation; RFC 5280 section 5.3.2",
        test="tests/integration/test_notation_agreement.py"
        "::test_the_specification_differs_from_notation_where_finding_5_says",
    ),
    # ------------------------------------------------------------------------------------------------------- scope
    Row(
        "signed-index",
        "the platform's manifest runs and only its index is signed",
        "nothing signed (10)",
        "nothing signed (10)",
        NONE,
        NONE,
        ACCEPTS,
        "The index names its children by digest. Never the reverse",
        "OCI image index, `manifests[].digest`",
        test="tests/integration/test_cosign_agreement.py"
        "::test_a_signature_on_the_index_covers_the_child_that_a_node_runs",
    ),
)


def explained(case: Case, tool: str) -> Row | None:
    """The row by which `tool` says the opposite of revet about this case."""
    found = [
        row
        for row in ROWS
        if tool in row.tools
        and (row.revet == ACCEPTS) is case.good
        and any(fnmatchcase(case.name, pattern) for pattern in row.shows)
    ]
    assert len(found) < 2, f"{case.name}: {[row.id for row in found]}"
    return found[0] if found else None


_HEADS = ("id", "case", "cosign 2.6.5", "cosign 3.1.3", "notation 1.3.2", "others", "revet", "why", "clause")


def table() -> str:
    """The rows in Markdown."""
    lines = [_line(_HEADS), _line(["---"] * len(_HEADS))]
    for row in ROWS:
        asked = (row.cosign2, row.cosign3, row.notation, row.others)
        lines.append(_line([f"`{row.id}`", row.case, *asked, f"**{row.revet}**", row.why, row.clause]))
    return "\n".join(lines) + "\n"


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _rewrite(page: Path) -> None:
    begin, end = "<!-- rows: made by tests/helpers/oracle_differences.py -->\n", "<!-- end of rows -->"
    head, _, rest = page.read_text().partition(begin)
    page.write_text(head + begin + table() + end + rest.partition(end)[2])


if __name__ == "__main__":
    _rewrite(Path(__file__).parents[2] / "docs" / "differences.md")
