"""docs/walkthroughs: each page is walked on a copy of the demo's state, in order, and prints what it shows."""

import gzip
import json
import re
import shlex
import subprocess
import sys

import pytest

from tests.helpers.command import revet
from tests.helpers.demo_state import copy_of_demo
from tests.helpers.docs import ROOT, revet_words
from tests.helpers.shown import check

PAGES = sorted(path for path in (ROOT / "docs" / "walkthroughs").glob("*.md") if path.name != "README.md")
PLACES = ("case-4711", "evidence.jsonl.gz", "tampered.jsonl.gz", "check_ledger.py", "report.html")
"""Words of a command that name files it writes or reads."""


class Walk:
    """One page on its way."""

    def __init__(self, folder, state):
        self.folder, self.state = folder, state
        self.key = ""

    def run(self, line):
        words = [str(self.folder / word) if word in PLACES else word for word in shlex.split(line)]
        if "tampered.jsonl.gz" in line:
            self.tamper()
        if words[0] == "python":
            return self.hidden(self.python([self.key if word == "NAME=KEY" else word for word in words[1:]]))
        assert revet_words(line) is not None, line
        ran = revet(*words[1:])
        assert ran.code in (0, 1), f"{line}: {ran.code}\n{ran.out}{ran.err}"
        found = re.search(r"ledger-[0-9a-f]+=\S+", ran.out + ran.err)
        self.key = found[0] if found else self.key
        return self.hidden(ran.out)

    def python(self, words):
        command = [sys.executable, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # our own
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    def tamper(self):
        """One word in one document, as somebody would who wants to have admitted nothing."""
        lines = gzip.decompress((self.folder / "evidence.jsonl.gz").read_bytes()).splitlines(keepends=True)
        place = next(n for n, line in enumerate(lines) if b"image-admission-denied" in line)
        lines[place] = lines[place].replace(b"image-admission-denied", b"image-admission-allowed")
        assert json.loads(lines[place])
        (self.folder / "tampered.jsonl.gz").write_bytes(gzip.compress(b"".join(lines)))

    def hidden(self, text):
        """Without what is of this machine and this run: places, keys that were made, times of the wall clock."""
        text = text.replace(f"{self.folder}/", "").replace(str(self.folder), ".")
        text = re.sub(r"ledger-[0-9a-f]{8}=\S+?(?=[\s,;]|$)", "NAME=KEY", text)
        return re.sub(r"ledger-[0-9a-f]{8}", "NAME", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_walk_prints_what_its_page_shows(page, tmp_path, monkeypatch):
    state = copy_of_demo(tmp_path)
    monkeypatch.setenv("REVET_STATE", str(state))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "ann")
    monkeypatch.chdir(ROOT)
    assert check(page, Walk(tmp_path, state).run) >= 5
