"""One line of `revet doctor`: what was looked at, how it is, and what mends it."""

from __future__ import annotations

import importlib.util
from typing import Literal, NamedTuple

import msgspec

Status = Literal["ok", "warn", "fail"]


class Check(msgspec.Struct, frozen=True):
    """One line of the answer."""

    name: str
    status: Status
    message: str
    mend: str = ""
    """What to do; empty when there is nothing."""


class Diagnosis(NamedTuple):
    """Every check, in the order they were made."""

    checks: tuple[Check, ...]

    @property
    def sound(self) -> bool:
        """Nothing failed; warnings do not count."""
        return all(check.status != "fail" for check in self.checks)


def installed(modules: tuple[str, ...], mend: str) -> Check:
    """Whether modules are there; they are looked for, not imported."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if not missing:
        return Check("packages", "ok", f"{', '.join(modules)} installed")
    return Check("packages", "fail", f"not installed: {', '.join(missing)}", mend)
