"""How the live page looks: the report, and what only a page that is served has."""

from __future__ import annotations

from typing import Final

from dashboards.report.style import STYLE as REPORT

_SERVED: Final = """
.quiet { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
html { overflow-anchor: none; }  /* the script holds what is looked at, in every browser alike */
[hidden] { display: none !important; }
header .top { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: baseline;
  justify-content: space-between; }
p.where { margin: 0; color: var(--soft); } p.where strong { color: var(--ink); }
p.live { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: center; margin: .25rem 0 0; color: var(--soft);
  font-size: .9rem; }
p.live .off { color: var(--bad); font-weight: 600; }
nav ul { margin-top: .5rem; } nav a { padding: .2rem 0; }
nav a[aria-current] { color: var(--ink); font-weight: 600; text-decoration: none; box-shadow: 0 .2rem 0 var(--link); }
form.search { display: flex; flex-wrap: wrap; gap: .5rem; align-items: end; margin: .75rem 0; }
form.search .wide { flex: 1 1 24rem; }
label { display: block; font-size: .9rem; color: var(--soft); }
input, select, textarea, button { font: inherit; color: var(--ink); background: var(--bg);
  border: 1px solid var(--plain); border-radius: 3px; padding: .35rem .5rem; }
input, textarea, select { width: 100%; } input, select, form.search button { min-height: 2.5rem; }
 textarea { font-family: ui-monospace, monospace; font-size: .875rem; }
button { background: var(--panel); cursor: pointer; width: auto; } button.main { background: var(--link);
  color: var(--on); border-color: var(--link); }
form.composer { display: grid; grid-template-columns: minmax(16rem, 26rem) 1fr; gap: 0 2rem; align-items: start; }
@media (max-width: 60rem) { form.composer { grid-template-columns: 1fr; } }
form.composer fieldset { border: 1px solid var(--line); margin: 0; padding: .5rem 1rem 1rem; min-width: 0; }
form.composer p { margin: .6rem 0 0; } form.composer .soft { font-size: .85rem; display: block; }
form.composer .buttons { display: flex; gap: .75rem; flex-wrap: wrap; }
.changed { animation: changed 4s; } @keyframes changed { from { background: var(--panel); } }
@media (prefers-reduced-motion: reduce) { .changed { animation: none; } }
@media print { form, p.live { display: none; } }
"""

STYLE: Final = REPORT + _SERVED

ICON: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="#0b57a4"/>'
    '<path d="M4 8l3 3 5-6" stroke="#fff" stroke-width="2" fill="none"/></svg>'
)
