"""HTML and SVG that escape by construction: elements are values, and text becomes markup in one place only. Pure.

    page = e("p", "by ", e("b", name), title=why)
    rendered(page)  ->  <p title="…">by <b>…</b></p>

There is no way to put markup in as text. Every value goes through one function for the place where it stands: `_text`
between tags, `_attribute` inside quotes, `_address` where a browser would follow it. Tags and attributes are of a
closed list without scripts, styles and events, and addresses lead to places of the same page, or, for pages that are
served (`rendered(page, PLACES)`), of the same server: a page made of this asks nothing of anybody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import urlencode

from alerting.text import safe

LONGEST: Final = 400
"""Characters of one shown value; what is longer is cut in the middle."""

TAGS: Final = frozenset(
    [
        *("html", "head", "title", "body", "header", "nav", "main", "footer", "section", "article"),
        *("h1", "h2", "h3", "h4", "p", "a", "ul", "ol", "li", "dl", "dt", "dd", "div", "span", "strong", "code"),
        *("table", "caption", "thead", "tbody", "tr", "th", "td", "time", "details", "summary", "figure"),
        *("figcaption", "svg", "desc", "g", "rect", "line", "path", "text"),
        *("form", "fieldset", "legend", "label", "input", "select", "option", "textarea", "button", "pre"),
    ]
)
"""Elements a page may have. What stands in its head is written by whoever makes the page."""

VOID: Final = frozenset({"input"})
"""Elements without an end."""

ATTRIBUTES: Final = frozenset(
    [
        *("id", "class", "lang", "dir", "href", "scope", "tabindex", "role", "datetime", "title"),
        *("aria-label", "aria-labelledby", "aria-describedby", "aria-hidden", "aria-current", "aria-pressed", "hidden"),
        *("action", "method", "name", "value", "type", "for", "rows", "selected", "maxlength", "autocomplete"),
        *("spellcheck", "data-every", "data-key"),
        *("x", "y", "x1", "x2", "y1", "y2", "d", "width", "height", "rx", "viewBox", "text-anchor"),
    ]
)
"""Attributes; none of them loads anything, runs anything, or (but for `ADDRESSES`) leads anywhere."""

ADDRESSES: Final = frozenset({"href", "action"})
"""Attributes that a browser follows."""

FRAGMENTS: Final = re.compile(r"#[a-z0-9-]{1,200}")
"""Places of the same page."""
PLACES: Final = re.compile(r"#[a-z0-9-]{1,200}|/[a-z-]{0,40}(\?[A-Za-z0-9%&=_.~+*-]{0,6000})?")
"""Places of the same page, and pages of the same server. `//` would be another one, and does not match."""


def place(path: str, **asked: str) -> str:
    """The address of a page of the same server: `place("/image", name="r.example/a:1")`."""
    query = urlencode({name: value for name, value in asked.items() if value}, errors="replace")
    return f"{path}?{query}" if query else path


class Whole(str):
    """Text that somebody wrote here and gets back: escaped like every other, but neither cut nor spelt out."""

    __slots__ = ()


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
    named = {_attribute_name(n): v if isinstance(v, str) else str(v) for n, v in attributes.items() if v is not None}
    if unknown := named.keys() - ATTRIBUTES:
        raise ValueError(f"no attribute {sorted(unknown)}")
    return Element(tag, tuple(named.items()), children)


def _attribute_name(name: str) -> str:
    return {"class_": "class", "for_": "for", "viewbox": "viewBox"}.get(name, name.replace("_", "-"))


def rendered(content: Content, addresses: re.Pattern[str] = FRAGMENTS) -> str:
    """The markup. `addresses`: what links and forms may lead to; others become `#`."""
    return "".join(_pieces(content, addresses))


def _pieces(content: Content, addresses: re.Pattern[str]) -> Iterator[str]:
    if isinstance(content, str):
        yield _text(content)
        return
    yield f"<{content.tag}"
    for name, value in content.attributes:
        yield f' {name}="{_address(value, addresses) if name in ADDRESSES else _attribute(value)}"'
    yield ">"
    if content.tag in VOID:
        return
    for child in content.children:
        yield from _pieces(child, addresses)
    yield f"</{content.tag}>"


def _text(value: str) -> str:
    """Between tags. What cannot be seen, or reorders what is seen, is spelt out first."""
    return _escaped(value if isinstance(value, Whole) else safe(value, LONGEST))


def _attribute(value: str) -> str:
    """Inside double quotes."""
    return _escaped(value if isinstance(value, Whole) else safe(value, LONGEST))


def _address(value: str, addresses: re.Pattern[str]) -> str:
    """Where a browser would follow it. An address has been escaped for its query, and is for HTML once more."""
    return _escaped(value) if addresses.fullmatch(value) else "#"


def _escaped(value: str) -> str:
    return value.translate(_ENTITIES)


_ENTITIES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "`": "&#96;", "=": "&#61;"}
)
"""The last two end or begin a value where some reader drops the quotes."""
