"""A page of the live record: what every page has around its chapters, and where names lead. Pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from dashboards.markup import PLACES, Content, Element, e, place, rendered
from dashboards.report.blocks import Blocks
from streams.queries.columns import COLUMNS
from streams.queries.conditions import is_
from streams.queries.kql import render
from streams.queries.report.model import Section

EVERY: Final = 2
"""Seconds between two questions of an open page."""

NAV: Final = (
    ("/", "Overview"),
    ("/incidents", "Incidents"),
    ("/changes", "What changed"),
    ("/signers", "Signers"),
    ("/trust", "Trust"),
    ("/search", "Search"),
    ("/compose", "Policy composer"),
)
"""Path -> its name in the list of pages."""

_BELONGS: Final = {"/incident": "/incidents", "/image": "/search", "/signer": "/signers"}
"""A page of one thing -> the page in the list that it belongs to."""

_LEADS: Final = {
    "image": ("/image", "name"),
    "good_image": ("/image", "name"),
    "incident": ("/incident", "name"),
    "signer": ("/signer", "name"),
    "signed_by": ("/signer", "name"),
}
"""Column -> the page its values have."""
_ONE_IMAGE: Final = re.compile(r"[:@][^/]*$")
"""A tag or a digest: a bare repository is a container whose digest nobody told yet, and has no page."""
_SEARCHED: Final = {"policy": "policy", "namespace": "namespace", "pod": "pod", "finding": "finding"}
"""Column -> the field of a search for its values."""
_IN: Final = {"finding": "findings"}
_NOBODY: Final = frozenset({"unknown", "-", "nobody known", "all together"})
"""What stands where there is no name."""
_LONGEST: Final = 500
"""Characters of a name that a link carries; longer ones are no names anybody looks for."""


class Shown(msgspec.Struct, frozen=True):
    """One page."""

    title: str
    path: str
    sections: tuple[Section, ...] = ()
    notes: tuple[str, ...] = ()
    """Said above everything: what went wrong, what is left out."""
    about: str = ""
    """Which record this is."""
    query: str = ""
    home: str = "containers"
    body: tuple[Element, ...] = ()
    """Elements in front of the chapters (the composer)."""
    live: bool = True
    """Kept up to date."""


def leads(column: str, text: str) -> str:
    """Where a cell leads; empty: nowhere."""
    if len(text) > _LONGEST or not text.isprintable() or text in _NOBODY:
        return ""
    if column in _LEADS and (column != "image" or _ONE_IMAGE.search(text)):
        path, name = _LEADS[column]
        return place(path, **{name: text})
    if column in _SEARCHED:
        return place("/search", q=render(is_(_SEARCHED[column], text)), **{"in": _IN.get(column, "containers")})
    return ""


def page(shown: Shown) -> str:
    """The whole page, complete without the script."""
    title = rendered(e("title", f"{shown.title} · revet"))
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="robots" content="noindex"><link rel="icon" href="/icon.svg">'
        f'<link rel="stylesheet" href="/live.css">{title}<script src="/live.js" defer></script>'
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>{rendered(_body(shown), PLACES)}</html>\n'


def _body(shown: Shown) -> Element:
    notes = (e("ul", *(e("li", note) for note in shown.notes), class_="notes unknown"),) if shown.notes else ()
    chapters = map(Blocks(leads).section, shown.sections)
    every = EVERY if shown.live else None
    return e(
        "body",
        e("a", "Skip to the page", href="#page", class_="skip"),
        _header(shown),
        e("nav", e("ul", *(_link(path, name, shown.path) for path, name in NAV)), aria_label="Pages"),
        e("main", *notes, *shown.body, *chapters, id="page", tabindex=-1, data_every=every),
        e("footer", e("p", "Read from the record by revet; nothing here changes it. All times are UTC.")),
    )


def _header(shown: Shown) -> Element:
    about: tuple[Content, ...] = (e("p", "record: ", e("strong", shown.about), class_="where"),) if shown.about else ()
    return e(
        "header",
        e("div", e("h1", shown.title), *about, class_="top"),
        *((_live(),) if shown.live else ()),
        _search(shown),
    )


def _live() -> Element:
    """Without the script the first sentence is all there is."""
    return e(
        "p",
        e("span", "As it stood when it was asked for; load it again for what is new.", id="live-still"),
        e("span", "", id="live-state"),
        e("button", "Pause updates", type="button", id="live-pause", hidden=""),
        e("span", "", id="live-said", class_="quiet", role="status"),
        class_="live",
    )


def _link(path: str, name: str, at: str) -> Element:
    here = "page" if path == at else "true" if path == _BELONGS.get(at) else None
    return e("li", e("a", name, href=path, aria_current=here))


def _search(shown: Shown) -> Element:
    parts = (
        e("option", name, value=name, selected="" if name == shown.home else None)
        for name in (*(n for n in COLUMNS if n != "claim"), "claim")
    )
    return e(
        "form",
        e("div", e("label", "Search: an image, an incident, or a query such as verdict:violates", for_="q"),
          e("input", type="text", id="q", name="q", value=shown.query, maxlength=1000, autocomplete="off",
            spellcheck="false"), class_="wide"),
        e("div", e("label", "in", for_="in"), e("select", *parts, id="in", name="in")),
        e("button", "Search", type="submit"),
        class_="search", action="/search", method="get", role="search", aria_label="Record",
    )  # fmt: skip
