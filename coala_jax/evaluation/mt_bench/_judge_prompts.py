"""Which prompts of FastChat's file ask a judge about MT-Bench, and how it is asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

from coala_jax.evaluation._chat import ChatRequest
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.judge import JudgePrompt
from coala_jax.evaluation.judge import read_judge_prompts as all_prompts

Kind = Literal["single", "pairwise"]
SINGLE: Kind = "single"
PAIRWISE: Kind = "pairwise"
OF_SECOND_TURN = "-multi-turn"
# Names in FastChat's data/judge_prompts.jsonl, without and with a reference answer.
NAMES: Mapping[Kind, tuple[str, str]] = {
    SINGLE: ("single-v1", "single-math-v1"),
    PAIRWISE: ("pair-v2", "pair-math-v1"),
}
# Begins the names of prompts in words of this package.
OWN = "coala-jax/"
# Other words need other names, by which judgments are told apart: earlier ones had `NAMES` behind
# `OWN`.
OWN_NAMES: Mapping[Kind, tuple[str, str]] = {
    SINGLE: (f"{OWN}single-v2", f"{OWN}single-math-v2"),
    PAIRWISE: (f"{OWN}pair-v3", f"{OWN}pair-math-v2"),
}
# Of the judge (`run_judge_single` and `run_judge_pair` of fastchat/llm_judge/common.py).
MAX_TOKENS, TEMPERATURE = 2048, 0.0


def prompt_name(
    kind: Kind,
    *,
    reference: bool,
    second: bool,
    names: Mapping[Kind, tuple[str, str]] = NAMES,
) -> str:
    """The name of the prompt for a question with or without a reference, and one of its turns."""
    return names[kind][reference] + (OF_SECOND_TURN if second else "")


def prompt_names(kind: Kind) -> list[str]:
    """The names of all four prompts of a kind."""
    return [
        prompt_name(kind, reference=reference, second=second)
        for second in (False, True)
        for reference in (False, True)
    ]


def read_judge_prompts(source: str | os.PathLike[str], kind: Kind) -> Mapping[str, JudgePrompt]:
    r"""The four prompts of a kind by name, from a file such as ``data/judge_prompts.jsonl``.

    Args:
        source: as `coala_jax.evaluation.judge.read_judge_prompts` takes it.
        kind: ``single`` or ``pairwise``.

    Raises:
        DataError: it cannot be read.
        EvaluationError: a broken row, a name twice, or a prompt that is missing.

    Example:
        >>> import json
        >>> from pathlib import Path
        >>> from coala_jax.evaluation.mt_bench import own_judge_prompts, read_judge_prompts
        >>> own = own_judge_prompts("single")
        >>> rows = [{"name": name, "type": "single", "system_prompt": each.system,
        ...     "prompt_template": each.template} for name, each in own.items()]
        >>> _ = Path("prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
        >>> sorted(read_judge_prompts("prompts.jsonl", "single")) == sorted(own)
        True
    """
    found = all_prompts(source)
    if missing := [name for name in prompt_names(kind) if name not in found]:
        raise EvaluationError(
            f"{source}: has no prompt {missing[0]}; give data/judge_prompts.jsonl of FastChat, or "
            "no file for prompts in words of this package"
        )
    return {name: found[name] for name in prompt_names(kind)}


def judge_request(prompt: JudgePrompt, values: Mapping[str, str]) -> ChatRequest:
    """What a judge is asked: a prompt with texts in its places.

    Raises:
        EvaluationError: the prompt has a place that no text is for.
    """
    return ChatRequest(prompt.messages(values), MAX_TOKENS, TEMPERATURE)
