"""Runs `revet …` inside the test's process, through the console script's own entry point.

ran = revet("verify", image, "--key", key, "-o", "json")
ran.code, ran.json["results"], ran.err
"""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from streams.cli import main

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "streams" / "demo_data"
LAYOUT = f"oci-layout:{DEMO / 'oci'}"


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def revet(*args: object, stdin: str | bytes = b"") -> Ran:
    """Exit code and what was written. `stdin` is what the command reads as `-`."""
    out, err = io.StringIO(), io.StringIO()
    data = stdin.encode() if isinstance(stdin, str) else stdin
    code: object = 0
    with redirect_stdout(out), redirect_stderr(err), _standard_input(data), mock.patch.dict(os.environ):
        os.environ.pop("COLUMNS", None)  # of the terminal the tests were started in
        try:
            main([str(arg) for arg in args])
        except SystemExit as end:
            code = end.code
    return Ran(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


@contextmanager
def _standard_input(data: bytes) -> Iterator[None]:
    with io.TextIOWrapper(io.BytesIO(data)) as stream, mock.patch.object(sys, "stdin", stream):
        yield


def key(name: str) -> Path:
    """A public key of the recording."""
    return DEMO / "keys" / f"{name}.pub"


def recorded_images() -> list[dict[str, Any]]:
    """The entries of images.json."""
    found: list[dict[str, Any]] = json.loads((DEMO / "images.json").read_text())
    return found
