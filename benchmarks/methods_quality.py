"""How good a method of benchmarks/methods.py is, by one code for all: pairs ordered, answers given.

Pairs by log probabilities of their responses, end token included. Answers are those to questions of
the tutoring set about concepts that no training pair is of: *direct* where a rule that knows the
truth says so (`tools.tutoring_truth`), with their perplexity under the checkpoint that every method
began with, and their length. All methods answer the same prompts with the same draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from likelihood import response_log_probs
from methods_plan import Decoding
from methods_rows import SIDES, TEMPLATE, Rows

from coala_jax._accuracy import pairwise_accuracy
from coala_jax.backbones import Backbone
from coala_jax.backbones._family import BackboneConfig
from coala_jax.backbones._flops import MULTIPLY_ADD
from coala_jax.decoding import (
    Generation,
    GenerationConfig,
    TextRewardModel,
    best_of_n,
    guided_generate,
)
from coala_jax.features._tokens import encode_prompts
from tools.tutoring_truth import PlainQuestion, is_direct, plain_questions

PLAIN, GUIDED = "plain", "guided"


class PairLogProbs(NamedTuple):
    """Of n pairs (n,) summed log probabilities of both responses, in nats, and their tokens."""

    chosen: np.ndarray
    rejected: np.ndarray
    chosen_tokens: np.ndarray
    rejected_tokens: np.ndarray

    def implicit_correct(self, start: PairLogProbs) -> np.ndarray:
        """(n,) whether log pi / pi_start, DPO's implicit reward, orders a pair right (1, .5, 0)."""
        chosen, rejected = self.chosen - start.chosen, self.rejected - start.rejected
        return pairwise_accuracy(chosen, rejected)

    def mean_correct(self) -> np.ndarray:
        """(n,) whether the mean log probability of a token does."""
        return pairwise_accuracy(
            self.chosen / self.chosen_tokens, self.rejected / self.rejected_tokens
        )


def pair_log_probs(backbone: Backbone, rows: Rows) -> PairLogProbs:
    """Log probabilities of the responses of pairs."""
    found, tokens = {}, {}
    for side, sequences in rows.sequences(backbone.tokenizer).items():
        prompts = [one.tokens[: one.response_start] for one in sequences]
        responses = [one.tokens[one.response_start :] for one in sequences]
        scores = response_log_probs(backbone, prompts, responses)
        found[side] = np.array([each.sum(dtype=np.float64) for each in scores])
        tokens[f"{side}_tokens"] = np.array([len(each) for each in scores])
    return PairLogProbs(**{side: found[side] for side in SIDES}, **tokens)


def questions(rows: Rows, seed: int, decoding: Decoding) -> list[PlainQuestion]:
    """Questions about the concepts of held-out tutoring rows."""
    held_out = set(rows.keys)
    found = [each for each in plain_questions(seed) if each.concept.group in held_out]
    return found[: decoding.prompts]


def answers(
    model: Backbone | TextRewardModel,
    asked: Sequence[PlainQuestion],
    way: str,
    decoding: Decoding,
    seed: int,
) -> list[Generation]:
    """Answers by a model, plain, guided as the package does by default, or the best of some.

    Args:
        model: guided ways need a head.
        asked: what is asked.
        way: `PLAIN`, `GUIDED`, or another name for the best of ``decoding.best_of``.
        decoding: caps and sizes; sampling is the package's default.
        seed: of the draws, the same for all models and ways.

    Returns:
        One a question; that of best-of-n has the evaluations of all of its samples.
    """
    key = jax.random.key(seed)
    prompts = [each.prompt for each in asked]
    config = GenerationConfig.from_options(max_new_tokens=decoding.max_new_tokens)
    plain = config.with_options(scale=0.0)
    if way in (PLAIN, GUIDED):
        chosen = config if way == GUIDED else plain
        return guided_generate(model, prompts, chosen, key, batch_size=decoding.batch_size)
    assert isinstance(model, TextRewardModel)
    ordered = best_of_n(
        model, prompts, decoding.best_of, plain, key, batch_size=decoding.batch_size
    )
    # A prompt runs once for the samples of it.
    return [
        samples[0]._replace(
            evaluations=sum(one.evaluations - one.prompt_tokens for one in samples)
            + samples[0].prompt_tokens
        )
        for samples in ordered
    ]


def token_flops(config: BackboneConfig, context: float) -> float:
    """Operations of one evaluated token with its logits, behind so many others.

    As `coala_jax.backbones._flops` counts a layer, with one row of scores, and the output head.
    """
    layers = config.depth * (config.matrix_weights + 2 * context * config.attention_width)
    return MULTIPLY_ADD * (layers + config.vocab_size * config.hidden_size)


def judged(
    made: Sequence[Generation], asked: Sequence[PlainQuestion], frozen: Backbone
) -> list[dict[str, Any]]:
    """What is known of every answer.

    Args:
        made: answers.
        asked: the questions, in their order.
        frozen: the checkpoint before any training, whose perplexity counts.
    """
    prompts = encode_prompts(frozen.tokenizer, [each.prompt for each in asked], TEMPLATE)
    log_probs = response_log_probs(frozen, prompts, [one.tokens for one in made])
    return [
        {
            "prompt": question.prompt,
            "key": question.concept.group,
            "text": one.text,
            "direct": is_direct(one.text, question.concept, question.aspect),
            "log_prob": float(each.sum(dtype=np.float64)),
            "tokens": len(each),
            "prompt_tokens": one.prompt_tokens,
            # A prompt runs once however it is answered, and is not counted.
            "evaluations": one.evaluations - one.prompt_tokens,
            "flops": (one.evaluations - one.prompt_tokens)
            * token_flops(frozen.config, one.prompt_tokens + len(each) / 2),
        }
        for one, question, each in zip(made, asked, log_probs, strict=True)
    ]
