"""HTML and SVG that escape by construction: elements are values, and text becomes markup in one place only. Pure.

    page = e("p", "by ", e("b", name), title=why)
    rendered(page)  ->  <p title="…">by <b>…</b></p>

There is no way to put markup in as text. Every value goes through one function for the place where it stands: `_text`
between tags, `_attribute` inside quotes, `_url` where a browser would follow it. Tags and attributes are of a closed
list without scripts, styles, events and outside addresses, so a page made of this asks for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from alerting.text import safe

LONGEST: Final = 400
"""Characters of one shown value; what is longer is cut in the middle."""

TAGS: Final = frozenset(
    [
        *("html", "head", "title", "body", "header", "nav", "main", "footer", "section", "article"),
        *("h1", "h2", "h3", "h4", "p", "a", "ul", "ol", "li", "dl", "dt", "dd", "div", "span", "strong", "code"),
        *("table", "caption", "thead", "tbody", "tr", "th", "td", "time", "details", "summary", "figure"),
        *("figcaption", "svg", "desc", "g", "rect", "line", "path", "text"),
    ]
)
"""Elements a page may have. `meta` and `style` are written by `document` alone."""

ATTRIBUTES: Final = frozenset(
    [
        *("id", "class", "lang", "dir", "href", "scope", "tabindex", "role", "datetime", "title"),
        *("aria-label", "aria-labelledby", "aria-describedby", "aria-hidden"),
        *("x", "y", "x1", "x2", "y1", "y2", "d", "width", "height", "rx", "viewBox", "text-anchor"),
    ]
)
"""Attributes; none of them loads anything, runs anything, or (but for `href`) leads anywhere."""

_FRAGMENT: Final = re.compile(r"#[a-z0-9-]{1,200}")


class Element(NamedTuple):
    """An element; made by `e`."""

    tag: str
    attributes: tuple[tuple[str, str], ...]
    children: tuple[Content, ...]


Content = Element | str
"""What stands inside an element: elements, and text, which is escaped."""


def e(tag: str, *children: Content, **attributes: str | int | None) -> Element:
    """An element. `class_` is `class`, `aria_label` is `aria-label`; an attribute that is None is left out.

    Raises:
        ValueError: the tag or an attribute is not one that pages have: a mistake of whoever draws, never of data.
    """
    if tag not in TAGS:
        raise ValueError(f"no element {tag!r}")
    named = {_attribute_name(name): str(value) for name, value in attributes.items() if value is not None}
    if unknown := named.keys() - ATTRIBUTES:
        raise ValueError(f"no attribute {sorted(unknown)}")
    return Element(tag, tuple(named.items()), children)


def _attribute_name(name: str) -> str:
    return {"class_": "class", "viewbox": "viewBox"}.get(name, name.replace("_", "-"))


def rendered(content: Content) -> str:
    """The markup."""
    return "".join(_pieces(content))


def _pieces(content: Content) -> Iterator[str]:
    if isinstance(content, str):
        yield _text(content)
        return
    yield f"<{content.tag}"
    for name, value in content.attributes:
        yield f' {name}="{_url(value) if name == "href" else _attribute(value)}"'
    yield ">"
    for child in content.children:
        yield from _pieces(child)
    yield f"</{content.tag}>"


def _text(value: str) -> str:
    """Between tags. What cannot be seen, or reorders what is seen, is spelt out first."""
    return _escaped(safe(value, LONGEST))


def _attribute(value: str) -> str:
    """Inside double quotes."""
    return _escaped(safe(value, LONGEST))


def _url(value: str) -> str:
    """Where a browser would follow it: a place of the same page, and nothing else."""
    return value if _FRAGMENT.fullmatch(value) else "#"


def _escaped(value: str) -> str:
    return value.translate(_ENTITIES)


_ENTITIES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "`": "&#96;", "=": "&#61;"}
)
"""The last two end or begin a value where some reader drops the quotes."""
