"""The report's style sheet. Fonts are the reader's own. Every color is a variable with a light and a dark value."""

COLORS = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf6; --ink: #22201c; --soft: #6d685f; --rule: #e2ddd2; --grid: #ece8de; --box: #f3f0e7;
  --blue: #2a5da8; --orange: #bd5412; --train: #9db5d6; --chance: #857f74; --red: #a3261b; --redbox: #f8e6e2;
  --green: #3b7d3c; --violet: #7b4fa3; --teal: #1f7f86; --ochre: #8a6d00; --rose: #b03a75;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #17181b; --ink: #e6e3db; --soft: #a09b90; --rule: #35363a; --grid: #292a2e; --box: #202125;
    --blue: #86b4f3; --orange: #f29a5f; --train: #47628a; --chance: #a09b90; --red: #ff9d8f; --redbox: #3a2320;
    --green: #8fce8f; --violet: #c3a0ea; --teal: #6fcbd3; --ochre: #dcc05a; --rose: #f193bd;
  }
}
"""

# A chart in a file of its own needs these and the colors.
CHARTS = """
svg text { font-family: ui-sans-serif, system-ui, "Segoe UI", "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
svg { overflow: visible; }
svg text { font-size: 11px; fill: var(--ink); }
svg text.tick { fill: var(--soft); font-variant-numeric: tabular-nums; }
svg text.end, svg text.piece { text-anchor: end; }
svg text.middle { text-anchor: middle; }
.grid { stroke: var(--rule); stroke-width: 1; fill: none; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.line.train { stroke: var(--train); stroke-width: 1.2; }
.line.valid, .line.pretrained { stroke: var(--blue); }
.line.scratch { stroke: var(--orange); }
.line.chance { stroke: var(--chance); stroke-width: 1.3; stroke-dasharray: 5 4; }
.mark.valid, .mark.pretrained { fill: var(--blue); }
.mark.scratch { fill: var(--orange); }
.mark.train, .mark.chance { fill: var(--chance); }
svg text.valid, svg text.pretrained { fill: var(--blue); font-weight: 600; }
svg text.scratch { fill: var(--orange); font-weight: 600; }
svg text.train, svg text.chance { fill: var(--soft); }
.first { --series: var(--blue); }
.second { --series: var(--orange); }
.third { --series: var(--green); }
.fourth { --series: var(--violet); }
.fifth { --series: var(--teal); }
.sixth { --series: var(--ochre); }
.seventh { --series: var(--rose); }
.eighth { --series: var(--ink); }
.gray { --series: var(--soft); }
.line.series { stroke: var(--series); }
.mark.series { fill: var(--series); }
svg text.series { fill: var(--series); font-weight: 600; }
.line.limit { stroke: var(--red); stroke-width: 1.3; stroke-dasharray: 2 3; }
svg text.limit { fill: var(--red); }
"""

STYLE = (
    COLORS
    + """
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 3rem 1.5rem 5rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 17px/1.55 Charter, "Bitstream Charter", "Iowan Old Style", "Source Serif 4", Georgia, serif;
}
h1 { font-size: 2.1rem; line-height: 1.15; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.35rem; line-height: 1.25; margin: 0 0 .2rem; }
h3 { font-size: 1.02rem; margin: 1.2rem 0 .2rem; }
section { border-top: 1px solid var(--rule); margin-top: 2.6rem; padding-top: 1.5rem; }
p { max-width: 44rem; margin: 0 0 .8rem; }
section > p { color: var(--soft); margin-bottom: 1.2rem; }
.lead { font-size: 1.1rem; color: var(--soft); }
.short { margin: 0 0 1.2rem; padding: 0; list-style: none; font-size: 1.05rem; }
.short li { padding: .12rem 0; }
.caveat { background: var(--box); border-left: 3px solid var(--orange); padding: .7rem 1rem; }
section > .warning, .warning {
  background: var(--redbox); color: var(--red); border-left: 3px solid var(--red); padding: .6rem 1rem;
}
section > .missing, .missing { color: var(--soft); font-style: italic; }
section > .result, .result { color: var(--ink); }
.small { font-size: .82rem; color: var(--soft); margin-bottom: .2rem; }
ul.small { margin-top: 0; padding-left: 1.2rem; }
code, svg, table, figcaption, .result, dl, .short {
  font-family: ui-sans-serif, system-ui, "Segoe UI", "Helvetica Neue", Arial, "Liberation Sans", sans-serif;
}
code {
  font-family: ui-monospace, Menlo, Consolas, "Liberation Mono", monospace; font-size: .95em; overflow-wrap: anywhere;
}
.result { font-size: .86rem; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: .78rem; color: var(--soft); margin-bottom: .1rem; }
.objective {
  display: grid; grid-template-columns: minmax(0, 15rem) repeat(2, minmax(0, 1fr)); gap: 1.6rem;
  padding: 1rem 0; border-top: 1px solid var(--grid);
}
.objective:first-of-type { border-top: 0; }
.objective h3 { margin-top: 0; }
.objective p { font-size: .88rem; line-height: 1.45; color: var(--soft); }
.objective p.result { color: var(--ink); }
.pair { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem 1.8rem; }
@media (max-width: 62rem) {
  .objective { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .6rem 1.4rem; }
  .objective > div { grid-column: 1 / -1; }
}
svg { display: block; width: 100%; height: auto; }
"""
    + CHARTS
    + """
.wide { max-width: 54rem; }
.attention image, .head { image-rendering: pixelated; }
.heads {
  display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 1rem; max-width: 54rem; margin-top: 1rem;
}
.head { display: block; width: 100%; height: 7rem; }
table { border-collapse: collapse; font-size: .92rem; }
th { text-align: left; font-weight: 600; }
td, th { padding: .34rem .9rem .34rem 0; vertical-align: top; }
thead th { color: var(--soft); font-weight: 500; font-size: .82rem; }
tbody tr { border-top: 1px solid var(--rule); }
.scores { font-variant-numeric: tabular-nums; margin-bottom: 1rem; }
.scores td, .scores thead th { text-align: right; padding: .4rem 0 .4rem 2rem; }
.scores thead th[colspan] { padding-bottom: 0; }
.swatch { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .6em; }
.swatch.pretrained { background: var(--blue); }
.swatch.scratch { background: var(--orange); }
.translations { width: 100%; table-layout: fixed; }
.translations td { line-height: 1.4; overflow-wrap: break-word; }
.translations audio { display: block; width: 100%; height: 2rem; }
.translations .source { color: var(--soft); }
.translations .hypothesis { color: var(--blue); }
mark { background: none; color: inherit; text-decoration: underline wavy var(--orange) 1px; }
ins { text-decoration: underline double var(--orange) 1px; }
del { color: var(--soft); text-decoration: line-through var(--orange); }
.seconds { width: 100%; max-width: 44rem; }
.seconds th { font-weight: 400; white-space: nowrap; width: 1%; }
.seconds td:last-child { white-space: nowrap; width: 1%; text-align: right; font-variant-numeric: tabular-nums; }
.bar {
  display: block; height: .8rem; margin-top: .38rem; background: var(--train); border-radius: 2px; min-width: 2px;
}
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 0; font-size: .88rem; }
dt { color: var(--soft); }
dd { margin: 0; }
.instrument {
  display: grid; grid-template-columns: minmax(0, 15rem) minmax(0, 1fr); gap: 1.6rem;
  padding: 1rem 0; border-top: 1px solid var(--grid);
}
.instrument h3 { margin-top: 0; }
.instrument:first-of-type { border-top: 0; }
.instrument p { font-size: .88rem; line-height: 1.45; color: var(--soft); }
.warnings ul { list-style: none; padding: 0; }
.warnings li { margin-bottom: .6rem; }
@media (max-width: 40rem) {
  .objective, .instrument, .pair { grid-template-columns: minmax(0, 1fr); }
  body { padding: 1.5rem 1rem; }
  .scores td, .scores thead th { padding-left: 1rem; }
}
@media print { body { max-width: none; font-size: 11pt; } .objective, figure, table { break-inside: avoid; } }
"""
)
