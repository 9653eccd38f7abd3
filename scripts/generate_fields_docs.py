"""Write docs/fields.md from streams/sinks/fields.py. `--check`: only say whether it is stale."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from streams.sinks.pages import fields_page  # noqa: E402 the checkout must be importable first

PAGE = ROOT / "docs" / "fields.md"


def main(arguments: list[str]) -> int:
    text = fields_page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{'stale' if '--check' in arguments else 'wrote'}: {PAGE.relative_to(ROOT)}")
    if "--check" in arguments:
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
