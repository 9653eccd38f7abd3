"""Errors that leave `verifier`. A failed check is never one of these: it is a verdict with reasons.

RevetError
├── InputError                  what was given cannot be used; the message says what, where and what to do
│   ├── ImageReferenceError      an image reference or imageID that follows no known grammar
│   ├── EvidenceError           bytes of evidence that cannot be parsed (carries a reason code and a limit)
│   ├── PolicyError             a policy, key or trust document that is wrong (file, line, column, field)
│   └── TrustError              a trust change that cannot be applied (unknown id, stale epoch, weakening import)
└── PlaceError                  a place that was asked did not answer (registry, layout, store)
    ├── PlaceUnavailable        retryable: time-out, 429, 5xx, connection refused
    └── PlaceRefused            permanent until somebody acts: 401, 403, TLS failure, malformed answer
"""

from __future__ import annotations


class RevetError(Exception):
    """Root of every error revet raises on purpose."""

    exit_code = 70
    """Exit code of a command that ends with this error (2 usage, 4 a needed service failed, 70 internal)."""


class InputError(RevetError):
    """What was given cannot be used."""

    exit_code = 2


class ImageReferenceError(InputError):
    """An image reference or imageID that follows no known grammar."""


class EvidenceError(InputError):
    """Bytes of evidence that cannot be parsed; `code` is a reason code of `verifier.reasons`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class PolicyError(InputError):
    """A policy, key or trust document that is wrong, with the place where."""

    def __init__(self, message: str, *, file: str = "", line: int = 0, column: int = 0, field: str = "") -> None:
        self.message, self.file, self.line, self.column, self.field = message, file, line, column, field
        where = file
        if line:
            where += f":{line}" + (f":{column}" if column else "")
        prefix = f"{where}: " if where else ""
        super().__init__(prefix + (f"{field}: " if field else "") + message)


class TrustError(InputError):
    """A trust change that cannot be applied."""


class PlaceError(RevetError):
    """A place that was asked (registry, layout, evidence store) did not give an answer; `code` is a reason code."""

    exit_code = 4
    retryable = False

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class PlaceUnavailable(PlaceError):
    """Worth asking again later: time-out, 429, 5xx, connection refused."""

    retryable = True

    def __init__(self, code: str, message: str, *, retry_after_us: int | None = None) -> None:
        super().__init__(code, message)
        self.retry_after_us = retry_after_us


class PlaceRefused(PlaceError):
    """Will not change until somebody acts: 401, 403, TLS failure, an answer that breaks the protocol."""
