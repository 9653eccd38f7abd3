"""What the machines ask for and are told: frozen, and the same for a registry, a directory and a test.

A machine is a generator: it yields a `Request`, is sent a `Response`, and returns its result. It opens nothing itself,
so whoever drives it decides where bytes come from:

    collected = run(collect(reference, digest), answer)      # answer: Request -> Response
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Literal, TypeVar

import msgspec

Kind = Literal["manifest", "blob", "referrers"]

FailureCode = Literal[
    "registry-unauthorized",
    "registry-not-allowed",
    "registry-not-found",
    "registry-rate-limited",
    "registry-unavailable",
    "registry-protocol",
    "limit-exceeded",
]
"""The reasons a place can give for not answering, in `verifier.reasons`."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """One thing to get. `limit` is the most bytes worth reading; more is answered `Failed("limit-exceeded")`."""

    kind: Kind
    registry: str
    path: str
    """Repository without the registry."""
    reference: str
    """Tag or digest of a manifest, digest of a blob, subject of a referrers listing."""
    limit: int
    page: str = ""
    """`Found.next_page` of the answer before; only for referrers."""


class Found(msgspec.Struct, frozen=True, gc=False):
    """The bytes, exactly as received; not yet compared with any digest."""

    body: bytes
    media_type: str = ""
    """What the place called it; the bytes decide."""
    next_page: str = ""


class Absent(msgspec.Struct, frozen=True, gc=False):
    """The place answered, and has it not. `code` is the specification's (`MANIFEST_UNKNOWN` …) or empty."""

    code: str = ""


class Failed(msgspec.Struct, frozen=True, gc=False):
    """The place did not say. Never to be read as absence."""

    code: FailureCode
    detail: str
    """For people. Holds no text of the place and no credential."""
    retryable: bool = False
    """Worth asking again later without anybody acting."""
    retry_after: int | None = None
    """Microseconds the place asked to wait."""


Response = Found | Absent | Failed

T = TypeVar("T")
Ask = TypeVar("Ask")
Answer = TypeVar("Answer")


def run(machine: Generator[Ask, Answer, T], answer: Callable[[Ask], Answer]) -> T:
    """Drives a machine to its end with a plain function. Raises what `answer` raises."""
    try:
        ask = next(machine)
        while True:
            ask = machine.send(answer(ask))
    except StopIteration as stop:
        result: T = stop.value
        return result


async def run_async(machine: Generator[Ask, Answer, T], answer: Callable[[Ask], Awaitable[Answer]]) -> T:
    """Drives a machine to its end with a coroutine function. Raises what `answer` raises."""
    try:
        ask = next(machine)
        while True:
            ask = machine.send(await answer(ask))
    except StopIteration as stop:
        result: T = stop.value
        return result
