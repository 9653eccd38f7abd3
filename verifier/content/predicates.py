"""Predicate types: the short names people know, the URIs that are signed, and which version means which.

    predicate_uri("slsaprovenance1")                                     "https://slsa.dev/provenance/v1"
    same_type("https://spdx.dev/Document", "https://spdx.dev/Document/v2.3")      True
    same_type("https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v1.0?draft")      True
    same_type("https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v10")      False

A type is compared, never fetched. Other URIs than those listed are fine; they mean only themselves and their versions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

SLSA_V02: Final = "https://slsa.dev/provenance/v0.2"
SLSA_V1: Final = "https://slsa.dev/provenance/v1"
SPDX: Final = "https://spdx.dev/Document"
CYCLONEDX: Final = "https://cyclonedx.org/bom"
OPENVEX: Final = "https://openvex.dev/ns"
COSIGN_VULN: Final = "https://cosign.sigstore.dev/attestation/vuln/v1"
COSIGN_CUSTOM: Final = "https://cosign.sigstore.dev/attestation/v1"
IN_TOTO_VULNS: Final = "https://in-toto.io/attestation/vulns"
VSA: Final = "https://slsa.dev/verification_summary"
TEST_RESULT: Final = "https://in-toto.io/attestation/test-result"
LINK: Final = "https://in-toto.io/Link/v1"

ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "slsaprovenance": SLSA_V02,
        "slsaprovenance02": SLSA_V02,
        "slsaprovenance1": SLSA_V1,
        "spdx": SPDX,
        "spdxjson": SPDX,
        "cyclonedx": CYCLONEDX,
        "openvex": OPENVEX,
        "vuln": COSIGN_VULN,
        "vulns": IN_TOTO_VULNS,
        "custom": COSIGN_CUSTOM,
        "vsa": VSA,
        "test-result": TEST_RESULT,
        "link": LINK,
    }
)
"""Short name -> URI: the names of `cosign attest --type`, and `vulns`, `vsa` and `test-result` of our own."""

MAX_TYPE_CHARACTERS: Final = 1024
"""Characters of a predicate type; what a statement may carry (`limits.NAME_CHARACTERS`)."""

_VERSIONED: Final = re.compile(r"/v?\d+(?:\.\d+)*\Z", re.ASCII)
_VERSION_BEHIND: Final = re.compile(r"/v?\d+(?:\.\d+)*(?:[-?][\w.=-]*)?", re.ASCII)
_DIGITS_BEHIND: Final = re.compile(r"(?:\.\d+)*(?:[-?][\w.=-]*)?", re.ASCII)
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+", re.ASCII)


def predicate_uri(name: str) -> str:
    """The URI that a short name stands for; a URI stands for itself.

    Raises:
        ValueError: neither; the message lists the short names.
    """
    if name in ALIASES:
        return ALIASES[name]
    if len(name) > MAX_TYPE_CHARACTERS or _URI.fullmatch(name) is None:
        raise ValueError(f"a predicate type is a URI or one of {', '.join(ALIASES)}")
    return name


def same_type(wanted: str, found: str) -> bool:
    """Whether `found` is the type `wanted` (a URI), or a version of it.

    A `wanted` without version takes every version; one with a version takes its minor versions and drafts:
    `…/v1` takes `…/v1.1` and `…/v1.0?draft`, `…/v0.2` takes no other `…/v0.x`.
    """
    if found == wanted:
        return True
    if len(found) > MAX_TYPE_CHARACTERS or not found.startswith(wanted):
        return False
    behind = _DIGITS_BEHIND if _VERSIONED.search(wanted) else _VERSION_BEHIND
    return behind.fullmatch(found, len(wanted)) is not None
