"""The report of a study as one HTML page that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from coala_jax._extras import how_to_install
from coala_jax._intervals import Interval
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation._interval_text import interval_text
from coala_jax.evaluation.blind._analyse import Analysis
from coala_jax.evaluation.blind._report import METHODS, alpha_text, figure, percent, share

STYLE = (resources.files(__package__) / "templates/report.css").read_text("utf-8")


def report_page(analysis: Analysis) -> str:
    """The page: a chart and a table of the comparisons, and what else was found.

    Returns:
        HTML without script or references to anything outside it; all text escaped.

    Raises:
        EvaluationError: jinja2 is missing.
    """
    try:
        from markupsafe import Markup

        from coala_jax._templates import templates_of
    except ModuleNotFoundError as error:
        raise EvaluationError(
            f"the page of a report needs {error.name}; install it: {how_to_install('evaluate')}"
        ) from error
    filters = {
        "percent": percent,
        "with_ends": interval_text,
        "with_alpha": alpha_text,
        "figure": figure,
        "share": share,
    }
    templates = templates_of("coala_jax.evaluation.blind", **filters)
    strengths = analysis.findings.davidson
    return templates.get_template("report.html.j2").render(
        analysis=analysis,
        plan=analysis.plan,
        found=analysis.findings,
        charted=[one for one in analysis.findings.comparisons if _has_ends(one.win_rate)],
        ranked=sorted(strengths.strengths.items(), key=lambda one: -one[1].mean)
        if strengths
        else [],
        methods=METHODS,
        style=Markup(STYLE),
        style_sha256=base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode(),
    )


def _has_ends(interval: Interval) -> bool:
    return interval.low == interval.low
