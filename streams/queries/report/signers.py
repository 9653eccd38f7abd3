"""Who signs what, since when, and who is new: read out of the evidence of every image. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from streams.queries.conditions import EVERYTHING
from streams.queries.port import RecordReader, every
from streams.queries.reading import key_names, signatures_of, text_of
from streams.queries.report.common import ROWS, Wanted, cut, figure
from streams.queries.report.model import Figures, Part, Section, Table
from streams.queries.results import Cell, Signature
from streams.sinks.document import shown_image
from streams.sinks.fields import HOMES
from verifier.models import Micros
from verifier.times import earliest

REPOSITORIES: Final = 4
"""Repositories of one signer that are named."""


class _Signs(msgspec.Struct):
    """What one signer signed in one repository."""

    images: set[str]
    kinds: set[str]
    first: Micros | None = None
    """Earliest time that anything of it is proven to have existed."""
    example: str = ""


_Who = tuple[str, str]
"""(signer, issuer)"""


def signers(reader: RecordReader, wanted: Wanted, running: set[tuple[str, str]]) -> Section:
    """Signers, with how much of what runs they signed. `running`: (repository, digest) of what runs now.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    names = key_names(reader)
    found: dict[tuple[_Who, str], _Signs] = {}
    images = unsigned = 0
    for hit in every(reader, HOMES["images"], EVERYTHING):
        key = (text_of(hit.body, "repository"), text_of(hit.body, "digest"))
        images += 1
        unsigned += key in running and hit.body.get("provenance.signature.exists") is not True
        for signature in signatures_of(hit.body, names):
            _count(found, signature)
    lists = (_figures(found, images, unsigned, len(running)), _all(found, running, wanted))
    return Section(
        "signers",
        "Signers",
        "Who signed or attested what is known of; whether that counts is for policies to say.",
        (Part(lists), Part((_new(found, wanted),), "New in the window")),
    )


def _count(found: dict[tuple[_Who, str], _Signs], signature: Signature) -> None:
    who = ((signature.signer, signature.issuer), signature.repository)
    signs = found.get(who)
    if signs is None:
        signs = found[who] = _Signs(set(), set())
    signs.images.add(signature.digest)
    signs.kinds.add(signature.kind)
    if signature.time is not None and (signs.first is None or signature.time < signs.first):
        signs.first, signs.example = signature.time, signature.digest
    signs.example = signs.example or signature.digest


def _figures(found: dict[tuple[_Who, str], _Signs], images: int, unsigned: int, running: int) -> Figures:
    return Figures(
        (
            figure("signers", len({who for who, _ in found}), "keys and identities, unknown ones as one"),
            figure("images", images, "whose evidence was asked for"),
            figure("unsigned", unsigned, f"of {running:,} images that run have no signature", bad=True),
        )
    )


def _all(found: dict[tuple[_Who, str], _Signs], running: set[tuple[str, str]], wanted: Wanted) -> Table:
    by: dict[_Who, dict[str, _Signs]] = {}
    for (who, repository), signs in found.items():
        by.setdefault(who, {})[repository] = signs
    rows = [_row(who, of, running, wanted) for who, of in by.items()]
    rows.sort(key=lambda row: (-int(row[3] or 0), str(row[0]), str(row[1])))
    shown, more = cut(rows, ROWS * 2, "signer", "revet search --in images 'signer:*'")
    columns = ("signer", "issuer", "images", "running_images", "makes", "repositories", "first", "new")
    return Table("Signers, those of most running images first", columns, shown, more, "nobody signed anything known")


def _row(who: _Who, of: dict[str, _Signs], running: set[tuple[str, str]], wanted: Wanted) -> tuple[Cell, ...]:
    runs = sum((repository, digest) in running for repository, signs in of.items() for digest in signs.images)
    listed = sorted(of)[:REPOSITORIES]
    more = f" and {len(of) - REPOSITORIES} more" if len(of) > REPOSITORIES else ""
    first = earliest(signs.first for signs in of.values())
    makes = ", ".join(sorted({kind for signs in of.values() for kind in signs.kinds}))
    images = sum(len(signs.images) for signs in of.values())
    return (*who, images, runs, makes, ", ".join(listed) + more, first, _is_new(first, wanted))


def _is_new(first: Micros | None, wanted: Wanted) -> str:
    return "" if first is None or first < wanted.start else "yes"


def _new(found: dict[tuple[_Who, str], _Signs], wanted: Wanted) -> Table:
    """Somebody who never signed in a repository and does now: what a stolen way in looks like first."""
    rows: list[tuple[Cell, ...]] = [
        (signs.first, *who, repository, shown_image(repository, signs.example), len(signs.images))
        for (who, repository), signs in found.items()
        if signs.first is not None and wanted.start <= signs.first <= wanted.end
    ]
    rows.sort(key=lambda row: (-int(row[0] or 0), *map(str, row[1:4])))
    shown, more = cut(rows, ROWS, "signer", "revet ask signed IMAGE")
    columns = ("first", "signer", "issuer", "repository", "image", "images")
    caption = "Signers whose first signature in a repository is proven to be of the window, newest first"
    return Table(caption, columns, shown, more)
