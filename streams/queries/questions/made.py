"""Questions 1 to 3: who signed an image, what it was built from, and what else shares that. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from streams.queries.asof import running_at
from streams.queries.conditions import both, is_, one_of
from streams.queries.port import RecordReader
from streams.queries.questions.common import (
    by_then,
    clusters_of,
    containers,
    digests_of,
    held_by,
    image,
    images,
    incomplete,
)
from streams.queries.questions.model import Asked, Cells, Found, Keyed, paged
from streams.queries.reading import chunks, key_names, objects_of, signatures_of, text_of, texts_of
from streams.queries.results import Signature
from streams.queries.subjects import FIELD_OF
from streams.sinks.document import Body, shown_image
from streams.sinks.fields import HOMES

SIGNED: Final = (
    *("image", "signed_by", "issuer", "kind", "format", "existed_by", "trusted", "problem", "digest", "evidence"),
)
BUILT: Final = ("image", "source", "commit", "builder", "build_type", "run", "stated_by", "digest", "evidence")
SHARES: Final = ("shares", "value", "image", "running", "digest")

TRUSTED: Final = {
    "attested": "yes: a third party attests it",
    "observed": "it existed by then: revet's own first sight",
    "none": "no: nothing proves when",
}


def signed(reader: RecordReader, asked: Asked) -> Found:
    """Who signed it, when, and is that time trusted? One row per key and piece of evidence."""
    bodies = images(reader, digests_of(reader, asked), asked)
    names = key_names(reader)
    made = (s for body in bodies for s in signatures_of(body, names))
    rows = [
        Keyed((s.repository, s.digest, -1 if s.time is None else s.time, s.evidence, s.key, s.signer), _signature(s))
        for s in made
        if asked.at is None or s.time is None or s.time <= asked.at
    ]
    page, after = paged(rows, asked)
    told = "a signature that nothing dates may have been made before or after the instant; it is listed"
    undated = any(row.cells[5] is None for row in rows) and asked.at is not None
    return Found(page, after, _clusters(reader, asked), (told,) if undated else (), incomplete(bodies))


def _signature(s: Signature) -> Cells:
    shown = image({"provenance.image.repository": s.repository, "provenance.image.digest": s.digest})
    trusted = TRUSTED[s.time_kind]
    return (shown, s.signer, s.issuer, s.kind, s.format, s.time, trusted, s.problem, s.digest, s.evidence)


def _clusters(reader: RecordReader, asked: Asked) -> frozenset[str]:
    """Where the subject ran: only gaps there may hide something of it."""
    return clusters_of(hit.body for hit in containers(reader, held_by(reader, asked)))


# ------------------------------------------------------------------------------------------------ built

_OF_CERTIFICATE: Final = {
    "source": ("sourceRepositoryURI", "githubWorkflowRepository"),
    "run": ("runInvocationURI",),
    "build_type": ("buildConfigURI",),
}
"""Column -> names of Fulcio's certificate extensions that say it."""


def built(reader: RecordReader, asked: Asked) -> Found:
    """From which source, commit, builder and run was it built? One row per piece of evidence that says something."""
    bodies = images(reader, digests_of(reader, asked), asked)
    names = key_names(reader)
    rows = [
        Keyed((text_of(b, "repository"), text_of(b, "digest"), entry["evidence"]), cells)
        for b in bodies
        for entry in objects_of(b, "provenance.signatures")
        if (cells := _built(b, entry, names)) is not None
    ]
    page, after = paged(rows, asked)
    said = "what a statement says is the word of who signed it; `revet ask signed` tells who that is"
    return Found(page, after, _clusters(reader, asked), (said,) if rows else (), incomplete(bodies))


def _built(body: Body, entry: dict[str, Any], names: dict[str, str]) -> Cells | None:
    told = {name: ", ".join(dict.fromkeys(filter(None, _told(entry, name)))) for name in BUILT[1:6]}
    if not any(told.values()):
        return None
    keys = ", ".join(names.get(key, f"key:{key[:12]}") for key in entry.get("keys", ()))
    people = ", ".join(entry.get("identities", ())) if entry.get("believed") is True else ""
    by = keys or people or "nobody known"
    return (image(body), *told.values(), by, text_of(body, "digest"), entry["evidence"])


def _told(entry: dict[str, Any], column: str) -> Iterator[str]:
    """What a statement says of its build, then what its certificate says."""
    if column in ("commit", "builder"):
        yield from entry.get(f"{column}s", ())
        return
    yield from entry.get({"source": "sources", "run": "runs"}.get(column, column), ())
    said = dict(str(text).partition("=")[::2] for text in entry.get("extensions", ()))
    yield from (said[name] for name in _OF_CERTIFICATE[column] if said.get(name))


# ------------------------------------------------------------------------------------------------ shares

_SHARED: Final = {
    "signer": "key",
    "identity": FIELD_OF["identity"],
    "builder": FIELD_OF["builder"],
    "commit": FIELD_OF["commit"],
    "run": "provenance.build.run",
}
"""What images can share -> the field of images that names it."""


def shares(reader: RecordReader, asked: Asked) -> Found:
    """Which other images have the same signer, identity, builder, commit or run?"""
    own = images(reader, digests_of(reader, asked), asked)
    ours = {(text_of(body, "repository"), text_of(body, "digest")) for body in own}
    names = key_names(reader)
    rows: list[Keyed] = []
    for what, field in _SHARED.items():
        held = "provenance.key.id" if field == "key" else field
        for value in sorted({value for body in own for value in texts_of(body, held)}):
            told = names.get(value, value)
            others = _others(reader, asked, field, value) - ours
            rows += [Keyed((what, value, *other), (what, told, *other)) for other in others]
    page, after = paged(rows, asked)
    running = _running(reader, asked, {digest for *_, digest in page})
    cells = [
        (what, value, shown_image(repository, digest), running.get((repository, digest), 0), digest)
        for what, value, repository, digest in page
    ]
    return Found(cells, after, frozenset(), (), incomplete(own))


_PAIR: Final = ("provenance.image.repository", "provenance.image.digest")


def _others(reader: RecordReader, asked: Asked, field: str, value: str) -> set[tuple[str, str]]:
    """Images of which evidence says so, now or in an answer by then."""
    home = HOMES["images" if asked.until is None else "evidence"]
    groups = reader.groups(home, both(is_(field, value), by_then(asked)), _PAIR)
    return {(group.values[0], group.values[1]) for group in groups}


def _running(reader: RecordReader, asked: Asked, digests: set[str]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for some in chunks(sorted(digests)):
        where = both(asked.where, one_of("digest", some), running_at(asked.instant))
        for group in reader.groups(HOMES["containers"], where, _PAIR):
            found[group.values[0], group.values[1]] = group.count
    return found
