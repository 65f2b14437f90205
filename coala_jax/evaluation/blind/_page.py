"""The page of a study: one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

from coala_jax._extras import how_to_install
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.blind._study import PAGE_FORMAT

_TEMPLATES = resources.files(__package__) / "templates"
_EMBEDDED = re.compile(r'<script type="application/json" id="study">(.*?)</script>', re.DOTALL)


def study_page(page: Mapping[str, Any]) -> str:
    """The page of a study.

    Args:
        page: what it embeds, of `make_study`.

    Returns:
        HTML without references to anything outside it. By its content security policy it runs its
        own script alone, and sends nothing but to where it came from.

    Raises:
        EvaluationError: jinja2 is missing.
    """
    try:
        from markupsafe import Markup

        from coala_jax._templates import templates_of
    except ModuleNotFoundError as error:
        raise EvaluationError(
            f"the page of a study needs {error.name}; install it: {how_to_install('evaluate')}"
        ) from error
    style, script = ((_TEMPLATES / name).read_text("utf-8") for name in ("study.css", "study.js"))
    return (
        templates_of("coala_jax.evaluation.blind")
        .get_template("study.html.j2")
        .render(
            title=page["wording"]["title"],
            data=Markup(script_json(page)),
            style=Markup(style),
            script=Markup(script),
            style_sha256=_sha256(style),
            script_sha256=_sha256(script),
        )
    )


def script_json(value: Any) -> str:
    """JSON that can stand in a script element: nothing of it ends the element, all is ASCII."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def embedded_study(html: str, name: str) -> dict[str, Any]:
    """What the page of a study embeds.

    Args:
        html: the page.
        name: of its file, for messages.

    Raises:
        EvaluationError: it is no page of a study.
    """
    found = _EMBEDDED.search(html)
    try:
        page = json.loads(found.group(1)) if found else None
    except ValueError:
        page = None
    if not isinstance(page, dict) or page.get("format") != PAGE_FORMAT:
        raise EvaluationError(f"{name}: is no page of a study; give the one that make wrote")
    return page


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
