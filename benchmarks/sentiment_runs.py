"""Controlled sentiment on a real model: the head, the methods, and their texts, made in parts."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from likelihood import response_log_probs
from reporting import say
from resumed_parts import Parts
from sentiment_task import read_reviews, review_pairs, review_prompts
from sentiment_values import made_value_head

from coala_jax import RewardModel
from coala_jax.backbones import load_backbone
from coala_jax.data import read_rows
from coala_jax.decoding import PAPER, TextRewardModel, guided_generate
from coala_jax.features import ExtractSettings, FeatureTable, extract_store
from coala_jax.features._settings import feature_identity
from coala_jax.features._tokens import encode_prompts

# The least of the 32 to 48 that the task asks for: a plan is compiled for a multiple of 32.
NEW_TOKENS = 32
POOLING = "mean"
# Pairs of a shard of the store: what a run that was ended loses at most.
SHARD_ROWS = 256
# Prompts of a part: the dearest method takes some minutes for them.
PROMPTS_A_PART = 50
SCALES = (0.5, 1.0, 2.0, 4.0, 8.0)
# Of two candidates the better one is drawn more and more; infinity is the best one.
WIDE_SCALES = (*SCALES, 32.0)
BEST_OF = (2, 4, 8, 16)
HELD_OUT, DEVELOPMENT = "held out", "development"
# Who guides: the head of whole responses, which also rewards them, or one of values.
ANSWERS, VALUE = "answers", "value"


class Method(NamedTuple):
    """A way to guide.

    Attributes:
        name: in the table.
        options: of `coala_jax.decoding.GenerationConfig`, but for the scale; what is not said is as
            in the paper's form.
        scales: to try; a method that uses none has a single entry.
        guide: the head that guides; rewards are those of ``ANSWERS``, whoever does.
    """

    name: str
    options: dict[str, Any]
    scales: tuple[float, ...] = SCALES
    guide: str = ANSWERS


PLAIN = Method("plain", {}, (0.0,))
# But for the paper's form a prefix is scored as it stands, which takes half as much of the model;
# a candidate or block that was chosen has run, so that k of them cost k times what is plain.
PREFIX = {"scored": "prefix"}
TWO = {"guide_every": 1, "num_candidates": 2, **PREFIX}
FIVE = {"guide_every": 1, "num_candidates": 5, **PREFIX}
AHEAD = {"guide_every": 8, "lookahead": 7, "num_candidates": 4}
METHODS = (
    Method("the paper's, N = 5", {}),
    Method("N = 1, 5 candidates", FIVE),
    Method("blocks of 8, best of 4", {"guide_every": 8, "continuations": 4, **PREFIX}, (1.0,)),
    Method("N = 8, 4 candidates, lookahead of 7", {**AHEAD, **PREFIX}),
    Method("blocks of 8, best of 2", {"guide_every": 8, "continuations": 2, **PREFIX}, (1.0,)),
    Method("N = 1, 2 candidates", TWO, WIDE_SCALES),
    # Controls: what few candidates do without a head.
    Method("plain, top-k 2", {"top_k": 2}, (0.0,)),
    Method("plain, top-k 5", {"top_k": 5}, (0.0,)),
    Method("blocks of 16, best of 4", {"guide_every": 16, "continuations": 4, **PREFIX}, (1.0,)),
    Method("N = 5, 5 candidates", {"num_candidates": 5, **PREFIX}),
    Method("N = 5", PREFIX),
    Method("the paper's, N = 1", {"guide_every": 1}),
    Method("value head, N = 1, 5 candidates", FIVE, guide=VALUE),
    Method("value head, N = 1, 2 candidates", TWO, WIDE_SCALES, VALUE),
    Method("value head, N = 5", PREFIX, guide=VALUE),
    Method("N = 1, 2 candidates, best", {**TWO, "choice": "best"}, (1.0,)),
    Method("value head, N = 1, 2 candidates, best", {**TWO, "choice": "best"}, (1.0,), VALUE),
)
# Scales of held-out prompts that run before all others, in this order.
FIRST = {
    "N = 1, 2 candidates": 8.0,
    "plain, top-k 2": 0.0,
    "blocks of 8, best of 2": 1.0,
    "value head, N = 1, 2 candidates": 8.0,
    "the paper's, N = 5": 4.0,
    "N = 1, 5 candidates": 8.0,
    "plain, top-k 5": 0.0,
    "blocks of 8, best of 4": 1.0,
    "N = 8, 4 candidates, lookahead of 7": 8.0,
}


class Run(NamedTuple):
    """Responses to all prompts of a kind.

    Attributes:
        kind: ``HELD_OUT`` or ``DEVELOPMENT``.
        method: how.
        scale: of the guidance; 0 is plain.
        sample: number of the draws; what is guided shares those of sample 0.
    """

    kind: str
    method: Method
    scale: float
    sample: int = 0


def sampled(numbers: Sequence[int]) -> list[Run]:
    """Plain responses to the held-out prompts, by these draws."""
    return [Run(HELD_OUT, PLAIN, 0.0, number) for number in numbers]


def runs(methods: Sequence[Method]) -> Iterator[Run]:
    """All runs, the most telling first."""
    by_name = {method.name: method for method in methods}
    first = [Run(HELD_OUT, by_name[name], FIRST[name]) for name in FIRST if name in by_name]
    tuned = sorted(methods, key=lambda one: [*FIRST, one.name].index(one.name))
    tuning = [
        [Run(DEVELOPMENT, method, scale) for scale in method.scales[::-1]]
        for method in tuned
        if len(method.scales) > 1
    ]
    yield from (*sampled(range(2)), *first[:3], *itertools.chain(*tuning[:1]), *first[3:6])
    yield from (*sampled(range(2, 4)), *first[6:], *itertools.chain(*tuning[1:]))
    yield from sampled(range(4, 8))
    for method in methods:
        held_out = (Run(HELD_OUT, method, scale) for scale in method.scales[::-1])
        yield from (run for run in held_out if run not in first)
    yield from sampled(range(8, max(BEST_OF)))


class Sentiment:
    """The task on a model; whatever takes long is made in parts.

    Args:
        arguments: of benchmarks/real_model.py.

    Attributes:
        backbone: the model.
        reviews: by part.
        prompts: by kind.
        pairs: preference rows of the head.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.backbone = load_backbone(arguments.model)
        tokenizer, seed = self.backbone.tokenizer, arguments.seed
        self.reviews = read_reviews(arguments.data / "imdb_like.jsonl.gz", seed)
        self.pairs = review_pairs(self.reviews["head"], tokenizer, NEW_TOKENS)[: arguments.pairs]
        held_out, others = arguments.prompts, arguments.development_prompts
        prompts = review_prompts(self.reviews["prompts"], tokenizer, held_out + others, seed)
        self.prompts = {HELD_OUT: prompts[:held_out], DEVELOPMENT: prompts[held_out:]}
        self._head_parts = Parts(
            arguments.out,
            {
                "task": "sentiment: features and heads",
                "backbone": self.backbone.identity._asdict(),
                "dtype": self.backbone.module.dtype.name,
                "seed": seed,
                "new_tokens": NEW_TOKENS,
                "layers": arguments.layers,
                "pairs": len(self.pairs),
            },
            arguments.end,
        )
        self._response_parts: dict[str, Parts] = {}

    def make(self) -> None:
        """Make the parts that are missing, as far as the time goes."""
        if not self.by_layer:
            return
        for run in runs(self.methods):
            for start in self._starts(run.kind):
                parts, name = self._parts_of(run.method), _name(run, start)
                if parts.made(name, lambda run=run, start=start: self._part(run, start)) is None:
                    return

    @cached_property
    def by_layer(self) -> dict[int, dict[str, Any]]:
        """What left-out pairs say of a head on each layer; empty where the time is up before."""
        layers: list[int] = self.arguments.layers
        made = {
            layer: self._head_parts.made(_left_out(layer), lambda place=place: self._fit(place))
            for place, layer in enumerate(layers)
        }
        return {} if None in made.values() else made

    def _fit(self, place: int) -> dict[str, Any]:
        """Write the head on one of the layers; what left-out pairs say of it."""
        layer, width = self.arguments.layers[place], self.backbone.config.hidden_size
        own = slice(place * width, (place + 1) * width)
        # A review is in one pair: sharing a first word makes no group of reviews.
        model = RewardModel().fit(self._features.chosen[:, own], self._features.rejected[:, own])
        settings = ExtractSettings(pooling=POOLING, layers=(layer,))
        identity = feature_identity(self.backbone, settings)._asdict()
        model.save(self._head_parts.folder / f"head-{layer}", overwrite=True, identity=identity)
        assert model.choice_ is not None  # RewardModel selects by default
        candidate = model.choice_.candidate
        return {
            "log_loss": candidate.log_loss,
            "accuracy": candidate.accuracy,
            "report": model.report(),
        }

    @cached_property
    def _features(self) -> FeatureTable:
        """Of the pairs, all layers side by side."""
        layers = tuple(self.arguments.layers)
        settings = ExtractSettings(pooling=POOLING, layers=layers, shard_rows=SHARD_ROWS)
        folder = self._head_parts.folder / "features"
        return extract_store(read_rows(self.pairs), self.backbone, folder, settings=settings).table

    @cached_property
    def layer(self) -> int:
        """The layer of least left-out log loss."""
        return min(self.by_layer, key=lambda layer: self.by_layer[layer]["log_loss"])

    @cached_property
    def answers(self) -> TextRewardModel:
        """The head of whole responses."""
        return TextRewardModel.load(self._head_folder, self.backbone)

    @cached_property
    def models(self) -> dict[str, TextRewardModel]:
        """The head of whole responses, by who guides."""
        values = self.arguments.value_head or made_value_head(self, NEW_TOKENS)
        if values is None:
            return {ANSWERS: self.answers}
        guided = TextRewardModel.load(self._head_folder, self.backbone, value_head=values)
        return {ANSWERS: self.answers, VALUE: guided}

    @property
    def _head_folder(self) -> Path:
        return self._head_parts.folder / f"head-{self.layer}"

    @property
    def methods(self) -> list[Method]:
        """Those that were asked for and have their head."""
        asked = self.arguments.methods or [method.name for method in METHODS]
        return [m for m in METHODS if m.name in asked and m.guide in self.models]

    def records(self, run: Run) -> list[dict[str, Any]] | None:
        """What is known of every response of a run; None where a part is missing."""
        parts = self._parts_of(run.method)
        found = [parts.read(_name(run, start)) for start in self._starts(run.kind)]
        if None in found:
            return None
        return [*itertools.chain(*(part["records"] for part in found))]

    def best_of(self, n: int) -> list[dict[str, Any]] | None:
        """The first n samples' records of the highest reward; None where a sample is missing."""
        samples = [self.records(run) for run in sampled(range(n))]
        known = [records for records in samples if records is not None]
        if len(known) < n:
            return None
        found = []
        for each in zip(*known, strict=True):
            best = max(each, key=lambda record: record["reward"])
            # A prompt runs once for the samples of it.
            own = sum(record["evaluations"] - record["prompt_tokens"] for record in each)
            found.append({**best, "evaluations": own + best["prompt_tokens"]})
        return found

    def _starts(self, kind: str) -> range:
        return range(0, len(self.prompts[kind]), PROMPTS_A_PART)

    def _parts_of(self, method: Method) -> Parts:
        """The parts of all responses by a method."""
        if method.name not in self._response_parts:
            settings = {
                "task": "sentiment: responses",
                "backbone": self.backbone.identity._asdict(),
                "dtype": self.backbone.module.dtype.name,
                "prompts": self.prompts,
                "seed": self.arguments.seed,
                "new_tokens": NEW_TOKENS,
                "head": self.models[ANSWERS].head_sha256,
                "guide": _guide_sha256(self.models[method.guide]),
                "method": method.name,
                "options": method.options,
            }
            parts = Parts(self.arguments.out, settings, self.arguments.end)
            self._response_parts[method.name] = parts
        return self._response_parts[method.name]

    def _part(self, run: Run, start: int) -> dict[str, Any]:
        """Responses to the prompts of a part, with what was measured of each."""
        prompts = self.prompts[run.kind][start : start + PROMPTS_A_PART]
        model = self.models[run.method.guide]
        options = run.method.options
        config = PAPER.with_options(max_new_tokens=NEW_TOKENS, scale=run.scale, **options)
        kind = jax.random.fold_in(jax.random.key(self.arguments.seed), run.kind == HELD_OUT)
        keys = [
            jax.random.fold_in(jax.random.fold_in(kind, start + number), run.sample)
            for number in range(len(prompts))
        ]
        begin = time.perf_counter()
        made = guided_generate(model, prompts, config, keys, batch_size=self.arguments.batch_size)
        seconds = time.perf_counter() - begin
        rewards = [one.reward for one in made]
        ids = encode_prompts(self.backbone.tokenizer, prompts, model.settings.template)
        log_probs = response_log_probs(self.backbone, ids, [one.tokens for one in made])
        records = [
            {
                "prompt": prompt,
                "text": one.text,
                "reward": reward,
                "log_prob": float(each.sum()),
                "tokens": len(each),
                "evaluations": one.evaluations,
                "prompt_tokens": one.prompt_tokens,
                "guided_steps": one.guided_steps,
                "near_ties": one.near_ties,
            }
            for prompt, one, reward, each in zip(prompts, made, rewards, log_probs, strict=True)
        ]
        say(f"{run.method.name}, scale {run.scale:g}: {records[0]['prompt']}{records[0]['text']!r}")
        return {"seconds": seconds, "batch_size": self.arguments.batch_size, "records": records}


def _left_out(layer: int) -> str:
    """Name of the part of a head."""
    return f"head-{layer}-left-out"


def _guide_sha256(model: TextRewardModel) -> str:
    """Of the head that guides."""
    if model.value_head is None:
        return model.head_sha256
    digest = hashlib.sha256()
    for value in jax.tree.leaves(model.value_head.head):
        digest.update(np.asarray(value).tobytes())
    return digest.hexdigest()


def _name(run: Run, start: int) -> str:
    """Of a part's file."""
    words = f"{run.method.name} {run.kind} scale {run.scale:g} sample {run.sample} from {start}"
    return "".join(letter if letter.isalnum() or letter == "." else "-" for letter in words)
