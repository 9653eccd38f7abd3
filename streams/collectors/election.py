"""Who of several watchers reads a cluster: a Lease of `coordination.k8s.io/v1`, as client-go's leader election has it.

    election = Election("pods-7f3a91c2", seconds=15)
    act = election.act(found, now)             `take`, `renew` or `wait`; now: seconds of a steady clock
    body = election.document(found, wall)      what is written then
    election.written(now)                      it was: this one leads
    election.leads(now)                        until it could not renew for two thirds of the time

Clocks of machines are never compared: a lease has ended when nobody changed it for its time, seen from here. Two may
lead for a moment all the same (a process that was frozen); what they tell twice has the same ids.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from verifier.times import format_instant

Act = Literal["take", "renew", "wait"]

RENEW: Final = 2 / 3
"""Part of the time after which a holder that could not renew stops leading: before anybody else begins."""
TRY: Final = 1 / 6
"""Part of the time between two tries."""


class _Spec(msgspec.Struct, rename="camel", omit_defaults=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Meta(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str = ""
    namespace: str = ""
    resource_version: str | None = None


class Lease(msgspec.Struct, rename="camel"):
    """What of a Lease is read and written."""

    api_version: str = "coordination.k8s.io/v1"
    kind: str = "Lease"
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    spec: _Spec = msgspec.field(default_factory=_Spec)


_LEASE: Final = msgspec.json.Decoder(Lease)


def read_lease(body: bytes) -> Lease | None:
    """A Lease as the API server gives it; None when it is none."""
    try:
        return _LEASE.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


class Election:
    """One candidate."""

    def __init__(self, me: str, seconds: int) -> None:
        self.me, self._seconds = me, seconds
        self._seen = ("", "", "")
        self._seen_at = 0.0
        self._written: float | None = None

    def act(self, found: Lease | None, now: float) -> Act:
        """What to do about a Lease as it is now; None: there is none."""
        if found is None:
            return "take"
        spec = found.spec
        holder = spec.holder_identity or ""
        state = (holder, spec.renew_time or "", found.metadata.resource_version or "")
        if state != self._seen:
            self._seen, self._seen_at = state, now
        if holder == self.me:
            return "renew"
        lasts = spec.lease_duration_seconds or self._seconds
        return "take" if not holder or now - self._seen_at >= lasts else "wait"

    def document(self, found: Lease | None, place: tuple[str, str], wall: int) -> bytes:
        """The Lease that says that this one leads. `place`: (namespace, name); `wall`: microseconds."""
        renewed = format_instant(wall, "microseconds")
        old = found.spec if found is not None else _Spec()
        again = old.holder_identity == self.me
        spec = _Spec(
            holder_identity=self.me,
            lease_duration_seconds=self._seconds,
            acquire_time=old.acquire_time if again else renewed,
            renew_time=renewed,
            lease_transitions=(old.lease_transitions or 0) + (found is not None and not again),
        )
        version = found.metadata.resource_version if found is not None else None
        return msgspec.json.encode(Lease(metadata=_Meta(place[1], place[0], version), spec=spec))

    def released(self, found: Lease, wall: int) -> bytes:
        """The Lease that says that nobody leads: the next one need not wait."""
        spec = msgspec.structs.replace(
            found.spec, holder_identity="", lease_duration_seconds=1, renew_time=format_instant(wall, "microseconds")
        )
        self._written = None
        return msgspec.json.encode(msgspec.structs.replace(found, spec=spec))

    def written(self, now: float) -> None:
        """What `document` gave was taken. `now`: when it was sent."""
        self._written = now

    def lost(self) -> None:
        """Somebody else leads."""
        self._written = None

    def leads(self, now: float) -> bool:
        """Whether this one leads."""
        return self._written is not None and now - self._written < self._seconds * RENEW

    @property
    def pause(self) -> float:
        """Seconds between two tries."""
        return max(0.5, self._seconds * TRY)
