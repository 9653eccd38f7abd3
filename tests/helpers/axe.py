"""axe-core in the page of a browser: what people with a screen reader or without a mouse could not use.

assert serious(page, require("axe")) == []
"""

from __future__ import annotations

from pathlib import Path

from tests.helpers.browser import Page

_ASKED = """
axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations
  .filter(one => ["serious", "critical"].includes(one.impact))
  .map(one => `${one.impact} ${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map(node => node.html).join(" ")}`))
"""


def serious(page: Page, axe: Path) -> list[str]:
    """Serious and critical findings, with the first elements of each."""
    page.told(f"{axe.read_text()};0")
    ran = page.told("axe.version")
    assert ran, "axe did not load"
    found: list[str] = page.told(_ASKED)
    assert isinstance(found, list)
    return found
