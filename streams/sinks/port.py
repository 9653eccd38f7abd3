"""The port of a store that takes documents. What every implementation keeps to is tested in one contract suite."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from streams.sinks.document import Document


class RecordSink(Protocol):
    """Takes documents. The caller moves on only after `write` returned (and, where there is one, its transaction)."""

    def write(self, documents: Iterable[Document]) -> None:
        """Keep documents. History: the first one of an id stays. State: replaced by an equal or higher version.

        Raises:
            PlaceUnavailable: the store did not take them; nothing or a part of them is kept, and writing them again is
                safe.
        """
