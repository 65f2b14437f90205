"""Rewards of texts by a model with a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from coala_jax._progress import Progress
from coala_jax.data import ResponseRow
from coala_jax.data._chat import ChatError, ChatText
from coala_jax.data._message import ASSISTANT, Message
from coala_jax.decoding._reward_model import (
    TextRewardModel,
    require_reward_model,
    require_scores_responses,
)
from coala_jax.features import FeatureError
from coala_jax.features._responses import features_of_responses


class Rewards(NamedTuple):
    """Rewards of responses.

    Attributes:
        rewards: (n,) float64, of the head's float32.
        prompt_cut: how many rows lost prompt tokens to the context's length.
        response_cut: how many lost response tokens.
        token_budget: the features' batches ran under it; None where there were no rows.
        first_alike: (n,) place of the first row with the same tokens, its own where it is that.
    """

    rewards: np.ndarray
    prompt_cut: int
    response_cut: int
    token_budget: int | None
    first_alike: Sequence[int] = ()


def score(
    model: TextRewardModel,
    rows: Sequence[ResponseRow],
    *,
    progress: Progress | None = None,
    token_budget: int | None = None,
) -> Rewards:
    """Rewards of (prompt, response) rows.

    Args:
        model: of the rewards.
        rows: what to score; none give no rewards.
        progress: told of every batch; None shows a bar of its own on a terminal.
        token_budget: as `ExtractSettings` has it.

    Returns:
        (n,) rewards in the order of the rows, and how many rows were cut.

    Raises:
        HeadError: no `TextRewardModel`, or one of beginnings of responses.
        FeatureError: texts for a head of conversations, or the other way round; a feature or a
            reward that is not finite, or a token that the model does not know; named by its row.
    """
    require_reward_model(model)
    for row in rows:
        model.require_known_text(row.prompt)
    return rewards_of(model, rows, progress, token_budget)


def rewards_of(
    model: TextRewardModel,
    rows: Sequence[ResponseRow],
    progress: Progress | None,
    token_budget: int | None = None,
) -> Rewards:
    """The rewards of `score`, also where a head of texts is asked about conversations."""
    require_scores_responses(model.scores)
    if not rows:
        return Rewards(np.empty(0, np.float64), 0, 0, None)
    settings = replace(model.settings, token_budget=token_budget)
    made = features_of_responses(rows, model.backbone, settings, progress)
    rewards = np.asarray(model.head(made.features), np.float64)
    bad = np.flatnonzero(~np.isfinite(rewards))
    if bad.size:
        row = rows[bad[0]]
        raise FeatureError(
            f"rewards: {bad.size} of {len(rows)} are not finite, the first is of {row.id} "
            f"({row.side}); the head's weights overflow on this text: solve it again with a "
            "larger ridge"
        )
    cut = (made.prompt_cut, made.response_cut)
    return Rewards(rewards, *cut, made.token_budget, made.first_alike)


def rewards_of_texts(model: TextRewardModel, texts: Sequence[tuple[str, str]]) -> list[float]:
    """The rewards of prompts with responses that were generated, without a progress bar.

    Raises:
        FeatureError: as `score` does.
    """
    rows = [
        ResponseRow(f"response {number}", "response", *_as_scored(model, *each))
        for number, each in enumerate(texts)
    ]
    with Progress(len(rows), "score", hidden=True) as progress:
        rewards: list[float] = rewards_of(model, rows, progress).rewards.tolist()
    return rewards


def _as_scored(model: TextRewardModel, prompt: str, response: str) -> tuple[str, str]:
    """A prompt with a response that was generated as `score` is given them."""
    if not isinstance(prompt, ChatText):
        return prompt, response
    if not prompt.turns:  # it came as the template writes it
        return prompt, model.written_response(response)
    try:
        written = model.chat.texts(prompt.turns, [[Message(ASSISTANT, response)]])
    except ChatError:  # what was generated is no answer that the template writes
        return prompt, model.written_response(response)
    return written.prompt, written.answers[0]
