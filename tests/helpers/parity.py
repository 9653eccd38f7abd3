"""Two modes that were fed the same: every answer of every question, side by side.

    asked = questions(reader)                        commands about everything the record knows
    compare(asked, state_mode(file), elastic_mode(url, namespace, REVET_SERVE_CLOCK="recorded"))

Answers are compared byte for byte as the commands print them (`-o json`), apart from cursors: they are the store's own.
"""

import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import orjson

from streams.queries.conditions import EVERYTHING
from streams.queries.port import RecordReader, every
from streams.queries.questions import QUESTIONS
from streams.queries.reading import text_of, texts_of
from streams.queries.subjects import FIELD_OF
from streams.sinks.document import Document, instant
from streams.sinks.fields import CURRENT, HISTORY, HOMES
from tests.helpers.command import Ran, revet

Question = tuple[str, ...]
"""A command line without what names the record."""


class Mode(NamedTuple):
    """A way to run: what is added to a command line, and to the environment."""

    name: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}

    def ask(self, question: Question) -> Ran:
        with mock.patch.dict(os.environ, self.environment):
            return revet(*question, *self.arguments, "-o", "json")


def state_mode(state: Path) -> Mode:
    return Mode("state", ("--state", str(state)))


def elastic_mode(url: str, namespace: str, **more: str) -> Mode:
    named = {"REVET_ELASTICSEARCH_URL": url, "REVET_ELASTICSEARCH_NAMESPACE": namespace}
    return Mode("elasticsearch", (), named | more)


# ------------------------------------------------------------------------------------------------------- what was kept


def kept_documents(state: Path) -> list[Document]:
    """Every document of a state file with its version, in the order they came."""
    with closing(sqlite3.connect(state)) as connection:
        rows = connection.execute("SELECT home, id, time, body, version FROM record ORDER BY row").fetchall()
    return [Document(home, id_, time, orjson.loads(body), version) for home, id_, time, body, version in rows]


# ------------------------------------------------------------------------------------------------------------- asking


def questions(reader: RecordReader, *, each: int = 4) -> list[Question]:
    """Commands about what the record knows: up to `each` subjects of every kind, each in several ways. No ages: in a
    recording's time one state counts them from its judge's clock, and another from its newest document.
    """
    known = subjects(reader)
    times = sorted(hit.time for hit in every(reader, HOMES["verification"], EVERYTHING))
    middle, late = instant(times[len(times) // 2]), instant(times[-1])
    asked: list[Question] = [("trace", "nobody"), ("trace", "sha256:" + "0" * 64), ("blast-radius", "--key", "nobody")]
    for kind, names in known.items():
        for number, name in enumerate(some(names, each)):
            asked.append(("trace", f"{kind}:{name}"))
            asked.append(("trace", name, "--at", middle if number % 2 else late))
            option = {"image": "digest", "policy": "policy-id"}.get(kind, kind)
            if option in RADIUS:
                asked.append(("blast-radius", f"--{option}", name))
                asked.append(("blast-radius", f"--{option}", name, "--at", late if number % 2 else middle))
                asked.append(("blast-radius", f"--{option}", name, "--from", middle, "--to", late))
    return asked + _searches(known, middle) + _lists(known) + _fifteen(known, middle, late)


RADIUS = frozenset({"key", "identity", "ca", "builder", "commit", "log", "digest", "policy-id", "incident"})


def some(names: Iterable[str], number: int) -> list[str]:
    """Some of them, spread over all."""
    kept = sorted(set(names))
    step = max(1, -(-len(kept) // number))
    return kept[::step]


def subjects(reader: RecordReader) -> dict[str, set[str]]:
    """Names of everything, by kind."""
    found: dict[str, set[str]] = {}

    def take(kind: str, home: str, name: Callable[[dict[str, Any]], Iterable[str]]) -> None:
        names = (text for hit in every(reader, HOMES[home], EVERYTHING) for text in name(hit.body))
        found.setdefault(kind, set()).update(filter(None, names))

    take("digest", "images", lambda b: (text_of(b, "digest"), *texts_of(b, "index"), text_of(b, "digest")[:20]))
    take("image", "containers", lambda b: (text_of(b, "image"), text_of(b, "repository")))
    take("pod", "containers", lambda b: (f"{text_of(b, 'namespace')}/{text_of(b, 'pod')}", text_of(b, "pod_uid")))
    take("workload", "containers", lambda b: (text_of(b, "workload_id"), text_of(b, "workload")))
    take("key", "trust", lambda b: texts_of(b, "key"))
    take("policy", "trust", lambda b: texts_of(b, "policy"))
    take("incident", "incidents", lambda b: (text_of(b, "short_id"), text_of(b, "incident")))
    take("finding", "findings", lambda b: (text_of(b, "finding_id"),))
    for kind, field in FIELD_OF.items():
        take(kind, "images", lambda b, field=field: texts_of(b, field))  # type: ignore[misc]  # bound at once
    return found


def _searches(known: Mapping[str, set[str]], middle: str) -> list[Question]:
    queries = (
        "verdict:violates", "not verdict:valid", "namespace:p* and not reason:unsigned", "policy:*",
        f'started > "{middle}"', f'time <= "{middle}"', "state:running and (verdict:violates or verdict:unverifiable)",
        "image:*/shop/*", "labels.app:*", "cluster_labels.env:*pro*", 'message:"RUNS"', "not static:true",
    )  # fmt: skip
    asked: list[Question] = [("search", query, "--limit", "7") for query in queries]
    asked += [("search", "", "--in", home, "--limit", "40") for home in (*CURRENT, *HISTORY, "history")]
    asked += [("search", "revoked", "--in", "history", "--limit", "3"), ("search", "user:*", "--in", "trust")]
    asked += [("search", "verdict:violates", "--at", middle, "--limit", "9"), ("search", "", "--fields", "pod,started")]
    return asked + [("search", f'digest:"{name}"', "--in", "history") for name in some(known["digest"], 3)]


def _fifteen(known: Mapping[str, set[str]], middle: str, late: str) -> list[Question]:
    """Every question about a subject of each kind it takes, now or at an instant as known by one, and in pages."""
    asked: list[Question] = []
    for number, of in enumerate(QUESTIONS):
        about = [f"{kind}:{name}" for kind in of.subjects for name in some(known.get(kind, ()), 1)]
        subjects: list[Question] = [*([] if of.needs_subject else [()]), *((text,) for text in about)]
        then: Question = ("--at", late, "--known-at", middle, "--limit", "5")
        asked += [("ask", of.name, *subject, *(then if way % 2 else ())) for way, subject in enumerate(subjects)]
        first = subjects[number % len(subjects)]
        asked.append(("ask", of.name, *first, "--known-at", late, "--limit", "2"))
        if not of.of_instant:
            asked.append(("ask", of.name, *first, "--from", middle, "--to", late))
    return asked


def _lists(known: Mapping[str, set[str]]) -> list[Question]:
    asked: list[Question] = [("incident", "list"), ("incident", "list", "--all", "--limit", "4")]
    asked += [("incident", "list", "--all", "--query", "severity:critical"), ("deadletter", "list", "--limit", "2")]
    asked += [("deadletter", "list", "--all"), ("deadletter", "show", "nobody")]
    return asked + [("incident", "show", name) for name in some(known["incident"], 3)]


# ------------------------------------------------------------------------------------------------------------ comparing


def compare(asked: Iterable[Question], one: Mode, other: Mode) -> int:
    """Ask both everything; returns how many answers were the same, pages counted. Fails at the first that is not."""
    number = 0
    for question in asked:
        first, second = list(answers(one, question)), list(answers(other, question))
        assert first == second, _difference(question, one, other, first, second)
        number += len(first)
    return number


def answers(mode: Mode, question: Question) -> Iterator[tuple[int, str, str]]:
    """Every page of an answer: exit code, what was printed, what was said, without cursors."""
    after: tuple[str, ...] = ()
    while True:
        ran = mode.ask((*question, *after))
        printed, cursor = _CURSOR.subn('"after": "…"', _POSITIONS.sub("", ran.out)), _after(ran)
        yield ran.code, _without_message(question, printed[0]), ran.err
        if not cursor:
            return
        after = ("--after", cursor)


_POSITIONS = re.compile(r'\n *"(event\.sequence|provenance\.evaluation\.read)": (\d+|\[[^\]]*\]),?')
"""A shard's counter, and how far it had read: of the mode, not of what happened."""
_CURSOR = re.compile(r'"after": "[^"]+"')


def _after(ran: Ran) -> str:
    return str(ran.json.get("after") or "") if ran.code == 0 else ""


def _without_message(question: Question, printed: str) -> str:
    """What is told of an incident is in the alerter's book, not in the record: only the state file has both."""
    if question[:2] != ("incident", "show"):
        return printed
    plain = json.loads(printed)
    return json.dumps({name: value for name, value in plain.items() if name != "message"}, indent=2)


def _difference(question: Question, one: Mode, other: Mode, first: list, second: list) -> str:
    lines = [f"{' '.join(question)}: {len(first)} pages of {one.name}, {len(second)} of {other.name}"]
    for a, b in zip(first, second, strict=False):
        if a != b:
            told = [f"  {x!r}\n  {y!r}" for x, y in zip(_lines(a), _lines(b), strict=False) if x != y]
            return "\n".join([*lines, *told[:10]])
    return lines[0]


def _lines(answer: tuple[int, str, str]) -> list[str]:
    return [str(answer[0]), answer[2], *answer[1].splitlines()]
