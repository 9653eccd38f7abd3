"""Reads a page as strictly as a reviewer would: what is opened is closed, ids are unique, what is named is there.

page = PageRead.of(text)
page.broken()        sentences about what is wrong; empty when nothing is
page.tables          rows by caption
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from html.parser import HTMLParser

VOID = {"meta"}
LOADS = {
    "script",
    "img",
    "link",
    "iframe",
    "object",
    "embed",
    "form",
    "input",
    "base",
    "audio",
    "video",
    "use",
    "image",
}
NAMING = ("aria-labelledby", "aria-describedby")


@dataclass
class Node:
    tag: str
    attributes: dict[str, str]
    children: list[Node] = field(default_factory=list)
    text: str = ""

    def all(self, *tags: str) -> Iterator[Node]:
        for child in self.children:
            if not tags or child.tag in tags:
                yield child
            yield from child.all(*tags)

    @property
    def words(self) -> str:
        return self.text + "".join(child.words for child in self.children)


class PageRead(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("#", {})
        self._open = [self.root]
        self.mistakes: list[str] = []

    @classmethod
    def of(cls, text: str) -> PageRead:
        page = cls()
        page.feed(text)
        page.close()
        page.mistakes += [f"<{node.tag}> is never closed" for node in page._open[1:]]
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if len({name for name, _ in attrs}) != len(attrs):
            self.mistakes.append(f"<{tag}> has an attribute twice")
        node = Node(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(node)
        if tag not in VOID:
            self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        if self._open[-1].tag != tag:
            self.mistakes.append(f"</{tag}> closes <{self._open[-1].tag}>")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].text += data

    def handle_comment(self, data: str) -> None:
        self.mistakes.append(f"a comment: {data[:40]}")

    # ---------------------------------------------------------------------------------------------- what it holds

    @property
    def shape(self) -> list[str]:
        return [node.tag for node in self.root.all()]

    @property
    def tables(self) -> dict[str, list[dict[str, str]]]:
        found = {}
        for table in self.root.all("table"):
            head, body = (next(table.all(tag)) for tag in ("thead", "tbody"))
            names = [cell.words for cell in head.all("th")]
            rows = [[cell.words for cell in row.children] for row in body.all("tr")]
            found[next(table.all("caption")).words] = [dict(zip(names, row, strict=True)) for row in rows]
        return found

    def broken(self) -> list[str]:
        return [*self.mistakes, *self._ids(), *self._headings(), *self._tables(), *self._pictures(), *self._loading()]

    def _ids(self) -> Iterator[str]:
        ids = Counter(node.attributes["id"] for node in self.root.all() if "id" in node.attributes)
        yield from (f"id {name} is there {number} times" for name, number in ids.items() if number > 1)
        for node in self.root.all():
            named = [name for key in NAMING for name in node.attributes.get(key, "").split()]
            named += [node.attributes["href"].removeprefix("#")] if "href" in node.attributes else []
            yield from (f"<{node.tag}> names {name!r}, which is nowhere" for name in named if name not in ids)

    def _headings(self) -> Iterator[str]:
        levels = [int(node.tag[1]) for node in self.root.all("h1", "h2", "h3", "h4")]
        if levels.count(1) != 1:
            yield "there is not exactly one h1"
        for before, after in zip([0, *levels], levels, strict=False):
            if after > before + 1:
                yield f"h{after} follows h{before}"
        for tag in ("header", "main", "nav", "footer"):
            if len(list(self.root.all(tag))) != 1:
                yield f"there is not exactly one <{tag}>"

    def _tables(self) -> Iterator[str]:
        for table in self.root.all("table"):
            if table.children[0].tag != "caption" or not table.children[0].words:
                yield "a table has no caption"
            if any(cell.attributes.get("scope") not in {"col", "row"} for cell in table.all("th")):
                yield "a heading of a table has no scope"
            widths = {len(row.children) for row in table.all("tr")}
            if len(widths) != 1:
                yield f"a table has rows of {widths} cells"

    def _pictures(self) -> Iterator[str]:
        for svg in self.root.all("svg"):
            labelled = all(svg.attributes.get(name) for name in NAMING)
            if svg.attributes.get("role") != "img" or not labelled:
                yield "a picture says nothing to those who do not see it"

    def _loading(self) -> Iterator[str]:
        for node in self.root.all():
            if node.tag in LOADS:
                yield f"there is a <{node.tag}>"
            for name, value in node.attributes.items():
                if name.startswith("on") or name in {"style", "src", "srcset", "action", "formaction"}:
                    yield f"<{node.tag}> has {name}"
                if name == "href" and not re.fullmatch("#[a-z0-9-]*", value):
                    yield f"a link leads to {value[:60]}"
        (style,) = self.root.all("style")
        digest = b64encode(sha256(style.text.encode()).digest()).decode()
        policy = next(n.attributes["content"] for n in self.root.all("meta") if "http-equiv" in n.attributes)
        if f"style-src 'sha256-{digest}'" not in policy or "default-src 'none'" not in policy:
            yield "the policy of the page does not name its style, or lets others in"
        if "url(" in style.text or "@import" in style.text:
            yield "the style loads something"
