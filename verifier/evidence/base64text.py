"""Base64 with one spelling per value.

Python's decoder skips what it does not know, and most decoders ignore left-over bits. Here a text is accepted only when
encoding the result gives the text again.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from typing import Final

from verifier.errors import EvidenceError

_URL_TO_STANDARD: Final = str.maketrans("-_", "+/")
_WHITESPACE: Final = str.maketrans("", "", " \t\r\n")


def decode_base64(text: object, what: str, code: str) -> bytes:
    """Standard alphabet, padded, canonical.

    Raises:
        EvidenceError: with `code`; the message names `what`.
    """
    if not isinstance(text, str):
        raise EvidenceError(code, f"{what}: expected base64 text, got {type(text).__name__}")
    try:
        raw = a2b_base64(text)
    except ValueError as error:  # binascii.Error is one; the other is text that is not ASCII
        raise EvidenceError(code, f"{what} is not base64: {error}") from error
    if b2a_base64(raw, newline=False) != text.encode():
        raise EvidenceError(code, f"{what} is not canonical base64 (standard alphabet, padded, nothing in between)")
    return raw


def decode_spaced_base64(text: str, what: str, code: str) -> bytes:
    """As `decode_base64`, with ASCII white space ignored: signatures made with openssl carry its line ends.

    Raises:
        EvidenceError: with `code`; the message names `what`.
    """
    try:
        return decode_base64(text, what, code)
    except EvidenceError:
        return decode_base64(text.translate(_WHITESPACE), what, code)


def decode_any_base64(text: object, what: str, code: str) -> bytes:
    """Standard or URL alphabet, padded or not, which the DSSE protocol leaves to the writer; still canonical.

    Raises:
        EvidenceError: with `code`; the message names `what`.
    """
    if not isinstance(text, str):
        return decode_base64(text, what, code)
    standard = text.translate(_URL_TO_STANDARD)
    return decode_base64(standard + "=" * (-len(standard) % 4) if "=" not in standard else standard, what, code)
