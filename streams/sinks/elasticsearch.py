"""The record in Elasticsearch, written: a bulk loop of our own.

    async with connect_async(settings.elasticsearch) as server:
        written = await ElasticRecord(server, Names("default")).write(documents)

`write` returns when every document has a final outcome, so an offset may be committed after it. Back-pressure,
time-outs and lost connections are waited out (ids and versions make sending again safe); what an operator has to mend
is raised.
The client's own helpers are not used: they count a document in the failure store as stored and a duplicate as a
failure, and sleep in the caller's thread.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from types import TracebackType
from typing import Final, Self

import msgspec

from streams.elastic import REFUSED, UNAVAILABLE, Answer, AsyncServer, connect_async, reason_of, refusal, url_path
from streams.settings import ElasticsearchSettings
from streams.sinks.bulk import (
    PARKED,
    POISON,
    Encoder,
    Item,
    Outcome,
    Refused,
    Told,
    Versioned,
    chunks,
    newest,
    read_answer,
)
from streams.sinks.document import Document
from streams.sinks.guard import Assumed, Guard
from streams.sinks.mapping import Names
from verifier.errors import PlaceRefused, PlaceUnavailable

__all__ = ["ElasticRecord", "ElasticSink", "Limits", "Refused", "Versioned", "Written"]

BLOCKED: Final = "record-blocked"
MISSING: Final = "record-missing"
"""Codes of errors an operator has to look at."""

_PARAMS: Final = {
    "filter_path": "error,items.*.status,items.*._index,items.*.failure_store,items.*.error.type,items.*.error.reason",
    "include_source_on_error": "false",
}
_ANY: Final = range(400, 600)


class Limits(msgspec.Struct, frozen=True):
    """Sizes and waits."""

    documents: int = 1_000
    """Of one request, at most."""
    size: int = 5_000_000
    """Bytes of one request; a longer document goes alone."""
    in_flight: int = 2
    """Requests at a time."""
    least: int = 50
    """Documents of a request under back-pressure."""
    first_wait: float = 0.2
    longest_wait: float = 5.0
    """Seconds between two tries, doubled from the first to the longest, each with jitter."""
    patience: float | None = None
    """Seconds after which waiting ends with an error; a full disk is waited for too. None: never; `paused` tells it."""
    internal: int = 8
    """Internal errors (500) that one document may provoke, before it is taken for the reason."""


class Written(msgspec.Struct, frozen=True):
    """What became of the documents of one write; the counts add up to their number."""

    stored: int = 0
    duplicate: int = 0
    """History that was there already, or came twice."""
    stale: int = 0
    """State of which a newer version is there."""
    refused: tuple[Refused, ...] = ()
    """Parked in the failure store, or poison: to be told as dead letters."""

    @property
    def parked(self) -> int:
        """Documents that lie in the failure store."""
        return sum(made.outcome == "parked" for made in self.refused)

    @property
    def poison(self) -> int:
        """Documents that are nowhere."""
        return sum(made.outcome == "poison" for made in self.refused)


class _Tally:
    """Outcomes of one write while it goes on."""

    def __init__(self) -> None:
        self.counts: Counter[Outcome] = Counter()
        self.refused: list[Refused] = []

    def note(self, item: Item, outcome: Outcome, why: str = "") -> None:
        self.counts[outcome] += 1
        if outcome == "parked":
            self.refused.append(Refused(item.versioned, "parked", PARKED, why))
        elif outcome == "poison":
            self.refused.append(Refused(item.versioned, "poison", POISON, why))

    def written(self) -> Written:
        counts = self.counts
        return Written(counts["stored"], counts["duplicate"], counts["stale"], tuple(self.refused))


class _Tried(msgspec.Struct, frozen=True):
    """What one request came to."""

    again: list[list[Item]]
    """What is left to send, in these parts."""
    error: PlaceUnavailable | None = None
    """Why to wait before; None: go on at once."""


class _Window:
    """Documents that may be in flight: halved on back-pressure, grown a little with every success."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.documents * limits.in_flight
        self._least = limits.least
        self._parallel = limits.in_flight
        self._flying = 0
        self._free = asyncio.Event()
        self.documents = self._most

    @property
    def chunk(self) -> int:
        """Documents of the next request."""
        return max(self.documents // self._parallel, self._least)

    async def take(self, number: int) -> None:
        while self._flying and self._flying + number > self.documents:
            self._free.clear()
            await self._free.wait()
        self._flying += number

    def give(self, number: int) -> None:  # never waits: a write that is cancelled gives back what it took
        self._flying -= number
        self._free.set()

    def shrink(self) -> None:
        self.documents = max(self.documents // 2, self._least)

    def grow(self) -> None:
        self.documents = min(self.documents + self._least, self._most)


class _Waiting:
    """The tries of one chunk: how long it waits, and since when nothing got better."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._next = limits.first_wait
        self._since: float | None = None

    def progressed(self) -> None:
        self._next, self._since = self._limits.first_wait, None

    async def wait(self, error: PlaceUnavailable) -> None:
        """Sleep, or raise the error when patience is at its end."""
        now = monotonic()
        self._since = now if self._since is None else self._since
        if self._limits.patience is not None and now - self._since >= self._limits.patience:
            raise error
        pause, self._next = self._next, min(self._next * 2, self._limits.longest_wait)
        await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # jitter, no secret


def _silent(reason: str) -> None:
    del reason


class ElasticRecord:
    """Writes documents. One instance per process; several writes may run side by side and share the window."""

    def __init__(
        self,
        server: AsyncServer,
        names: Names,
        limits: Limits | None = None,
        *,
        paused: Callable[[str], None] = _silent,
    ) -> None:
        """`paused` is called with code and sentence when writing begins to wait, and with "" when it goes on."""
        self._server = server
        self._names = names
        self._limits = limits or Limits()
        self._encoder = Encoder(names)
        self._window = _Window(self._limits)
        self._paused = paused
        self._waits: dict[int, str] = {}
        self._writes: list[tuple[set[tuple[str, str]], asyncio.Event]] = []
        """Ids of history in the writes under way, in the order of the calls, and when each is over."""
        self.guard = Guard(server)

    async def write(self, documents: Sequence[Versioned]) -> Written:
        """Write until every document has a final outcome.

        Raises:
            PlaceRefused: an index, alias or template is missing, or the account may not: somebody has to act.
            PlaceUnavailable: with `Limits.patience` only: the cluster did not take it in time, or writing is blocked
                (`record-blocked`: a full disk, a closed index). A part may be kept; writing all of it again is safe.
        """
        tally = _Tally()
        kept, duplicates, stale = newest(documents)
        tally.counts["duplicate"] += duplicates
        tally.counts["stale"] += stale
        items: list[Item] = []
        for versioned in kept:
            made = self._encoder.item(versioned)
            if isinstance(made, Item):
                items.append(made)
            else:
                tally.refused.append(made)
        async with self._in_turn({(i.target, i.id) for i in items if i.is_history}):
            await self._all(
                [self._settle(chunk, tally) for chunk in chunks(items, self._limits.documents, self._limits.size)]
            )
        return tally.written()

    @asynccontextmanager
    async def _in_turn(self, ids: set[tuple[str, str]]) -> AsyncIterator[None]:
        """Behind the writes under way that hold one of these: of history the first stays, so it has to be the first."""
        before = [over for others, over in self._writes if not others.isdisjoint(ids)]
        own = (ids, asyncio.Event())
        self._writes.append(own)
        try:
            for over in before:
                await over.wait()
            yield
        finally:
            self._writes.remove(own)
            own[1].set()

    async def refresh(self) -> None:
        """Make what was written searchable now. For tests and drills: a refresh comes every second by itself."""
        for pattern in (self._names.all_history, self._names.all_state):
            await self._server.call("POST", url_path(pattern, "_refresh"))

    @staticmethod
    async def _all(chunked: list[Coroutine[None, None, None]]) -> None:
        tasks = [asyncio.ensure_future(one) for one in chunked]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # ----------------------------------------------------------------------------------------------------- one chunk

    async def _settle(self, items: list[Item], tally: _Tally) -> None:
        """Send, again and in smaller parts where it must be, until every item has its outcome."""
        waiting = _Waiting(self._limits)
        todo = deque([items])
        try:
            while todo:
                batch = todo.popleft()
                if len(batch) > self._window.chunk:
                    todo.appendleft(batch[self._window.chunk :])
                    batch = batch[: self._window.chunk]
                await self._window.take(len(batch))
                try:
                    tried = await self._try(batch, tally)
                finally:
                    self._window.give(len(batch))
                todo.extendleft(reversed([part for part in tried.again if part]))
                await self._paced(waiting, tried.error)
        finally:
            self._going_on(waiting)

    async def _paced(self, waiting: _Waiting, error: PlaceUnavailable | None) -> None:
        if error is None:
            waiting.progressed()
            self._going_on(waiting)
            return
        self._waits[id(waiting)] = error.code
        if len(self._waits) == 1:
            self._paused(f"{error.code}: {error}")
        await waiting.wait(error)

    def _going_on(self, waiting: _Waiting) -> None:
        if self._waits.pop(id(waiting), None) is not None and not self._waits:
            self._paused("")

    async def _try(self, batch: list[Item], tally: _Tally) -> _Tried:
        """One request, or what could be told without one."""
        try:
            assumed = await self.guard.known_already(batch)
        except PlaceUnavailable as error:
            return _Tried([batch], error)
        for n in assumed.known:
            tally.note(batch[n], "duplicate")
        fresh = [item for n, item in enumerate(batch) if n not in assumed.known]
        if not fresh:
            return _Tried([])
        lines = [item.data for item in fresh]
        try:
            answer = await self._server.call("POST", "/_bulk", params=_PARAMS, body=lines, accept=_ANY)
        except PlaceUnavailable as error:
            return _Tried([fresh], error)  # taken or not, nobody knows; if it was, the next answer says so
        if answer.status != 200:
            return self._refused_whole(fresh, answer, tally)
        try:
            told = read_answer(fresh, answer.body.get("items"))
        except (AttributeError, ValueError) as error:
            return _Tried([fresh], PlaceUnavailable(UNAVAILABLE, f"{self._server.where}: POST /_bulk: {error}"))
        return await self._answered(fresh, told, assumed, tally)

    def _refused_whole(self, batch: list[Item], answer: Answer, tally: _Tally) -> _Tried:
        """One item of it is too large or malformed (found by halving), or it is not the time."""
        if answer.status in (400, 413):
            if len(batch) > 1:
                middle = len(batch) // 2
                return _Tried([batch[:middle], batch[middle:]])
            kind, reason = reason_of(answer.body)
            tally.note(batch[0], "poison", f"{answer.status} {kind}: {reason}")
            return _Tried([])
        if answer.status == 429:
            self._window.shrink()
        error = refusal(answer, "POST /_bulk", self._server.where)
        if not isinstance(error, PlaceUnavailable):
            raise error
        return _Tried([batch], error)

    async def _answered(self, batch: list[Item], told: list[Told], assumed: Assumed, tally: _Tally) -> _Tried:
        """Each item has an answer of its own."""
        self._raise_for_operator(batch, told)
        stored = [n for n, answer in enumerate(told) if answer.outcome == "stored"]
        second = await self._second_copies([batch[n] for n in stored], [told[n].index for n in stored], assumed)
        doubled = {stored[n] for n in second}
        again: list[Item] = []
        error = PlaceUnavailable(UNAVAILABLE, "")
        for n, (item, answer) in enumerate(zip(batch, told, strict=True)):
            outcome: Outcome = "duplicate" if n in doubled else answer.outcome
            if outcome == "again" and self._is_reason_itself(item, answer):
                outcome = "poison"
            if outcome in {"again", "blocked"}:
                again.append(item)
                error = self._not_now(item, answer)
            else:
                tally.note(item, outcome, answer.why)
        if not again:
            self._window.grow()
            return _Tried([])
        if any(answer.status == 429 for answer in told):
            self._window.shrink()
        return _Tried([again], error)

    def _not_now(self, item: Item, answer: Told) -> PlaceUnavailable:
        if answer.outcome == "blocked":
            told = f"{self._server.where}: {item.target}: {answer.status} {answer.why}; {_BLOCKED_ADVICE}"
            return PlaceUnavailable(BLOCKED, told)
        return PlaceUnavailable(UNAVAILABLE, f"{self._server.where}: POST /_bulk: {answer.why}")

    def _is_reason_itself(self, item: Item, answer: Told) -> bool:
        """An internal error that comes back with the document, however often it is sent."""
        item.attempts += answer.status == 500
        return item.attempts >= self._limits.internal

    async def _second_copies(self, items: list[Item], indices: list[str], assumed: Assumed) -> set[int]:
        """As `Guard.landed`, until it is answered: what was stored is stored, so this cannot be left undone."""
        waiting = _Waiting(self._limits)
        try:
            while True:
                try:
                    return await self.guard.landed(items, indices, assumed)
                except PlaceUnavailable as error:
                    await self._paced(waiting, error)
        finally:
            self._going_on(waiting)

    def _raise_for_operator(self, batch: list[Item], told: list[Told]) -> None:
        for item, answer in zip(batch, told, strict=True):
            said = f"{self._server.where}: {item.target}: {answer.status} {answer.why}"
            if answer.outcome == "missing":
                raise PlaceRefused(MISSING, f"{said}; run `revet index setup`")
            if answer.outcome == "forbidden":
                raise PlaceRefused(REFUSED, f"{said}; give the account the role of the indexer (`revet index setup`)")


_BLOCKED_ADVICE: Final = (
    "writing is blocked: free disk space on its nodes, or take the block away (index.blocks), then it goes on by itself"
)


class ElasticSink:
    """Implements `RecordSink` for callers without an event loop: tests, commands, restores. One thread at a time."""

    def __init__(self, settings: ElasticsearchSettings, limits: Limits | None = None, *, refresh: bool = False) -> None:
        """`refresh`: what was written can be searched when `write` returns."""
        self._runner = asyncio.Runner()
        self._refresh = refresh
        self._server, self._record = self._runner.run(self._opened(settings, limits or Limits(patience=PATIENCE)))

    @staticmethod
    async def _opened(settings: ElasticsearchSettings, limits: Limits) -> tuple[AsyncServer, ElasticRecord]:
        server = connect_async(settings)
        return server, ElasticRecord(server, Names(settings.namespace), limits)

    def write(self, documents: Iterable[Document]) -> None:
        """See `RecordSink.write`.

        Raises:
            PlaceUnavailable: not taken in time, or blocked.
            PlaceRefused: something is missing or forbidden, or a document does not fit.
        """
        written = self._runner.run(self._write([Versioned(document) for document in documents]))
        if written.refused:
            first = written.refused[0]
            raise PlaceRefused(
                first.code,
                f"{len(written.refused)} documents refused; the first, {first.item.document.id}: {first.reason}",
            )

    async def _write(self, documents: Sequence[Versioned]) -> Written:
        written = await self._record.write(documents)
        if self._refresh:
            await self._record.refresh()
        return written

    def close(self) -> None:
        """End the connections."""
        self._runner.run(self._server.close())
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


PATIENCE: Final = 30.0
"""Seconds that a caller without an event loop waits for the cluster."""
