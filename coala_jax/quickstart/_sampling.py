"""Ask a backbone plainly about every concept, and see what its sampled answers are about."""

from collections import defaultdict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from coala_jax.backbones import GPT2, Backbone
from coala_jax.data._alternating import flatten
from coala_jax.data._message import USER, Message
from coala_jax.quickstart._concepts import ASPECTS, Concept, load_concepts
from coala_jax.quickstart._truth import is_direct, names_concept
from coala_jax.quickstart._tutoring import make_question

# Plain sampling, no truncation: what the model has learnt, not its mode.
TEMPERATURE = 1.0
# The longest answer of the generator is well under this many tokens.
LONGEST_ANSWER = 72
# Answers sampled together, at most.
BATCH = 132


class PlainQuestion(NamedTuple):
    """A first question: a concept, an aspect, and the prompt that asks about it."""

    concept: Concept
    aspect: str
    prompt: str


def plain_questions(seed: int) -> list[PlainQuestion]:
    """One first-turn prompt for every aspect of every concept, its wording by the seed."""
    rng = np.random.default_rng(seed)
    concepts = load_concepts()
    by_name = {concept.name: concept for concept in concepts}
    questions = []
    for concept in concepts:
        for aspect in ASPECTS:
            neighbour = by_name[concept.neighbour]
            question = make_question(rng, concept, neighbour, aspect, first=True)
            prompt = flatten([Message(USER, question)])
            questions.append(PlainQuestion(concept, aspect, prompt))
    return questions


def sample_answers(backbone: Backbone, prompts: list[str], seed: int) -> list[str]:
    """One sampled answer a prompt, without its end token.

    Args:
        backbone: a GPT-2.
        prompts: texts that end where the answer begins.
        seed: of the draws.

    Returns:
        (len(prompts),) texts.
    """
    module = backbone.module
    if not isinstance(module, GPT2):
        raise TypeError(f"sampling needs a GPT-2, got {type(module).__name__}")
    encoded = backbone.tokenizer.encode_batch(prompts)
    end = backbone.tokenizer.end_id
    width = max(len(ids) for ids in encoded) + LONGEST_ANSWER
    answers: list[str] = []
    rows = min(BATCH, len(encoded))
    for number, start in enumerate(range(0, len(encoded), BATCH)):
        batch = encoded[start : start + BATCH]
        tokens = np.full((rows, width), end, np.int32)
        lengths = np.ones(rows, np.int32)
        for row, ids in enumerate(batch):
            tokens[row, : len(ids)] = ids
            lengths[row] = len(ids)
        key = jax.random.fold_in(jax.random.key(seed), number)
        drawn = _sample(module, key, jnp.asarray(tokens), jnp.asarray(lengths), end=end)
        filled = np.asarray(drawn)
        for row, ids in enumerate(batch):
            answer = filled[row, len(ids) :].tolist()
            cut = answer.index(end) if end in answer else len(answer)
            answers.append(backbone.tokenizer.decode(answer[:cut]).strip())
    return answers


def answer_shares(backbone: Backbone, seed: int, stride: int = 1) -> dict[str, Any]:
    """Sample an answer to every ``stride``-th plain question and count what they are about.

    Args:
        backbone: the model to ask.
        seed: of wordings and draws.
        stride: 1 asks about every aspect of every concept.

    Returns:
        How the answers were sampled, the share that name the concept's own terms, and the share
        that are direct, in all and for each aspect.
    """
    questions = plain_questions(seed)[::stride]
    answers = sample_answers(backbone, [question.prompt for question in questions], seed)
    named = [
        names_concept(answer, question.concept)
        for question, answer in zip(questions, answers, strict=True)
    ]
    direct: defaultdict[str, list[bool]] = defaultdict(list)
    for question, answer in zip(questions, answers, strict=True):
        direct[question.aspect].append(is_direct(answer, question.concept, question.aspect))
    return {
        "samples": len(answers),
        "temperature": TEMPERATURE,
        "truncation": "none",
        "prompts": "one first question for each aspect of each concept",
        "names_concept": float(np.mean(named)),
        "direct": float(np.mean([hit for hits in direct.values() for hit in hits])),
        "direct_by_aspect": {aspect: float(np.mean(direct[aspect])) for aspect in ASPECTS},
    }


class _Draft(NamedTuple):
    """Answers in the making: where each row goes on, which rows have ended, draws so far."""

    tokens: jax.Array
    position: jax.Array
    done: jax.Array
    step: jax.Array


@nnx.jit(static_argnames="end")
def _sample(
    module: GPT2, key: jax.Array, tokens: jax.Array, lengths: jax.Array, *, end: int
) -> jax.Array:
    """Fill tokens from each row's length on, until all rows have ended or are full.

    Every step runs the whole row again: slow, but plain, and right for some hundred answers.
    """
    rows = jnp.arange(tokens.shape[0])

    def unfinished(draft: _Draft) -> jax.Array:
        return ~draft.done.all() & (draft.step < LONGEST_ANSWER)

    def draw(draft: _Draft) -> _Draft:
        hidden = module(draft.tokens)[rows, draft.position - 1]
        logits = module.logits(hidden) / TEMPERATURE
        drawn = jax.random.categorical(jax.random.fold_in(key, draft.step), logits)
        drawn = jnp.where(draft.done, end, drawn).astype(tokens.dtype)
        return _Draft(
            tokens=draft.tokens.at[rows, draft.position].set(drawn),
            position=draft.position + 1,
            done=draft.done | (drawn == end),
            step=draft.step + 1,
        )

    begin = _Draft(tokens, lengths, jnp.zeros(len(rows), bool), jnp.int32(0))
    return jax.lax.while_loop(unfinished, draw, begin).tokens
