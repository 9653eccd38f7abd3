"""The demo, played once per test process: what it told, and the state it left.

told = played_demo()
told.out                          everything it printed
state = copy_of_demo(tmp_path)    a copy to change
"""

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.helpers.command import revet


class Told(NamedTuple):
    state: Path
    out: str

    def chapter(self, words: str) -> str:
        """The chapter whose title contains these words."""
        for part in self.out.split("\n\n"):
            title = part.strip().partition("\n")[0]
            if title[:1].isdigit() and words in title:
                start = self.out.index(title)
                end = self.out.find(f"\n{int(title.partition('.')[0]) + 1}. ", start)
                return self.out[start : end if end > 0 else None]
        raise AssertionError(f"no chapter {words!r}")


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []
"""Kept until the process ends."""


@cache
def played_demo() -> Told:
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="revet-demo-"))
    state = Path(_FOLDERS[-1].name) / "demo.sqlite"
    ran = revet("demo", "--state", state)
    assert ran.code == 0, ran.err
    return Told(state, ran.out)


def copy_of_demo(folder: Path) -> Path:
    state = folder / "demo.sqlite"
    shutil.copyfile(played_demo().state, state)
    return state
