"""How the page looks: light and dark, on screens and on paper. One text, named by its hash in the page's policy."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --bg: #ffffff; --ink: #1b1f24; --soft: #52606d; --line: #c9d1d9; --panel: #f4f6f8;
  --link: #0b57a4; --good: #116329; --bad: #b31d28; --unknown: #7a4d00; --plain: #44546a; --on: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --bg: #12161b; --ink: #e6e9ed; --soft: #a9b4c0; --line: #3a444f; --panel: #1b2129; --link: #8ac4ff;
    --good: #56d364; --bad: #ff8a80; --unknown: #f0b849; --plain: #9fb0c3; --on: #12161b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  overflow-wrap: anywhere; }
header, main, footer, nav { max-width: 76rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1.5rem; }
h1 { font-size: 1.8rem; margin: 0 0 .5rem; } h2 { font-size: 1.4rem; margin: 2.5rem 0 .25rem; }
h3 { font-size: 1.1rem; margin: 1.75rem 0 .25rem; overflow-wrap: anywhere; }
h2, h3, caption, td, th, li, p, dd { unicode-bidi: isolate; }
p { margin: .25rem 0 .75rem; max-width: 60rem; overflow-wrap: anywhere; }
.soft, figcaption, caption { color: var(--soft); }
a { color: var(--link); } :focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--bg); padding: .5rem; }
dl.about { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: 0; }
dl.about dt { color: var(--soft); } dl.about dd { margin: 0; overflow-wrap: anywhere; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; margin: 1rem 0 0; padding: .5rem 0;
  border-block: 1px solid var(--line); }
ul.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .75rem; padding: 0;
  margin: 1rem 0; list-style: none; }
ul.figures li { background: var(--panel); border-left: .3rem solid var(--plain); padding: .6rem .8rem; }
ul.figures strong { display: block; font-size: 1.6rem; line-height: 1.2; }
ul.figures span { display: block; } ul.figures .soft { font-size: .85rem; }
ul.figures li.good { border-color: var(--good); } ul.figures li.bad { border-color: var(--bad); }
ul.figures li.unknown { border-color: var(--unknown); }
ul.notes { background: var(--panel); border-left: .3rem solid var(--plain); padding: .6rem .8rem .6rem 2rem; }
ul.notes.unknown { border-color: var(--unknown); } ul.notes li { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .5rem 0 1.25rem; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
caption { text-align: left; padding: .25rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; min-width: 6.5rem; max-width: 30rem; }
th.number, td.number { min-width: 4rem; } td.prose { min-width: 15rem; }
td.name { min-width: 11rem; } th.short { white-space: nowrap; }
thead th { background: var(--panel); white-space: nowrap; } tbody th { font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; } time { white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); } .unknown { color: var(--unknown); }
ul.figures li, ul.notes { color: var(--ink); } span.good, span.bad, span.unknown { font-weight: 600; }
figure { margin: 1rem 0 1.5rem; } figure svg { display: block; width: 100%; height: auto; max-width: 70rem; }
.fill-good { fill: var(--good); } .fill-bad { fill: var(--bad); } .fill-unknown { fill: var(--unknown); }
.fill-plain { fill: var(--plain); } .axis, .edge { stroke: var(--line); fill: none; stroke-width: 1.5; }
svg text { fill: var(--ink); font-size: 13px; } svg text.soft { fill: var(--soft); font-size: 11px; }
.box { fill: var(--panel); stroke: var(--plain); stroke-width: 1.5; } .box-good { stroke: var(--good); }
.box-bad { stroke: var(--bad); stroke-width: 3; } .box-unknown { stroke: var(--unknown); }
details { margin: .25rem 0 1rem; } summary { cursor: pointer; color: var(--link); }
ul.legend { display: flex; flex-wrap: wrap; gap: 0 1.25rem; list-style: none; padding: 0; margin: 0; }
footer { margin-top: 3rem; padding-bottom: 2rem; color: var(--soft); border-top: 1px solid var(--line); }
@media print {
  :root { --bg: #ffffff; --ink: #000000; --soft: #333333; --line: #999999; --panel: #f4f6f8; --link: #000000;
    --good: #116329; --bad: #b31d28; --unknown: #7a4d00; --plain: #44546a; }
  body { font-size: 10pt; } nav, .skip { display: none; } header, main, footer { max-width: none; padding: 0; }
  .scroll { overflow: visible; } table { font-size: 7.5pt; } thead { display: table-header-group; }
  tr, figure, ul.figures li { break-inside: avoid; } h2, h3, caption { break-after: avoid; }
  th, td { min-width: 0; padding: .15rem .3rem; } thead th { white-space: normal; } time { white-space: normal; }
  details::details-content { content-visibility: visible; }
}
"""

POLICY: Final = (
    "default-src 'none'; "
    f"style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'"
)
"""What the page may do: use this one style, and nothing else."""
