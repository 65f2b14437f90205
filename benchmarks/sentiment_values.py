"""Controlled sentiment: a head of values, of what the model itself makes of beginnings.

As in controlled decoding (Mudgal et al. 2024) and FUDGE (Yang & Klein 2021): several responses to
each of some prompts are sampled plainly and rewarded as whole texts. All of their beginnings are
worth what came of them, so that for two responses to a prompt, both cut after as many tokens, the
difference of their rewards is the target of a least-squares fit of the same convex program, on the
features of the cuts as they stand. The prompts begin reviews that the head of answers was trained
on; held-out prompts and judges know none of them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from resumed_parts import Parts
from sentiment_task import review_prompts

from coala_jax import RewardModel
from coala_jax.data import RowOptions, read_rows
from coala_jax.decoding import PAPER, guided_generate
from coala_jax.features import ExtractSettings, extract_store, prefix_pairs
from coala_jax.selection import SELECTED

if TYPE_CHECKING:
    from sentiment_runs import Sentiment

SAMPLES, CUTS = 4, 8
POOLING = "mean+last"
# Prompts of a part of the samples.
PROMPTS_A_PART = 16
# Added to the seed: of which prompts, and of the draws.
PROMPTS_SEED, DRAWS_SEED = 1, 77


def made_value_head(task: Sentiment, new_tokens: int) -> Path | None:
    """The folder of the head, made as far as the time goes; None before it is there."""
    count, seed = task.arguments.value_prompts, task.arguments.seed
    if not count:
        return None
    reviews, tokenizer = task.reviews["head"], task.backbone.tokenizer
    prompts = review_prompts(reviews, tokenizer, count, seed + PROMPTS_SEED)
    parts = Parts(
        task.arguments.out,
        {
            "task": "sentiment: values",
            "backbone": task.backbone.identity._asdict(),
            "dtype": task.backbone.module.dtype.name,
            "prompts": prompts,
            "samples": SAMPLES,
            "cuts": CUTS,
            "pooling": POOLING,
            "new_tokens": new_tokens,
            "head": task.answers.head_sha256,
        },
        task.arguments.end,
    )
    rows: list[dict[str, Any]] = []
    for start in range(0, count, PROMPTS_A_PART):
        some = prompts[start : start + PROMPTS_A_PART]
        made = parts.made(
            f"samples-from-{start}",
            lambda some=some, start=start: _samples(task, some, start, new_tokens),
        )
        if made is None:
            return None
        rows += made
    folder = parts.folder / "value-head"
    if parts.made("value-head-left-out", lambda: _fit(task, rows, folder)) is None:
        return None
    return folder


def _samples(task: Sentiment, prompts: list[str], start: int, tokens: int) -> list[dict[str, Any]]:
    """Rows of scored completions."""
    config = PAPER.with_options(max_new_tokens=tokens, scale=0.0)
    key = jax.random.key(task.arguments.seed + DRAWS_SEED)
    keys = [
        jax.random.fold_in(jax.random.fold_in(key, start + number), sample)
        for number in range(len(prompts))
        for sample in range(SAMPLES)
    ]
    repeated = [prompt for prompt in prompts for _ in range(SAMPLES)]
    made = guided_generate(task.answers, repeated, config, keys, batch_size=len(repeated))
    responses = [made[place : place + SAMPLES] for place in range(0, len(made), SAMPLES)]
    return [
        {
            "id": f"prompt-{start + number}",
            "prompt": prompt,
            "completions": [one.text for one in each],
            "scores": [one.reward for one in each],
        }
        for number, (prompt, each) in enumerate(zip(prompts, responses, strict=True))
    ]


def _fit(task: Sentiment, rows: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """The head in its folder; what left-out prompts say of it."""
    layer = task.layer
    settings = ExtractSettings(pooling=POOLING, layers=(layer,), prefixes=CUTS)
    row_set = read_rows(rows, RowOptions(pairs="all"))
    store = extract_store(row_set, task.backbone, folder.with_name("features"), settings=settings)
    pairs = prefix_pairs(store.table)
    config = dataclasses.replace(
        SELECTED, phase1_loss="squared_difference", phase2_objective="none"
    )
    model = RewardModel(config=config).fit(
        pairs.chosen,
        pairs.rejected,
        groups=pairs.groups,
        sample_weight=pairs.weight,
        margin=pairs.margin,
    )
    assert pairs.identity is not None  # a store has one
    identity = pairs.identity._asdict()
    model.save(folder, overwrite=True, identity=identity, scores="prefix")
    return {"report": model.report(), "pairs": len(row_set.rows), "cuts": len(pairs.chosen)}
