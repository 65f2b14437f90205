"""How the page of plain and guided texts looks: light and dark, wide and narrow, on paper."""

# Blue and vermilion of the Okabe-Ito palette, as tints under text; solid and dotted lines of three
# weights tell the levels apart without colour.
STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #565b61; --paper: #ffffff;
  --panel: #f5f6f7; --faint: #d9dcdf; --up: #0072b2; --down: #c04f00;
  --up1: #e2eff9; --up2: #b9dcf3; --up3: #82c0ea;
  --down1: #fdebdc; --down2: #fbcfa8; --down3: #f6a866; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --soft: #a9b0b8; --paper: #16181b;
  --panel: #1f2226; --faint: #3a3d42; --up: #56b4e9; --down: #f39a5b;
  --up1: #1c3244; --up2: #1e4b6b; --up3: #1d6796;
  --down1: #40291a; --down2: #66391a; --down3: #8f4a14; } }
* { box-sizing: border-box; } [id] { scroll-margin-top: 4.5rem; }
body { margin: 0 auto; padding: 1rem; max-width: 78rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: 0.3rem 0; }
h2 { font-size: 1.05rem; margin: 0; }
h3 { font-size: 0.95rem; margin: 0; display: flex; flex-wrap: wrap; gap: 0 0.6rem; }
.headline { font-size: 1.15rem; margin: 0.3rem 0; }
.note, .meta { color: var(--soft); font-size: 0.875rem; margin: 0.2rem 0; }
.figure { font-variant-numeric: tabular-nums; font-weight: 600; }
.legend { position: sticky; top: 0; z-index: 1; background: var(--paper); padding: 0.5rem 0;
  border-bottom: 1px solid var(--faint); display: flex; flex-wrap: wrap; gap: 0.3rem 0.5rem;
  align-items: center; font-size: 0.875rem; }
.legend label { margin-left: auto; white-space: nowrap; }
.swatch { padding: 0 0.35rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
article { border: 1px solid var(--faint); border-radius: 0.4rem; margin: 1rem 0;
  content-visibility: auto; contain-intrinsic-size: auto 24rem; }
article > header { background: var(--panel); padding: 0.6rem 0.8rem;
  border-radius: 0.4rem 0.4rem 0 0; }
.prompt { white-space: pre-wrap; margin: 0.2rem 0 0; }
.turns { margin: 0.2rem 0 0; display: grid; grid-template-columns: max-content 1fr;
  gap: 0.2rem 0.8rem; }
.turns dt { color: var(--soft); } .turns dd { margin: 0; white-space: pre-wrap; }
.sides { display: grid; grid-template-columns: 1fr 1fr; }
.sides > section { padding: 0.6rem 0.8rem; min-width: 0; }
.sides > section + section { border-left: 1px solid var(--faint); }
@media (max-width: 44rem) { .sides { grid-template-columns: 1fr; }
  .sides > section + section { border-left: 0; border-top: 1px solid var(--faint); }
  .legend { position: static; } .legend label { margin-left: 0; } }
.answer { white-space: pre-wrap; margin: 0.3rem 0; line-height: 1.9; }
.answer > *, .swatch { border-bottom: 0 solid transparent; color: inherit; padding-block: 0.1em;
  -webkit-box-decoration-break: clone; box-decoration-break: clone; }
.u1 { background: var(--up1); border-bottom: 1px solid var(--up); }
.u2 { background: var(--up2); border-bottom: 2px solid var(--up); }
.u3 { background: var(--up3); border-bottom: 3px solid var(--up); }
.d1 { background: var(--down1); border-bottom: 1px dotted var(--down); }
.d2 { background: var(--down2); border-bottom: 2px dotted var(--down); }
.d3 { background: var(--down3); border-bottom: 3px dotted var(--down); }
.moved { outline: 1.5px solid var(--ink); border-radius: 2px; text-decoration: none; }
.moved:not(.break) { display: inline-block; line-height: 1.3; }
.moved sup { font-size: 0.65em; line-height: 0; padding-left: 0.15em; white-space: nowrap; }
.moved:focus-visible { outline-width: 3px; }
.break::before { content: "\\21B5"; color: var(--soft); }
.inner::before { content: "\\25AB"; color: var(--soft); }
.end { color: var(--soft); font-size: 0.8em; border: 1px solid var(--faint);
  border-radius: 0.3rem; padding: 0 0.3rem; margin-left: 0.2rem; white-space: nowrap; }
.cut { opacity: 0.55; text-decoration: line-through; }
body:has(#numbers:checked) .answer > [data-n]::after, .answer > a:focus::after {
  content: attr(data-n); font-size: 0.65em; vertical-align: super; line-height: 0;
  color: var(--soft); padding: 0 0.25em; white-space: nowrap; }
body:has(#numbers:checked) .answer { line-height: 2.3; }
details { margin: 0.3rem 0; } summary { cursor: pointer; }
details details { margin-left: 1rem; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: 0.1rem 1rem;
  font-size: 0.875rem; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; }
code { font: 0.9em/1.4 ui-monospace, monospace; white-space: pre-wrap; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); }
th, td { padding: 0.15rem 0.6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--faint); }
th { font-weight: 600; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
.index td:first-child { white-space: normal; min-width: 11rem; }
tr.chosen { font-weight: 600; }
@media print { .legend { position: static; } article { content-visibility: visible; } }
"""
