"""The folder of a head: its weights, its account, its card, the report and the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coala_jax._extras import how_to_install
from coala_jax._files import write_folder
from coala_jax._head import PREFIX, SCORES, TRAINED_ON, save_head
from coala_jax._json import json_text, valid_json
from coala_jax._model_card import CARD, keeps_own_card
from coala_jax._version import __version__
from coala_jax.study._experiment import Experiment, Say
from coala_jax.study._figures import can_draw, draw_margins
from coala_jax.study._report import build_history

REPORT, HISTORY, PICTURE = "report.json", "history.json", "margins.png"
FILES = ("head.safetensors", "head.json", CARD, REPORT, HISTORY, PICTURE)
# What of the report stands in head.json too.
ACCOUNT = ("command", "seed", "pairs", "params", "config", "features", "split", "temperature")
RESULT = ("status", "warnings", "head", "phase1", "phase2", "train", "eval", "baseline")


def write_experiment(
    folder: Path, experiment: Experiment, report: dict[str, Any], say: Say
) -> list[Path]:
    """Write everything of an experiment, whole or not at all.

    Args:
        folder: made if missing; the files of an earlier run are replaced.
        experiment: what was run.
        report: from `build_report`.
        say: is told where there is no picture.

    Returns:
        The files.
    """

    def fill(partial: Path) -> None:
        save_head(partial, experiment.head, head_info(experiment, report))
        (partial / REPORT).write_text(json_text(report), encoding="utf-8")
        (partial / HISTORY).write_text(json_text(build_history(experiment)), encoding="utf-8")
        if can_draw():
            draw_margins(partial / PICTURE, experiment.history)
        else:
            say(f"{PICTURE} is not drawn: it needs matplotlib; {how_to_install('plot')}")

    files: tuple[str, ...] = FILES
    if keeps_own_card(folder):
        say(f"{folder / CARD} is not of this package: it stays, and no model card is written")
        files = tuple(name for name in FILES if name != CARD)
    return write_folder(folder, files, fill)


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
