"""Public keys as PEM text inside policies: recognised, split, brought to one form, refused when they are not public.

    public_key_pem(text)      one PUBLIC KEY block, with normal line ends
    split_public_keys(text)   every block of a text that holds several (Kyverno's `publicKeys`)

No message repeats the text: a private key pasted by mistake must not travel into a log.
"""

from __future__ import annotations

import re
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

MAX_PEM_CHARACTERS: Final = 8_192
"""Characters of one PEM key: an RSA key of 16,384 bits takes about 2,900. More is not a key."""

_BEGIN: Final = "-----BEGIN "
_BLOCK: Final = re.compile(r"-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]*-----END PUBLIC KEY-----")


def is_pem(text: str) -> bool:
    """True when the text is meant as PEM (rather than as the name of a key)."""
    return _BEGIN in text


def public_key_pem(text: str) -> str:
    """The one PUBLIC KEY block in `text`, lines trimmed, ending with a line feed.

    Raises:
        ValueError: no block, several, another kind of block, too long, or not a key the cryptography library reads.
    """
    if "PRIVATE KEY" in text:
        raise ValueError(
            "this is a private key; revet never needs one. Give the public key, and treat this one as leaked"
        )
    if len(text) > MAX_PEM_CHARACTERS:
        raise ValueError(f"a PEM key of {len(text)} characters; the limit is {MAX_PEM_CHARACTERS}")
    blocks = _BLOCK.findall(text)
    if len(blocks) != 1 or _BLOCK.fullmatch(text.strip()) is None:
        raise ValueError("expected exactly one block from -----BEGIN PUBLIC KEY----- to -----END PUBLIC KEY-----")
    pem = "\n".join(line.strip() for line in blocks[0].splitlines() if line.strip()) + "\n"
    try:
        load_pem_public_key(pem.encode("ascii"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("the PUBLIC KEY block does not hold a readable public key") from error
    return pem


def split_public_keys(text: str) -> tuple[str, ...]:
    """Every PUBLIC KEY block of `text`, unchanged and in order; empty when there is none. Raises nothing."""
    return tuple(_BLOCK.findall(text))
