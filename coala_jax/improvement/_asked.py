"""Prompts that rounds learn from and prompts that they are judged by, with their columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax.data._split import eval_mask, text_sha256
from coala_jax.decoding._prompts import Prompt
from coala_jax.improvement._rewarding import GIVEN
from coala_jax.improvement._settings import ImproveError

_FEWEST_PROMPTS = 2


class Asked(NamedTuple):
    """A prompt to answer.

    Attributes:
        name: of it, for messages and files.
        prompt: a text, or the messages of a conversation.
        columns: what its row has beside it, for the reward function.
    """

    name: str
    prompt: Prompt
    columns: Mapping[str, Any]

    @property
    def text(self) -> str:
        """A prompt as text that tells it from others."""
        if isinstance(self.prompt, str):
            return self.prompt
        turns = [turn if isinstance(turn, Mapping) else turn.as_dict() for turn in self.prompt]
        return json.dumps([[str(turn.get(key)) for key in ("role", "content")] for turn in turns])

    @property
    def sha256(self) -> str:
        """Hash of that text, normalised."""
        return text_sha256(self.text)


def split_prompts(
    prompts: Sequence[Prompt | Mapping[str, Any]],
    held_out: Sequence[Prompt | Mapping[str, Any]] | float,
    seed: int,
) -> tuple[list[Asked], list[Asked]]:
    """Training and held-out prompts.

    Raises:
        ImproveError: too few of either, or a prompt that is in both.
    """
    asked = _asked("prompts", prompts)
    if isinstance(held_out, float):
        if not 0 < held_out < 1:
            raise ImproveError(f"held_out={held_out!r} must be a share above 0 and below 1")
        mask = eval_mask([each.sha256 for each in asked], held_out, seed)
        unseen = [each for each, out in zip(asked, mask, strict=True) if out]
        asked = [each for each, out in zip(asked, mask, strict=True) if not out]
    else:
        unseen = _asked("held_out", held_out)
        known = {each.sha256 for each in asked}
        both = [each.name for each in unseen if each.sha256 in known]
        if both:
            raise ImproveError(
                f"held_out: {len(both)} of the prompts, the first is {both[0]}, are trained on too"
            )
    for name, some in (("prompts", asked), ("held_out", unseen)):
        if len(some) < _FEWEST_PROMPTS:
            share = ""
            if isinstance(held_out, float):
                share = f", of {len(prompts)} of which {held_out:g} are held out by a hash of each,"
            raise ImproveError(
                f"{name}: {len(some)} prompts{share} are too few; give more: at least "
                f"{_FEWEST_PROMPTS} different ones to train on and as many held out"
            )
    return asked, unseen


def _asked(name: str, prompts: Sequence[Prompt | Mapping[str, Any]]) -> list[Asked]:
    """Prompts with their columns: all have the same, None where a row has none.

    Raises:
        ImproveError: a row without a prompt, a name that stands twice, or a column that is called
            as what reward functions are given.
    """
    if isinstance(prompts, str) or not isinstance(prompts, Sequence):
        raise TypeError(f"{name} must be a sequence of prompts, got {type(prompts).__name__}")
    rows = [dict(each) if isinstance(each, Mapping) else {"prompt": each} for each in prompts]
    for number, row in enumerate(rows):
        if "prompt" not in row:
            raise ImproveError(f"{name}: row {number} has no prompt, but {', '.join(row)}")
    columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key != "prompt"]
    if taken := [key for key in columns if key in GIVEN]:
        raise ImproveError(
            f"{name}: column {taken[0]!r} is what reward functions are given of the answers; "
            "rename it"
        )
    found: dict[str, Asked] = {}
    for number, row in enumerate(rows):
        own = row.get("id")
        title = f"{name} {number}" if own is None else str(own)
        if title in found:
            raise ImproveError(f"{name}: id {title!r} stands twice; give each row its own, or none")
        found[title] = Asked(title, row["prompt"], {key: row.get(key) for key in columns})
    return list(found.values())
