"""A report in which every text that can come from elsewhere is hostile."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from streams.queries.report.model import Report

NAMES: Final = (
    "<script>document.title='owned';alert(1)</script>",
    "</td></table></main><img src=//evil.example/x onerror=alert(2)>",
    '" onmouseover=alert(3) style="background:url(//evil.example/y)" x=\'',
    "<svg onload=alert(4)><style>*{display:none}</style>",
    "--><!-- ]]> </style></title><meta http-equiv=refresh content='0;url=//evil.example'>",
    "javascript:alert(5)",
    "\u202egnp.exe\u2066\u2029",
    "a\0b\x1b[2J\r\n\ud800\ufeff",
    "n" * 10_000,
    "שלום " * 40 + "\u0301" * 60,
)

_OURS: Final = frozenset({"id", "tone", "lane", "lanes", "columns", "kind"})
"""Members of the structure that are words of ours."""


def hostile(report: Report, names: tuple[str, ...] = NAMES) -> Report:
    """The same report, every other text replaced by one of these."""
    made: Report = _Replacing(names).made(report)
    return made


class _Replacing:
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._turn = 0

    def made(self, value: Any, name: str = "") -> Any:
        if isinstance(value, msgspec.Struct):
            members = {field: self.made(getattr(value, field), field) for field in value.__struct_fields__}
            return type(value)(**members)
        if isinstance(value, tuple):
            return tuple(self.made(one, name) for one in value) if name not in _OURS else value
        if isinstance(value, str) and name not in _OURS:
            self._turn += 1
            return self._names[self._turn % len(self._names)]
        return value
