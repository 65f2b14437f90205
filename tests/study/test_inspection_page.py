"""The page of an inspection: loads nothing, escapes everything, draws what was counted."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax._intervals import Interval
from coala_jax.data import PreferenceRow
from coala_jax.study._chart_frame import HEIGHT
from coala_jax.study._charts import accuracy_chart, length_histogram, ratio_histogram
from coala_jax.study._inspection import inspect_pairs
from coala_jax.study._inspection_page import inspection_page
from coala_jax.study._inspection_words import accuracy_text
from coala_jax.study._simple_rules import Accuracy
from tests.html_pages import read_page, require_self_contained


def _rows(count=30, text="plain"):
    return [
        PreferenceRow(f"id {n}", f"{text} {n}", f"{text} yes" * (1 + n % 3), f"{text} no" * 2)
        for n in range(count)
    ]


def test_the_page_is_whole_and_loads_nothing():
    page = inspection_page("pairs.jsonl", inspect_pairs(_rows()), "coala-jax data inspect")
    require_self_contained(page)
    assert page.count("<svg") == page.count("<figcaption>") == 4


def test_text_of_the_data_stands_on_it_only_as_examples_and_escaped():
    rows = _rows(text="<script>alert('x')</script>&amp;")
    found = inspect_pairs(rows)
    bare = inspection_page("<b>.jsonl", found, "coala-jax 'a&b'")
    assert "alert(" not in bare
    shown = inspection_page("<b>.jsonl", found, "coala-jax 'a&b'", rows[:2])
    for page in (bare, shown):
        reader = read_page(page)
        assert "script" not in reader.seen and "b" not in reader.seen
        assert "<b>.jsonl" in reader.texts and "coala-jax 'a&b'" in reader.texts
    texts = read_page(shown).texts
    for row in rows[:2]:
        for text in (row.id, row.prompt, row.chosen, row.rejected):
            assert text in texts
    assert rows[2].prompt not in texts


def test_the_first_sentence_is_the_one_on_length_and_marked_where_it_matters():
    fair = [
        PreferenceRow(f"{n}", f"{n}", "a b c" if n % 2 else "a b", "a b" if n % 2 else "a b c")
        for n in range(40)
    ]
    page = inspection_page("f", inspect_pairs(fair), "c")
    assert '<p class="headline">Chosen is the longer one in 50 % of rows.</p>' in page
    skewed = [row._replace(chosen="a b c d", rejected="a b") for row in fair]
    page = inspection_page("f", inspect_pairs(skewed), "c")
    assert '<p class="headline warning">Chosen is the longer one in 100 % of rows: ' in page


def test_figures_that_do_not_exist_are_said_and_not_drawn():
    page = inspection_page("f", inspect_pairs([_rows()[0]]), "c")
    assert page.count("<svg") == 3
    assert "none: all rows belong together" in page


def test_an_interval_without_ends_is_its_mean():
    nan = float("nan")
    assert accuracy_text(Accuracy(Interval(0.75, nan, nan), 4)) == "0.750 no interval on 4 rows"
    chart = accuracy_chart({"rule": Interval(0.75, nan, nan)}, "t", "share")
    assert "nan" not in chart
    ElementTree.fromstring(chart)


def test_tokens_have_a_table_of_their_own():
    found = inspect_pairs(_rows(), token_counts=lambda texts: [7] * len(texts))
    assert "<th>Tokens</th>" in inspection_page("f", found, "c")
    assert "<th>Tokens</th>" not in inspection_page("f", inspect_pairs(_rows()), "c")


def test_bars_are_as_high_as_their_counts():
    chosen, rejected = np.array([20, 20, 20, 10, 5, 9999]), np.array([10, 10, 10, 10, 10, 1])
    chart = ElementTree.fromstring(ratio_histogram(chosen, rejected, "t"))
    bars = [bar for bar in chart.iter("rect") if float(bar.get("width")) < 12]
    heights = {
        kind: [float(bar.get("height")) for bar in bars if bar.get("class") == f"bar {kind}"]
        for kind in ("first", "second", "quiet")
    }
    unit = max(heights["first"]) / 3
    assert sum(heights["first"]) == pytest.approx(4 * unit, abs=0.3)  # three twice, one far longer
    assert sum(heights["second"]) == pytest.approx(unit, abs=0.3)
    assert sum(heights["quiet"]) == pytest.approx(unit, abs=0.3)


LENGTHS = st.lists(st.integers(1, 10**6), min_size=1, max_size=20).map(np.array)


@given(LENGTHS, LENGTHS)
def test_histograms_of_any_lengths_stay_within_their_frame(chosen, rejected):
    histogram = length_histogram({"a<b": chosen, "c": rejected}, "characters", "t")
    ratios = ratio_histogram(chosen[:1], rejected[:1], "t")
    for chart in (histogram, ratios):
        assert "nan" not in chart and "inf" not in chart
        ElementTree.fromstring(chart)
    for path in ElementTree.fromstring(histogram).iter("path"):
        heights = [float(y) for y in re.findall(r",([\d.]+)", path.get("d"))]
        assert min(heights) >= 0 and max(heights) <= HEIGHT
