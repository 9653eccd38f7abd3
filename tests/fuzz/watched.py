"""The whole verification under watch: what it asks the interpreter and the clock for, as JSON on standard output.

python -m tests.fuzz.watched [deed]        deed: something forbidden, done on purpose, to see that it is seen

Evidence of every format becomes facts and verdicts, good and broken, after everything is imported and made. An audit
hook sees files, sockets, processes and imports; a profile function sees every call of a C function, and so every
clock and source of chance.
"""

import datetime as dt
import json
import os
import random
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

from tests.fuzz import world
from tests.fuzz.forgery import mutated
from tests.fuzz.targets import keyset
from tests.helpers.pki import T0
from verifier.facts.derive import derive_fact, derive_facts
from verifier.impact import touched
from verifier.policy.check import check_documents
from verifier.policy.documents import load_documents
from verifier.trust.records import RevocationPut

QUIET: Final = frozenset({"object.__getattr__", "sys._getframe", "builtins.id", "code.__new__"})
"""Audit events that touch nothing outside the process."""

ANNOTATIONS: Final = frozenset({"compile", "exec"})
"""Of a struct that is converted to for the first time, the types of its members are evaluated: text of our own code."""

CLOCKS: Final = frozenset(
    {"time", "_random", "posix", "nt", "_socket", "select", "_posixsubprocess", "fcntl", "signal"}
)
"""C modules of which nothing may be called."""

DEEDS: Final[dict[str, Callable[[], object]]] = {
    "open": lambda: open(os.devnull).close(),  # noqa: PTH123 - the deed itself
    "listdir": lambda: os.listdir("."),  # noqa: PTH208 - the deed itself
    "socket": lambda: socket.socket().close(),
    "time": time.time,
    "monotonic": time.monotonic,
    "now": lambda: dt.datetime.now(dt.UTC),
    "random": random.random,
    "urandom": lambda: os.urandom(1),
    "import": lambda: __import__("this_module_does_not_exist"),
}


class Watch:
    """Sees while `on`."""

    def __init__(self) -> None:
        self.on = False
        self.cold = True
        self.seen: dict[str, int] = {}
        sys.addaudithook(self.audit)

    def note(self, what: str) -> None:
        self.seen[what] = self.seen.get(what, 0) + 1

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.on and event not in QUIET and not (self.cold and event in ANNOTATIONS):
            self.note(f"audit {event} {str(arguments)[:80]}")

    def profile(self, _frame: object, event: str, function: object) -> None:
        if not self.on or event != "c_call":
            return
        module, name = getattr(function, "__module__", None), getattr(function, "__name__", "")
        owner = getattr(function, "__self__", None)
        dated = isinstance(owner, type) and issubclass(owner, dt.date)
        if module in CLOCKS or isinstance(owner, random.Random) or (dated and name in {"now", "utcnow", "today"}):
            self.note(f"call {module or owner}.{name}")


def verification() -> list[object]:
    """Every format, good and broken, from bytes to verdict; policies read and checked."""
    good = world.good()
    facts = dict(zip(good, derive_facts(list(good.values()), keyset()), strict=True))
    verdicts = [
        world.judge(policy, tuple(facts[name] for name in names)) for policy, names in world.policies().values()
    ]
    broken = [derive_fact(piece, keyset()) for piece in BROKEN]
    documents, errors = load_documents("p.yaml", POLICY)
    problems = check_documents([*documents], now=world.NOW)
    revocation = RevocationPut(
        id="r", subject_kind="key", subject=world.DEV.key_id, reason="keyCompromise", effective=world.NOW,
        compromised_since=T0, author="tests", at=world.NOW,
    )  # fmt: skip
    after, applied = world.trust().apply(revocation, world.trust().epoch + 1)
    impact = touched(world.trust(), after, revocation)
    return [facts, verdicts, broken, errors, problems, applied, impact]


BROKEN: Final = tuple(
    mutated(piece, random.Random(f"{name} {number}")) for name, piece in world.good().items() for number in range(8)
)
POLICY: Final = """\
apiVersion: revet/v1
kind: Policy
metadata: {name: p}
spec: {match: [{images: ["r.example/**"]}], attestors: {a: {keys: [dev]}}, require: {signedBy: a}}
"""


def main(arguments: list[str]) -> int:
    world.good(), world.policies(), keyset()  # the signers' work, which asks the system for randomness
    watch = Watch()
    sys.setprofile(watch.profile)
    watch.on = True
    try:
        first = verification()  # with cold caches
        watch.cold = False
        found = verification()
        for name in arguments:
            try:
                DEEDS[name]()
            except ImportError:
                continue
    finally:
        watch.on = False
        sys.setprofile(None)
    outcomes = sorted({verdict.outcome for verdict in found[1]})  # type: ignore[attr-defined]  # a list of verdicts
    answer = {"seen": watch.seen, "same": found[:3] == first[:3], "facts": len(world.good()), "outcomes": outcomes}
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
