"""When a batch is closed, and what is signed: decisions over a chain. Pure; whoever drives it appends and publishes.

    sealer = Sealer(signing, Pace())
    header = sealer.batch(chain, now)              append it; the chain says whether it was first
    signed = sealer.checkpoint(chain)              append it, then publish its note in every place

Bounds are written before they are signed: a crash between the two leaves a header that whoever comes next signs. The
same header is signed to the same note by whoever holds the key, so doing it twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from streams.events import LedgerDay, LedgerEntry, LedgerSealed, LedgerSigned
from streams.ledger.chain import Chain
from streams.ledger.entries import act
from streams.ledger.notes import Signing, note_text, signature_of, signed_note, signer
from verifier.models import Micros
from verifier.times import DAY, SECOND, show_instant

CLOCK_SLACK: Final = 60 * SECOND
"""A clock that is so far before the oldest waiting entry has jumped; the batch is not held up by it."""


SIGNATURE_SHOWN: Final = 24
"""Characters of a signature that people are told."""


class Pace(msgspec.Struct, frozen=True):
    """How often a batch is closed. The time between two is how long a change could go unnoticed."""

    entries: int = 10_000
    seconds: int = 10


def expiries(chain: Chain, kept: Mapping[str, Micros], now: Micros) -> Iterator[LedgerEntry]:
    """Acts that say up to when retention may have removed what, at most once a day per dataset.

    `kept`: dataset -> how long. A clock that jumped ahead must not excuse what is missing, so the time is not later
    than the newest entry's either.
    """
    reached = min(now, chain.latest)
    for home, length in sorted(kept.items()):
        before = reached - length
        if chain.first_time < before and before - chain.expired.get(home, 0) >= DAY:
            yield act("expired", {"act": "expired", "dataset": home}, before, home=home)


class Sealer:
    """Closes and signs. Without a key it closes only; the checkpoints wait for whoever has the key."""

    def __init__(self, signing: Signing | None, pace: Pace | None = None) -> None:
        self._signing = signing
        self._pace = pace or Pace()

    def batch(self, chain: Chain, now: Micros, *, force: bool = False) -> LedgerSealed | None:
        """The header to append now; None when it is not time. `force`: whatever waits."""
        since = chain.waiting_since
        if since is None or not chain.name:  # nothing counts before the act that begins a ledger
            return None
        waited = now - since
        ripe = waited >= self._pace.seconds * SECOND or waited < -CLOCK_SLACK or chain.pending >= self._pace.entries
        return chain.next_header(now, self._pace.entries) if ripe or force else None

    def checkpoint(self, chain: Chain) -> LedgerSigned | None:
        """The checkpoint of the newest batch, where our key has not signed it yet; None: it has, or there is no key."""
        header, key = chain.last, self._signing
        if header is None or key is None:
            return None
        there = chain.checkpoints.get(header.number, ())
        if any(one.head == chain.head and signer(one.note, (key.key,)) for one in there):
            return None
        text = note_text(chain.name, chain.size, chain.head, header.number, header.time)
        made = f"ledger-checkpoint:{header.number}:{key.key.mark.hex()}:{chain.head.hex()[:24]}"
        return LedgerSigned(made, header.time, header.number, signed_note(text, key))

    def day(self, chain: Chain, now: Micros, told: str) -> LedgerDay | None:
        """The newest checkpoint, for people, where today's was not told yet; None: it was, or our key signed none.

        `told`: the day of the last one, `today`'s form.
        """
        header, key, day = chain.last, self._signing, today(now)
        if header is None or key is None or day <= told:
            return None
        mine = (
            n for n in chain.checkpoints.get(header.number, ()) if n.head == chain.head and signer(n.note, (key.key,))
        )
        note = next(mine, None)
        if note is None:
            return None
        made = f"ledger-day:{chain.name}:{day}"
        signature = signature_of(note.note, key.key)[:SIGNATURE_SHOWN]
        return LedgerDay(made, now, chain.name, header.number, chain.size, chain.head, key.key.name, signature)


def today(now: Micros) -> str:
    """`2026-11-22`, UTC."""
    return show_instant(now)[:10]
