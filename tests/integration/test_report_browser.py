"""The report in a real Chromium: nothing runs, nothing is asked for, keys reach everything, paper holds it too."""

from __future__ import annotations

import pytest

from dashboards.report import page
from streams.queries.report import Wanted, report
from streams.queries.subjects import resolve
from tests.helpers.browser import Browser
from tests.helpers.hostilereport import hostile
from tests.helpers.questionday import API, at, played

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def day():
    world = played("memory")
    return report(world.reader, Wanted(at(0), at(51), world.now, world.now, (resolve(world.reader, API),)))


@pytest.fixture
def browser(require, tmp_path):
    with Browser.started(require("chromium"), tmp_path) as started:
        yield started


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_hostile_names_run_nothing_and_ask_for_nothing(browser, day, tmp_path, dark):
    file = tmp_path / "report.html"
    file.write_text(page(hostile(day)))
    opened = browser.opened(file.as_uri(), dark=dark)
    assert opened.said == []
    assert opened.requests == [file.as_uri()]
    assert opened.told("document.title") != "owned"
    assert opened.told("document.querySelectorAll('script, img, link, iframe, [onload], [onmouseover]').length") == 0
    assert opened.told("getComputedStyle(document.querySelector('h1')).display") == "block"
    assert opened.told("document.documentElement.scrollWidth <= window.innerWidth") is True


@pytest.mark.needs("chromium")
def test_what_is_put_into_the_page_afterwards_runs_nothing_either(browser, day, tmp_path):
    """The policy of the page holds even where an element got in."""
    file = tmp_path / "report.html"
    file.write_text(page(day).replace("</main>", "<script>document.title='owned'</script><img src='file:///x'></main>"))
    opened = browser.opened(file.as_uri())
    assert opened.told("document.title") != "owned"
    assert any("Content Security Policy" in text for text in opened.said)


@pytest.mark.needs("chromium")
def test_keys_reach_the_skip_link_the_chapters_and_every_list(browser, day, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page(day))
    opened = browser.opened(file.as_uri())
    reached = []
    reachable = "[...document.querySelectorAll('a, [tabindex=\"0\"], summary')].filter(n => n.checkVisibility()).length"
    number = opened.told(reachable)
    for _ in range(number):
        opened.pressed("Tab")
        reached.append(opened.told("document.activeElement.textContent.slice(0, 20)"))
        assert opened.told("getComputedStyle(document.activeElement).outlineStyle") == "solid", reached
    assert reached[:2] == ["Skip to the report", "What was not seen"]
    assert opened.told("document.activeElement.tagName") != "BODY"


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(browser, day, tmp_path, dark):
    """WCAG 2.2, 1.4.3: at least 4.5 to 1 for every text, in both colour schemes."""
    file = tmp_path / "report.html"
    file.write_text(page(day))
    worst = browser.opened(file.as_uri(), dark=dark).told(_CONTRAST)
    assert worst["ratio"] >= 4.5, worst


_CONTRAST = """
(() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = parts(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  let worst = {ratio: 99};
  for (const node of document.querySelectorAll('body *')) {
    if (![...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim())) continue;
    if (['title', 'desc'].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(parts(node.closest('svg') ? style.fill : style.color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst.ratio) worst = {ratio, text: node.textContent.slice(0, 40), tag: node.tagName};
  }
  return worst;
})()
"""


@pytest.mark.needs("chromium")
def test_a_reader_of_screens_gets_a_name_for_every_table_and_picture(browser, day, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page(day))
    opened = browser.opened(file.as_uri())
    opened.call("Accessibility.enable")
    nodes = opened.call("Accessibility.getFullAXTree")["nodes"]
    named: dict[str, list[str]] = {}
    for node in nodes:
        if not node.get("ignored"):
            named.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    for role in ("table", "image", "navigation", "region", "link", "heading"):
        kind = role if role in named else "img"
        assert named[kind], role
        assert all(named[kind]), (role, named[kind])
    assert len(named["main"]) == 1


@pytest.mark.needs("chromium")
def test_it_prints(browser, day, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page(day))
    assert browser.opened(file.as_uri()).printed().startswith(b"%PDF-")
