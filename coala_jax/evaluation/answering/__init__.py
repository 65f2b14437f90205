r"""Answers of a model to the questions of benchmarks, plainly or by a head, in their own formats.

Example:
    >>> import json
    >>> from pathlib import Path
    >>> from coala_jax.decoding import GenerationConfig
    >>> from coala_jax.evaluation import answering
    >>> def write(file, rows):
    ...     _ = Path(file).write_text("\n".join(map(json.dumps, rows)))
    >>> write("alpaca_eval.json", [{"instruction": "Add 1 to 2."}])
    >>> answering.read_alpaca_eval("alpaca_eval.json").questions[0].turns
    ('Add 1 to 2.',)
    >>> write("hard.jsonl", [{"uid": "q1", "category": "hard_prompt", "prompt": "1 + 2?"}])
    >>> answering.read_arena_hard("hard.jsonl").suffix
    '.jsonl'
    >>> turns = ["Write a line.", "And another."]
    >>> write("question.jsonl", [{"question_id": 81, "category": "writing", "turns": turns}])
    >>> file = answering.read_mt_bench("question.jsonl")
    >>> len(file.questions[0].turns)
    2
    >>> config = GenerationConfig.from_options(max_new_tokens=64)
    >>> sampler = answering.Sampler(  # doctest: +SKIP
    ...     model, "guided", samples=1, config=config, temperature=None, seed=0, batch_size=8)
    >>> talks = answering.converse(sampler, file.questions)  # doctest: +SKIP
    >>> answering.answer_questions(sampler, file, "mine", Path("mine.jsonl"))  # doctest: +SKIP
"""

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
