"""Answers to prompts with their rewards, as JSON lines that a run which died goes on with."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax

from coala_jax._files import write_text
from coala_jax._json import json_text
from coala_jax.backbones import Backbone
from coala_jax.decoding import (
    Generation,
    GenerationConfig,
    TextRewardModel,
    best_of_n,
    guided_generate,
)
from coala_jax.decoding._prompts import Prompt
from coala_jax.decoding._resumed_lines import open_lines
from coala_jax.improvement._asked import Asked
from coala_jax.improvement._rewarding import RewardFunction, reward_answers
from coala_jax.improvement._settings import BEST_OF_N, PLAIN, ImproveError, ImproveSettings, Way


class Rollout(NamedTuple):
    """Answers to one prompt.

    Attributes:
        answers: texts.
        rewards: one each; None where the reward function has none.
        tokens: of each answer; of the best of n, of the one that was taken.
        evaluations: tokens that the backbone ran for all of them.
    """

    answers: tuple[str, ...]
    rewards: tuple[float | None, ...]
    tokens: tuple[int, ...]
    evaluations: int


class Sampler(NamedTuple):
    """Makes answers.

    Attributes:
        model: of the policy; a backbone alone answers plainly.
        way: how answers are made.
        samples: to each prompt.
        settings: of all rounds.
        key: of the draws.
    """

    model: Backbone | TextRewardModel
    way: Way
    samples: int
    settings: ImproveSettings
    key: jax.Array

    def answers(self, asked: Sequence[Asked], first: int) -> list[list[Generation]]:
        """Several answers to each prompt; draws depend on its place, `first` that of the first."""
        prompts = [each.prompt for each in asked for _ in range(self.samples)]
        keys = [
            jax.random.fold_in(jax.random.fold_in(self.key, first + n), k)
            for n in range(len(asked))
            for k in range(self.samples)
        ]
        made = self._made(prompts, keys)
        return [made[at : at + self.samples] for at in range(0, len(made), self.samples)]

    def _made(self, prompts: Sequence[Prompt], keys: Sequence[jax.Array]) -> list[Generation]:
        settings, size = self.settings, self.settings.batch_size
        sampling = replace(settings.generation.sampling, scale=0.0)
        plain = GenerationConfig(sampling)
        if self.way == PLAIN or isinstance(self.model, Backbone):
            return guided_generate(self.model, prompts, plain, keys, batch_size=size)
        if self.way == BEST_OF_N:
            ordered = best_of_n(self.model, prompts, settings.best_of, plain, keys, batch_size=size)
            return [
                best._replace(evaluations=sum(one.evaluations for one in (best, *others)))
                for best, *others in ordered
            ]
        return guided_generate(self.model, prompts, settings.generation, keys, batch_size=size)


def rewarded_answers(
    path: Path, sampler: Sampler, asked: Sequence[Asked], function: RewardFunction, where: str
) -> list[Rollout]:
    """Answers to all prompts with their rewards, kept in a file of lines; made where it is not.

    Texts are on the disk before the reward function is asked, so that what it raises loses none.

    Raises:
        ImproveError: as `reward_answers` does.
        FeatureError: another run writes the file, began it otherwise, or the disk is full.
    """
    texts = path.with_name(f"{path.stem}-texts.jsonl")
    size = sampler.settings.prompts_at_once
    model = sampler.model
    request = {
        "head": model.head_sha256 if isinstance(model, TextRewardModel) else "",
        "prompts": hashlib.sha256(json.dumps([each.name for each in asked]).encode()).hexdigest(),
        "way": sampler.way,
        "samples": sampler.samples,
    }

    def draw(first: int, some: Sequence[Asked]) -> list[dict[str, Any]]:
        return [
            {
                "name": each.name,
                "answers": [made.text for made in several],
                "ids": [made.tokens for made in several],
                "evaluations": sum(made.evaluations for made in several),
            }
            for each, several in zip(some, sampler.answers(some, first), strict=True)
        ]

    drawn = _resumed(texts, asked, request, draw, size)

    def reward(first: int, some: Sequence[Asked]) -> list[dict[str, Any]]:
        lines = drawn[first : first + len(some)]
        rewards = reward_answers(
            function,
            [each.prompt for each in some],
            [line["answers"] for line in lines],
            [line["ids"] for line in lines],
            [each.columns for each in some],
            f"{where}, prompts {first} to {first + len(some) - 1}",
        )
        return [
            {"name": line["name"], "answers": line["answers"], "rewards": each}
            for line, each in zip(lines, rewards, strict=True)
        ]

    lines = _resumed(path, asked, request, reward, size)
    return [
        Rollout(
            tuple(line["answers"]),
            tuple(line["rewards"]),
            tuple(map(len, text["ids"])),
            text["evaluations"],
        )
        for line, text in zip(lines, drawn, strict=True)
    ]


def _resumed(
    path: Path,
    asked: Sequence[Asked],
    request: Mapping[str, Any],
    make: Callable[[int, Sequence[Asked]], list[dict[str, Any]]],
    size: int,
) -> list[dict[str, Any]]:
    """The lines of a file, one a prompt; pieces of `size` of them that are missing are made."""
    said = path.with_name(f"{path.name}.request.json")
    if not path.exists():
        with open_lines(path, request, _report) as lines:
            for first in range(lines.progress.get("prompts", 0), len(asked), size):
                some = asked[first : first + size]
                lines.append(make(first, some), {"prompts": first + len(some)})
            write_text(said, json_text(request))
            lines.finish()
    if json.loads(said.read_text("utf-8")) != request:
        raise ImproveError(
            f"{path}: was made by another head, or of other prompts; remove it to make it anew"
        )
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _report(line: str) -> None:
    print(line, file=sys.stderr)
