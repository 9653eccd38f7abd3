"""Good evidence with one member changed at random: dropped, emptied, doubled, of another type, or with a bit flipped.

    for mutation in mutations(world, seed, 200):
        mutation.case, mutation.path, mutation.how

Nobody says beforehand what is right. revet and cosign are asked; where they differ, `row_of(mutation)` names the row of
docs/differences.md that the changed member belongs to, or nothing, and that is a failure.
"""

import copy
import json
import random
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from tests.helpers.oracle_cases import certified, keyed, keyless, stamped
from tests.helpers.oracle_tools import image_of
from tests.helpers.oracle_world import Case, Layer, Part, World

GOOD = (
    *("bundle/p256/good", "classic/p256/good", "byo-bundle/p256/good", "byo-classic/p256/good"),
    *("keyless-v1/good", "keyless-v2/good", "keyless-v2/attestation good", "keyless-classic/good"),
    *("stamped-bundle/good", "stamped-classic/good"),
)
FAMILIES = (keyed, certified, keyless, stamped)
Path = tuple[str | int, ...]

LOOSER = {
    "signedTimestamp": "damaged-certificate-in-token",
    "SignedRFC3161Timestamp": "damaged-certificate-in-token",
    "x509CertificateChain": "ballast-in-chain",
    "dev.sigstore.cosign/chain": "damaged-certificate-in-token",
}
STRICTER = {
    "kindVersion": "kind-version",
    "canonicalizedBody": "v2-entry-body",
    "inclusionProof.logIndex": "v2-proof-index",
    "inclusionProof.rootHash": "v2-proof-root",
    "inclusionProof.treeSize": "v2-proof-root",
    "dev.sigstore.cosign/chain": "chain-in-annotation",  # cosign 3 does not read it, so a broken one goes unseen
    "signedTimestamp": "damaged-token",
    "SignedRFC3161Timestamp": "damaged-token",
}
"""Part of the path of what was changed -> row of docs/differences.md."""


class Mutation(NamedTuple):
    """One changed case."""

    case: Case
    path: str
    how: str


def row_of(mutation: Mutation, *, accepted: bool) -> str:
    """The row that explains why revet alone accepts this, or alone refuses it; empty when none does."""
    known = LOOSER if accepted else STRICTER
    return next((row for part, row in known.items() if part in mutation.path), "")


def mutations(world: World, seed: int, count: int) -> list[Mutation]:
    """The same in every run with one seed."""
    chance = random.Random(seed)
    good = [case for family in FAMILIES for case in family(world) if case.name in GOOD]
    return [_mutation(chance, chance.choice(good), number) for number in range(count)]


def _mutation(chance: random.Random, good: Case, number: int) -> Mutation:
    # The family stays, and with it the flags; the name is new, and with it the repository.
    case = replace(good, name=f"{good.family}/mutation {number}")
    (part,) = good.parts(image_of(case))
    document = _read(part)
    path, how = _change(chance, document)
    return Mutation(replace(case, parts=lambda _: [_write(part, document)]), ".".join(map(str, path)), how)


def _read(part: Part) -> dict[str, Any]:
    """A bundle, or the annotations of a layer; annotations that are documents are opened."""
    if not isinstance(part, Layer):
        document: dict[str, Any] = json.loads(part.payload)
        return document
    return {name: json.loads(text) if text.startswith("{") else text for name, text in part.annotations.items()}


def _write(part: Part, document: dict[str, Any]) -> Part:
    if isinstance(part, Layer):
        return part._replace(annotations={n: v if isinstance(v, str) else json.dumps(v) for n, v in document.items()})
    return part._replace(payload=json.dumps(document).encode())


def _walk(value: object, path: Path = ()) -> Iterator[Path]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in entries:
        yield (*path, name)
        yield from _walk(inner, (*path, name))


def _change(chance: random.Random, document: dict[str, Any]) -> tuple[Path, str]:
    path = chance.choice(list(_walk(document)))
    holder: Any = document
    for name in path[:-1]:
        holder = holder[name]
    how = chance.choice(list(_HOW))
    before = copy.deepcopy(holder[path[-1]])
    if how == "dropped":
        del holder[path[-1]]
    else:
        holder[path[-1]] = _HOW[how](chance, before)
    return path, how


def _flipped(chance: random.Random, value: Any) -> Any:
    if not isinstance(value, str) or not value:
        return value
    try:
        raw = bytearray(b64decode(value, validate=True))
    except ValueError:
        at = chance.randrange(len(value))
        return value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    return b64encode(bytes(raw)).decode()


def _retyped(_: random.Random, value: Any) -> Any:
    if not isinstance(value, str):
        return str(value)
    return int(value) if value.isdecimal() else [value]


_HOW: dict[str, Callable[[random.Random, Any], Any]] = {
    "dropped": lambda _, value: value,
    "null": lambda _, value: None,
    "emptied": lambda _, value: type(value)() if isinstance(value, str | list | dict) else 0,
    "doubled": lambda chance, value: value * 2 if isinstance(value, list) else _flipped(chance, value),
    "of another type": _retyped,
    "flipped": _flipped,
    "flipped again": _flipped,
}
"""Two kinds of flips: half of the changes are of one bit."""
