"""The live page over real sockets: whom it answers, what it refuses, what it never does, and how it ends."""

from __future__ import annotations

import html
import http.client
import json
import os
import re
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import pytest

from streams.cli.paging import LivePages, Place
from tests.helpers.cluster import demo_images, write_recording, write_trust
from tests.helpers.command import revet
from tests.helpers.demo_state import copy_of_demo
from tests.helpers.hostilereport import NAMES
from tests.helpers.liveserver import MadePages, served
from tests.helpers.process import Revet, run_args

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

POLICY = """apiVersion: revet/v1
kind: Policy
metadata: {name: release-only}
spec:
  mode: audit
  match: [{images: ["registry.example.com/**"]}]
  attestors: {release: {keys: [release]}}
  require: {signedBy: release}
"""


class Client:
    """Asks one address, as whoever it says it is."""

    def __init__(self, address: str) -> None:
        self.host = urlsplit(address).netloc

    def __call__(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(self.host, timeout=60)
        named = {"Host": self.host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        with closing(connection):
            connection.request(method, path, body, named)
            found = connection.getresponse()
            return Answer(found.status, dict(found.headers), found.read().decode())

    def compose(self, **form: str) -> Answer:
        sent = urlencode(form, errors="replace").encode()
        kind = "application/x-www-form-urlencoded"
        return self("/compose", "POST", sent, Origin=f"http://{self.host}", Content_Type=kind)


class Answer:
    def __init__(self, status: int, headers: dict[str, str], text: str) -> None:
        self.status, self.headers, self.text = status, headers, text

    @property
    def notes(self) -> list[str]:
        found = re.search(r'<ul class="notes unknown"[^>]*>(.*?)</ul>', self.text)
        return re.findall("<li>(.*?)</li>", found[1]) if found else []


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return copy_of_demo(tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module")
def asks(state):
    with served(LivePages(Place(str(state), names=False, days=7)), "revet.example.com") as address:
        yield Client(address)


PAGES = ("/", "/incidents", "/changes", "/signers", "/trust", "/search", "/search?q=verdict:violates", "/compose",
         "/image?name=registry.example.com/payments/refunds:2.3", "/signer?name=build")  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_whole_and_guarded(asks, path):
    answer = asks(path)
    assert answer.status == 200, answer.text
    assert answer.notes == [] or path == "/"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    wanted = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    assert wanted.items() <= answer.headers.items()
    assert not re.search(r"<script>|<style>| on[a-z]+=| style=|https?://(?!www.w3.org)[^<]*\">", answer.text)


def test_every_link_of_every_page_leads_to_a_page(asks):
    seen, todo = set[str](), list(PAGES)
    while todo and len(seen) < 40:
        path = todo.pop(0)
        if path in seen:
            continue
        seen.add(path)
        answer = asks(path)
        assert answer.status == 200, (path, answer.notes)
        links = [
            link.replace("&#61;", "=").replace("&amp;", "&") for link in re.findall(r'href="([^"]*)"', answer.text)
        ]
        assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in links), links
        todo += sorted({link for link in links if link.startswith("/") and link not in seen})[:15]
    assert any(path.startswith("/incident?") for path in seen), seen


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8090", "127.0.0.1.evil.example", "", "127.0.0.1:1", "localhost"]
)
def test_a_name_it_was_not_told_is_refused(asks, host):
    """DNS rebinding: a web page whose name leads to this address gets nothing to read."""
    answer = asks("/", Host=host)
    assert answer.status == 421
    assert "--ui-host" in answer.text
    assert "INC-" not in answer.text


def test_names_of_this_machine_and_those_it_was_told_are_answered(asks):
    port = asks.host.rpartition(":")[2]
    for host in (f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}", "revet.example.com"):
        assert asks("/incidents", Host=host).status == 200, host


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/trust", "/incident?name=INC-1", "/nix", "/live.js"])
def test_nothing_can_be_written(asks, method, path):
    answer = asks(path, method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


def test_the_file_is_opened_for_reading_alone(state, asks):
    before = state.read_bytes()
    for path in PAGES:
        asks(path)
    asks.compose(do="preview", yaml=POLICY)
    assert state.read_bytes() == before


def test_what_has_not_changed_is_not_sent_again(state, asks):
    first = asks("/incidents")
    again = asks("/incidents", If_None_Match=first.headers["ETag"])
    assert (again.status, again.text) == (304, "")
    with closing(sqlite3.connect(state, isolation_level=None)) as connection:
        connection.execute("UPDATE record SET body = json_set(body, '$.\"provenance.incident.kind\"', 'else')"
                           " WHERE home = 'revet-state-incidents'")  # fmt: skip
    time.sleep(1.5)
    changed = asks("/incidents", If_None_Match=first.headers["ETag"])
    assert changed.status == 200
    assert "else" in changed.text


def test_a_head_has_no_body(asks):
    answer = asks("/trust", "HEAD")
    assert (answer.status, answer.text) == (200, "")


def test_many_who_ask_cost_as_much_as_one():
    pages = MadePages()
    with served(pages) as address:
        asks = Client(address)
        for _ in range(50):
            asks("/")
    assert len(pages.made) == 1


@pytest.mark.parametrize("headers", [
    {}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"}, {"Sec_Fetch_Site": "none"},
])  # fmt: skip
def test_another_site_cannot_have_a_policy_looked_at(asks, headers):
    assert asks("/compose", "POST", b"do=preview", **headers).status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_may_lead_here_and_ask_for_nothing_else(asks, site):
    for dest in ("image", "iframe", "empty", "script", ""):
        assert asks("/", Sec_Fetch_Site=site, Sec_Fetch_Dest=dest).status == 403
    assert asks("/trust", Sec_Fetch_Site=site, Sec_Fetch_Dest="document").status == 200


def test_an_error_of_ours_is_named_and_nothing_of_the_question_is_logged(caplog):
    class Broken(MadePages):
        def page(self, asked):
            raise ZeroDivisionError("secret")

    with served(Broken()) as address:
        answer = Client(address)("/search?q=secret")
    assert answer.status == 500
    assert "ZeroDivisionError" in answer.text
    assert "secret" not in answer.text + caplog.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


# ------------------------------------------------------------------------------------------------------------ composer


def test_fields_become_a_policy_and_a_policy_is_foretold(asks):
    form = {"name": "release-only", "images": "registry.example.com/**", "mode": "audit", "keys": "release"}
    rendered = asks.compose(do="render", **form)
    assert rendered.notes == []
    yaml = re.search(r"<textarea id=\"yaml\"[^>]*>(.*?)</textarea>", rendered.text, re.DOTALL)
    assert yaml
    assert "kind: Policy" in yaml[1]
    foretold = asks.compose(do="preview", yaml=html.unescape(yaml[1]))
    assert "What it would do to what runs now" in foretold.text
    assert ">release-only</a></th>" in foretold.text


def test_the_preview_says_what_the_command_says(asks, state, tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    told = json.loads(revet("policy", "preview", tmp_path / "policy.yaml", "--state", state, "-o", "json").out)
    violating = told["violating"]["containers"]
    assert violating > 0
    text = re.sub("<[^>]*>", " ", asks.compose(do="preview", yaml=POLICY).text)
    assert re.search(rf"\b{violating}\s+would begin to violate", text), text


WRONG = {
    "nothing": ("", "there is no policy in it"),
    "garbage": ("{{{", "line "),
    "no YAML": ("a: b: c", "line 1"),
    "another kind": (POLICY.replace("kind: Policy", "kind: Pod"), "kind is one of"),
    "another document": (
        "apiVersion: revet/v1\nkind: Key\nmetadata: {name: k}\nspec: {file: /etc/passwd}\n",
        "relative",
    ),
    "another kind of document": (
        "apiVersion: revet/v1\nkind: Key\nmetadata: {name: k}\nspec: {file: pyproject.toml}\n",
        "is no policy",
    ),
    "unknown member": (POLICY.replace("mode: audit", "mood: audit"), "mood"),
    "unknown key": (POLICY.replace("keys: [release]", "keys: [nobody]"), "nobody"),
    "accepts everybody": (POLICY.replace("require: {signedBy: release}", "require: {}"), "accept every image"),
    "a bomb": ("a: &a [1,1]\nb: &b [*a,*a]\nc: [*b,*b]\n", "line"),
    "very long": ("a" * 300_000, "200,000"),
    "control characters": ("kind: \0\x1b[2J", "line"),
    **{f"hostile {n}": (name, "line") for n, name in enumerate(NAMES[:8])},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_policy_has_a_name(asks, name):
    text, said = WRONG[name]
    answer = asks.compose(do="preview", yaml=text)
    assert answer.status == 200
    assert any(said in note for note in answer.notes), answer.notes
    assert "root:" not in answer.text
    assert "<script>doc" not in answer.text


def test_a_form_that_is_none_is_answered(asks):
    origin = {"Origin": f"http://{asks.host}"}
    for body, kind in ((b"\xff\xfe", "application/json"), (b"--x", "multipart/form-data; boundary=y"), (b"", "x/y")):
        assert asks("/compose", "POST", body, Content_Type=kind, **origin).status in (200, 400)
    too_long = asks(
        "/compose", "POST", b"yaml=" + b"x" * 600_000, Content_Type="application/x-www-form-urlencoded", **origin
    )
    assert too_long.status == 413


# -------------------------------------------------------------------------------------------------- hostile and absent


@pytest.mark.parametrize("path", ["/image", "/incident", "/signer", "/search"])
@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_question_is_answered_as_text(asks, path, name):
    asked = quote(name[:3000], errors="replace")
    answer = asks(f"{path}?name={asked}&q={asked}&in=containers")
    assert answer.status in (200, 400, 404)
    assert "<script>doc" not in answer.text
    assert "<img" not in answer.text


def test_nobody_known_is_said(asks):
    assert asks("/incident?name=INC-000000").status == 404
    assert asks("/incident").status == 400
    assert asks("/search?q=x&in=nothing").status == 400
    assert asks("/search?q=verdict:").status == 400
    assert asks("/../../etc/passwd").status == 404


def test_people_are_numbers_unless_names_are_asked_for(state, asks):
    author = json.loads(revet("trust", "history", "--state", state, "-o", "json").out)["entries"][0]["record"]["author"]
    assert author
    hidden = asks("/trust").text
    assert "person 1" in hidden
    assert "yearly" not in hidden, "what a person wrote"
    assert "rotated key release" in hidden
    assert not re.search(rf">{re.escape(author)}<", hidden)
    with served(LivePages(Place(str(state), names=True, days=400))) as address:
        assert re.search(rf">{re.escape(author)}<", Client(address)("/trust").text)


def test_a_state_that_is_not_there_yet_is_a_page_too(tmp_path):
    with served(LivePages(Place(str(tmp_path / "new.sqlite"), names=False, days=7))) as address:
        asks = Client(address)
        assert "Nothing has been recorded yet" in asks("/").text
        assert asks("/compose").status == 200
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_something_else_is_told(tmp_path):
    (tmp_path / "x.sqlite").write_text("not a database " * 1000)
    with served(LivePages(Place(str(tmp_path / "x.sqlite"), names=False, days=7))) as address:
        answer = Client(address)("/")
    assert answer.status == 400
    assert "not a revet state file" in answer.text
    assert str(tmp_path) not in answer.text


# --------------------------------------------------------------------------------------------------------- the process


def test_elsewhere_has_to_be_said(tmp_path):
    done = revet("run", "--ui", "0.0.0.0:0", "--state", tmp_path / "s.sqlite")
    assert done.code == 2
    assert "--ui-host" in done.err
    assert "Value error" not in done.err


def page_of(process: Revet) -> Client:
    return Client(process.said(r"live page: (\S+)"))


def child_of(process: Revet) -> int:
    """The process that serves pages: the one that listens."""
    children = Path(f"/proc/{process.process.pid}/task").glob("*/children")
    pids = [int(pid) for file in children for pid in file.read_text().split()]
    (found,) = [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found


def answers(asks: Client) -> bool:
    with suppress(OSError, http.client.HTTPException):
        return asks("/healthz").status == 200
    return False


def gone(pid: int, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
            time.sleep(0.05)
            continue
        return True
    return False


def test_it_is_started_anew_and_ends_with_whoever_started_it(state):
    with Revet("run", "--ui", "127.0.0.1:0", "--state", str(state)) as process:
        asks = page_of(process)
        process.until(lambda: answers(asks))
        os.kill(first := child_of(process), signal.SIGKILL)
        process.said("(live page ended)")
        process.until(lambda: answers(asks))
        second = child_of(process)
        assert second != first
        process.kill()
        assert gone(second)


def test_it_ends_on_a_signal(state):
    with Revet("run", "--ui", "127.0.0.1:0", "--state", str(state)) as process:
        process.until(lambda: answers(page_of(process)))
        child = child_of(process)
        assert process.end() == 0
        assert gone(child)


@pytest.mark.parametrize("address", ["127.0.0.5:0", "localhost:0"])
def test_it_answers_to_the_address_that_it_printed(state, address):
    with Revet("run", "--ui", address, "--state", str(state)) as process:
        asks = page_of(process)
        process.until(lambda: answers(asks))
        assert asks("/trust").status == 200


def test_it_stays_when_a_recording_has_been_played_and_commands_work_beside_it(tmp_path):
    recording = write_recording(tmp_path, events=60, images=demo_images(), seed=2)
    state = tmp_path / "s.sqlite"
    args = run_args(state, recording.audit, recording.pods, write_trust(tmp_path / "trust"), "--ui", "127.0.0.1:0")
    with Revet(*args) as process:
        asks = page_of(process)
        process.said("(nothing else is done)", 60)
        assert "running containers" in asks("/").text
        before = asks("/trust").text
        done = revet("revoke", "key", "dev", "--reason", "superseded", "--yes", "--state", state)
        assert done.code == 0, done.err
        process.until(lambda: asks("/trust").text != before)


def test_an_address_that_is_taken_is_named(state):
    with served(MadePages()) as address:
        done = revet("run", "--ui", urlsplit(address).netloc, "--state", state)
    assert done.code == 4
    assert "ui.address" in done.err
