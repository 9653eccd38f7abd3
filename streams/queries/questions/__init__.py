"""The fifteen questions people ask of the record: one definition each, over the port, so every store answers alike.

    asked = Asked(subject=resolve(reader, "payments/api-1"), at=tuesday, known_at=wednesday, now=now)
    ask(reader, question("running"), asked)  ->  QuestionAnswer(columns=…, rows=…, limits=…, blind_spots=…)

Every answer says what the record did not see, and what it cannot hold. Pure.
"""

from __future__ import annotations

from typing import Final

import msgspec

from streams.queries.coverage import coverage
from streams.queries.port import RecordReader
from streams.queries.questions import judged, letting, made, ran, told
from streams.queries.questions.model import Asked, Found, Question
from streams.queries.results import QuestionAnswer, SubjectKind
from streams.queries.subjects import FIELD_OF
from verifier.errors import InputError

__all__ = ["QUESTIONS", "Asked", "Question", "ask", "question"]

_IMAGES: Final[tuple[SubjectKind, ...]] = ("digest", "pod", "workload", "image", "incident", "finding")
_EVIDENCE: Final[tuple[SubjectKind, ...]] = ("key", *FIELD_OF)
_ALL: Final[tuple[SubjectKind, ...]] = (*_IMAGES, "policy", *_EVIDENCE)

QUESTIONS: Final = (
    Question(1, "signed", "Who signed it, when, and is that time trusted?", made.SIGNED, made.signed, _IMAGES),
    Question(2, "built", "From which source, commit, builder and CI run was it built?", made.BUILT, made.built,
             _IMAGES),
    Question(3, "shares", "Which other images share its signer, builder, commit or CI run?", made.SHARES, made.shares,
             (*_IMAGES, *_EVIDENCE)),
    Question(4, "running", "Where does it run: clusters, namespaces, owners, nodes?", ran.RUNNING, ran.running, _ALL,
             needs_subject=False, of_instant=True),
    Question(5, "ran", "Who ran it in a window, also if it has ended?", ran.RAN, ran.ran, _ALL, needs_subject=False),
    Question(6, "admitted", "Was it admitted, by what, and what did the policies say then?", letting.ADMITTED,
             letting.admitted, (*_IMAGES, *_EVIDENCE)),
    Question(7, "created", "Who or what asked for it to be made?", letting.CREATED, letting.created,
             (*_IMAGES, *_EVIDENCE)),
    Question(8, "unadmitted", "Which running containers have no admission decision?", ran.UNADMITTED, ran.unadmitted,
             _ALL, needs_subject=False, of_instant=True),
    Question(9, "let-in", "What came in beside the rules (exemption, break-glass, audit), approved by whom?",
             letting.LET_IN, letting.let_in, _ALL, needs_subject=False),
    Question(10, "believed", "What did we believe of it, and from which inputs?", judged.BELIEVED, judged.believed,
             _ALL, of_instant=True),
    Question(11, "changed", "What changed between the last pass and the first fail?", judged.CHANGED, judged.changed,
             _ALL),
    Question(12, "moved", "When did the tag move, and who still runs the old digest?", ran.MOVED, ran.moved, _IMAGES),
    Question(13, "unverified", "What could not be verified, why, and since when?", judged.UNVERIFIED,
             judged.unverified, _ALL, needs_subject=False, of_instant=True),
    Question(14, "told", "What was told of it, who acknowledged, silenced, exempted, resolved?", told.TOLD, told.told,
             _IMAGES),
    Question(15, "blind", "Were we blind in that window?", told.BLIND, told.blind, needs_subject=False),
)  # fmt: skip
"""In the order of their numbers."""


def question(text: str) -> Question:
    """The question of a number or name.

    Raises:
        InputError: there is none; the message names them.
    """
    for one in QUESTIONS:
        if text in (str(one.number), one.name):
            return one
    known = ", ".join(f"{one.number} {one.name}" for one in QUESTIONS)
    raise InputError(f"no question {text[:60]!r}; there are {known}")


def ask(reader: RecordReader, of: Question, asked: Asked) -> QuestionAnswer:
    """The answer to a question.

    Raises:
        InputError: it needs a subject, or has none; `after` is no position of it; nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    if of.needs_subject and asked.subject is None:
        raise InputError(f"`{of.name}` is asked about something: {', '.join(of.subjects)}")
    asked = msgspec.structs.replace(asked, question=of.name)
    found = of.answer(reader, asked)
    return QuestionAnswer(
        number=of.number,
        name=of.name,
        question=of.text,
        subject=asked.subject,
        at=asked.at,
        known_at=asked.known_at,
        start=asked.start,
        end=asked.end,
        columns=of.columns,
        rows=tuple(tuple(row) for row in found.rows),
        after=found.after,
        limits=found.limits,
        blind_spots=(*_unseen(reader, of, asked, found), *found.blind_spots),
    )


def _unseen(reader: RecordReader, of: Question, asked: Asked, found: Found) -> tuple[str, ...]:
    """Gaps of the feeds: at the instant that is asked for, or in the window."""
    instant = asked.instant if of.of_instant else None
    start = asked.start if instant is None else instant
    end = asked.until if instant is None else instant
    live = asked.live if end is None else None
    clusters = found.clusters or ({asked.cluster} if asked.cluster else None)
    return coverage(reader, now=live, start=start, end=end, clusters=clusters).blind_spots
