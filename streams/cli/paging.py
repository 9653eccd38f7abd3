"""The live page: which page is asked for, the record looked into for it, and the process that serves it.

    with shown(settings, state) as address: ...          None where the settings have no `ui.address`

It reads on connections of its own, in a process of its own, so that whatever is asked for it never holds intake up.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from alerting.routing import Routes
from alerting.text import utc
from dashboards.live import CONTENT_SECURITY_POLICY, ICON, SCRIPT, STYLE, Shown, Written, composer, page
from streams.cli.common import say
from streams.cli.composing import foretold, keys_in_force, written_yaml
from streams.clock import wall_clock
from streams.local.beside import beside
from streams.local.looking import looking
from streams.local.page import HTML, PageAnswer, PageAsked, PageOptions, PageServer
from streams.local.sqlite import Changes
from streams.queries.columns import COLUMNS
from streams.queries.conditions import is_
from streams.queries.kql import QueryError, render
from streams.queries.looking import Look
from streams.queries.report import Wanted, views
from streams.queries.report.model import Part, Section, Table
from streams.queries.report.people import People
from streams.queries.results import Subject
from streams.queries.subjects import NothingCalledError
from streams.settings import Settings, host_and_port, is_loopback, shown_address
from streams.sinks.fields import HOMES
from verifier.errors import InputError, PlaceError, PlaceUnavailable
from verifier.times import DAY, MINUTE

PAGE_SECONDS: Final = 15.0
"""How long the record may take over one page."""
NICE: Final = 5
"""The page steps back behind the process that judges."""
BACKLOG: Final = 64

_ANY: Final = ("digest", "image", "pod", "workload")


class Place(msgspec.Struct, frozen=True):
    """What pages show, and how; goes to another process."""

    state: str
    names: bool
    days: int
    routes: Routes = Routes()


class LivePages:
    """Makes pages of one state file. Implements `streams.local.page.Pages`."""

    policy = CONTENT_SECURITY_POLICY

    def __init__(self, place: Place) -> None:
        self._place = place
        self._state = Path(place.state)
        self._changes = Changes(self._state)
        self._people = People()

    def version(self) -> str:
        """See `Pages`. Which feeds are silent follows the clock."""
        return f"{self._changes.mark()}/{wall_clock() // MINUTE}"

    def fixed(self, path: str) -> PageAnswer | None:
        """See `Pages`."""
        return _FIXED.get(path)

    def page(self, asked: PageAsked) -> PageAnswer:
        """See `Pages`."""
        found = _VIEWS.get(asked.path)
        if found is None:
            return _answer(404, self._told(asked, "No such page", "There is no page of this name."))
        title, make = found
        try:
            return _answer(200, make(self, asked))
        except NothingCalledError as error:
            return _answer(404, self._told(asked, title, str(error)))
        except PlaceUnavailable as error:
            return _answer(503, self._told(asked, title, f"The record cannot be read now: {error}"))
        except (InputError, PlaceError) as error:
            return _answer(400, self._told(asked, title, str(error)))

    def _told(self, asked: PageAsked, title: str, what: str) -> Shown:
        """A page that says what went wrong. Paths of this machine are nobody's business."""
        note = what.replace(str(self._state), self._state.name)
        return self._shown(asked, title, (), note, live=False)

    def _shown(
        self,
        asked: PageAsked,
        title: str,
        sections: tuple[Section, ...],
        *notes: str,
        look: Look | None = None,
        live: bool = True,
    ) -> Shown:
        hidden = sections if self._place.names else tuple(map(self._people.hidden, sections))
        home = asked.value("in")
        query = asked.value("q") if asked.path == "/search" else ""
        return Shown(
            title=title,
            path=asked.path,
            sections=hidden,
            notes=notes,
            about=_about(self._state, look),
            query=query,
            home=home if home in COLUMNS else "containers",
            live=live,
        )

    # ------------------------------------------------------------------ one function per page

    def list_page(self, asked: PageAsked) -> Shown:
        """A page without a subject."""
        title, make = _LISTS[asked.path]
        if not self._state.exists():
            return self._shown(asked, title, (), _NOTHING)
        with looking(self._state, wall_clock(), PAGE_SECONDS) as look:
            try:
                return self._shown(asked, title, make(look, self._wanted(look)), look=look)
            except InputError as error:
                if "nothing has been recorded" in str(error):
                    return self._shown(asked, title, (), _NOTHING)
                raise

    def incident_page(self, asked: PageAsked) -> Shown:
        """One incident."""
        with looking(self._state, wall_clock(), PAGE_SECONDS) as look:
            name = _named(asked)
            return self._shown(
                asked, f"Incident {name}", views.incident(look.reader, self._wanted(look), name), look=look
            )

    def image_page(self, asked: PageAsked) -> Shown:
        """One image."""
        with looking(self._state, wall_clock(), PAGE_SECONDS) as look:
            name = _named(asked)
            try:
                subject = _image(look, name)
            except NothingCalledError:
                if not look.reader.find(HOMES["containers"], is_("image", name), limit=1).hits:
                    raise
                runs = views.found(look.reader, self._wanted(look), render(is_("image", name)), "containers")
                note = "It runs, and no digest of it is known: nothing can be said of its evidence."
                return self._shown(asked, name, runs, note, look=look)
            return self._shown(asked, subject.name, views.image(look.reader, self._wanted(look), subject), look=look)

    def signer_page(self, asked: PageAsked) -> Shown:
        """One signer."""
        name = _named(asked)
        with looking(self._state, wall_clock(), PAGE_SECONDS) as look:
            found = views.signer(look.reader, self._wanted(look), self._people.name(name), asked.value("issuer"))
            return self._shown(asked, f"Signer {name}", found, look=look)

    def search_page(self, asked: PageAsked) -> Shown:
        """What a query finds, and what is called so."""
        query, home = asked.value("q").strip(), asked.value("in") or "containers"
        if not query and not asked.value("in"):
            return self._shown(asked, "Search", (), live=False)
        with looking(self._state, wall_clock(), PAGE_SECONDS) as look:
            called = _called(look, query)
            try:
                sections = views.found(look.reader, self._wanted(look), query, home)
            except QueryError:
                if not called:
                    raise
                sections = ()
            return self._shown(asked, "Search", (*called, *sections), look=look)

    def compose_page(self, asked: PageAsked) -> Shown:
        """The policy composer."""
        sent = dict(asked.form or ())
        written = Written(**{name: sent.get(name, "") for name in Written.__struct_fields__ if name in sent})
        sections: tuple[Section, ...] = ()
        problems: list[str] = []
        if sent.get("do") == "preview":
            sections, problems = foretold(self._state, written.yaml)
        elif sent:
            text, problems = written_yaml(written)
            written = msgspec.structs.replace(written, yaml=text or written.yaml)
        shown = self._shown(asked, "Policy composer", sections, live=False)
        return msgspec.structs.replace(shown, body=(composer(written, keys_in_force(self._state), problems),))

    def _wanted(self, look: Look) -> Wanted:
        """The window ends with the minute: pages that show the same are the same."""
        end = look.now + -look.now % MINUTE
        return Wanted(end - self._place.days * DAY, end, look.now, look.live, (), self._place.routes)


_NOTHING: Final = "Nothing has been recorded yet: this page fills as soon as something is."

_LISTS: Final[dict[str, tuple[str, Callable[[Look, Wanted], views.Sections]]]] = {
    "/": ("Overview", lambda look, wanted: views.overview(look.reader, wanted)),
    "/incidents": ("Incidents", lambda look, wanted: views.incident_list(look.reader, wanted)),
    "/changes": ("What changed", lambda look, wanted: views.changes(look.reader, wanted)),
    "/signers": ("Signers", lambda look, wanted: views.signers(look.reader, wanted)),
    "/trust": ("Trust", lambda look, wanted: views.trust(look.reader, wanted)),
}
"""Path -> title and chapters."""

_VIEWS: Final[dict[str, tuple[str, Callable[[LivePages, PageAsked], Shown]]]] = {
    **{path: (title, LivePages.list_page) for path, (title, _) in _LISTS.items()},
    "/incident": ("Incident", LivePages.incident_page),
    "/image": ("Image", LivePages.image_page),
    "/signer": ("Signer", LivePages.signer_page),
    "/search": ("Search", LivePages.search_page),
    "/compose": ("Policy composer", LivePages.compose_page),
}

_FIXED: Final = {
    "/live.css": PageAnswer(200, STYLE.encode(), "text/css"),
    "/live.js": PageAnswer(200, SCRIPT.encode(), "text/javascript"),
    "/icon.svg": PageAnswer(200, ICON.encode(), "image/svg+xml"),
}


def _about(state: Path, look: Look | None) -> str:
    recording = look is not None and look.live is None
    return f"{state.name}, a recording until {utc(look.now)}" if look is not None and recording else state.name


def _answer(status: int, shown: Shown) -> PageAnswer:
    return PageAnswer(status, page(shown).encode("utf-8", "replace"), HTML)


def _named(asked: PageAsked) -> str:
    name = asked.value("name").strip()
    if not name:
        raise InputError("the address names nothing: it needs ?name=")
    return name


def _image(look: Look, name: str) -> Subject:
    """An image as lists have it: `repository@sha256:` and twelve digits are enough."""
    _, at, digest = name.rpartition("@sha256:")
    return look.find(f"sha256:{digest}", ("digest",)) if at else look.find(name, _ANY)


def _called(look: Look, text: str) -> tuple[Section, ...]:
    """What has this very name; nothing for a query."""
    if not text or len(text) > 500:
        return ()
    try:
        subject = look.find(text, ("incident", *_ANY))
    except InputError:
        return ()
    if not subject.known:
        return ()
    column = "incident" if subject.kind == "incident" else "image"
    rows: list[tuple[str, str]] = [(subject.kind, subject.name)]
    if subject.kind == "image":
        rows += [("digest", digest) for digest in subject.values[:20]]
    table = Table("Leads to a page of its own", ("called", column), tuple(rows))
    return (Section("called", "Called so", "", (Part((table,)),)),)


# ------------------------------------------------------------------------------------------------------------- serving


@contextmanager
def shown(settings: Settings, state: Path) -> Iterator[str | None]:
    """Serve the page beside this process until the block ends; gives its address, None where none is wanted.

    Raises:
        PlaceUnavailable: the address cannot be listened on.
    """
    ui = settings.ui
    if not ui.address:
        yield None
        return
    host, port = host_and_port(ui.address)
    place = Place(str(state.absolute()), ui.names, ui.days, settings.owners.routes())
    with _bound(host, port) as listening:
        port = int(listening.getsockname()[1])
        own = (shown_address(host, port).lower(),) if is_loopback(host) else ()
        given = (listening, place, PageOptions((*ui.hosts, *own)), port)
        with beside(serve_pages, given, "the live page", say):
            address = f"http://{shown_address(host, port)}/"
            say(f"revet: the record as a live page: {address}")
            yield address


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        message = f"ui.address: cannot listen on {shown_address(host, port)}: {error.strerror or error}"
        raise PlaceUnavailable("listen-unavailable", message) from error
    with listening:
        yield listening


def serve_pages(listening: socket.socket, place: Place, options: PageOptions, port: int) -> None:
    """The process of the page: serves until it is told to end."""
    os.nice(NICE)
    asyncio.run(_serve(listening, LivePages(place), options, port))


async def _serve(listening: socket.socket, pages: LivePages, options: PageOptions, port: int) -> None:
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    async with PageServer(pages, options, port).listening(listening):
        await ending.wait()
