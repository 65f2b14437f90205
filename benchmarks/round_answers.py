"""Held-out answers that `coala_jax.improve` left in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple


class HeldOut(NamedTuple):
    """Answers to held-out prompts.

    Attributes:
        lines: with name, answers and rewards, one a prompt.
        evaluations_a_token: tokens that the backbone ran for each that it wrote.
    """

    lines: list[dict[str, Any]]
    evaluations_a_token: float


def held_out_answers(folder: Path, way: str) -> HeldOut:
    """The answers that were made in one way."""
    path = folder / f"held-out-{way}.jsonl"
    drawn = _lines(path.with_name(f"{path.stem}-texts.jsonl"))
    tokens = sum(len(ids) for line in drawn for ids in line["ids"])
    return HeldOut(_lines(path), sum(line["evaluations"] for line in drawn) / tokens)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
