"""The public-good instance of Sigstore: what the trust root shipped with revet is called, and where it is from.

    PUBLIC_GOOD_NAME                      "sigstore-public-good", the name it has in trust
    source_note(public_good_root())       "Python distribution sigstore 4.5.1, taken 2026-11-21"; "" for other bytes

The documents themselves are package data beside this file and read by `verifier.adapters.package_data`;
`scripts/public_good_root.py` renews them. Nothing is trusted because it is shipped: a trust record has to name it.
"""

from __future__ import annotations

import hashlib
from typing import Final

PUBLIC_GOOD_NAME: Final = "sigstore-public-good"
"""Name of the trust root in trust records and policies."""

PUBLIC_GOOD_MIRROR: Final = "https://tuf-repo-cdn.sigstore.dev"
"""Where newer ones are published, by TUF."""

PUBLIC_GOOD_DATE: Final = "2026-11-21"
"""Day the shipped copy was taken."""

PUBLIC_GOOD_SOURCE: Final = "Python distribution sigstore 4.5.1"
"""What it was taken from."""

ROOT_FILE: Final = "public-good.json"
"""File name of the trusted root."""

TUF_ROOT_FILE: Final = "public-good-tuf-root.json"
"""File name of the TUF root metadata from which a client walks to today's."""

SHA256: Final = {
    ROOT_FILE: "6494e21ea73fa7ee769f85f57d5a3e6a08725eae1e38c755fc3517c9e6bc0b66",
    TUF_ROOT_FILE: "73747011d0857ada15479a16c4cae0f3ed03aac698b523b97e1de314ac9d9ca8",
}
"""Hex SHA-256 of the files: what was reviewed is what is used."""


def source_note(content: str) -> str:
    """Where this text is from when it is the shipped trusted root, byte for byte; empty for any other."""
    if hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest() != SHA256[ROOT_FILE]:
        return ""
    return f"{PUBLIC_GOOD_SOURCE}, taken {PUBLIC_GOOD_DATE}"
