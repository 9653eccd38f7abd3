"""What every importer needs to make native policies: documents of a text, names, policies, and the notes on the way.

    draft = Draft("cip", "cip", sources)
    for at in draft.documents(): …
    draft.note(at, "loses", "match", "…")
    draft.policy(at, "team.signed", images=("r.example/**",), attestors=signers.attestors, require=tree)
    return draft.result(accept_weaker)

A policy that the native model refuses is an error at the place it came from, never a policy less.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Literal

from pydantic import ValidationError

from verifier.evidence.content import excerpt
from verifier.policy.attestors import Attestor
from verifier.policy.documents import MAX_TEXT_CHARACTERS
from verifier.policy.fields import MAX_NAME_CHARACTERS
from verifier.policy.globs import compile_glob
from verifier.policy.importers.cursor import Cursor
from verifier.policy.importers.notes import ImportResult, LossNote, LossSeverity, settle
from verifier.policy.model import AtLeast, Dialect, MatchRule, Policy, Requirement, with_version
from verifier.policy.yamltree import read_trees

Mode = Literal["audit", "enforce"]
Sources = Iterable[tuple[str, str]]
"""(file name, text) pairs; the name is only used in messages."""

UNKNOWN_MEMBER: Final = "not known to the importer; it may be a demand"

_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9._-]+")
_SUFFIX_CHARACTERS: Final = 8
"""Characters of a name kept free for `.2` and the like."""


class Draft:
    """Policies and notes of one import, in the order of the input."""

    def __init__(self, source: str, dialect: Dialect, sources: Sources) -> None:
        self.source = source
        self.dialect: Dialect = dialect
        self.policies: list[Policy] = []
        self.notes: list[LossNote] = []
        self._sources = tuple(sources)

    def documents(self) -> Iterator[Cursor]:
        """Every document of every source; the items of a List one by one.

        Raises:
            PolicyError: a text cannot be read.
        """
        for file, text in self._sources:
            yield from documents(file, text)

    def note(self, at: Cursor, severity: LossSeverity, code: str, message: str) -> None:
        """Adds a note about a place."""
        self.notes.append(at.note(severity, code, message))

    def unknown(self, at: Cursor, known: Collection[str], severity: LossSeverity = "weakens") -> None:
        """Notes every member that is not among the known ones."""
        for other in at.others(known):
            self.note(other, severity, "unknown-member", UNKNOWN_MEMBER)

    def policy(
        self,
        at: Cursor,
        policy_id: str,
        *,
        match: tuple[MatchRule, ...],
        require: Requirement,
        attestors: Mapping[str, Attestor] | None = None,
        exclude: tuple[MatchRule, ...] = (),
        mode: Mode = "enforce",
        description: str = "",
        dialect: Dialect | None = None,
    ) -> Policy:
        """Adds a policy and gives it, with its version. Attestors that `require` does not name are left out.

        `dialect` of its patterns, where it is not that of the whole import.

        Raises:
            PolicyError: an id used twice, a pattern that is none of the dialect, anything else the model refuses.
        """
        for pattern in (pattern for rule in (*match, *exclude) for pattern in rule.images):
            self.check_pattern(at, pattern, dialect)
        if any(other.id == policy_id for other in self.policies):
            raise at.error(f"a second rule that becomes the policy {policy_id}; rename one of them")
        used = {leaf.attestor for leaf in require.leaves()}
        with placed(at):
            policy = Policy(
                id=policy_id,
                description=" ".join(description.split())[:MAX_TEXT_CHARACTERS],
                source=self.source,
                dialect=dialect or self.dialect,
                mode=mode,
                match=match,
                exclude=exclude,
                attestors={name: value for name, value in sorted((attestors or {}).items()) if name in used},
                require=require,
            )
        self.policies.append(with_version(policy))
        return self.policies[-1]

    def check_pattern(self, at: Cursor, pattern: str, dialect: Dialect | None = None) -> str:
        """An image pattern, as it is.

        Raises:
            PolicyError: it is not one of the dialect.
        """
        try:
            compile_glob(pattern, dialect or self.dialect, "image")
        except ValueError as error:
            raise at.error(f"{excerpt(pattern)}: {error}") from error
        return pattern

    def result(self, accept_weaker: bool | Collection[str]) -> ImportResult:
        """What came of it.

        Raises:
            WeakeningImport: a policy would ask less than the original, in a way that is not accepted.
        """
        return settle(ImportResult(tuple(self.policies), (), tuple(self.notes)), accept_weaker)


def documents(file: str, text: str) -> Iterator[Cursor]:
    """The documents of a text; the items of a `List` one by one.

    Raises:
        PolicyError: the text cannot be read.
    """
    if text.lstrip()[:1] in ("{", "["):  # JSON may be indented by tabs, YAML may not; a string of JSON holds none
        text = text.replace("\t", " ")
    trees, errors = read_trees(file, text, empty_values=True)
    if errors:
        raise errors[0]
    for tree in trees:
        at = Cursor(tree, (), tree.data)
        is_list = isinstance(at.value, dict) and str(at.value.get("kind", "")).endswith("List")
        if is_list and at.get("items") is not None:
            yield from at.list_of("items")
        else:
            yield at


@contextmanager
def placed(at: Cursor) -> Iterator[None]:
    """What a model refuses in the block is an error about this place.

    Raises:
        PolicyError: it refused something.
    """
    try:
        yield
    except ValidationError as error:
        raise at.error(said(error)) from error
    except ValueError as error:  # what is checked before a model is made: patterns, times
        raise at.error(str(error)[:300]) from error


def said(error: ValidationError) -> str:
    """The first thing a model refused, in its words."""
    return error.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")


def name_of(*parts: str) -> str:
    """A policy id made of the original's names: the same for every import, whatever else the file holds."""
    text = ".".join(part for part in parts if part).replace("/", ".").lower()
    return _NOT_IN_NAMES.sub("-", text)[: MAX_NAME_CHARACTERS - _SUFFIX_CHARACTERS].strip(".-_") or "unnamed"


def all_of(trees: Collection[Requirement]) -> Requirement | None:
    """All must hold; None when there is none."""
    found = tuple(trees)
    return Requirement(all=found) if len(found) > 1 else found[0] if found else None


def any_of(trees: Collection[Requirement]) -> Requirement | None:
    """One must hold; None when there is none."""
    found = tuple(trees)
    return Requirement(any=found) if len(found) > 1 else found[0] if found else None


def n_of(need: int, trees: Collection[Requirement]) -> Requirement | None:
    """At least `need` must hold; None when there is none or none is needed."""
    found = tuple(trees)
    if not found or need <= 0:
        return None
    if need >= len(found):
        return all_of(found)
    return any_of(found) if need == 1 else Requirement(at_least=AtLeast(count=need, of=found))


def flag(at: Cursor | None, name: str, *, default: bool) -> bool:
    """A true-or-false member.

    Raises:
        PolicyError: it is something else.
    """
    found = None if at is None else at.get(name)
    if found is None:
        return default
    if not isinstance(found.value, bool):
        raise found.error("expected true or false")
    return found.value
