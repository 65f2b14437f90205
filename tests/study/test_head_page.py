"""The page and the picture of a head: made of the figures in its folder, with all text escaped."""

import copy
import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax._head_files import HeadFileError
from coala_jax.study._chart_frame import HEIGHT, WIDTH
from coala_jax.study._experiment_words import phase1_of, phase2_of, verdict_of
from coala_jax.study._head_charts import curve_chart
from coala_jax.study._head_folder import PAGE, PICTURE, draw
from coala_jax.study._head_page import head_page
from coala_jax.study._head_picture import head_picture
from tests.html_pages import read_page, require_self_contained
from tests.study.head_figures import made_figures, of_an_earlier_version

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def figures():
    return made_figures()


@pytest.fixture
def folder(figures, tmp_path):
    """The files of a head that are read for its page."""
    names = "report.json", "history.json", "head.json"
    for name, content in zip(names, (*figures, {"identity": None}), strict=True):
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def test_the_page_is_whole_and_says_what_the_terminal_says(figures):
    report, history = figures
    page = head_page(report, history, {"pooling": "mean+last"}, "my head")
    require_self_contained(page)
    assert page.count("<svg") == page.count("<figcaption>") == 8
    texts = " ".join(" ".join(read_page(page).texts).split())
    said = [*verdict_of(report), *phase1_of(report), *phase2_of(report)]
    for line in said:
        assert line.removeprefix("warning: ") in texts
    first = texts.index(said[0])
    assert all(first < texts.index(title) for title in ("Calibration", "Certificate", "Data"))
    for shown in (
        *("my head", "mean+last", report["command"], "0.10.2", "Seed 3", "100 training pairs"),
        *("chosen equals rejected 1,203", "not known of these features", "no network", "0.6612"),
    ):
        assert shown in texts
    assert "0.590 [0.519, 0.657]" in texts  # the length rule, and the head less that
    assert "+0.085 [-0.022, +0.192]" in texts


def test_all_text_is_escaped(figures):
    report, history = copy.deepcopy(figures)
    bad = "<script>alert('x')</script>&amp;"
    report["command"] = report["features"]["source"] = report["device"] = bad
    report["warnings"] = [bad]
    report["rows"]["set_aside"] = {bad: 1}
    report["versions"] = report["params"] | {bad: bad}
    report["selection"]["summary"] = report["split"]["by"] = bad
    reader = read_page(head_page(report, history, {bad: bad}, bad))
    assert "script" not in reader.seen
    assert sum(bad in text for text in reader.texts) >= 12


def test_what_a_report_of_an_earlier_version_lacks_is_left_out(figures):
    report, history = of_an_earlier_version(*figures)
    page = head_page(report, history, {}, "head")
    require_self_contained(page)
    assert page.count("<svg") == 3  # accuracies, loss and margins of Phase II
    assert "--learning-curve" in page
    assert head_picture(report, history).startswith(PNG)


def test_a_head_without_phase_two_or_a_network_has_a_page_and_a_picture(figures):
    report, history = copy.deepcopy(figures)
    report["status"] = report["phase1"]["status"] = "zero_network"
    report["config"]["phase2_objective"] = "none"
    report["eval"]["accuracy_interval"] |= {"low": None, "high": None}
    history["epoch"] = [0]
    for part in ("train", "eval"):
        history[part] = {name: values[:1] for name, values in history[part].items()}
    history["phase1"] = {name: [] for name in history["phase1"]}
    page = head_page(report, history, {}, "head")
    assert "zero_network: no network was sought" in page
    assert "[unknown]" in page
    assert "nan" not in page.lower()
    assert head_picture(report, history).startswith(PNG)


def test_the_same_files_give_the_same_page_and_picture(folder, tmp_path):
    out = tmp_path / "deep" / "out"
    for name, start in ((PAGE, b"<!DOCTYPE"), (PICTURE, PNG)):
        first = draw(folder, out, name, "head").read_bytes()
        assert first.startswith(start) or first.lstrip().startswith(start)
        assert draw(folder, out, name, "head").read_bytes() == first


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("report.json", {"status": "solved"}, "not the report of a solve, or of an earlier"),
        ("report.json", [], "a JSON object is expected"),
        ("history.json", {}, "not the report of a solve, or of an earlier"),
        ("head.json", None, "cannot be read as JSON"),
    ],
)
def test_a_folder_that_is_not_of_a_solve_is_refused(folder, file, content, message):
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(json.dumps(content))
    for name in (PAGE, PICTURE):
        with pytest.raises(HeadFileError, match=message):
            draw(folder, folder, name, "head")
        assert not (folder / name).exists()


HEIGHTS = st.floats(-1e12, 1e12) | st.floats(-1e-12, 1e-12)


@given(
    st.lists(HEIGHTS, min_size=1, max_size=6), st.lists(HEIGHTS, max_size=6), st.none() | HEIGHTS
)
def test_curves_of_any_heights_stay_within_their_frame(first, second, level):
    series = {"a<b": list(enumerate(first)), "c": list(enumerate(second))}
    _require_framed(curve_chart(series, "t", "steps", "value", level=level))
    above = {"a": [(at, abs(height) + 1e-9) for at, height in enumerate(first)]}
    _require_framed(curve_chart(above, "t", "steps", "gap", level=0.01, logarithmic=True))


def _require_framed(chart):
    assert "nan" not in chart and "inf" not in chart
    for line in ElementTree.fromstring(chart).iter("polyline"):
        for x, y in re.findall(r"([-\d.]+),([-\d.]+)", line.get("points")):
            assert 0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT
