"""Where an image comes from and where it went: source, build, signatures, admission, runs, as a graph and tables.

Pure. The answers are those of the fifteen questions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from alerting.text import count
from streams.queries.port import RecordReader
from streams.queries.questions import question
from streams.queries.report.common import Wanted
from streams.queries.report.model import Block, Graph, Node, Part, Section, Table, Tone
from streams.queries.report.posture import TONES, Running
from streams.queries.results import Cell, Subject
from streams.sinks.document import shown_image

IMAGES: Final = 3
"""Images that are drawn when nobody named some."""
NODES: Final = 6
"""Things of one lane that are drawn; the tables have more."""
ROWS: Final = 25
"""Rows of one table."""

LANES: Final = ("source", "build", "image", "signed by", "admission", "runs")


def provenance(reader: RecordReader, wanted: Wanted, running: Sequence[Running]) -> Section:
    """The images that were named, or those that most has to do with: violating ones first, then the most widespread.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    chosen = wanted.images or tuple(_chosen(running))
    told = "The images that were asked for." if wanted.images else "Of what runs: first what violates a policy."
    verdicts = worst_verdicts(running)
    parts = tuple(drawn(reader, wanted, subject, verdicts) for subject in chosen)
    return Section("provenance", "Provenance", f"{told} Others: `revet report --image IMAGE`.", parts)


def _chosen(running: Sequence[Running]) -> Iterator[Subject]:
    counts: Counter[tuple[bool, str, str]] = Counter()
    for row in running:
        if row.place.digest:
            counts[row.place.by == "violates", row.place.repository, row.place.digest] += row.number
    ranked = sorted(counts, key=lambda key: (not key[0], -counts[key], key))
    for _, repository, digest in list(dict.fromkeys((False, r, d) for _, r, d in ranked))[:IMAGES]:
        yield Subject("digest", shown_image(repository, digest), (digest,))


def worst_verdicts(running: Sequence[Running]) -> dict[str, str]:
    """Digest -> the worst that is said of it anywhere."""
    worst: dict[str, str] = {}
    for row in running:
        if _RANK.get(row.place.by, 9) < _RANK.get(worst.get(row.place.digest, ""), 9):
            worst[row.place.digest] = row.place.by
    return worst


_RANK: Final = {name: n for n, name in enumerate(("violates", "unverifiable", "ungoverned", "valid"))}


class _Answers(msgspec.Struct, frozen=True):
    """What the questions told of one image; each a list of rows by column."""

    built: list[dict[str, Cell]]
    signed: list[dict[str, Cell]]
    admitted: list[dict[str, Cell]]
    running: list[dict[str, Cell]]


def drawn(reader: RecordReader, wanted: Wanted, subject: Subject, verdicts: dict[str, str]) -> Part:
    """Where one image comes from and where it went; `verdicts`: digest -> the worst of it. Raises as `provenance`."""
    tables, found = [], {}
    for name, caption in _TABLES.items():
        of = question(name)
        answer = of.answer(reader, wanted.asked(subject=subject, limit=ROWS, question=of.name))
        keep = [n for n, column in enumerate(of.columns) if column not in _NOT_SHOWN]
        rows = tuple(tuple(row[n] for n in keep) for row in answer.rows)
        more = (
            f"there are more: `revet ask {name} {subject.values[0] if subject.values else ''}`" if answer.after else ""
        )
        tables.append(Table(caption, tuple(of.columns[n] for n in keep), rows, more))
        found[name] = [dict(zip(of.columns, row, strict=True)) for row in answer.rows]
    worst = min((verdicts[d] for d in subject.values if d in verdicts), key=lambda v: _RANK.get(v, 9), default="")
    graph = _graph(subject, _Answers(**found), worst)
    blocks: tuple[Block, ...] = (graph, *tables)
    return Part(blocks, subject.name, f"Verdict where it runs: {worst}." if worst else "It does not run now.")


_TABLES: Final = {
    "built": "What it was built from, by whose word",
    "signed": "Who signed it",
    "admitted": "Who let it in",
    "running": "Where it runs",
}
_NOT_SHOWN: Final = frozenset({"digest", "evidence", "cluster", "namespace", "id", "images"})


def _graph(subject: Subject, found: _Answers, worst: str) -> Graph:
    tone = TONES.get(worst, "plain")
    runs: Counter[str] = Counter()
    for row in found.running:
        runs[f"{row['cluster']}/{row['namespace']}"] += int(row["containers"] or 0)
    lanes: dict[str, list[Node]] = {
        "source": _nodes("source", (_source(row) for row in found.built)),
        "build": _nodes("build", ((row["builder"], row["run"]) for row in found.built)),
        "image": [Node("image", subject.name, worst, tone)],
        "signed by": _nodes("signed by", ((r["signed_by"], r["problem"] or r["trusted"]) for r in found.signed)),
        "admission": _nodes("admission", _decided(found.admitted)),
        "runs": [Node("runs", where, count(number, "container"), tone) for where, number in runs.most_common()],
    }
    left = tuple(f"{len(of) - NODES} more in {lane!r}" for lane, of in lanes.items() if len(of) > NODES)
    return Graph(
        f"Provenance of {subject.name}", LANES, tuple(node for of in lanes.values() for node in of[:NODES]), left
    )


def _source(row: dict[str, Cell]) -> tuple[Cell, Cell]:
    """The repository with the commit; the commit alone where nobody says of what."""
    commit = f"commit {row['commit']}" if row["commit"] else ""
    return (row["source"], commit) if row["source"] else (commit, "")


def _decided(rows: Iterable[dict[str, Cell]]) -> Iterator[tuple[Cell, Cell]]:
    for row in rows:
        flags = f" ({row['flags']})" if row["flags"] else ""
        yield f"{row['decision']}{flags}", row["workload"] or row["namespace"]


def _nodes(lane: str, pairs: Iterable[tuple[Cell, Cell]]) -> list[Node]:
    """Each name once, with the first detail."""
    kept: dict[str, Node] = {}
    for name, detail in pairs:
        text = str(name or "")
        if text and text not in kept:
            kept[text] = Node(lane, text, str(detail or ""), _decision_tone(text) if lane == "admission" else "plain")
    return list(kept.values())


def _decision_tone(text: str) -> Tone:
    return "bad" if text.startswith(("denied", "errored")) else "unknown" if "(" in text else "good"
