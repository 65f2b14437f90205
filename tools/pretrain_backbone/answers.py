"""Ask a backbone plainly about every concept, and see what its sampled answers are about."""

from collections import defaultdict
from typing import Any

import jax
import numpy as np

from coala_jax.backbones import Backbone
from coala_jax.decoding import GenerationConfig, Sampling, guided_generate
from coala_jax.quickstart._concepts import ASPECTS
from tools.tutoring_truth import is_direct, names_concept, plain_questions

# The longest answer of the generator is well under this many tokens.
LONGEST_ANSWER = 72
# Answers sampled together.
BATCH = 132


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
    prompts = [question.prompt for question in questions]
    # No truncation: what the model has learnt, not its mode.
    everything = Sampling(
        max_new_tokens=LONGEST_ANSWER, top_p=1.0, top_k=backbone.tokenizer.size, scale=0.0
    )
    config, key = GenerationConfig(everything), jax.random.key(seed)
    answers = guided_generate(backbone, prompts, config, key, batch_size=BATCH)
    named = []
    direct: defaultdict[str, list[bool]] = defaultdict(list)
    for (concept, aspect, _), answer in zip(questions, answers, strict=True):
        named.append(names_concept(answer.text, concept))
        direct[aspect].append(is_direct(answer.text, concept, aspect))
    return {
        "samples": len(answers),
        "temperature": everything.temperature,
        "truncation": "none",
        "prompts": "one first question for each aspect of each concept",
        "names_concept": float(np.mean(named)),
        "direct": float(np.mean([hit for hits in direct.values() for hit in hits])),
        "direct_by_aspect": {aspect: float(np.mean(direct[aspect])) for aspect in ASPECTS},
    }
