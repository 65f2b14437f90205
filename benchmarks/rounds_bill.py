"""Floating-point operations of rounds of `coala_jax.improve` that are on the disk, counted.

A round is made again, with the draws that it had, and counted as it runs (`counted_flops.py`): the
answers to training prompts, their features, and all of `select`, every fold and candidate. What is
left out: answers to held-out prompts, which judge a round and teach nothing.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from backbone_flops import countable
from counted_flops import counted
from head_flops import counted_select

from coala_jax import Params
from coala_jax.backbones import Backbone
from coala_jax.improvement import ImproveSettings
from coala_jax.improvement._asked import split_prompts
from coala_jax.improvement._improve import ROLLOUTS, ROUND, _extraction, _Work
from coala_jax.improvement._rewarding import RewardFunction
from coala_jax.improvement._rollouts import Rollout, Sampler, rewarded_answers
from coala_jax.improvement._settings import PLAIN

# What a round takes: answers, their features, and the head with the choice of its strengths.
PARTS = ("sampling", "features", "head")
# Another compilation rounds otherwise, and a token that hangs on it may end an answer elsewhere.
APART = 0.02


def rounds_bill(
    backbone: Backbone,
    train: Sequence[Mapping[str, Any]],
    unseen: Sequence[Mapping[str, Any]],
    reward_fn: RewardFunction,
    folder: str | os.PathLike[str],
    settings: ImproveSettings,
) -> list[dict[str, int]]:
    """Operations of every round in a folder.

    Args:
        backbone: as `improve` was given it, and so the others.
        train: training prompts.
        unseen: held-out prompts.
        reward_fn: is called again.
        folder: of the rounds.
        settings: how they went.

    Returns:
        Of each its ``PARTS``, and the ``tokens`` that were sampled.

    Raises:
        ValueError: what is made again has another number of tokens: the rounds are of others.
    """
    asked, held_out = split_prompts(train, unseen, settings.seed)
    extraction = _extraction(backbone, [*asked, *held_out], settings)
    key = jax.random.key(settings.seed)
    work = _Work(backbone, asked, held_out, reward_fn, Path(folder), settings, extraction, key)
    count = len(list(Path(folder).glob(f"round-*/{ROUND}")))
    return [_round_bill(work, number) for number in range(count)]


def _round_bill(work: _Work, number: int) -> dict[str, int]:
    known = json.loads((work.round_folder(number) / ROUND).read_text("utf-8"))
    with tempfile.TemporaryDirectory() as place:
        again = work._replace(folder=Path(place))
        rollouts, sampling = counted(_answers, work, again, number)
        _, features = counted(_features, again, number, rollouts)
    tokens = sum(sum(each.tokens) for each in rollouts)
    if abs(tokens - known["tokens"]) > APART * known["tokens"]:
        raise ValueError(
            f"{work.round_folder(number)}: has {known['tokens']} tokens, made again {tokens}: give "
            "the settings and prompts of the rounds"
        )
    groups, names = work.groups(number)
    head = counted_select(
        Params(),
        groups,
        names,
        config=work.settings.solving,
        key=jax.random.key(work.settings.seed),
    )
    return {
        "sampling": sampling,
        "features": features,
        "head": sum(head.stages.values()),
        "tokens": known["tokens"],
    }


def _answers(work: _Work, again: _Work, number: int) -> list[Rollout]:
    """A round's answers to training prompts, in another folder."""
    settings = work.settings
    model = work.head_of(work.round_folder(number - 1)) if number else work.backbone
    way = settings.policy if number else PLAIN
    sampler = Sampler(
        countable(model), way, settings.samples, settings, jax.random.fold_in(work.key, number)
    )
    path = again.round_folder(number) / ROLLOUTS
    return rewarded_answers(path, sampler, work.train, work.reward_fn, f"round {number}")


def _features(again: _Work, number: int, rollouts: Sequence[Rollout]) -> None:
    again._replace(backbone=countable(again.backbone)).features(number, rollouts)
