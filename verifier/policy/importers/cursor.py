"""A place in somebody else's document: typed access, with the position at hand for notes and errors."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from verifier.errors import PolicyError
from verifier.policy.importers.notes import LossNote, LossSeverity
from verifier.policy.yamltree import Path, Tree, field_text


class Cursor(NamedTuple):
    """A value and where it stands. A member without a value counts as absent, as in Kubernetes."""

    tree: Tree
    path: Path
    value: object

    def error(self, message: str) -> PolicyError:
        """An error about this place."""
        return self.tree.error(message, self.path)

    def note(self, severity: LossSeverity, code: str, message: str) -> LossNote:
        """A loss note about this place."""
        return LossNote(self.tree.file, self.tree.place(self.path).line, field_text(self.path), severity, message, code)

    def get(self, name: str) -> Cursor | None:
        """A member, or None when it is absent.

        Raises:
            PolicyError: this is not a mapping.
        """
        value = self.members().get(name)
        return None if value is None else Cursor(self.tree, (*self.path, name), value)

    def members(self) -> dict[str, object]:
        """The mapping here.

        Raises:
            PolicyError: this is not a mapping.
        """
        if not isinstance(self.value, dict):
            raise self.error("expected members with values")
        return self.value

    def items(self) -> Iterator[Cursor]:
        """The entries of the list here.

        Raises:
            PolicyError: this is not a list.
        """
        if not isinstance(self.value, tuple):
            raise self.error("expected a list")
        return (Cursor(self.tree, (*self.path, i), entry) for i, entry in enumerate(self.value))

    def text(self) -> str:
        """The text here.

        Raises:
            PolicyError: this is not text.
        """
        if not isinstance(self.value, str):
            raise self.error("expected text")
        return self.value

    def text_of(self, name: str) -> str:
        """The text of a member; empty when it is absent.

        Raises:
            PolicyError: it is not text.
        """
        found = self.get(name)
        return "" if found is None else found.text()

    def list_of(self, name: str) -> list[Cursor]:
        """The entries of a list member; empty when it is absent.

        Raises:
            PolicyError: it is not a list.
        """
        found = self.get(name)
        return [] if found is None else list(found.items())

    def texts_of(self, name: str) -> tuple[str, ...]:
        """The entries of a list of texts.

        Raises:
            PolicyError: it is not a list of texts.
        """
        return tuple(entry.text() for entry in self.list_of(name))

    def pairs_of(self, name: str) -> dict[str, str]:
        """A mapping of texts.

        Raises:
            PolicyError: it is not one.
        """
        found = self.get(name)
        if found is None:
            return {}
        return {key: Cursor(self.tree, (*found.path, key), value).text() for key, value in found.members().items()}

    def others(self, known: Collection[str]) -> list[Cursor]:
        """The members that are not among the known ones, absent ones left out."""
        return [
            Cursor(self.tree, (*self.path, name), value)
            for name, value in self.members().items()
            if name not in known and value is not None
        ]
