"""The folder of a head: weights, account, card, report, and the page and picture of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from coala_jax._extras import how_to_install
from coala_jax._files import write_files, write_folder
from coala_jax._head_files import ACCOUNT as HEAD_ACCOUNT
from coala_jax._head_files import PREFIX, SCORES, TRAINED_ON, WEIGHTS, HeadFileError, save_head
from coala_jax._json import json_text, read_json_object, valid_json
from coala_jax._model_card import CARD, keeps_own_card
from coala_jax._version import __version__
from coala_jax.study._experiment import Experiment, Say
from coala_jax.study._report import build_history

REPORT, HISTORY, PICTURE, PAGE = "report.json", "history.json", "margins.png", "report.html"
FILES = (WEIGHTS, HEAD_ACCOUNT, CARD, REPORT, HISTORY, PICTURE, PAGE)
# What each of the files for people is made with.
_NEEDS = {PICTURE: "matplotlib", PAGE: "jinja2"}
# What of the report stands in head.json too.
ACCOUNT = ("command", "seed", "pairs", "params", "config", "features", "split", "temperature")
RESULT = ("status", "warnings", "head", "phase1", "phase2", "train", "eval", "baseline")


def write_experiment(
    folder: Path, experiment: Experiment, report: dict[str, Any], say: Say
) -> list[Path]:
    """Write everything of an experiment; head and figures whole or not at all.

    Args:
        folder: made if missing; the files of an earlier run are replaced.
        experiment: what was run.
        report: from `build_report`.
        say: is told where there is no page or no picture; the rest is written all the same.

    Returns:
        The files.
    """

    def fill(partial: Path) -> None:
        save_head(partial, experiment.head, head_info(experiment, report))
        (partial / REPORT).write_text(json_text(report), encoding="utf-8")
        (partial / HISTORY).write_text(json_text(build_history(experiment)), encoding="utf-8")
        for name, module in _NEEDS.items():
            if not is_installed(module):
                say(f"{name} is not made: it needs {module}; {how_to_install('plot')}")
                continue
            try:
                draw(partial, partial, name, title=folder.absolute().name)
            except Exception as error:  # a head is worth more than what is drawn of it
                say(
                    f"{name} is not made ({type(error).__name__}: {error}); the head and its "
                    f"figures are; `coala-jax report {folder}` tries again"
                )

    files: tuple[str, ...] = FILES
    if keeps_own_card(folder):
        say(f"{folder / CARD} is not of this package: it stays, and no model card is written")
        files = tuple(name for name in FILES if name != CARD)
    return write_folder(folder, files, fill)


def draw(source: Path, out: Path, name: str, title: str) -> Path:
    """Make the page or the picture of a head from the files in its folder.

    Args:
        source: folder with ``head.json``, ``report.json`` and ``history.json``. What a report of an
            earlier version lacks is left out.
        out: folder to write to, made if missing.
        name: `PAGE` or `PICTURE`.
        title: what the head is called.

    Returns:
        The file, whole or not there.

    Raises:
        HeadFileError: a file is missing, or is not what a solve writes.
        ModuleNotFoundError: what it is made with is not installed.
    """
    mend = "give the folder of a head that `coala-jax solve` or `quickstart` wrote"
    account, report, history = (
        read_json_object(source / file, HeadFileError, mend)
        for file in (HEAD_ACCOUNT, REPORT, HISTORY)
    )
    try:
        if name == PAGE:
            from coala_jax.study._head_page import head_page

            made = head_page(report, history, account["identity"] or {}, title).encode()
        else:
            from coala_jax.study._head_picture import head_picture

            made = head_picture(report, history)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise HeadFileError(
            f"{source / REPORT}: not the report of a solve, or of an earlier version "
            f"({type(error).__name__}: {error}); solve again"
        ) from error
    write_files({out / name: made})
    return out / name


def is_installed(module: str) -> bool:
    """Whether a package is there, without importing it."""
    return importlib.util.find_spec(module) is not None


def head_info(experiment: Experiment, report: dict[str, Any]) -> dict[str, Any]:
    """The account beside a head, of which `coala-jax score` reads the first part."""
    identity, prompts = experiment.identity, experiment.train.prompts
    info: dict[str, Any] = {
        "coala_jax": __version__,
        "identity": None if identity is None else identity._asdict(),
        **({} if experiment.train.prefix_of is None else {SCORES: PREFIX}),
        **{name: report[name] for name in ACCOUNT},
        TRAINED_ON: None if prompts is None else prompts.text,
        "result": {name: report[name] for name in RESULT},
    }
    account: dict[str, Any] = valid_json(info)
    return account
