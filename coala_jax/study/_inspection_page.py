"""The figures of a file of pairs as one HTML page that loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from coala_jax.data import PreferenceRow
from coala_jax.study._charts import accuracy_chart, length_histogram, ratio_histogram
from coala_jax.study._inspection import Inspection, Lengths
from coala_jax.study._inspection_words import (
    accuracy_text,
    length_is_skewed,
    length_sentence,
    other_warnings,
    percent,
    quantiles,
    repeat_lines,
)

# Blue and vermilion of the Okabe-Ito palette, lighter on dark; outlines and places tell the
# series apart without colour.
STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --faint: #dcdcdc;
  --first: #0072b2; --second: #d55e00; --quiet: #8a8a8a; --alert: #fff1e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #16181b; --faint: #3a3d42;
  --first: #56b4e9; --second: #f08a4b; --quiet: #8f959c; --alert: #3a2a18; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 64rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.headline { font-size: 1.3rem; font-weight: 600; margin: 0.5rem 0; }
.warnings { list-style: none; padding: 0; }
.warnings li, .headline.warning { background: var(--alert); border-left: 0.3rem solid var(--second);
  padding: 0.5rem 0.8rem; margin: 0.5rem 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr));
  gap: 1.5rem; }
figure { margin: 0; } figcaption { font-size: 0.9rem; }
svg { width: 100%; height: auto; display: block; font: 13px system-ui, sans-serif;
  fill: var(--ink); }
svg text { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
.axis { stroke: var(--ink); } .grid { stroke: var(--faint); }
.chance { stroke: var(--quiet); stroke-dasharray: 4 3; }
.area { fill-opacity: 0.25; stroke-width: 1.5; } .area.second { stroke-dasharray: 4 2; }
.area.first { fill: var(--first); stroke: var(--first); }
.area.second { fill: var(--second); stroke: var(--second); }
.bar.first, .dot.first { fill: var(--first); } .bar.second { fill: var(--second); }
.bar.quiet { fill: var(--quiet); } .reach { stroke: var(--first); stroke-width: 3; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin-top: 1rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--faint); }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal;
  overflow-wrap: normal; }
pre { white-space: pre-wrap; max-height: 22rem; overflow-y: auto; margin: 0.2rem 0 0.8rem;
  padding: 0.6rem; border: 1px solid var(--faint); font: 0.9rem/1.45 ui-monospace, monospace; }
"""


def inspection_page(
    name: str, found: Inspection, command: str, examples: Sequence[PreferenceRow] = ()
) -> str:
    """The page: warnings, lengths, what simple rules reach, repeats and leaks, examples.

    Args:
        name: of the file, for the title.
        found: its figures.
        command: the command line that made the page.
        examples: rows to show in full; no other text of the data is on the page.

    Returns:
        HTML without references to anything outside it; all text escaped.
    """
    sections = [
        _head(found),
        _lengths_section(found),
        _rules_section(found),
        _rows_section(found),
        _examples_section(examples),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(name)}: preference pairs</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(name)}</h1>
{"".join(sections)}
<footer><p>Made by <code>{escape(command)}</code></p></footer>
</body>
</html>
"""


def _head(found: Inspection) -> str:
    items = "".join(f"<li>{escape(_capital(text))}.</li>" for text in other_warnings(found))
    listed = f'<ul class="warnings">{items}</ul>' if items else ""
    kind = "headline warning" if length_is_skewed(found) else "headline"
    return (
        f'<p class="{kind}">{escape(_capital(length_sentence(found)))}.</p>{listed}'
        f"<p>{found.rows:,} rows, {found.prompts:,} distinct prompts.</p>"
    )


def _lengths_section(found: Inspection) -> str:
    lengths = found.characters
    charts = [
        _figure(
            length_histogram(
                {"chosen": lengths.chosen, "rejected": lengths.rejected},
                "characters",
                "Histogram of the lengths of chosen and rejected responses",
            ),
            "Rows by the length of each response. Where the two outlines part, length alone tells "
            "chosen from rejected.",
        ),
        _figure(
            ratio_histogram(
                lengths.chosen, lengths.rejected, "Histogram of chosen length over rejected length"
            ),
            "Rows by how many times longer chosen is than rejected; a fair file leans to neither "
            f"side. Longer in {percent(found.longer.mean)}, shorter in {percent(found.shorter)} of "
            "rows.",
        ),
        _figure(
            length_histogram(
                {"prompt": lengths.prompt}, "characters", "Histogram of the lengths of prompts"
            ),
            "Rows by the length of the prompt. What is longer than a model's context loses its "
            "oldest part.",
        ),
    ]
    tables = _length_table("Characters", lengths)
    if found.tokens is not None:
        tables += _length_table("Tokens", found.tokens)
    return f'<h2>Lengths</h2><div class="charts">{"".join(charts)}</div>{tables}'


def _length_table(unit: str, lengths: Lengths) -> str:
    summaries = {part: quantiles(values) for part, values in lengths._asdict().items()}
    header = [unit, *next(iter(summaries.values()))]
    rows = ([part, *(f"{v:,.0f}" for v in some.values())] for part, some in summaries.items())
    return _table(header, rows)


def _rules_section(found: Inspection) -> str:
    rules = {
        "length rule: the longer or the shorter response": found.length_rule,
        "words alone: linear probe on TF-IDF": found.vocabulary_probe,
    }
    intervals = {name: rule.interval for name, rule in rules.items() if rule.interval is not None}
    chart = ""
    if intervals:
        chart = _figure(
            accuracy_chart(intervals, "Accuracy of simple rules on unseen rows"),
            "What a reward reaches that understands nothing, with 95 % intervals. A reward model "
            "has to beat both of them.",
        )
    items = "".join(
        f"<li>{escape(name)}: <strong>{escape(accuracy_text(rule))}</strong></li>"
        for name, rule in rules.items()
    )
    return (
        f'<h2>What simple rules reach</h2><div class="charts">{chart}</div>'
        f"<ul>{items}</ul>"
        f"<p>Held out: {escape(found.held_out)} ({found.keys:,} that are never split). Intervals "
        "are clustered by the same; a tie counts half.</p>"
    )


def _rows_section(found: Inspection) -> str:
    body = "".join(
        f"<tr><td>{escape(what)}</td><td>{escape(count)}</td></tr>"
        for what, count in repeat_lines(found)
    )
    return (
        f'<h2>Repeats and leaks</h2><div class="scroll"><table>{body}</table></div>'
        "<p>Texts are compared without case, spacing and Unicode's forms.</p>"
    )


def _examples_section(examples: Sequence[PreferenceRow]) -> str:
    if not examples:
        return ""
    shown = "".join(
        f"<h3>{escape(row.id)}</h3>"
        + "".join(
            f"<div>{part}</div><pre>{escape(getattr(row, part))}</pre>"
            for part in ("prompt", "chosen", "rejected")
        )
        for row in examples
    )
    return f"<h2>Examples</h2>{shown}"


def _figure(chart: str, caption: str) -> str:
    return f"<figure>{chart}<figcaption>{escape(caption)}</figcaption></figure>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
