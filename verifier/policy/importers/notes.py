"""What an import lost, and the rule that a loss which weakens a check is an error until somebody accepts it.

result = import_kyverno([("policies.yaml", text)])          # raises WeakeningImport when a check would get weaker
result = import_kyverno([…], accept_weaker={"transparency-log"})
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

from verifier.errors import TrustError
from verifier.policy.documents import ExemptionDocument
from verifier.policy.model import Policy

LossSeverity = Literal["info", "loses", "weakens"]
"""info: nothing changes. loses: something is not carried over, revet asks the same or more. weakens: it asks less."""


class LossNote(NamedTuple):
    """One thing that the native form does not say."""

    file: str
    line: int
    field: str
    severity: LossSeverity
    message: str
    code: str = ""
    """Kind of loss, such as `transparency-log`; by it a weakening can be accepted alone."""


class ImportResult(NamedTuple):
    """What came out of an import, in the order of the input."""

    policies: tuple[Policy, ...]
    exemptions: tuple[ExemptionDocument, ...]
    notes: tuple[LossNote, ...]


class WeakeningImport(TrustError):
    """The imported policies would ask less than the originals. `notes` holds every loss, `codes` those not accepted."""

    def __init__(self, result: ImportResult, refused: Collection[LossNote]) -> None:
        self.notes = result.notes
        self.codes = tuple(sorted({note.code for note in refused}))
        first = min(refused, key=lambda note: (note.file, note.line))
        super().__init__(
            f"{first.file}:{first.line}: {first.field}: {first.message}"
            f" ({len(refused)} such losses: {', '.join(self.codes)}); accept what you can live without, by name"
        )


def settle(result: ImportResult, accept_weaker: bool | Collection[str]) -> ImportResult:
    """The result, when every weakening in it is accepted.

    Raises:
        WeakeningImport: one is not.
    """
    if accept_weaker is True:
        return result
    accepted = accept_weaker or ()
    refused = [note for note in result.notes if note.severity == "weakens" and note.code not in accepted]
    if refused:
        raise WeakeningImport(result, refused)
    return result
