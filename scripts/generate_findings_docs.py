"""Write docs/findings/*.md from alerting/table.py; written sections are kept. `--check`: only say what is stale."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from alerting.docs import finding_page, findings_index  # noqa: E402 the checkout must be importable first
from alerting.findings import FINDINGS  # noqa: E402 the same

FOLDER = ROOT / "docs" / "findings"


def main(arguments: list[str]) -> int:
    pages = {FOLDER / "README.md": findings_index()}
    for code in FINDINGS:
        path = FOLDER / f"{code}.md"
        pages[path] = finding_page(code, path.read_text(encoding="utf-8") if path.exists() else "")
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{'stale' if '--check' in arguments else 'wrote'}: {path.relative_to(ROOT)}")
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages[path], encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
