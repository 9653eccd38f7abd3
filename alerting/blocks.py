"""A message as Slack's blocks: literal elements for everything that comes from outside, limits kept by construction.

    laid = lay_out(message, Layout.RICH, links)        text (for phones and search) and blocks
    trouble(laid)                                       what the service would refuse, in words; empty for all of ours

Only our own constants, numbers and dates, and mentions from the settings, stand in `mrkdwn`. Text from clusters,
registries and signatures stands in `plain_text`, `raw_text` and `rich_text` elements, which parse nothing, and escaped
in `text`, which does. Links are buttons with addresses from the settings; nothing that was observed becomes one.

Three layouts, each simpler than the one before: a workspace may refuse blocks that others have. Text alone always fits.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from alerting.lifecycle import Reply
from alerting.presses import ACK, LINK, PROPOSE, button_value
from alerting.render import CHECKPOINT, Message, Table, render_reply
from alerting.text import Untrusted, count, cut, safe, utc
from verifier.times import SECOND

Block = dict[str, Any]  # Any: JSON as the service documents it

HEADER_LIMIT: Final = 150
SECTION_LIMIT: Final = 3_000
BLOCK_LIMIT: Final = 50
CONTEXT_LIMIT: Final = 10
ACTIONS_LIMIT: Final = 25
BUTTON_LIMIT: Final = 75
URL_LIMIT: Final = 3_000
TABLE_ROWS: Final = 100
TABLE_CELLS: Final = 20
TEXT_LIMIT: Final = 40_000
"""The service's own limits, in characters or elements."""

FALLBACK_TEXT: Final = 300
"""Characters of `text`; the first 200 are the headline, which is enough to decide by."""
PLAIN_TEXT: Final = 3_000
"""Characters of the layout without blocks."""
FACT_LIMIT: Final = 400
CELL_LIMIT: Final = 120
COMMAND_LIMIT: Final = 700
"""A command longer than this is left out, never cut: half a command is another command."""
_PREVIEW_ROWS: Final = 10

_DEFANGED: Final = str.maketrans(
    {"`": "\u02cb", "*": "\u2217", "_": "\uff3f", "~": "\u223c", "@": "\uff20", "|": "\u2223"}
)
"""Signs that text of the service gives a meaning to -> look-alikes without one."""


class Layout(enum.IntEnum):
    """From the richest to what is never refused."""

    RICH = 0
    """With a table."""
    PLAIN = 1
    """Header, sections, context, actions only."""
    TEXT = 2
    """No blocks."""


class Links(NamedTuple):
    """Addresses from the settings; empty: no such button."""

    docs: str = ""
    """Where the documentation is served; the finding's page is below it."""
    kibana: str = ""
    """Where Kibana is served, with the space: `https://kibana.example/s/security`."""
    kibana_version: str = "9.0.0"
    members: str = ""
    """Index pattern of the findings' current state."""
    timeline: str = ""
    """Index pattern of everything that happened to incidents."""


class Marks(NamedTuple):
    """What is said beside the message itself."""

    possible_duplicate: bool = False
    previous: str = ""
    """Not empty: it takes the place of an older message."""
    meant_for: str = ""
    """Not empty: who should have got it, whose channel does not take it."""
    mentions: tuple[str, ...] = ()
    """Ids from the settings (`S…` a user group, `U…` a person), or `here`, `channel`."""
    pressable: bool = False
    """Somebody hears buttons that do something; without it there are none."""


class Laid(NamedTuple):
    """What is sent."""

    text: str
    blocks: list[Block]


UNMARKED: Final = Marks()


def lay_out(message: Message, layout: Layout, links: Links, marks: Marks = UNMARKED) -> Laid:
    """The parent message."""
    if layout is Layout.TEXT:
        return Laid(cut("\n".join(_plain_lines(message, marks)), PLAIN_TEXT), [])
    blocks = [
        _header(message.headline),
        _context(_state_line(message)),
        *_banner(marks),
        {"type": "rich_text", "elements": _fact_lines(message)},
        *(_table(message.table) if layout is Layout.RICH else _preformatted_table(message.table)),
        *_advice(message),
        *_actions(message, links, pressable=marks.pressable),
        _context(_foot(message, marks)),
    ]
    return Laid(fallback_text(message.headline), blocks)


def lay_out_reply(reply: Reply, message: Message, layout: Layout, mentions: tuple[str, ...] = ()) -> Laid:
    """A line below the parent; mentions notify."""
    line = render_reply(reply, message)
    text = fallback_text(line)
    if layout is Layout.TEXT:
        return Laid(text, [])
    elements = [*_mentions(mentions), _literal(line)]
    return Laid(text, [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": elements}]}])


def fallback_text(text: str) -> str:
    """`text` of a message: parsed by the service, so escaped, and without signs that mean something."""
    return escaped(cut(text, FALLBACK_TEXT))


def escaped(text: str) -> str:
    """Text that is parsed and shows as it was: no mention, no link, no emphasis."""
    plain = text.translate(_DEFANGED).replace("://", ":\u2215\u2215")
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# ------------------------------------------------------------------------------------------------------------ blocks


def _header(text: str) -> Block:
    return {
        "type": "header",
        "text": {"type": "plain_text", "text": cut(text, HEADER_LIMIT) or "revet", "emoji": False},
    }


def _context(mrkdwn: str) -> Block:
    """Of our own words alone."""
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": mrkdwn, "verbatim": True}]}


def _state_line(message: Message) -> str:
    told = f"{message.short_id} · as of {_date(message.as_of)}"
    if message.kind == CHECKPOINT:
        return told
    state = " ".join((*message.marks, message.state.upper()))
    return f"{state} · {message.severity} · {told}"


def _date(micros: int) -> str:
    """In the reader's zone; UTC where the service cannot say."""
    told = utc(micros)
    if told == "unknown":
        return told
    return f"<!date^{micros // SECOND}^{{date_short_pretty}} {{time_secs}}|{told}>"


def _banner(marks: Marks) -> Iterator[Block]:
    """Who is called, and that it is not where it belongs."""
    elements = list(_mentions(marks.mentions))
    if marks.meant_for:
        elements += [_bold("meant for "), _code(marks.meant_for), _literal(" whose channel cannot be reached")]
    if elements:
        yield {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": elements}]}


def _fact_lines(message: Message) -> list[Block]:
    rows = [("what", message.what, True), *((f.label, f.value, isinstance(f.value, Untrusted)) for f in message.facts)]
    return [_line(label, safe(value, FACT_LIMIT), code=code) for label, value, code in rows if value]


def _line(label: str, value: str, *, code: bool) -> Block:
    shown = _code(value) if code else _literal(value)
    return {"type": "rich_text_section", "elements": [_bold(f"{label}: "), shown, _literal("\n")]}


def _table(table: Table) -> Iterator[Block]:
    if not table.rows:
        return
    rows: list[list[str]] = [list(table.columns), *map(list[str], table.rows[:_PREVIEW_ROWS])]
    yield {"type": "table", "rows": [[_cell(text) for text in row] for row in rows]}
    if table.more:
        yield _context(f"and {count(table.more, 'more workload')}")


def _cell(text: str) -> Block:
    return {"type": "raw_text", "text": safe(text, CELL_LIMIT, ascii_only=True) or "-"}


def _preformatted_table(table: Table) -> Iterator[Block]:
    if not table.rows:
        return
    lines = [" · ".join(safe(cell, 48, ascii_only=True) for cell in row) for row in table.rows[:_PREVIEW_ROWS]]
    if table.more:
        lines.append(f"and {count(table.more, 'more workload')}")
    yield _preformatted(lines)


def _advice(message: Message) -> Iterator[Block]:
    """What to do; nothing of it once it is over."""
    lines = [("not known", sentence) for sentence in message.unknown]
    if message.state != "resolved":
        lines = [("harmless?", message.benign), ("to do", message.todo), *lines]
    sections = [_line(label, safe(text, SECTION_LIMIT // 4), code=False) for label, text in lines if text]
    if sections:
        yield {"type": "rich_text", "elements": sections}
    commands = [line for line in message.commands if len(line) <= COMMAND_LIMIT]
    if commands and message.state != "resolved":
        yield _preformatted(commands)


def _preformatted(lines: Iterable[str]) -> Block:
    elements = [_literal(cut("\n".join(lines), SECTION_LIMIT))]
    return {"type": "rich_text", "elements": [{"type": "rich_text_preformatted", "elements": elements}]}


def _actions(message: Message, links: Links, *, pressable: bool) -> Iterator[Block]:
    """Buttons that do something, where that is of use, and buttons that open something."""
    wanted = [("What it means", "docs", docs_url(message, links))]
    if message.kind != CHECKPOINT:
        wanted += [
            ("Members", "members", kibana_url(message, links, links.members)),
            ("Timeline", "timeline", kibana_url(message, links, links.timeline)),
        ]
    buttons = list(_presses(message)) if pressable else []
    buttons += [
        _button(f"{LINK}{name}", label, {"url": url}) for label, name, url in wanted if url and len(url) <= URL_LIMIT
    ]
    if buttons:
        yield {"type": "actions", "elements": buttons}


def _presses(message: Message) -> Iterator[Block]:
    value = {"value": button_value(message.incident, message.revision)}
    if "ack" in message.presses:
        yield _button(ACK, "Acknowledge", {**value, "style": "primary"})
    if "propose" in message.presses:
        yield _button(PROPOSE, "Not a problem…", value)


def _button(name: str, label: str, more: Block) -> Block:
    text = {"type": "plain_text", "text": cut(label, BUTTON_LIMIT), "emoji": False}
    return {"type": "button", "action_id": name, "text": text, **more}


def _foot(message: Message, marks: Marks) -> str:
    parts = [f"revision {message.revision}", f"`{_show(message)}`"]
    if marks.previous:
        parts.append("takes the place of an older message")
    if marks.possible_duplicate:
        parts.append("possible duplicate: the channel could not be searched")
    return " · ".join(parts)


def _show(message: Message) -> str:
    """The command that shows it: of a digest the list of what it stands for."""
    if message.kind == CHECKPOINT:
        return "revet ledger verify"
    return "revet incident list" if message.incidents else f"revet incident show {message.short_id}"


def _plain_lines(message: Message, marks: Marks) -> Iterator[str]:
    """Everything in `text`; escaped, for it is parsed."""
    yield escaped(message.headline)
    if marks.meant_for:
        yield f"meant for {escaped(safe(marks.meant_for, 80))}, whose channel cannot be reached"
    yield escaped(f"what: {safe(message.what, FACT_LIMIT)}")
    for fact in message.facts:
        yield escaped(f"{fact.label}: {safe(fact.value, FACT_LIMIT // 2)}")
    if message.state != "resolved":
        yield escaped(f"to do: {message.todo}")
    for sentence in message.unknown:
        yield escaped(f"not known: {sentence}")
    yield _show(message)


# ---------------------------------------------------------------------------------------------------------- elements


def _literal(text: str) -> Block:
    return {"type": "text", "text": text or " "}


def _bold(text: str) -> Block:
    return {"type": "text", "text": text, "style": {"bold": True}}


def _code(text: str) -> Block:
    return {"type": "text", "text": safe(text, FACT_LIMIT) or " ", "style": {"code": True}}


def _mentions(ids: Iterable[str]) -> Iterator[Block]:
    for name in ids:
        if name in ("here", "channel"):
            yield {"type": "broadcast", "range": name}
        elif name.startswith("S"):
            yield {"type": "usergroup", "usergroup_id": name}
        else:
            yield {"type": "user", "user_id": name}
        yield _literal(" ")


# ------------------------------------------------------------------------------------------------------------- links


def docs_url(message: Message, links: Links) -> str:
    """The page of the finding; empty when nobody said where the documentation is."""
    page = message.link.removeprefix("docs/")
    return f"{links.docs.rstrip('/')}/{quote(page)}" if links.docs else ""


def kibana_url(message: Message, links: Links, pattern: str) -> str:
    """A search in Discover for what belongs to the incident, in a window that does not move; empty without Kibana."""
    begin, end = (message.opened or message.as_of) - _WINDOW, message.as_of + _WINDOW
    return discover_url(links, pattern, f"{_INCIDENT_FIELD}: {_ids(message)}", begin, end)


def discover_url(links: Links, pattern: str, query: str, begin: int, end: int) -> str:
    """A search in Discover: `pattern` names the indices, `query` is KQL, the window does not move. Empty without a
    Kibana or a pattern.
    """
    if not links.kibana or not pattern:
        return ""
    parameters = {
        "dataViewSpec": {"title": pattern, "timeFieldName": "@timestamp"},
        "query": {"language": "kuery", "query": query},
        "timeRange": {"from": _iso(begin), "to": _iso(end)},
    }
    given = urlencode({
        "l": "DISCOVER_APP_LOCATOR", "v": links.kibana_version, "p": json.dumps(parameters, separators=(",", ":")),
    })  # fmt: skip
    return f"{links.kibana.rstrip('/')}/app/r?{given}"


def _ids(message: Message) -> str:
    """What is asked for: the incident, or all that a digest stands for."""
    if not message.incidents:
        return kql(message.incident)
    return f"({' or '.join(map(kql, message.incidents))})"


_INCIDENT_FIELD: Final = "provenance.incident.id"
_WINDOW: Final = 15 * 60 * SECOND


def kql(value: str) -> str:
    """A value as a quoted KQL term: what is in it stays in it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _iso(micros: int) -> str:
    return utc(max(0, micros)).replace(" ", "T")


# ------------------------------------------------------------------------------------------------------------ limits

_LIMITS: Final[Mapping[str, int]] = {"header": HEADER_LIMIT, "section": SECTION_LIMIT}


def trouble(laid: Laid) -> list[str]:
    """What the service would refuse. Our own layouts have none of it; tests ask."""
    found = []
    if not laid.text.strip():
        found.append("no text")
    if len(laid.text) > TEXT_LIMIT:
        found.append("text too long")
    if len(laid.blocks) > BLOCK_LIMIT:
        found.append("too many blocks")
    for index, block in enumerate(laid.blocks):
        found += [f"/blocks/{index}{problem}" for problem in _block_trouble(block)]
    return found


def _block_trouble(block: Block) -> Iterator[str]:
    kind = block["type"]
    if kind in _LIMITS and not 0 < len(block["text"]["text"]) <= _LIMITS[kind]:
        yield f": text of {kind}"
    if kind == "context" and not 0 < len(block["elements"]) <= CONTEXT_LIMIT:
        yield ": elements of context"
    if kind == "actions":
        yield from _action_trouble(block["elements"])
    if kind == "table" and (len(block["rows"]) > TABLE_ROWS or any(len(row) > TABLE_CELLS for row in block["rows"])):
        yield ": size of table"
    for text in _texts(block):
        if not 0 < len(text) <= SECTION_LIMIT:
            yield ": length of an element"


def _action_trouble(elements: list[Block]) -> Iterator[str]:
    if not 0 < len(elements) <= ACTIONS_LIMIT:
        yield ": elements of actions"
    for element in elements:
        if len(element["text"]["text"]) > BUTTON_LIMIT or len(element.get("url", "")) > URL_LIMIT:
            yield ": length of a button"


def _texts(value: object) -> Iterator[str]:
    """Every `text` that is a string, however deep."""
    if isinstance(value, Mapping):
        if isinstance(value.get("text"), str):
            yield value["text"]
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
