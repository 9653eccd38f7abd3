"""What a question is about: a text as people paste it, found in the record. Pure.

    resolve(reader, "sha256:4f5c…")            a digest, also cut short (8 hex digits or more)
    resolve(reader, "shop/api-7d9f-x2k")       a pod, or a workload `namespace/name`, `namespace/kind/name`
    resolve(reader, "key:release")             what it is may be said in front: digest, image, pod, workload, key, …
    resolve(reader, "identity:https://git.example.com/pay/*")      also ca, builder, commit, log

Without a word in front the kinds are tried in the order of the table; the first that the record knows is it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from streams.queries.conditions import Condition, Like, both, either, full_name, is_, like
from streams.queries.port import RecordReader, every, one
from streams.queries.reading import text_of, texts_of
from streams.queries.results import Subject, SubjectKind
from streams.sinks.document import clean, path_id, reference_of
from streams.sinks.fields import HOMES
from verifier.errors import InputError
from verifier.reference import is_digest

_HEX: Final = re.compile(r"[0-9a-f]{64}")
_CUT_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{8,63}")
_CUT_KEY: Final = re.compile(r"[0-9a-f]{8,63}")
_CUT_COMMIT: Final = re.compile(r"[0-9a-f]{8,64}")

FIELD_OF: Final[dict[SubjectKind, str]] = {
    "identity": "provenance.signature.identity",
    "ca": "provenance.ca.related",
    "builder": "provenance.builder",
    "commit": "provenance.commit",
    "log": "provenance.log.id",
    "base": "provenance.image.base",
}
"""Kinds that evidence rests on -> the field of images, and of trust entries, that names them."""


class NothingCalledError(InputError):
    """The record was asked, and nothing in it has that name. An answer, where others are questions put wrongly."""


def resolve(reader: RecordReader, text: str, kinds: Iterable[SubjectKind] = ()) -> Subject:
    """The subject a text stands for, of one of `kinds` (default: all of `KINDS`).

    Raises:
        NothingCalledError: nothing in the record has that name; the message says what was looked for.
        InputError: several things have it.
        PlaceUnavailable: the store does not answer.
    """
    allowed = tuple(kinds) or KINDS
    text = clean(text.strip())
    kind, colon, rest = text.partition(":")
    if colon and kind in allowed and rest:
        found = _FINDERS[kind](reader, rest)
        if found is not None:
            return found
        raise NothingCalledError(f"the record knows no {kind} {rest[:120]!r}")
    for candidate in allowed:
        found = _FINDERS[candidate](reader, text)
        if found is not None:
            return found
    raise NothingCalledError(f"nothing in the record is called {text[:120]!r}; looked for {', '.join(allowed)}")


def digest_subject(reader: RecordReader, digest: str) -> Subject:
    """A whole digest, whether or not the record knows it. Raises as `resolve`."""
    told = (
        ("containers", is_("digest", digest)),
        ("images", either(is_("digest", digest), is_("index", digest))),
        ("admission", is_("asked", digest)),
        ("trust", is_("hash", digest)),
    )
    known = any(one(reader, HOMES[home], where) is not None for home, where in told)
    return Subject("digest", digest, (digest,), known)


def _digest(reader: RecordReader, text: str) -> Subject | None:
    if is_digest(text):
        return digest_subject(reader, text)
    if _HEX.fullmatch(text):
        found = digest_subject(reader, f"sha256:{text}")
        return found if found.known else None
    if _CUT_DIGEST.fullmatch(text):
        digests = _values(reader, ("images", "containers"), Like("provenance.image.digest", (text, "")), "digest")
        return _unambiguous("digest", text, digests)
    return None


def _image(reader: RecordReader, text: str) -> Subject | None:
    """Every digest that ran, or has evidence, under a reference; without tag and digest under the whole repository."""
    reference = reference_of(text)
    if reference is None:
        return None
    if is_digest(reference.digest):
        return digest_subject(reader, reference.digest)
    written_tag = text.rpartition("/")[2].partition(":")[2]
    where = tagged(str(reference)) if written_tag else is_("repository", reference.repository)
    digests = _values(reader, ("containers", "lifecycle", "images"), where, "digest")
    name = str(reference) if written_tag else reference.repository
    return Subject("image", name, tuple(sorted(digests))) if digests else None


def tagged(reference: str) -> Condition:
    """Named by this tag, also where a digest is written behind it."""
    field = full_name("image")
    return either(is_(field, reference), Like(field, (f"{reference}@", "")))


def _pod(reader: RecordReader, text: str) -> Subject | None:
    parts = text.split("/")
    where: Condition = is_("pod", parts[-1])
    if len(parts) == 1:
        where = either(where, is_("pod_uid", text))
    elif len(parts) == 2:
        where = both(where, is_("namespace", parts[0]))
    elif len(parts) == 3:
        where = both(where, is_("namespace", parts[1]), is_("cluster", parts[0]))
    else:
        return None
    fields = tuple(map(full_name, ("namespace", "pod", "pod_uid")))
    for home in ("containers", "lifecycle"):
        found = [g.values for g in reader.groups(HOMES[home], where, fields) if g.values[2]]
        if found:
            return Subject("pod", f"{found[0][0]}/{found[0][1]}", tuple(sorted({uid for _, _, uid in found})))
    return None


def _workload(reader: RecordReader, text: str) -> Subject | None:
    ids = _values(reader, ("containers", "finding", "admission"), _named_workload(text.split("/")), "workload_id")
    return Subject("workload", text, tuple(sorted(ids))) if ids else None


def _named_workload(parts: list[str]) -> Condition:
    """`name`, `namespace/name`, `kind/name`, `namespace/kind/name`, `cluster/namespace/kind/name`."""
    field = full_name("workload_id")
    if len(parts) == 4:
        return is_(field, path_id(*parts))
    ending = Like(field, ("", "/" + path_id(*parts)))
    if len(parts) == 2:
        inside = Like(field, ("", f"/{path_id(parts[0])}/", f"/{path_id(parts[1])}"))
        return either(both(is_("namespace", parts[0]), inside), ending)
    return both(is_("namespace", parts[0]), ending) if len(parts) == 3 else ending


def _key(reader: RecordReader, text: str) -> Subject | None:
    """A key by name, by id, or by the beginning of its id."""
    hit = one(reader, HOMES["trust"], is_("key", text))
    if hit is not None and not _HEX.fullmatch(text):
        ids = _key_ids(reader, ("trust",), is_("provenance.key.name", text))
        return Subject("key", text, tuple(sorted(ids)))
    if _HEX.fullmatch(text) and (hit is not None or one(reader, HOMES["images"], is_("key", text)) is not None):
        return Subject("key", text, (text,))
    if _CUT_KEY.fullmatch(text):
        where = Like("provenance.key.id", (text, ""))
        ids = {i for i in _key_ids(reader, ("trust", "images"), where) if i.startswith(text)}
        return _unambiguous("key", text, ids)
    return None


def _policy(reader: RecordReader, text: str) -> Subject | None:
    hit = one(reader, HOMES["trust"], is_("policy", text))
    return Subject("policy", text, (text,)) if hit is not None else None


def _incident(reader: RecordReader, text: str) -> Subject | None:
    told = one(reader, HOMES["incidents"], either(is_("incident", text), is_("short_id", text.upper())))
    if told is not None:
        return Subject("incident", text_of(told.body, "short_id"), (told.id,))
    return _unambiguous("incident", text, _values(reader, ("findings",), is_("incident", text), "incident"))


def _finding(reader: RecordReader, text: str) -> Subject | None:
    ids = _values(reader, ("findings",), is_("finding_id", text), "finding_id")
    return _unambiguous("finding", text, ids)


def _named_by_evidence(kind: SubjectKind) -> Callable[[RecordReader, str], Subject | None]:
    """Whatever evidence or a trust entry names so; `*` stands for anything, as in policies."""

    def find(reader: RecordReader, text: str) -> Subject | None:
        found = _evidence_values(reader, FIELD_OF[kind], text) if text.strip("*") else set()
        return Subject(kind, text, tuple(sorted(found))) if found else None

    return find


def _hex_by_evidence(kind: SubjectKind) -> Callable[[RecordReader, str], Subject | None]:
    """A commit or log by its hex, or 8 digits or more of its beginning."""

    def find(reader: RecordReader, text: str) -> Subject | None:
        if _CUT_COMMIT.fullmatch(text) is None:
            return None
        return _unambiguous(kind, text, _evidence_values(reader, FIELD_OF[kind], text, cut=True))

    return find


def _ca(reader: RecordReader, text: str) -> Subject | None:
    """A CA or timestamp authority by id, key id, name, name of its trust root, or the beginning of an id."""
    field = FIELD_OF["ca"]
    found = _evidence_values(reader, field, text, wild=False)
    if not found and _CUT_KEY.fullmatch(text):
        return _unambiguous("ca", text, _evidence_values(reader, field, text, cut=True))
    return Subject("ca", text, tuple(sorted(found))) if found else None


def _base(reader: RecordReader, text: str) -> Subject | None:
    """A base image by digest, by 8 hex digits or more of it, or by a reference that names its digest."""
    reference = reference_of(text)
    digest = reference.digest if reference is not None and is_digest(reference.digest) else text
    digest = digest if digest.startswith("sha256:") else f"sha256:{digest}"
    if not is_digest(digest) and _CUT_DIGEST.fullmatch(digest) is None:
        return None
    return _unambiguous("base", text, _evidence_values(reader, FIELD_OF["base"], digest, cut=True))


def _evidence_values(reader: RecordReader, field: str, text: str, *, cut: bool = False, wild: bool = True) -> set[str]:
    """Values of a field with many values that are `text`, begin with it (`cut`), or are like it where it holds `*`."""
    where: Condition = is_(field, text)
    parts: tuple[str, ...] = (text,)
    if cut or (wild and "*" in text):
        parts = (text, "") if cut else tuple(text.split("*"))
        where = Like(field, parts)
    found: set[str] = set()
    for home in ("images", "trust"):
        for hit in every(reader, HOMES[home], where):
            found |= {value for value in texts_of(hit.body, field) if like(parts, value)}
    return found


_FINDERS: Final[dict[SubjectKind, Callable[[RecordReader, str], Subject | None]]] = {
    "digest": _digest,
    "incident": _incident,
    "finding": _finding,
    "key": _key,
    "policy": _policy,
    "pod": _pod,
    "workload": _workload,
    "image": _image,
    "identity": _named_by_evidence("identity"),
    "ca": _ca,
    "builder": _named_by_evidence("builder"),
    "commit": _hex_by_evidence("commit"),
    "log": _hex_by_evidence("log"),
    "base": _base,
}

KINDS: Final[tuple[SubjectKind, ...]] = tuple(_FINDERS)


def _values(reader: RecordReader, homes: Iterable[str], where: Condition, field: str) -> set[str]:
    """Values of a field with at most one value in what fulfils a condition, of the first home that has some."""
    for home in homes:
        found = {g.values[0] for g in reader.groups(HOMES[home], where, (full_name(field),)) if g.values[0]}
        if found:
            return found
    return set()


def _key_ids(reader: RecordReader, homes: Iterable[str], where: Condition) -> set[str]:
    hits = (hit for home in homes for hit in every(reader, HOMES[home], where))
    return {key for hit in hits for key in texts_of(hit.body, "provenance.key.id")}


def _unambiguous(kind: SubjectKind, text: str, found: set[str]) -> Subject | None:
    if len(found) > 1:
        some = ", ".join(sorted(found)[:3])
        raise InputError(f"{kind} {text[:80]!r} is not unique: {some}{' …' if len(found) > 3 else ''}; give more of it")
    return Subject(kind, next(iter(found)), tuple(found)) if found else None
