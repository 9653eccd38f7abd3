"""Puts the content into a Kibana, or says how the Kibana differs from it. Speaks to a port; opens nothing.

    steps = await install(kibana, content)      every step says what was done; twice changes nothing
    steps = await check(kibana, content)        the same without writing: what `install` would do

The order is that of references: space, data views, dashboards, searches, rule, role. What the account may not do, or
the Kibana lacks, is a step that says so and stops nothing; what fails in the middle leaves a Kibana in which every
single thing is either old or new, and a second run finishes.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Collection
from typing import Any, Final, Literal, Protocol

import msgspec

from dashboards.content import Content, import_lines
from verifier.errors import PlaceRefused

Json = dict[str, Any]  # Any: a tree of JSON

OLDEST: Final = (9, 4)
"""The first Kibana with the Dashboards API (a preview there)."""
STABLE: Final = (9, 5)
"""The first in which that API is promised to stay."""
TRIES: Final = 3
"""Writes of one dashboard while somebody else writes it too (409)."""

Done = Literal["made", "changed", "unchanged", "missing", "differs", "left"]
"""`missing` and `differs` are what a check finds; `left` is what this account or this Kibana cannot do."""

OPEN: Final = frozenset({"missing", "differs"})
"""What is not as this version wants it."""


class Step(msgspec.Struct, frozen=True):
    """One thing, and what became of it."""

    done: Done
    what: str
    note: str = ""


class Answer(Protocol):
    """What Kibana said."""

    @property
    def status(self) -> int:
        """Of HTTP."""

    @property
    def body(self) -> Any:  # noqa: ANN401  # a tree of JSON
        """Parsed JSON; a text where it sent none."""


class Kibana(Protocol):
    """A Kibana, asked one request at a time."""

    async def call(
        self, method: str, path: str, *, body: object = None, lines: str = "", accept: Collection[int] = ()
    ) -> Answer:
        """Ask; take any 2xx or a status in `accept`. `lines`: saved objects to import, as a file.

        Raises:
            PlaceUnavailable: no answer, 429 or 5xx.
            PlaceRefused: any other status, TLS, or what answers is no Kibana.
        """


async def install(kibana: Kibana, content: Content) -> list[Step]:
    """Make everything as this version wants it. A page that Kibana took and does not give back as it was is a step
    `differs`: what it left out nobody would miss otherwise.

    Raises:
        PlaceUnavailable: Kibana does not answer.
        PlaceRefused: it is too old, the account is not let in, or it refuses a page of ours.
    """
    return await _Work(kibana, content, write=True).steps()


async def check(kibana: Kibana, content: Content) -> list[Step]:
    """What `install` would do. Raises as it, but for what only writing can meet."""
    return await _Work(kibana, content, write=False).steps()


class _Work:
    def __init__(self, kibana: Kibana, content: Content, *, write: bool) -> None:
        self._kibana, self._content, self._write = kibana, content, write
        self._in_space = "" if content.space == "default" else f"/s/{content.space}"

    async def steps(self) -> list[Step]:
        found = [await self._version()]
        space = await self._space()
        found.append(space)
        if space.done == "missing":
            return [*found, Step("missing", "everything in it", "the space is not there")]
        for part in (self._views, self._dashboards, self._searches, self._rule, self._role):
            found += [step async for step in part()]
        return found

    # ------------------------------------------------------------------------------------------------- what it is

    async def _version(self) -> Step:
        answer = await self._kibana.call("GET", "/api/status")
        text = _text_at(answer.body, "version", "number")
        numbers = re.match(r"(\d{1,4})\.(\d{1,4})\.", text)
        if numbers is None:
            raise PlaceRefused("kibana-refused", "what answers at kibana.url tells no version: is it a Kibana?")
        version = (int(numbers[1]), int(numbers[2]))
        if version < OLDEST:
            raise PlaceRefused(
                "kibana-refused",
                f"Kibana {text} has no Dashboards API; it begins with 9.4. The record itself can be searched in any: "
                "the data views and saved searches of `revet dashboards export` can be imported by hand",
            )
        preview = version < STABLE
        note = "a preview of the Dashboards API; 9.5 is the first that promises to keep it" if preview else ""
        return Step("unchanged", f"Kibana {text}", note)

    async def _space(self) -> Step:
        named, wanted = f"space {self._content.space}", self._content.space_body
        if self._content.space == "default":
            return Step("unchanged", named, "Kibana's own; left as it is")
        path = f"/api/spaces/space/{self._content.space}"
        there = await self._kibana.call("GET", path, accept=(403, 404))
        if there.status == 403:
            return Step("left", named, "this account may not look at spaces")
        if there.status == 404:
            if not self._write:
                return Step("missing", named)
            put = await self._kibana.call("POST", "/api/spaces/space", body=wanted, accept=(409,))
            return Step("unchanged" if put.status == 409 else "made", named)
        return Step("unchanged", named)  # whoever renamed or coloured it had a reason

    # ------------------------------------------------------------------------------------------------------ parts

    async def _views(self) -> AsyncIterator[Step]:
        for id_, wanted in self._content.views.items():
            named = f"data view {wanted['name'].partition(' (')[0]}"
            there = await self._kibana.call("GET", f"{self._in_space}/api/data_views/data_view/{id_}", accept=(404,))
            found = there.body.get("data_view", {}) if there.status == 200 and isinstance(there.body, dict) else None
            differs = None if found is None else _difference(wanted, found)
            if differs == "":
                yield Step("unchanged", named)
            elif not self._write:
                yield _found(named, differs)
            else:
                body = {"data_view": wanted, "override": True}
                await self._kibana.call("POST", f"{self._in_space}/api/data_views/data_view", body=body)
                yield _made(named, differs)

    async def _dashboards(self) -> AsyncIterator[Step]:
        for id_, wanted in self._content.dashboards.items():
            yield await self._dashboard(id_, wanted, f"dashboard {self._content.slugs[id_]}")

    async def _dashboard(self, id_: str, wanted: Json, named: str) -> Step:
        path = f"{self._in_space}/api/dashboards/{id_}"
        before = await self._difference(path, wanted)
        if before == "":
            return Step("unchanged", named)
        if not self._write:
            return _found(named, before)
        for _ in range(TRIES):
            put = await self._kibana.call("PUT", path, body=wanted, accept=(409,))
            if put.status != 409:
                break
        else:
            raise PlaceRefused("kibana-refused", f"{named}: somebody else writes it all the time (409); try again")
        kept = await self._difference(path, wanted)
        if kept is None or kept:
            return Step("differs", named, f"Kibana took it and keeps something else: {kept or 'nothing'}")
        return _made(named, before)

    async def _difference(self, path: str, wanted: Json) -> str | None:
        """Where the dashboard there differs; empty when nowhere, None when there is none. Panels that Kibana leaves out
        of an answer are a difference.
        """
        there = await self._kibana.call("GET", path, accept=(404,))
        if there.status == 404:
            return None
        body = there.body if isinstance(there.body, dict) else {}
        warnings = body.get("warnings") or body.get("meta", {}).get("warnings")
        if warnings:
            return f"Kibana warns: {json.dumps(warnings)[:200]}"
        return _difference(wanted, body.get("data", {}))

    async def _searches(self) -> AsyncIterator[Step]:
        wanted = self._content.searches
        named = f"{len(wanted)} saved searches"
        objects = [{"type": one["type"], "id": one["id"]} for one in wanted]
        asked = {"objects": objects, "includeReferencesDeep": False, "excludeExportDetails": True}
        path = f"{self._in_space}/api/saved_objects"
        there = await self._kibana.call("POST", f"{path}/_export", body=asked, accept=(400,))
        differs = None if there.status == 400 else _search_difference(wanted, there.body)
        if differs == "":
            yield Step("unchanged", named)
        elif not self._write:
            yield _found(named, differs)
        else:
            text = "".join(f"{line}\n" for line in import_lines(self._content))
            answer = await self._kibana.call("POST", f"{path}/_import?overwrite=true", lines=text)
            if not (isinstance(answer.body, dict) and answer.body.get("success")):
                told = json.dumps(answer.body.get("errors") if isinstance(answer.body, dict) else answer.body)[:300]
                raise PlaceRefused("kibana-refused", f"{named}: Kibana imported them in part: {told}")
            yield _made(named, differs)

    async def _rule(self) -> AsyncIterator[Step]:
        wanted = self._content.rule
        named, path = f"detection rule {wanted['rule_id']}", f"{self._in_space}/api/detection_engine/rules"
        there = await self._kibana.call("GET", f"{path}?rule_id={wanted['rule_id']}", accept=(403, 404))
        if there.status == 403 or (there.status == 404 and "rule_id" not in json.dumps(there.body)):
            yield Step("left", named, "no detection engine in this Kibana, or this account may not use it")
            return
        # Whether it is on, and what is done about it, is the security team's.
        compared = {name: value for name, value in wanted.items() if name != "enabled"}
        differs = None if there.status == 404 else _difference(compared, there.body)
        if differs == "":
            yield Step("unchanged", named)
        elif not self._write:
            yield _found(named, differs)
        else:
            before = there.body if differs is not None and isinstance(there.body, dict) else {}
            enabled = bool(before.get("enabled", wanted["enabled"]))
            kept = {name: before[name] for name in _THEIRS if name in before}
            await self._kibana.call(
                "POST" if differs is None else "PUT", path, body=wanted | kept | {"enabled": enabled}
            )
            yield _made(named, differs)

    async def _role(self) -> AsyncIterator[Step]:
        wanted, name = self._content.role, self._content.role_name
        path = f"/api/security/role/{name}"
        there = await self._kibana.call("GET", path, accept=(403, 404))
        if there.status == 403:
            yield Step("left", f"role {name}", "this account may not look at roles (needs manage_security)")
            return
        differs = None if there.status == 404 else _difference(wanted, there.body)
        if differs == "":
            yield Step("unchanged", f"role {name}")
        elif not self._write:
            yield _found(f"role {name}", differs)
        else:
            put = await self._kibana.call("PUT", path, body=wanted, accept=(403,))
            refused = put.status == 403
            note = "this account may not change roles (needs manage_security)"
            yield Step("left", f"role {name}", note) if refused else _made(f"role {name}", differs)


_THEIRS: Final = ("actions", "exceptions_list")
"""Parts of a rule that people add in Kibana; a PUT without them would take them away."""


def _found(named: str, differs: str | None) -> Step:
    return Step("missing", named) if differs is None else Step("differs", named, differs)


def _made(named: str, differs: str | None) -> Step:
    return Step("made", named) if differs is None else Step("changed", named, differs)


def _text_at(body: object, *names: str) -> str:
    for name in names:
        body = body.get(name) if isinstance(body, dict) else None
    return body if isinstance(body, str) else ""


def _search_difference(wanted: list[Json], body: object) -> str | None:
    """Of an export, which is lines of JSON. Empty when nothing differs, None when one of them is not there."""
    lines = body if isinstance(body, str) else json.dumps(body)
    try:
        found = {one["id"]: one for one in map(json.loads, filter(None, lines.splitlines())) if "id" in one}
        for one in wanted:
            if one["id"] not in found:
                return None
            differs = _difference(_asked_by(one), _asked_by(found[one["id"]]), one["attributes"]["title"])
            if differs:
                return differs
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return "the export is not readable"
    return ""


def _asked_by(search: Json) -> Json:
    """What a saved search asks and shows, in whichever form this Kibana keeps it: newer ones move it into a tab."""
    attributes = search["attributes"]
    tabs = attributes.get("tabs") or [{"attributes": {}}]
    attributes = tabs[0]["attributes"] | attributes
    asked = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]
    views = sorted({one["id"] for one in search["references"] if one["type"] == "index-pattern"})
    shown = {name: attributes.get(name) for name in ("title", "description", "columns", "sort")}
    return shown | {"query": asked, "data view": views}


def _difference(wanted: object, found: object, path: str = "") -> str:
    """Where what was found lacks something that is wanted; empty when nowhere. What Kibana adds (defaults) is no
    difference; lists have to agree in length.
    """
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return path or "all of it"
        parts = ((name, value, found.get(name, _ABSENT)) for name, value in wanted.items())
    elif isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return path or "all of it"
        parts = ((str(n), value, found[n]) for n, value in enumerate(wanted))
    else:
        return "" if _same(wanted, found) else (path or "all of it")
    for name, value, there in parts:
        if differs := _difference(value, there, f"{path}.{name}".lstrip(".")):
            return differs
    return ""


_ABSENT: Final = object()


def _same(wanted: object, found: object) -> bool:
    """Numbers may come back as fractions; a truth value is no number."""
    return type(wanted) is not bool and wanted == found if type(found) is not bool else wanted is found
