"""A result as JSON, as lines for people, and in the form that the benchmark's authors take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coala_jax._files import write_files
from coala_jax._intervals import Interval
from coala_jax._json import json_text
from coala_jax.data._chat import HASHED
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.reward_bench._result import RewardBenchResult, Scored

# What rewardbench calls models that give an answer a number.
MODEL_TYPE = "Seq. Classifier"
# Where it is not known how conversations became text.
UNKNOWN_TEMPLATE = "unknown"
OVERALL = "overall"
# Of the subsets that differ; report.json names all.
SHOWN = 3
# The files of a folder of results.
SCORES_NAME, REPORT_NAME, EVAL_SET_NAME = "scores.jsonl", "report.json", "eval-set.json"


def eval_set(result: RewardBenchResult, model: str, chat_template: str) -> dict[str, Any]:
    """Scores of subsets as an ``eval-set/*.json`` of rewardbench, in which results are handed in.

    Args:
        result: of the whole benchmark.
        model: its name.
        chat_template: how conversations became text: ``tokenizer`` for the tokenizer's template,
            ``raw`` for texts as they stand.

    Raises:
        EvaluationError: the rows are not those that are published.

    Example:
        >>> from coala_jax.data import SourceOptions
        >>> from coala_jax.evaluation.reward_bench import eval_set, read_reward_bench, reward_bench
        >>> options = SourceOptions(download=True)
        >>> bench = read_reward_bench("allenai/reward-bench", options)  # doctest: +SKIP
        >>> result = reward_bench(bench, scores)  # doctest: +SKIP
        >>> row = eval_set(result, "my/head", chat_template="raw")  # doctest: +SKIP
    """
    if result.differences:
        raise EvaluationError(
            "the rows are not those of the whole benchmark, and their scores are no result of it: "
            + "; ".join(result.differences)
        )
    scores = {name: scored.score.mean for name, scored in result.subsets.items()}
    return {"model": model, "model_type": MODEL_TYPE, "chat_template": chat_template, **scores}


def template_name(chat_template: str) -> str:
    """What rewardbench calls the way in which a head's conversations became text."""
    return "tokenizer" if chat_template.startswith(HASHED) else "raw"


def write_result(
    folder: Path,
    result: RewardBenchResult,
    account: Mapping[str, Any],
    model: str,
    chat_template: str,
) -> list[Path]:
    """Write ``report.json``, and of a whole benchmark ``eval-set.json``.

    Args:
        folder: made if missing; an ``eval-set.json`` of an earlier run does not stay there.
        result: of the benchmark.
        account: what else the report says.
        model: as `eval_set` takes it.
        chat_template: likewise.

    Returns:
        What was written.
    """
    files: dict[Path, Any] = {
        folder / REPORT_NAME: json_text({**account, **result_json(result)}).encode()
    }
    place = folder / EVAL_SET_NAME
    if result.differences:
        place.unlink(missing_ok=True)
    else:
        files[place] = json_text(eval_set(result, model, chat_template)).encode()
    write_files(files)
    return list(files)


def result_json(result: RewardBenchResult) -> dict[str, Any]:
    """All figures of a result, by their names."""
    return {
        "benchmark": f"RewardBench {result.version}",
        "differs_from_published": result.differences,
        "overall": None if result.overall is None else _scored_json(result.overall),
        "sections": {name: _scored_json(scored) for name, scored in result.sections.items()},
        "subsets": {name: _scored_json(scored) for name, scored in result.subsets.items()},
        "ties": None if result.ties is None else result.ties._asdict(),
    }


def result_lines(result: RewardBenchResult) -> list[str]:
    """The same for people: a table, and what must be known of it."""
    groups: list[Mapping[str, Scored]] = [result.subsets, result.sections]
    if result.overall is not None:
        groups.append({OVERALL: result.overall})
    width = max(len(name) for group in groups for name in group)
    heads = ("rows", "score", "95 % interval", "chance", "longer", "shorter", "tied")
    lines = [f"RewardBench {result.version}", _line(width, "", *heads)]
    for group in groups:
        lines += [_scored_line(width, name, scored) for name, scored in group.items()]
    return [*lines, *_notes(result)]


def _notes(result: RewardBenchResult) -> list[str]:
    notes = []
    if result.overall is not None:
        above = result.overall.above_length
        rule = "longer" if result.overall.longer >= result.overall.shorter else "shorter"
        notes.append(
            f"above preferring the {rule} answer: {100 * above.mean:+.1f} points ({_ends(above)})"
        )
    if result.version == 1 and any(scored.tied > 0 for scored in result.subsets.values()):
        notes.append("pairs with equal rewards are tied, and count as wrong, as in rewardbench")
    if result.differences:
        shown, others = result.differences[:SHOWN], len(result.differences) - SHOWN
        more = f"; and {others} other subsets" if others > 0 else ""
        notes.append(
            "not comparable with published scores: rows differ from the published ones: "
            f"{'; '.join(shown)}{more}"
        )
    if result.overall is None:
        notes.append("no overall score: subsets are missing")
    return notes


def _scored_json(scored: Scored) -> dict[str, Any]:
    fields = scored._asdict()
    return fields | {
        "score": scored.score._asdict(),
        "above_length": scored.above_length._asdict(),
    }


def _scored_line(width: int, name: str, scored: Scored) -> str:
    rules = (scored.chance, scored.longer, scored.shorter)
    return _line(
        width,
        name,
        str(scored.rows),
        f"{100 * scored.score.mean:.1f}",
        _ends(scored.score),
        *(f"{100 * value:.1f}" for value in rules),
        str(scored.tied),
    )


def _line(width: int, name: str, *cells: str) -> str:
    sizes = (5, 6, 14, 7, 7, 8, 5)
    shown = " ".join(cell.rjust(size) for cell, size in zip(cells, sizes, strict=True))
    return f"{name.ljust(width)} {shown}"


def _ends(interval: Interval) -> str:
    if math.isnan(interval.low):
        return "none"
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
