"""Guard rails against hostile input: every limit has a name, a unit and the reason for its size.

Evidence comes from registries anybody may push to. Each limit is checked before the work it guards: sizes before
decoding, depth before parsing, counts before loops. What is over a limit is answered `limit-exceeded`, never cut.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

SIMPLE_SIGNING_BYTES: Final = MIB
"""Bytes of a simple-signing payload. Real ones have 250 to 600; cosign allows 128 MiB, memory for the asking."""

ENVELOPE_BYTES: Final = 8 * MIB
"""Bytes of a DSSE envelope or bundle. Attested SBOMs are megabytes of honest JSON; base64 adds a third."""

JSON_DEPTH: Final = 64
"""Nested arrays and objects. Simple signing nests 3 deep, provenance about 10, CycloneDX components some 20; parsers
recurse, and a few thousand levels end some of them."""

SIGNATURE_BYTES: Final = 2 * KIB
"""Bytes of one raw signature: RSA of 16384 bits, the largest key OpenSSL verifies with."""

ANNOTATION_BYTES: Final = 64 * KIB
"""Bytes of one annotation that carries a signature, a certificate chain or a log entry."""

ENVELOPE_SIGNATURES: Final = 8
"""Signatures in one DSSE envelope of the classic `.att` form. Each is tried with every key: the number multiplies."""

SUBJECTS: Final = 256
"""Subjects of one statement. Multi-platform provenance has some tens; every worker keeps the digests in memory."""

SIGNED_ANNOTATIONS: Final = 64
"""Signed annotations kept in a fact."""

SIGNED_ANNOTATION_CHARACTERS: Final = 1024
"""Characters of one signed annotation, name and value. Facts are held by every worker."""

NAME_CHARACTERS: Final = 1024
"""Characters of a predicate type or of a signed repository name."""

CERTIFICATES: Final = 10
"""Certificates in one chain: unlimited chains once exhausted admission controllers (CVE-2026-32280)."""

TIMESTAMPS: Final = 32
"""RFC 3161 timestamps in one bundle, the limit of the Sigstore bundle format's other verifiers."""

LOG_ENTRIES: Final = 32
"""Transparency-log entries in one bundle, as above."""

LAYERS: Final = 64
"""Layers of one `.sig` or `.att` manifest that are read. cosign allows 1000, each a fetch and a verification."""

PUBLIC_KEY_BYTES: Final = 16 * KIB
"""Bytes of a public key in PEM. RSA of 16384 bits needs 3 KiB."""

RSA_MIN_BITS: Final = 2048
"""Weaker RSA keys are refused (NIST SP 800-131A)."""

RSA_MAX_BITS: Final = 16_384
"""Larger RSA keys are refused: cost grows with the square, and OpenSSL refuses them too."""
