"""What came of answering, as JSON and as lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coala_jax.data import ChatFormat
from coala_jax.evaluation.answering._answering import AnswerTally


def answered_result(tally: AnswerTally, layout: ChatFormat, *, headed: bool) -> dict[str, Any]:
    """What was answered, as JSON.

    Args:
        tally: sums over the answers.
        layout: how the conversations were written.
        headed: whether a head gave rewards.
    """
    said = {
        "answers were cut where their tokens ran out": tally.cut,
        "answers have no word": tally.empty,
        "questions had fewer tokens for their answers than --max-new-tokens, for want of context": (
            tally.shortened
        ),
    }
    return {
        "questions": tally.questions,
        "answers": tally.turns,
        "mean_tokens": tally.tokens / tally.turns,
        "mean_characters": tally.characters / tally.turns,
        "mean_reward": tally.reward / tally.turns if headed else None,
        "cut": tally.cut,
        "empty": tally.empty,
        "shortened": tally.shortened,
        "chat": layout.name,
        "warnings": [f"{count} {what}" for what, count in said.items() if count],
    }


def answered_lines(result: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    reward = result["mean_reward"]
    return [
        f"{result['questions']} questions, {result['answers']} answers of "
        f"{result['mean_tokens']:,.0f} tokens and {result['mean_characters']:,.0f} characters on "
        "average" + ("" if reward is None else f", mean reward {reward:+.3f}"),
        f"conversations were written by {result['chat']}",
    ]
