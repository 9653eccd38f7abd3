"""One target, many mutated inputs: what was raised, how long it took, how much memory it needed.

    report = run("load_certificate", inputs=1000, seed=7)
    report.findings          () when every input was answered as documented, in time and in memory

An input is named by target, seed and number, and can be made again from them alone. Time is CPU time of this thread: a
machine that is busy with other things does not make a parser slow. An offender is measured three times more, and the
best of these counts.
"""

import gc
import hashlib
import resource
import signal
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Final, NoReturn

from tests.fuzz.mutators import mutate
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS, Target
from verifier.errors import EvidenceError, PlaceError
from verifier.reasons import REASONS

MILLISECONDS: Final = 50
"""CPU time of one input that anybody may push, the promise of the project."""

MEMORY_BYTES: Final = 64 * 1024 * 1024
"""Peak of one input (Python's allocator, sampled). The largest envelope has 8 MiB, and a tree of JSON needs a
multiple of its text; the inputs here are smaller, so that this is generous by a factor and still far from a worker's
memory."""

PROCESS_BYTES: Final = 2 * 1024**3
"""Address space of a fuzzing process: what escapes the sampling and C code's own memory ends here, as a MemoryError."""

SAMPLED: Final = 64
"""Every so many inputs one is measured for memory: that takes several times as long."""

HANG_SECONDS: Final = 5
"""CPU seconds after which an input is given up; it is a finding long before."""

MESSAGE_CHARACTERS: Final = 2_000
"""Characters of an error's text: it goes into facts and messages."""

AGAIN: Final = 3
"""Further measurements of an offender."""


class HangError(BaseException):
    """Not an Exception: a parser that catches those must not swallow it."""


@dataclass(frozen=True)
class Finding:
    """One input that was not answered as promised."""

    target: str
    seed: int
    number: int
    kind: str
    """`raised`, `slow`, `memory`, `code` or `message`."""
    what: str
    data: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """Name of a file for it."""
        plain = "".join(c if c.isalnum() else "-" for c in self.target)
        return f"{plain}.{self.kind}.{hashlib.sha256(self.data).hexdigest()[:12]}"

    def __str__(self) -> str:
        return (
            f"{self.target}: {self.kind}: {self.what} (seed {self.seed}, input {self.number}, {len(self.data)} bytes)"
        )


@dataclass
class Report:
    """One target's run."""

    target: str
    inputs: int = 0
    refused: int = 0
    """Inputs that were answered with a documented exception."""
    slowest_ms: float = 0.0
    peak_bytes: int = 0
    cpu_seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)


def inputs(name: str, seed: int, count: int, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """(number, input); the seeds as they are come first."""
    target = TARGETS[name]
    sound = seeds(target.seeds)
    for number in range(start, start + count):
        if number < len(sound):
            yield number, sound[number]
        else:
            random = Random(f"{name} {seed} {number}")
            yield number, mutate(random.choice(sound), sound, target.family, random)


def run(name: str, count: int, seed: int, *, start: int = 0, most_findings: int = 20) -> Report:
    """`count` inputs of one target, from number `start` on; gives up after `most_findings`."""
    target, report = TARGETS[name], Report(name)
    warm(target)
    began = time.thread_time()
    for number, data in inputs(name, seed, count, start):
        found = one(target, data, report, measured=number % SAMPLED == 0)
        report.inputs += 1
        if found is not None:
            report.findings.append(Finding(name, seed, number, *found, data))
            if len(report.findings) >= most_findings:
                break
    report.cpu_seconds = time.thread_time() - began
    return report


def warm(target: Target) -> None:
    """What is made once (keys, material, compiled rules) is nobody's time; later collections need not look at it."""
    for sound in seeds(target.seeds):
        answer(target, sound)
    gc.collect()
    gc.freeze()


def one(target: Target, data: bytes, report: Report, *, measured: bool = False) -> tuple[str, str] | None:
    """What is wrong with how `data` is answered: (kind, what)."""
    began = time.thread_time_ns()
    wrong, refused = answer(target, data)
    took = (time.thread_time_ns() - began) / 1e6
    report.refused += refused
    if wrong is not None:
        return wrong
    promised = MILLISECONDS + target.per_kib * len(data) / 1024
    if took > promised:
        took = min(took, *(timed(target, data) for _ in range(AGAIN)))
    report.slowest_ms = max(report.slowest_ms, took)
    if took > promised:
        return "slow", f"{took:.0f} ms of CPU, promised are {promised:.0f}"
    if measured:
        peak = peak_of(target, data)
        report.peak_bytes = max(report.peak_bytes, peak)
        if peak > MEMORY_BYTES:
            return "memory", f"{peak} bytes at the peak, promised are {MEMORY_BYTES}"
    return None


def answer(target: Target, data: bytes) -> tuple[tuple[str, str] | None, bool]:
    """(what is wrong, whether it was refused with a documented exception)."""
    try:
        with limited():
            target.call(data)
    except target.allowed as error:
        return told_well(error), True
    except (Exception, HangError) as error:  # noqa: BLE001 - this is the question
        return ("raised", f"{type(error).__name__}: {str(error)[:300]!a}"), False
    return None, False


def told_well(error: Exception) -> tuple[str, str] | None:
    """An error's code is in the closed list, its text short and free of what terminals and logs obey."""
    message = str(error)
    if isinstance(error, EvidenceError | PlaceError) and error.code not in REASONS:
        return "code", f"{error.code!a} is no reason code"
    if len(message) > MESSAGE_CHARACTERS:
        return "message", f"{len(message)} characters, at most {MESSAGE_CHARACTERS}: {message[:80]!a}"
    if any(not (c.isprintable() or c == "\n") for c in message):
        return "message", f"unprintable characters: {message[:200]!a}"
    return None


def timed(target: Target, data: bytes) -> float:
    gc.collect()
    began = time.thread_time_ns()
    answer(target, data)
    return (time.thread_time_ns() - began) / 1e6


def peak_of(target: Target, data: bytes) -> int:
    """Bytes of Python memory at the peak."""
    tracemalloc.start()
    try:
        answer(target, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@contextmanager
def limited() -> Iterator[None]:
    """Ends what takes `HANG_SECONDS`."""
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _hang(_number: int, _frame: object) -> NoReturn:
    raise HangError(f"not done after {HANG_SECONDS} CPU seconds")


def install(*, address_space: bool = True) -> None:
    """Once per process: the timer, and the end of memory."""
    signal.signal(signal.SIGVTALRM, _hang)
    warnings.simplefilter("error")  # a library that warns of an input writes to standard error in production
    if address_space:
        resource.setrlimit(resource.RLIMIT_AS, (PROCESS_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
