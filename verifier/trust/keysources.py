"""Keys kept elsewhere (a folder, a Kubernetes Secret, a Vault): what of it has to change in the ring. Pure.

    made = follow(trust, by, "corp", {"release": pem})
    made.records, made.problems

A key is called `SOURCE.NAME` in the ring and its owner is `source:SOURCE`: a source changes what it put there itself,
and nothing else. What is new is added, what has another key under its name is rotated (old signatures stay good), what
is gone leaves the ring. What cannot be taken is told, and keeps nothing else from being taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from verifier.errors import InputError, TrustError
from verifier.evidence.keys import load_public_key
from verifier.trust.changes import By, add_key, remove_key, rotate_key
from verifier.trust.records import TrustRecord
from verifier.trust.state import ManagedKey, TrustState

OWNER: Final = "source:"
_NOT_OF_NAMES: Final = re.compile(r"[^a-z0-9._-]+")


class Followed(NamedTuple):
    """What has to be written for the ring to be as the source is."""

    records: tuple[TrustRecord, ...]
    """In order; each expects the epoch behind the one before."""
    problems: tuple[str, ...]
    """What was not taken, and why. Nothing of a key's text."""


def ring_name(source: str, name: str) -> str:
    """The name in the ring of a key that a source calls `name`: `cosign.pub` of `corp` is `corp.cosign`."""
    stem = name.lower().removesuffix(".pem").removesuffix(".pub")
    return f"{source}.{_NOT_OF_NAMES.sub('-', stem).strip('.-_')}"


def follow(trust: TrustState, by: By, source: str, found: Mapping[str, str]) -> Followed:
    """Compares what a source has now with what it put into the ring.

    Args:
        trust: at the epoch reached.
        by: who asks, when.
        source: its name.
        found: name -> public key in PEM. Complete: what is not among it is gone.
    """
    records: list[TrustRecord] = []
    problems: list[str] = []
    wanted: dict[str, str] = {}
    for name, pem in sorted(found.items()):
        if ring_name(source, name) in wanted:
            problems.append(f"{name}: another key of this source has the name {ring_name(source, name)} as well")
        else:
            wanted[ring_name(source, name)] = pem
    own = _own(trust, source)
    for name in (*wanted, *(name for name in own if name not in wanted)):
        try:
            record = _change(trust, by, name, wanted.get(name), own.get(name), OWNER + source)
        except (TrustError, InputError) as error:
            problems.append(f"{name}: {error}")
            continue
        if record is not None:
            records.append(record)
            trust, _ = trust.apply(record, trust.epoch + 1)
    return Followed(tuple(records), tuple(problems))


def _own(trust: TrustState, source: str) -> dict[str, ManagedKey]:
    """Name -> current key, of those that the source put into the ring."""
    current = ((name, trust.keys.get(key_id)) for name, key_id in trust.names.items())
    return {name: key for name, key in current if key and key.owner == OWNER + source and key.removed_at is None}


def _change(
    trust: TrustState, by: By, name: str, pem: str | None, known: ManagedKey | None, owner: str
) -> TrustRecord | None:
    if pem is None:
        return None if known is None else remove_key(trust, by, known.key_id)
    key_id = load_public_key(pem).key_id  # before anything else: what is no key removes and rotates nothing
    if known is not None:
        return None if known.key_id == key_id else rotate_key(trust, by, name, pem)
    return add_key(trust, by, name, pem, owner=owner)
