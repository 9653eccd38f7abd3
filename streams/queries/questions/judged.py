"""Questions 10, 11 and 13: what was believed, what changed it, and what could not be told. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from streams.queries.asof import told_in_order, verdicts_at
from streams.queries.conditions import EVERYTHING, Condition, at_time, both, compare, either, exists, is_, one_of
from streams.queries.port import Hit, RecordReader, every
from streams.queries.questions.common import (
    Placed,
    classes_of,
    held_by,
    image,
    judged_so,
    placed,
    trust_entries,
    verdicts_of,
    without_start,
)
from streams.queries.questions.model import Asked, Cells, Found, Keyed, paged
from streams.queries.reading import chunks, number_of, text_of, texts_of
from streams.sinks.document import shown_image
from streams.sinks.fields import HOMES
from verifier.models import Micros

BELIEVED: Final = (
    *("judged", "verdict", "policy", "policy_version", "mode", "reasons", "because", "exempted_by", "cluster"),
    *("namespace", "workload", "image", "epoch", "evidence_set", "code_version", "id"),
)
CHANGED: Final = ("time", "what", "sentence", "policy", "cluster", "namespace", "image", "classes", "epoch", "id")
UNVERIFIED: Final = (
    *("since", "policy", "reasons", "why", "last_told", "last_verdict", "cluster", "namespace", "workload"),
    *("image", "containers", "id"),
)


# ------------------------------------------------------------------------------------------------ 10


def believed(reader: RecordReader, asked: Asked) -> Found:
    """What was the last verdict of each policy, and from which inputs? Its id is what `verdict replay` takes."""
    classes = classes_of(reader, asked)
    until = asked.until if asked.until is not None else asked.now
    said = verdicts_at(reader, classes, until)
    rows = [
        Keyed(
            (*(text_of(classes[cls], name) for name in ("cluster", "namespace", "workload_id")), policy, cls),
            (cls, verdict.id),
        )
        for cls, by in said.items()
        for policy, verdict in by.items()
    ]
    page, after = paged(rows, asked)
    found = {hit.id: hit for some in chunks({i for _, i in page}) for hit in _by_id(reader, some)}
    cells = [_believed(found[i], text_of(classes[cls], "workload_id")) for cls, i in page if i in found]
    return Found(cells, after, frozenset(text_of(body, "cluster") for body in classes.values()))


def _by_id(reader: RecordReader, ids: object) -> Iterator[Hit]:
    yield from every(reader, HOMES["verification"], one_of("id", ids))  # type: ignore[arg-type]  # a chunk of texts


def _believed(hit: Hit, workload: str) -> Cells:
    body = hit.body
    return (
        hit.time,
        *(text_of(body, name) for name in ("verdict", "policy", "policy_version", "mode")),
        ", ".join(texts_of(body, "reason")),
        *(text_of(body, name) for name in ("changed_by", "exemption", "cluster", "namespace")),
        workload,
        image(body),
        number_of(body, "epoch"),
        text_of(body, "provenance.evidence.set"),
        text_of(body, "provenance.evaluation.engine_version"),
        hit.id,
    )


# ------------------------------------------------------------------------------------------------ 11


class _Fall(NamedTuple):
    """From the last pass to the first fail, of all classes that fell alike."""

    policy: str
    cluster: str
    namespace: str
    repository: str
    digest: str
    passed: tuple[Micros, int]
    """(time, trust epoch)"""
    failed: tuple[Micros, int]


def changed(reader: RecordReader, asked: Asked) -> Found:
    """What changed between the last pass and the first fail? Trust entries and evidence between the two verdicts."""
    classes = classes_of(reader, asked)
    falls: dict[_Fall, list[tuple[Hit, Hit]]] = {}
    for before, after in _fallen(verdicts_of(reader, classes, asked.until)):
        falls.setdefault(_fall(before, after), []).append((before, after))
    rows = [
        Keyed((*_flat(fall), number), cells)
        for fall, pairs in falls.items()
        for number, cells in enumerate(_between(reader, fall, pairs))
    ]
    page, position = paged(rows, asked)
    return Found(page, position, frozenset(fall.cluster for fall in falls))


def _flat(fall: _Fall) -> tuple[int | str, ...]:
    return (fall.failed[0], *fall[:5], *fall.passed, fall.failed[1])


def _fallen(verdicts: Iterator[Hit]) -> Iterator[tuple[Hit, Hit]]:
    """Of each class and policy the last pass that was followed by a fail, and the first fail behind it."""
    passed: dict[tuple[str, str], Hit] = {}
    fell: dict[tuple[str, str], tuple[Hit, Hit]] = {}
    for hit in sorted(verdicts, key=told_in_order):
        key = (text_of(hit.body, "class"), text_of(hit.body, "policy"))
        verdict = text_of(hit.body, "verdict")
        if verdict == "valid":
            passed[key] = hit
        elif verdict == "violates" and key in passed:
            fell[key] = (passed.pop(key), hit)
    yield from fell.values()


def _fall(before: Hit, after: Hit) -> _Fall:
    named = (text_of(after.body, n) for n in ("policy", "cluster", "namespace", "repository", "digest"))
    policy, cluster, namespace, repository, digest = named
    epochs = (number_of(before.body, "epoch"), number_of(after.body, "epoch"))
    passed, failed = (before.time, epochs[0]), (after.time, epochs[1])
    return _Fall(policy, cluster, namespace, repository, digest, passed, failed)


def _between(reader: RecordReader, fall: _Fall, pairs: list[tuple[Hit, Hit]]) -> Iterator[Cells]:
    """The pass, everything that may have changed the verdict, the fail."""
    before, after = pairs[0]
    yield _told(fall, "last pass", before, len(pairs))
    epochs = both(compare("epoch", ">", fall.passed[1]), compare("epoch", "<=", fall.failed[1]))
    for hit in trust_entries(reader, epochs):
        yield _told(fall, "trust", hit, None)
    of_image = both(one_of("digest", [fall.digest]), one_of("repository", [fall.repository]))
    window = both(at_time("@timestamp", ">", fall.passed[0]), at_time("@timestamp", "<=", fall.failed[0]))
    for hit in every(reader, HOMES["evidence"], both(of_image, window)):
        yield _told(fall, "evidence", hit, None)
    yield _told(fall, "first fail", after, len(pairs))


def _told(fall: _Fall, what: str, hit: Hit, classes: int | None) -> Cells:
    shown = shown_image(fall.repository, fall.digest)
    epoch = number_of(hit.body, "epoch") or None
    sentence = text_of(hit.body, "message")
    return (hit.time, what, sentence, fall.policy, fall.cluster, fall.namespace, shown, classes, epoch, hit.id)


# ------------------------------------------------------------------------------------------------ 13


def unverified(reader: RecordReader, asked: Asked) -> Found:
    """What could not be verified, why, and since when? With the last verdict that could be told."""
    groups = _untold(reader, asked)
    page, after = paged((Keyed(place, (place, number)) for place, number in groups.items()), asked)
    until = asked.until if asked.until is not None else asked.now
    history: dict[str, list[Hit]] = {}
    for hit in verdicts_of(reader, {place.by for place, _ in page}, until):
        history.setdefault(text_of(hit.body, "class"), []).append(hit)
    rows = [row for place, number in page for row in _since(place, number, history.get(place.by, []))]
    return Found(rows, after, frozenset(place.cluster for place in groups), without_start(asked))


def _untold(reader: RecordReader, asked: Asked) -> Counter[Placed]:
    """Containers by place and class; those of which a policy could not be told, or at another time all that ran."""
    untold: Condition = either(is_("verdict", "unverifiable"), exists("unverifiable"))
    extra = EVERYTHING if asked.at is not None else untold
    counts = placed(reader, asked, held_by(reader, asked), extra=extra, by="class")
    if asked.instant is None:
        return counts
    then = judged_so(reader, {place.by for place in counts}, "unverifiable", asked.until)
    return Counter({place: number for place, number in counts.items() if place.by in then})


def _since(place: Placed, number: int, history: list[Hit]) -> Iterator[Cells]:
    """One row per policy that cannot tell."""
    by_policy: dict[str, list[Hit]] = {}
    for hit in sorted(history, key=told_in_order):
        by_policy.setdefault(text_of(hit.body, "policy"), []).append(hit)
    for policy, hits in sorted(by_policy.items()):
        newest = hits[-1]
        if text_of(newest.body, "verdict") != "unverifiable":
            continue
        told = [n for n, hit in enumerate(hits) if text_of(hit.body, "verdict") != "unverifiable"]
        last = hits[told[-1]] if told else None
        began = hits[told[-1] + 1 if told else 0]
        reasons, why = ", ".join(texts_of(newest.body, "reason")), text_of(newest.body, "why")
        proof = (last.time, text_of(last.body, "verdict")) if last is not None else (None, "never")
        where = (place.cluster, place.namespace, place.workload, shown_image(place.repository, place.digest))
        yield (began.time, policy, reasons, why, *proof, *where, number, newest.id)
