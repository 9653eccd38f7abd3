"""A message in the words of other services: a generic webhook, PagerDuty Events v2, Alertmanager API v2. Pure.

Each is told with the incident's id as its key, so that what comes twice is one thing there, and both sides agree on
names. Values are data of JSON documents: nothing of them is parsed as markup there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from alerting.blocks import Links, docs_url, kibana_url
from alerting.calls import Post, SendReply, Update
from alerting.models import Severity
from alerting.render import Message, render_reply
from alerting.text import cut, safe
from verifier.times import DAY, SECOND

SCHEMA: Final = "revet.alert/v1"
SUMMARY_LIMIT: Final = 1024
"""PagerDuty's limit of `payload.summary`, characters."""
KEY_LIMIT: Final = 255
FACT_LIMIT: Final = 500
ALERT_LASTS: Final = DAY
"""An alert that is not resolved ends by itself at Alertmanager after so long, unless news of it comes."""

Event = Post | Update | SendReply
Json = dict[str, Any]  # Any: JSON as each service documents it

_PAGERDUTY: Final[dict[Severity, str]] = {
    "critical": "critical",
    "high": "error",
    "medium": "warning",
    "low": "info",
    "info": "info",
}


def webhook_body(event: Event, links: Links) -> Json:
    """Everything the message says, and what happened to it."""
    message = event.message
    body: Json = {
        "schema": SCHEMA,
        "event": "reply" if isinstance(event, SendReply) else "opened" if isinstance(event, Post) else "changed",
        "delivery": event.delivery,
        "revision": message.revision,
        "incident": message.incident,
        "short_id": message.short_id,
        "kind": message.kind,
        "state": message.state,
        "severity": message.severity,
        "as_of": _iso(message.as_of),
        "headline": message.headline,
        **_details(message),
        "links": _links(message, links),
    }
    if isinstance(event, SendReply):
        body["reply"] = {"id": event.reply.id, "text": render_reply(event.reply, message)}
    return body


def pagerduty_body(event: Event, links: Links, key: str) -> Json:
    """Trigger, acknowledge or resolve. News of what is open is one more trigger with the same key: it wakes nobody."""
    message = event.message
    action = {"resolved": "resolve", "acknowledged": "acknowledge"}.get(message.state, "trigger")
    body: Json = {
        "routing_key": key,
        "dedup_key": cut(message.incident, KEY_LIMIT),
        "event_action": action,
    }
    if action == "trigger":
        body["payload"] = {
            "summary": cut(message.headline, SUMMARY_LIMIT),
            "source": "revet",
            "severity": _PAGERDUTY[message.severity],
            "timestamp": _iso(message.opened or message.as_of),
            "component": message.kind,
            "custom_details": _details(message),
        }
        body["client"] = "revet"
        body["links"] = [{"href": url, "text": name} for name, url in _links(message, links).items()]
    return body


def alertmanager_body(event: Event, links: Links) -> list[Json]:
    """One alert; it ends when the incident is resolved."""
    message = event.message
    end = message.as_of if message.state == "resolved" else message.as_of + ALERT_LASTS
    alert: Json = {
        "labels": {
            "alertname": "RevetIncident",
            "incident": message.incident,
            "short_id": message.short_id,
            "kind": message.kind,
            "severity": message.severity,
        },
        "annotations": {"summary": message.headline, "description": message.todo},
        "startsAt": _iso(message.opened or message.as_of),
        "endsAt": _iso(end),
    }
    found = _links(message, links)
    if "docs" in found:
        alert["generatorURL"] = found["docs"]
    return [alert]


def _details(message: Message) -> Json:
    return {
        "what": safe(message.what, FACT_LIMIT),
        "facts": {fact.label: safe(fact.value, FACT_LIMIT) for fact in message.facts},
        "todo": message.todo,
        "unknown": list(message.unknown),
    }


def _links(message: Message, links: Links) -> dict[str, str]:
    found = {
        "docs": docs_url(message, links),
        "members": kibana_url(message, links, links.members),
        "timeline": kibana_url(message, links, links.timeline),
    }
    return {name: url for name, url in found.items() if url}


def _iso(micros: int) -> str:
    return datetime.fromtimestamp(micros / SECOND, UTC).isoformat(timespec="milliseconds")
