"""Rewards of answers by a function of the user's, checked: TRL's signature."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from coala_jax.data._message import ASSISTANT, Message
from coala_jax.improvement._settings import ImproveError

# Names of what the function is given of every answer, which no column may have.
GIVEN = ("prompts", "completions", "completion_ids")
# f(prompts=[...], completions=[...], completion_ids=[...], **columns) -> a number or None each, as
# TRL's GRPOTrainer calls its `reward_funcs`; conversations have completions of messages.
RewardFunction: TypeAlias = Callable[..., Sequence[float | None]]


def reward_answers(
    function: RewardFunction,
    prompts: Sequence[Any],
    answers: Sequence[Sequence[str]],
    ids: Sequence[Sequence[Sequence[int]]],
    columns: Sequence[Mapping[str, Any]],
    where: str,
) -> list[list[float | None]]:
    """Rewards of several answers to each of some prompts; None where the function gives none.

    Args:
        function: the user's.
        prompts: n texts or conversations.
        answers: to each prompt, texts.
        ids: token ids of the answers.
        columns: of each prompt, what its row has beside it, by the same names.
        where: which prompts these are, for messages.

    Raises:
        ImproveError: the function raised, or gave another number of rewards, or one that is no
            finite number.
    """
    places = [(n, k) for n, each in enumerate(answers) for k in range(len(each))]
    given: dict[str, list[Any]] = {
        "prompts": [prompts[n] for n, _ in places],
        "completions": [_completion(prompts[n], answers[n][k]) for n, k in places],
        "completion_ids": [list(ids[n][k]) for n, k in places],
    }
    for name in columns[0] if columns else ():  # every row has the same
        given[name] = [columns[n][name] for n, _ in places]
    called = name_of(function)
    kept = "the answers are kept: mend it and run the same again"
    try:
        found = function(**given)
    except Exception as error:  # whatever a user's function raises
        raise ImproveError(
            f"{where}: the reward function {called} raised {type(error).__name__}: {error}; {kept}"
        ) from error
    try:
        rewards = [None if reward is None else float(reward) for reward in found]
    except (TypeError, ValueError) as error:
        raise ImproveError(
            f"{where}: the reward function {called} must give a list of numbers or None; {error}; "
            f"{kept}"
        ) from error
    if len(rewards) != len(places):
        raise ImproveError(
            f"{where}: the reward function {called} gave {len(rewards)} rewards for {len(places)} "
            f"completions; {kept}"
        )
    for (n, k), reward in zip(places, rewards, strict=True):
        if reward is not None and not math.isfinite(reward):
            raise ImproveError(
                f"{where}: the reward function {called} gave {reward} for answer {k} to its prompt "
                f"{n}, {answers[n][k][:60]!r}; None means that there is none; {kept}"
            )
    by_prompt: list[list[float | None]] = [[] for _ in answers]
    for (n, _), reward in zip(places, rewards, strict=True):
        by_prompt[n].append(reward)
    return by_prompt


def name_of(function: RewardFunction) -> str:
    """What a reward function is called."""
    name: str = getattr(function, "__name__", type(function).__name__)
    return name


def _completion(prompt: Any, answer: str) -> Any:
    """An answer as TRL gives it: text to a text, messages to a conversation."""
    return answer if isinstance(prompt, str) else [Message(ASSISTANT, answer).as_dict()]
