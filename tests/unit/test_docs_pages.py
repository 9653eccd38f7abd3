"""The pages are true: what they let people type works, what they link to is there, what they name exists."""

import os
import re
from pathlib import Path

import pytest

from tests.helpers.command import revet
from tests.helpers.docs import DOCUMENTS, ROOT, fences, revet_words, understood

FENCES = [fence for path in DOCUMENTS for fence in fences(path)]
TYPED = [(f"{fence.file}:{fence.line}", line) for fence in FENCES for line in fence.commands]
NAMES = {path.relative_to(ROOT).as_posix(): path for path in DOCUMENTS}


# -------------------------------------------------------------------------------------------------------- command lines


@pytest.mark.parametrize(("place", "line"), [row for row in TYPED if revet_words(row[1]) is not None])
def test_a_command_line_can_be_typed(place, line):
    understood(line)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({fence.file for fence in FENCES if fence.language == "console"}))
def test_what_a_page_lets_people_run_runs(name, tmp_path, monkeypatch):
    """Every `console` block of a page, in order, from the checkout with an empty home. `# exit N` at the end of a line
    says what is expected when it is not 0.
    """
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("XDG_STATE_HOME", "REVET_STATE"):
        monkeypatch.delenv(variable, raising=False)
    for fence in fences(NAMES[name]):
        for line in fence.commands if fence.language == "console" else ():
            run(line, f"{name}:{fence.line}: {line}", monkeypatch)


def run(line, place, monkeypatch):
    if assignment := re.fullmatch(r"export (\w+)=(\S+)", line):
        monkeypatch.setenv(assignment[1], os.path.expandvars(assignment[2]))
        return
    words = revet_words(line)
    assert words is not None, f"{place}: a console block holds revet and export alone"
    said = re.search(r"# exit (\d+)$", line)
    ran = revet(*map(os.path.expandvars, words))
    assert ran.code == int(said[1] if said else 0), f"{place}: {ran.code}\n{ran.out}\n{ran.err}"


# ----------------------------------------------------------------------------------------------------- links and names


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    path = NAMES[name]
    broken = [link for link in links(path.read_text(encoding="utf-8")) if not leads_somewhere(path, link)]
    assert broken == []


def links(text) -> list[str]:
    """Links to files and headings, outside code."""
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"https?:|mailto:", link)]


def leads_somewhere(path: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (path.parent / name).resolve() if name else path
    return target.exists() and (not anchor or anchor in anchors(target.read_text(encoding="utf-8")))


def anchors(text) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


def test_a_dead_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page\n[a](#a-page) [b](#nothing) [c](nowhere.md) `[d](code.md)` [e](https://example.com)\n")
    assert [link for link in links(page.read_text()) if not leads_somewhere(page, link)] == ["#nothing", "nowhere.md"]


FOLDERS = ("verifier", "alerting", "streams", "dashboards", "tests", "scripts", "docs")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/README.md"])
def test_files_that_a_page_names_exist(name):
    """`streams/handlers/pods.py`, `verifier/evidence/`: a recipe that names a file that moved is worse than none."""
    text = NAMES[name].read_text(encoding="utf-8")
    named = set(re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./*-]*)`", text))
    assert [path for path in sorted(named) if not list(ROOT.glob(path.rstrip("/")))] == []


def test_every_page_is_in_the_index():
    """docs/README.md names each page, or the folder whose own index does."""
    index = NAMES["docs/README.md"].read_text(encoding="utf-8")
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in DOCUMENTS if (ROOT / "docs") in p.parents]
    wanted = {page: {f"({page})", f"({page.split('/')[0]}/README.md)"} for page in pages if page != "README.md"}
    assert [page for page, ways in wanted.items() if not any(way in index for way in ways)] == []
