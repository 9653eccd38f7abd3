"""What people do with a message's buttons: payloads of Slack's interactivity in, what they mean out. Pure.

    read({"type": "block_actions", …})    ->  Press("ack", …), Press("ask", …), or None: a link, which asks for nothing
    read({"type": "view_submission", …})  ->  Proposed(…): the form behind "Not a problem…" was sent
    form(press)                           the form

Nothing that a payload says of an incident is used but its id: what it is, the incident book knows. A payload that does
not read as documented is a `PressError`, whose text names no value of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from verifier.errors import InputError
from verifier.policy.documents import DEFAULT_EXEMPTION_DAYS, MAX_EXEMPTION_DAYS
from verifier.times import SECOND

ACK: Final = "revet-ack"
PROPOSE: Final = "revet-propose"
FORM: Final = "revet-proposal"
"""Ids of our buttons and of our form."""
LINK: Final = "open-"
"""Beginning of the ids of buttons that open something: pressing one is told to us too, and asks for nothing."""

MAX_WHY: Final = 500
MAX_TICKET: Final = 80
"""Characters people may write."""
DAYS: Final = (7, DEFAULT_EXEMPTION_DAYS, 90, MAX_EXEMPTION_DAYS)
"""Choices of the form."""

_VERSION: Final = "1"
_INCIDENT: Final = re.compile(r"[!-~]{1,200}")
_USER: Final = re.compile(r"[UW][A-Z0-9]{1,30}")
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,500}")
_TS: Final = re.compile(r"(\d{1,11})\.(\d{6})")

Payload = Mapping[str, Any]  # Any: JSON of the service


class PressError(InputError):
    """A payload that is not what the service documents."""


class Presser(msgspec.Struct, frozen=True):
    """Who it was."""

    user: str
    team: str
    """Workspace of the user; in a channel that several share, not always ours."""


class Press(msgspec.Struct, frozen=True):
    """One of our buttons."""

    kind: Literal["ack", "ask"]
    """`ask`: for the form."""
    incident: str
    who: Presser
    at: int
    """When, by the service's clock; microseconds UTC."""
    trigger: str
    """Opens one form, within three seconds."""
    channel: str


class Proposed(msgspec.Struct, frozen=True):
    """The form was sent."""

    incident: str
    who: Presser
    view: str
    """Id of the form that was open: sent twice, it is still one."""
    channel: str
    why: str
    days: int
    ticket: str
    errors: tuple[tuple[str, str], ...] = ()
    """(field, what is wrong with it); nothing is proposed then."""


class Whisper(NamedTuple):
    """A line that only one person sees."""

    channel: str
    user: str
    text: str


class OpenForm(NamedTuple):
    """A form for whoever pressed, and what to say when it does not open any more."""

    trigger: str
    view: dict[str, Any]
    too_late: Whisper


class Reaction(NamedTuple):
    """What comes of a payload."""

    acknowledge: bool = True
    payload: dict[str, Any] | None = None
    """Goes with the acknowledgement."""
    then: Whisper | OpenForm | None = None
    """Done after it."""


def button_value(incident: str, revision: int) -> str:
    """What a button carries: version, incident and revision, nothing else."""
    return f"{_VERSION} {incident} {revision}"


def read(payload: object) -> Press | Proposed | None:
    """What was pressed; None: nothing that asks us for something.

    Raises:
        PressError: it does not read as documented.
    """
    if not isinstance(payload, Mapping):
        raise PressError("expected an object")
    kind = payload.get("type")
    if kind == "block_actions":
        return _press(payload)
    if kind == "view_submission":
        return _proposed(payload)
    return None


def presser_of(payload: Payload) -> Presser:
    """Who sent a payload. Raises PressError."""
    user, team = _mapping(payload, "user"), payload.get("team")
    own = user.get("team_id") or (team.get("id") if isinstance(team, Mapping) else "")
    return Presser(_text(user, "id", _USER), own if isinstance(own, str) else "")


def _press(payload: Payload) -> Press | None:
    actions = payload.get("actions")
    if not isinstance(actions, list) or len(actions) != 1 or not isinstance(actions[0], Mapping):
        raise PressError("expected one action")
    name = actions[0].get("action_id")
    if name not in (ACK, PROPOSE):
        return None
    channel = payload.get("channel")
    return Press(
        kind="ack" if name == ACK else "ask",
        incident=_incident(actions[0].get("value")),
        who=presser_of(payload),
        at=_instant(actions[0].get("action_ts")),
        trigger=_text(payload, "trigger_id", _ID) if name == PROPOSE else "",
        channel=_channel(channel.get("id")) if isinstance(channel, Mapping) else "",
    )


def _proposed(payload: Payload) -> Proposed | None:
    view = _mapping(payload, "view")
    if view.get("callback_id") != FORM:
        return None
    value, _, channel = str(view.get("private_metadata", "")).rpartition("\n")
    values = _mapping(_mapping(view, "state"), "values")
    why, ticket = _written(values, "why").strip(), _written(values, "ticket").strip()
    days = _written(values, "days")
    number = int(days) if days.isascii() and days.isdigit() and len(days) < 4 else 0
    return Proposed(
        incident=_incident(value),
        who=presser_of(payload),
        view=_text(view, "id", _ID),
        channel=_channel(channel),
        why=why,
        days=number,
        ticket=ticket,
        errors=tuple(_form_trouble(why, number, ticket)),
    )


def _form_trouble(why: str, days: int, ticket: str) -> list[tuple[str, str]]:
    """The service keeps to the form's limits; whoever speaks in its place may not."""
    found = []
    if not 0 < len(why) <= MAX_WHY:
        found.append(("why", f"Say why, in at most {MAX_WHY} characters."))
    if not 0 < days <= MAX_EXEMPTION_DAYS:
        found.append(("days", f"1 to {MAX_EXEMPTION_DAYS} days."))
    if len(ticket) > MAX_TICKET:
        found.append(("ticket", f"At most {MAX_TICKET} characters."))
    return found


def _written(values: Payload, block: str) -> str:
    """What one field of the form holds; empty: nothing."""
    field = values.get(block)
    found = next(iter(field.values()), None) if isinstance(field, Mapping) else None
    if not isinstance(found, Mapping):
        return ""
    chosen = found.get("selected_option")
    text = chosen.get("value") if isinstance(chosen, Mapping) else found.get("value")
    return text if isinstance(text, str) else ""


def _mapping(payload: Payload, name: str) -> Payload:
    found = payload.get(name)
    if not isinstance(found, Mapping):
        raise PressError(f"expected {name}")
    return found


def _text(payload: Payload, name: str, grammar: re.Pattern[str]) -> str:
    found = payload.get(name)
    if not isinstance(found, str) or not grammar.fullmatch(found):
        raise PressError(f"expected {name}")
    return found


def _incident(value: object) -> str:
    parts = value.split(" ") if isinstance(value, str) else []
    if len(parts) != 3 or parts[0] != _VERSION or not _INCIDENT.fullmatch(parts[1]):
        raise PressError("expected a value of ours")
    return parts[1]


def _channel(found: object) -> str:
    return found if isinstance(found, str) and found.isascii() and found.isalnum() and len(found) <= 30 else ""


def _instant(ts: object) -> int:
    found = _TS.fullmatch(ts) if isinstance(ts, str) else None
    if found is None:
        raise PressError("expected action_ts")
    return int(found[1]) * SECOND + int(found[2])


def form(press: Press, revision: int = 0) -> dict[str, Any]:
    """The form behind "Not a problem…". Its words are ours; nothing from outside is in it."""
    return {
        "type": "modal",
        "callback_id": FORM,
        "private_metadata": f"{button_value(press.incident, revision)}\n{press.channel}",
        "title": _plain("Not a problem?"),
        "submit": _plain("Propose"),
        "close": _plain("Cancel"),
        "blocks": [
            {"type": "section", "text": _plain(_SAID)},
            _input("why", "Why is it none?", {"type": "plain_text_input", "multiline": True, "max_length": MAX_WHY}),
            _input("days", "For how long?", _choice()),
            _input("ticket", "Ticket", {"type": "plain_text_input", "max_length": MAX_TICKET}, optional=True),
        ],
    }


_SAID: Final = (
    "You propose that this be accepted for a time. Nothing is accepted by that: a trust administrator looks at it, and"
    " signs an exemption or does not. Until then it stays open."
)


def _choice() -> dict[str, Any]:
    options = [{"text": _plain(f"{days} days"), "value": str(days)} for days in DAYS]
    return {"type": "static_select", "options": options, "initial_option": options[1]}


def _input(name: str, label: str, element: dict[str, Any], *, optional: bool = False) -> dict[str, Any]:
    return {
        "type": "input",
        "block_id": name,
        "optional": optional,
        "label": _plain(label),
        "element": {**element, "action_id": name},
    }


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
