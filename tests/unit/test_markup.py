"""Markup that escapes by construction: read back with a parser, every hostile text is text again, and nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.text import safe
from dashboards.markup import ATTRIBUTES, LONGEST, PLACES, TAGS, Whole, e, place, rendered

HOSTILE = (
    "<script>alert(1)</script>",
    "</p></body><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x=\'',
    "'`=><!--",
    "]]><![CDATA[<b>",
    "&lt;b&gt; &#60;b&#62; &amp",
    "javascript:alert(1)",
    "\u202egnp.exe\u2066x",
    "a\0b\x1b[2J\r\n\t\ufeff\u200b",
    "\ud800",
    "é" * 10_000,
    "{{7*7}} ${7*7} <%= 7 %>",
)


class _Read(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.strange: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.strange.append(data)

    def handle_decl(self, decl: str) -> None:
        self.strange.append(decl)

    def handle_pi(self, data: str) -> None:
        self.strange.append(data)

    def unknown_decl(self, data: str) -> None:
        self.strange.append(data)


def read(markup: str) -> _Read:
    found = _Read()
    found.feed(markup)
    found.close()
    return found


def holds(value: str) -> None:
    found = read(rendered(e("p", value, title=value)))
    shown = safe(value, LONGEST)
    assert found.tags == [("p", {"title": shown})]
    assert found.text == shown
    assert not found.strange


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_is_text_between_tags_and_inside_quotes(value):
    holds(value)


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_any_text_is_text(value):
    holds(value)


def test_what_cannot_be_seen_is_spelt_out_and_what_is_long_is_cut():
    assert rendered(e("p", "\u202e\0")) == "<p>\\u202e\\x00</p>"
    assert len(read(rendered(e("p", "x" * 10_000))).text) == LONGEST


@pytest.mark.parametrize(
    "value", [*HOSTILE, "https://example.com", "//example.com", "#A b", "file:///etc/passwd", "#x\n"]
)
def test_a_link_leads_only_into_the_page(value):
    assert rendered(e("a", "x", href=value)) == '<a href="#">x</a>'


def test_a_link_into_the_page():
    assert rendered(e("a", "x", href="#trust-1")) == '<a href="#trust-1">x</a>'


@pytest.mark.parametrize("tag", ["script", "style", "img", "iframe", "object", "base", "foreignObject", "use", "a b"])
def test_elements_that_load_or_run_something_cannot_be_made(tag):
    with pytest.raises(ValueError, match="no element"):
        e(tag)


@pytest.mark.parametrize("name", ["onclick", "style", "src", "srcset", "formaction", "xlink:href", "a b"])
def test_attributes_that_load_or_run_something_cannot_be_made(name):
    with pytest.raises(ValueError, match="no attribute"):
        e("p", **{name: "x"})


@pytest.mark.parametrize("attribute", ["href", "action"])
@pytest.mark.parametrize(
    "address",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "/a//b",
        "/a?x=<b>",
        "/a?x=\u202e",
        "javascript:x",
        "a",
    ],
)
def test_a_served_page_leads_to_its_own_server_alone(attribute, address):
    assert rendered(e("a", **{attribute: address}), PLACES) == f'<a {attribute}="#"></a>'


def test_an_address_carries_any_name_and_a_file_leads_nowhere_all_the_same():
    for name in HOSTILE:
        made = e("a", "x", href=place("/image", name=name[:500]))
        ((_, attributes),) = read(rendered(made, PLACES)).tags
        query = parse_qs(urlsplit(str(attributes["href"])).query, keep_blank_values=True, errors="replace")
        assert query["name"] == [name[:500].encode("utf-8", "replace").decode()]
        assert 'href="#"' in rendered(made)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_somebody_wrote_comes_back_whole_and_as_text(text):
    found = read(rendered(e("textarea", Whole(text))))
    assert [tag for tag, _ in found.tags] == ["textarea"]
    assert found.text == text


def test_names_that_pages_may_use_are_plain():
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name) for name in TAGS | ATTRIBUTES)
    assert not any(name.startswith("on") for name in ATTRIBUTES)


def test_an_attribute_that_is_none_is_left_out():
    made: Any = e("p", "x", class_=None, aria_label="y")
    assert rendered(made) == '<p aria-label="y">x</p>'
