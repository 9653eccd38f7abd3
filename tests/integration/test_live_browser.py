"""The live page in a real Chromium: nothing foreign runs, what changes is swapped in place, keys reach all, axe."""

from __future__ import annotations

import re
import urllib.request

import pytest

from dashboards.report import page as report_page
from streams.cli.paging import LivePages, Place
from streams.queries.report import Wanted, report
from streams.queries.report.model import Figure, Figures, Part, Section, Table
from streams.queries.subjects import resolve
from tests.helpers.axe import serious
from tests.helpers.browser import Browser
from tests.helpers.cluster import audit_batches, demo_images, write_recording, write_trust
from tests.helpers.demo_state import copy_of_demo
from tests.helpers.hostilereport import hostile
from tests.helpers.liveserver import MadePages, served
from tests.helpers.process import EVIDENCE, Revet
from tests.helpers.questionday import API, at, played

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PAGES = (
    *("/", "/incidents", "/changes", "/signers", "/trust", "/search?q=verdict:violates", "/compose", "/nix"),
    *("/image?name=registry.example.com/payments/refunds:2.3", "/signer?name=build", "/incident?name=INC-1"),
)
LIVE = "document.getElementById('live-state').textContent.startsWith('Live')"


@pytest.fixture(scope="module")
def day():
    world = played("memory")
    return report(world.reader, Wanted(at(0), at(51), world.now, world.now, (resolve(world.reader, API),)))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    state = copy_of_demo(tmp_path_factory.mktemp("live"))
    with served(LivePages(Place(str(state), names=True, days=7))) as address:
        yield address


@pytest.fixture
def browser(require, tmp_path):
    with Browser.started(require("chromium"), tmp_path) as started:
        yield started


def rows_of(*names: str, number: int = 1) -> Section:
    rows = tuple((name, f"registry.example.com/{name}:1", number) for name in names)
    blocks = (
        Figures((Figure("containers", str(number)),)),
        Table("Things", ("incident", "image", "containers"), rows),
    )
    return Section("things", "Things that run", "", (Part(blocks),))


# -------------------------------------------------------------------------------------------------- hostile, and quiet


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_hostile_names_run_nothing_and_ask_nobody_else(browser, day, dark):
    pages = MadePages(*hostile(day).sections)
    with served(pages) as address:
        opened = browser.opened(f"{address}/", dark=dark)
        opened.until(LIVE)
        pages.sections = hostile(day).sections[::-1]  # and what is swapped in runs nothing either
        opened.until("document.querySelector('main section').id === 'limits'")
        assert opened.said == []
        assert all(request.startswith(f"{address}/") for request in opened.requests), opened.requests
    assert opened.told("document.title") == "A page · revet"
    assert opened.told("document.querySelectorAll('main script, img, iframe, [onload], [onmouseover]').length") == 0
    assert opened.told("document.documentElement.scrollWidth <= window.innerWidth") is True


@pytest.mark.needs("chromium")
def test_what_gets_into_the_page_all_the_same_runs_nothing(browser):
    class Broken(MadePages):
        def page(self, asked):
            made = super().page(asked)
            bad = b"<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"></main>"
            return type(made)(200, made.body.replace(b"</main>", bad))

    with served(Broken(rows_of("a"))) as address:
        opened = browser.opened(f"{address}/")
        opened.until(LIVE)
    assert opened.told("document.title") == "A page · revet"
    assert any("Content Security Policy" in text for text in opened.said)


@pytest.mark.needs("chromium")
def test_no_other_page_can_frame_it(browser, tmp_path):
    with served(MadePages(rows_of("a"))) as address:
        (tmp_path / "frame.html").write_text(f"<iframe src='{address}/'></iframe>")
        opened = browser.opened((tmp_path / "frame.html").as_uri())
        opened.told("new Promise(done => setTimeout(done, 1000))")
    assert any("frame-ancestors" in text for text in opened.said), opened.said


@pytest.mark.needs("chromium")
def test_it_reads_without_the_script(browser, demo):
    opened = browser.opened("about:blank")
    opened.call("Emulation.setScriptExecutionDisabled", {"value": True})
    opened.call("Page.navigate", {"url": f"{demo}/"})
    opened.until("document.querySelectorAll('main table').length > 3")
    assert opened.told("document.getElementById('live-pause').checkVisibility()") is False
    assert "load it again" in opened.told("document.querySelector('p.live').innerText")


# ------------------------------------------------------------------------------------------------------------- updates


@pytest.mark.needs("chromium")
def test_an_update_takes_nothing_out_of_a_readers_hand(browser):
    """Focus, scroll position, selection and what was opened stay, though rows come in above and go away."""
    many = [f"INC-{n:06}" for n in range(60)]
    pages = MadePages(rows_of(*many))
    with served(pages) as address:
        opened = browser.opened(f"{address}/")
        opened.until(LIVE)
        opened.told("""(() => {
          window.kept = [...document.querySelectorAll('tbody tr')][40];
          kept.querySelector('a').focus(); kept.scrollIntoView({block: 'center'});
          getSelection().selectAllChildren(kept.querySelector('td'));
          window.was = kept.getBoundingClientRect().top; window.loaded = performance.timeOrigin; return 0; })()""")
        pages.sections = (rows_of("INC-NEW001", "INC-NEW002", *many[5:], number=7),)
        opened.until("document.querySelector('tbody tr').textContent.includes('INC-NEW001')")
        assert opened.told("document.activeElement.textContent") == many[40]
        assert opened.told("kept.isConnected && kept.lastChild.textContent") == "7"
        assert opened.told("getSelection().toString()").startswith("registry.example.com/INC-000040")
        assert abs(opened.told("kept.getBoundingClientRect().top - was")) < 2
        assert opened.told("document.querySelectorAll('tbody tr').length") == 57
        assert opened.said == []


@pytest.mark.needs("chromium")
def test_what_was_opened_stays_open_and_lost_focus_is_caught(browser, day):
    pages = MadePages(*day.sections, rows_of("INC-A", "INC-B"))
    with served(pages) as address:
        opened = browser.opened(f"{address}/")
        opened.until(LIVE)
        opened.told("document.querySelector('details').open = true")
        opened.told("[...document.querySelectorAll('a')].find(a => a.textContent === 'INC-B').focus()")
        pages.sections = (*day.sections, rows_of("INC-A", number=2))
        opened.until("!document.body.textContent.includes('INC-B')")
        assert opened.told("document.querySelector('details').open") is True
        assert opened.told("document.activeElement.getAttribute('aria-label')") == "Things"


@pytest.mark.needs("chromium")
def test_what_changed_is_said_politely_and_updates_can_be_paused(browser):
    pages = MadePages(rows_of("a"))
    with served(pages) as address:
        opened = browser.opened(f"{address}/")
        opened.until(LIVE)
        assert opened.told("document.getElementById('live-said').getAttribute('role')") == "status"
        assert opened.told("document.getElementById('live-said').textContent") == ""
        pages.sections = (rows_of("a", "b"),)
        opened.until("document.getElementById('live-said').textContent.includes('Things that run')")
        opened.told("document.getElementById('live-pause').focus()")
        opened.pressed("Enter")
        opened.until("document.getElementById('live-state').textContent.startsWith('Paused')")
        pages.sections = (rows_of("a", "b", "c"),)
        opened.told("new Promise(done => setTimeout(done, 3500))")
        assert opened.told("document.querySelectorAll('tbody tr').length") == 2
        opened.pressed("Enter")
        opened.until("document.querySelectorAll('tbody tr').length === 3")


@pytest.mark.needs("chromium")
def test_a_server_that_is_gone_is_said(browser):
    pages = MadePages(rows_of("a"))
    with served(pages) as address:
        opened = browser.opened(f"{address}/")
        opened.until(LIVE)
        pages.status = 503
        opened.until("document.getElementById('live-state').textContent.startsWith('Not up to date')")
        pages.status = 200
        opened.until(LIVE)
    opened.until("document.getElementById('live-state').textContent.startsWith('Not up to date')")
    assert opened.told("document.querySelectorAll('tbody tr').length") == 1


@pytest.mark.needs("chromium")
def test_events_that_come_in_are_seen_without_loading_again(browser, tmp_path):
    """The whole way: a real `revet run`, audit events posted to it, and a page that is never loaded again."""
    recording = write_recording(tmp_path, events=400, images=demo_images(), seed=5)
    bodies = list(audit_batches(recording, 100))
    trust = write_trust(tmp_path / "trust")
    run = ("run", "--listen", "127.0.0.1:0", "--cluster", "c1", "--ui", "127.0.0.1:0", "--trust", str(trust))
    with Revet(*run, *EVIDENCE, "--state", str(tmp_path / "live.sqlite")) as process:
        address = process.said(r"live page: (\S+)")
        opened = browser.opened(f"{address}changes")
        opened.until(LIVE)
        opened.told("window.first = true")
        for body in bodies:
            sent = urllib.request.Request(f"http://127.0.0.1:{process.port()}/audit", body, method="POST")
            assert urllib.request.urlopen(sent, timeout=30).status == 200
        opened.until("document.body.textContent.includes('admission decision')")
        assert opened.told("window.first") is True
        assert opened.said == []
        assert process.end() == 0


# ------------------------------------------------------------------------------------------------ keys, and who reads


@pytest.mark.needs("chromium")
def test_keys_reach_everything_and_show_where_they_are(browser, demo):
    opened = browser.opened(f"{demo}/trust")
    opened.until(LIVE)
    opened.pressed("Tab")
    assert opened.told("document.activeElement.textContent") == "Skip to the page"
    reachable = "[...document.querySelectorAll('a, button, input, select, summary, [tabindex=\"0\"]')]"
    for _ in range(opened.told(f"{reachable}.filter(n => n.checkVisibility()).length") - 1):
        opened.pressed("Tab")
        assert opened.told("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert opened.told("document.querySelector('main').contains(document.activeElement)")


@pytest.mark.needs("chromium")
def test_a_search_by_keys_leads_to_an_incident(browser, demo):
    opened = browser.opened(f"{demo}/incidents")
    name = opened.told("document.querySelector('tbody th a').textContent")
    opened.told("document.getElementById('q').focus()")
    opened.typed(name)
    opened.pressed("Enter")
    opened.until("location.pathname === '/search' && !!document.querySelector('#called a')")
    opened.told("document.querySelector('#called a').focus()")
    opened.pressed("Enter")
    opened.until(f"document.title.startsWith('Incident {name}')")


@pytest.mark.needs("chromium")
def test_a_policy_is_composed_by_keys(browser, demo):
    opened = browser.opened(f"{demo}/compose")
    for field, text in (("name", "by-keys"), ("images", "registry.example.com/**"), ("keys", "release")):
        opened.told(f"document.getElementById('{field}').focus()")
        opened.typed(text)
    opened.told("document.querySelector('button[value=render]').focus()")
    opened.pressed("Enter")
    opened.until("document.readyState === 'complete' && document.getElementById('yaml').value.includes('by-keys')")
    opened.told("document.querySelector('button[value=preview]').focus()")
    opened.pressed("Enter")
    opened.until("!!document.querySelector('#preview table')")
    assert opened.told("document.getElementById('yaml').value").startswith("apiVersion: revet/v1")
    assert opened.said == []


@pytest.mark.needs("chromium", "axe")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(browser, demo, require, dark):
    wrong = {}
    incident = re.search(r"INC-[0-9A-Z]{6}", urllib.request.urlopen(f"{demo}/incidents", timeout=60).read().decode())
    assert incident
    for path in PAGES:
        opened = browser.opened(f"{demo}{path.replace('INC-1', incident[0])}", dark=dark)
        if opened.told("!!document.getElementById('live-state')"):
            opened.until(LIVE)
        wrong[path] = serious(opened, require("axe"))
    assert not any(wrong.values()), wrong


@pytest.mark.needs("chromium", "axe")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious_in_the_report(browser, day, require, tmp_path, dark):
    file = tmp_path / "report.html"
    for made in (day, hostile(day)):
        file.write_text(report_page(made))
        assert serious(browser.opened(file.as_uri(), dark=dark), require("axe")) == []


@pytest.mark.needs("chromium", "axe")
def test_axe_would_find_something(browser, require, tmp_path):
    (tmp_path / "bad.html").write_text(
        "<html><body><input><img src=x><p style='color:#ccc;background:#fff'>some text</p></body>"
    )
    found = " ".join(serious(browser.opened((tmp_path / "bad.html").as_uri()), require("axe")))
    assert all(name in found for name in ("label", "image-alt", "color-contrast")), found
