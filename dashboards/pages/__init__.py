"""The seven pages. Each is one file; a new one is a file and a row here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dashboards.charts import Sources
from dashboards.model import Page
from dashboards.pages.admission import admission
from dashboards.pages.health import health
from dashboards.pages.incidents import incidents
from dashboards.pages.investigate import investigate
from dashboards.pages.overview import overview
from dashboards.pages.posture import posture
from dashboards.pages.trust import trust
from streams.sinks.mapping import Names

_PAGES: Final[tuple[Callable[[Sources], Page], ...]] = (
    overview,
    posture,
    incidents,
    investigate,
    admission,
    trust,
    health,
)


def pages(names: Names) -> tuple[Page, ...]:
    """Every page over the data of one namespace, in the order people meet them."""
    source = Sources(names)
    return tuple(make(source) for make in _PAGES)
