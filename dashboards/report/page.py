"""A report as a page: landmarks, headings in order, tables with captions and scopes, plots with their numbers. Pure."""

from __future__ import annotations

from dashboards.markup import Element, e, rendered
from dashboards.report.blocks import Blocks, time_of
from dashboards.report.style import POLICY, STYLE
from streams.queries.report.model import Report


def page(report: Report) -> str:
    """The whole file: UTF-8 text that opens from a disk and asks for nothing."""
    title = rendered(e("title", report.title))
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">'
        f"{title}<style>{STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>{rendered(_body(report))}</html>\n'


def _body(report: Report) -> Element:
    about = (("made", time_of(report.made)), ("window", e("span", time_of(report.start), " to ", time_of(report.end))))
    told = [item for name, value in about for item in (e("dt", name), e("dd", value))]
    if report.about:
        told += [e("dt", "record"), e("dd", report.about)]
    links = (e("li", e("a", section.title, href=f"#{section.id}")) for section in report.sections)
    return e(
        "body",
        e("a", "Skip to the report", href="#report", class_="skip"),
        e("header", e("h1", report.title), e("dl", *told, class_="about")),
        e("nav", e("ul", *links), aria_label="Chapters"),
        e("main", *map(Blocks().section, report.sections), id="report", tabindex=-1),
        e("footer", e("p", "Made by revet. All times are UTC.")),
    )
