"""Answers of a model to the questions of benchmarks, plainly or by a head, in their own formats."""

from coala_jax.evaluation.answering._answering import AnswerTally, answer_questions
from coala_jax.evaluation.answering._asked import (
    BENCHMARKS,
    AnswerFile,
    Asked,
    read_alpaca_eval,
    read_arena_hard,
    read_mt_bench,
)
from coala_jax.evaluation.answering._conversing import Conversation, Sampler, converse

__all__ = [
    "BENCHMARKS",
    "AnswerFile",
    "AnswerTally",
    "Asked",
    "Conversation",
    "Sampler",
    "answer_questions",
    "converse",
    "read_alpaca_eval",
    "read_arena_hard",
    "read_mt_bench",
]
