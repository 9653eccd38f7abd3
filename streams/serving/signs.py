"""Signs of life: what the processes say on the heartbeats topic, folded into one line per process. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from streams.codec import decode
from streams.engine.port import Record
from streams.events import ProgressSeen
from streams.serving.checks import Status
from verifier.errors import InputError

Sign = ProgressSeen

FORGOTTEN_US: Final = 24 * 3600 * 1_000_000
"""Microseconds after which a process that said nothing is of no interest: its name comes never again."""
EXPECTED: Final = ("judge", "fetch", "index", "alert")
"""Parts that a working installation has at least one of; collectors may be somebody else's."""


class ProcessLine(NamedTuple):
    """What `revet doctor` says of one process, or of a part nobody runs."""

    status: Status
    message: str
    mend: str = ""


def signs_of(records: Iterable[Record]) -> list[Sign]:
    """The newest sign of each shard of each process. What cannot be read is somebody else's."""
    newest: dict[tuple[str, str, int], Sign] = {}
    for record in records:
        try:
            event = decode(record.value)
        except InputError:
            continue
        if isinstance(event, ProgressSeen):
            newest[event.component, event.instance, event.shard] = event
    return list(newest.values())


def processes_of(signs: Iterable[Sign], at: int, silent_seconds: float) -> list[ProcessLine]:
    """One line per process that spoke within a day, and one per part that nobody runs. `at`: microseconds UTC.

    A process that died and whose shards others read by now is told of no more.
    """
    known = [sign for sign in signs if at - sign.time <= FORGOTTEN_US]
    owners = _owners(known)
    epoch = max((sign.epoch for sign in known), default=0)
    alive: set[str] = set()
    lines: list[ProcessLine] = []
    for component, instance in sorted({(sign.component, sign.instance) for sign in known}):
        own = [sign for sign in known if (sign.component, sign.instance) == (component, instance)]
        last = max(own, key=lambda sign: sign.time)
        held = [sign for sign in own if owners.get((component, sign.shard)) == instance]
        seconds = (at - last.time) / 1_000_000
        silent = seconds > silent_seconds
        if last.stopping or (silent and not held and component != "collector"):
            continue
        waiting = sum(sign.lag for sign in held)
        message = f"{instance}: {len(held)} shards, {waiting:,} records wait, epoch {last.epoch}, {seconds:.0f} s ago"
        if silent:
            lines.append(ProcessLine("warn", f"{message}; silent", f"start it again: revet serve {component} …"))
            continue
        alive.add(component)
        late = 0 < last.epoch < epoch
        lines.append(ProcessLine("warn" if late else "ok", f"{message}; behind epoch {epoch}" if late else message))
    lines += [ProcessLine("warn", f"no {part} runs", f"revet serve {part}") for part in EXPECTED if part not in alive]
    return lines


def _owners(signs: Iterable[Sign]) -> dict[tuple[str, int], str]:
    """(component, shard) -> the process that spoke of it last."""
    newest: dict[tuple[str, int], Sign] = {}
    for sign in signs:
        if sign.shard >= 0 and (known := newest.get((sign.component, sign.shard))) is not None:
            newest[sign.component, sign.shard] = max(known, sign, key=lambda s: s.time)
        elif sign.shard >= 0:
            newest[sign.component, sign.shard] = sign
    return {place: sign.instance for place, sign in newest.items() if not sign.stopping}
