"""Scores and win rates as JSON, and as lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coala_jax._intervals import LEVEL, Interval
from coala_jax.evaluation._interval_text import has_no_spread, interval_text
from coala_jax.evaluation._order_effect import order_warnings
from coala_jax.evaluation._own_wording import OWN_WORDING
from coala_jax.evaluation.judge import JudgePrompt
from coala_jax.evaluation.mt_bench._scores import HIGHEST, LOWEST, ModelScores
from coala_jax.evaluation.mt_bench._verdicts import ERROR, FAILED, NO_SCORE
from coala_jax.evaluation.mt_bench._win_rates import PairScores

# Mean characters of the answers, turn by turn, by model.
Lengths = Mapping[str, Sequence[float]]
INTERVALS = (
    f"intervals: {LEVEL:.0%}, Student's t, of win rates Wilson's; both turns of a question are one "
    "cluster"
)
SAME = "the {} is the same for every question, and the interval says nothing"
NO_INTERVAL = "one question alone, no interval"
# Questions that MT-Bench has; the paper's Table 8 has means over 20 of them.
WHOLE = 80


def single_result(judge: str, scores: Sequence[ModelScores], lengths: Lengths) -> dict[str, Any]:
    """Scores of single-answer grading as JSON."""
    models = []
    for each in scores:
        fields = each._asdict() | {
            "both": _ends(each.both),
            "turns": {str(turn): _ends(found) for turn, found in each.turns.items()},
            "categories": {name: _ends(found) for name, found in each.categories.items()},
        }
        models.append(fields | {"mean_characters": lengths.get(each.model)})
    return {"kind": "single", "judge": judge, "models": models}


def single_lines(judge: str, scores: Sequence[ModelScores], lengths: Lengths) -> list[str]:
    """The same for people."""
    lines = [f"grades of {judge}, from {LOWEST} to {HIGHEST}; {INTERVALS}"]
    for each in scores:
        lines.append(f"{each.model}: {_shown(each.both)}, {each.questions} questions")
        lines += [f"  turn {turn:<13} {_shown(found)}" for turn, found in each.turns.items()]
        lines += [f"  {name:<18} {_shown(found)}" for name, found in each.categories.items()]
        lines += _length_lines(each.model, lengths)
    return [*lines, "grades of another judge, or of another version of it, are not comparable"]


def single_warnings(scores: Sequence[ModelScores]) -> list[str]:
    """What to know before the scores are laid beside others."""
    counts = sorted(each.judgments for each in scores)
    warnings = []
    if counts[0] < counts[-1]:
        warnings.append(
            f"models have {counts[0]} to {counts[-1]} judgments: their means are not over the same "
            "answers; --data names what is missing"
        )
    for each in scores:
        said = {
            "judgments give no grade and are left out": each.unreadable,
            "requests to the judge failed and are left out": each.failed,
            f"grades are not from {LOWEST} to {HIGHEST} and count as they are": each.outside,
        }
        warnings += [
            f"{each.model}: {count} of {each.judgments} {what}"
            for what, count in said.items()
            if count
        ]
        if each.both is not None and has_no_spread(each.both):
            warnings.append(f"{each.model}: {SAME.format('mean grade')}")
        if each.questions < WHOLE:
            warnings.append(
                f"{each.model}: {each.questions} questions, MT-Bench has {WHOLE}; a mean over some "
                "of them, as in Table 8 of the COALA paper (20), is another number"
            )
    return warnings


def pair_result(judge: str, scores: PairScores, lengths: Lengths) -> dict[str, Any]:
    """Win rates as JSON, as shares from 0 to 1."""
    models = []
    for each in scores.models:
        fields = each._asdict() | {
            name: _ends(getattr(each, name)) for name in ("win_rate", "loss_rate", "adjusted")
        }
        fields |= {
            "turns": {str(turn): _ends(found) for turn, found in each.turns.items()},
            "categories": {name: _ends(found) for name, found in each.categories.items()},
        }
        models.append(fields | {"mean_characters": lengths.get(each.model)})
    return {
        "kind": "pairwise",
        "judge": judge,
        "comparisons": scores.comparisons,
        "left_out": scores.left_out,
        "order": {name: _ends(share) for name, share in scores.order._asdict().items()},
        "models": models,
        "mean_characters": dict(lengths),
    }


def pair_lines(judge: str, scores: PairScores, lengths: Lengths) -> list[str]:
    """The same for people, in percent."""
    lines = [f"verdicts of {judge} in both orders, in percent; {INTERVALS}"]
    for each in scores.models:
        lines += [
            f"{each.model}: adjusted win rate {_percent(each.adjusted)} ({each.wins} won, "
            f"{each.ties} tied, {each.losses} lost)",
            f"  won                {_percent(each.win_rate)}",
            f"  lost               {_percent(each.loss_rate)}",
        ]
        lines += [f"  turn {turn:<13} {_percent(found)}" for turn, found in each.turns.items()]
        lines += [f"  {name:<18} {_percent(found)}" for name, found in each.categories.items()]
    for model in lengths:
        lines += _length_lines(model, lengths, f"{model}: ")
    return [
        *lines,
        f"same verdict in both orders: {_percent(scores.order.consistent)}",
        f"won by the answer that is shown first: {_percent(scores.order.first)} (of games with a "
        "winner; 50 is no bias)",
    ]


def pair_warnings(scores: PairScores) -> list[str]:
    """What to know before the win rates are laid beside others."""
    warnings = []
    if scores.left_out:
        warnings.append(
            f"{scores.left_out} of {scores.comparisons + scores.left_out} comparisons have a "
            "judgment without a verdict and are left out"
        )
    warnings += order_warnings(scores.order.consistent.mean)
    warnings += [
        f"{each.model}: {SAME.format('adjusted win rate')}"
        for each in scores.models
        if has_no_spread(each.adjusted)
    ]
    return warnings


def judged_result(
    judgments: Sequence[Mapping[str, Any]], prompts: Mapping[str, JudgePrompt]
) -> dict[str, Any]:
    """What came of asking a judge, as JSON.

    Args:
        judgments: as `judgment_lines` makes them.
        prompts: that asked for them, by name.
    """
    failed = [each for each in judgments if FAILED in _said(each)]
    no_verdict = [each for each in judgments if _is_open(each) and FAILED not in _said(each)]
    return {
        "judgments": len(judgments),
        "failed": len(failed),
        "no_verdict": len(no_verdict),
        "prompts": {name: prompt.account() for name, prompt in prompts.items()},
    }


def judged_lines(result: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    files = {prompt["file"] for prompt in result["prompts"].values()}
    whose = " and ".join(OWN_WORDING if file is None else file for file in files)
    return [
        f"{result['judgments']} judgments, {result['failed']} of which failed and "
        f"{result['no_verdict']} of which give no verdict; the score leaves both out",
        f"prompts of the judge: {whose}",
    ]


def _said(judgment: Mapping[str, Any]) -> list[str]:
    names = ("judgment", "g1_judgment", "g2_judgment")
    return [judgment[name] for name in names if name in judgment]


def _is_open(judgment: Mapping[str, Any]) -> bool:
    """Whether a judgment gives neither a grade nor a winner in both orders."""
    verdicts = [judgment.get(name) for name in ("score", "g1_winner", "g2_winner")]
    return NO_SCORE in verdicts or ERROR in verdicts


def _ends(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else interval._asdict()


def _shown(interval: Interval | None) -> str:
    if interval is None:
        return "no grade"
    return interval_text(interval, alone=NO_INTERVAL)


def _percent(interval: Interval) -> str:
    return interval_text(interval, 1, scale=100, alone=NO_INTERVAL)


def _length_lines(model: str, lengths: Lengths, name: str = "  ") -> list[str]:
    if model not in lengths:
        return []
    shown = " and ".join(f"{length:,.0f}" for length in lengths[model])
    return [f"{name}mean characters    {shown} by turn"]
