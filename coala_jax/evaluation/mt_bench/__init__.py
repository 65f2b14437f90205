r"""MT-Bench (Zheng et al. 2023): grades and comparisons of answers of two turns, scores.

Files are those of FastChat's `fastchat/llm_judge`, in and out. Questions, reference answers and
prompts of judges are read from its files; none is in this package.

Example:
    >>> import json
    >>> from pathlib import Path
    >>> from coala_jax.evaluation import mt_bench
    >>> from coala_jax.evaluation._chat import Reply
    >>> def write(file, rows):
    ...     _ = Path(file).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    >>> turns = ["Write a line.", "And another."]
    >>> write("question.jsonl", [{"question_id": 81, "category": "writing", "turns": turns}])
    >>> questions = mt_bench.read_questions("question.jsonl")
    >>> for model in ("head", "plain"):
    ...     turns = [f"{model} 1", f"{model} 2"]
    ...     write(f"{model}.jsonl", [mt_bench.answer_line(questions[0], turns, model)])
    >>> head = mt_bench.read_answers("head.jsonl", questions)
    >>> plain = mt_bench.read_answers("plain.jsonl", questions)
    >>> references = mt_bench.read_references(None, questions)  # writing needs none
    >>> prompts = mt_bench.own_judge_prompts("single")
    >>> matches = mt_bench.single_matches(questions, [head], references, prompts)
    >>> replies = [Reply("Rating: [[8]]"), Reply("Rating: [[6]]")]  # a turn each
    >>> write("judge_single.jsonl", mt_bench.judgment_lines(matches, replies, "judge"))
    >>> judgments = mt_bench.read_judgments("judge_single.jsonl", questions)
    >>> mt_bench.model_scores(judgments.single)[0].both.mean
    7.0
    >>> prompts = mt_bench.own_judge_prompts("pairwise")
    >>> matches = mt_bench.pair_matches(questions, [head], plain, references, prompts)
    >>> replies = [Reply("[[A]]"), Reply("[[B]]")] * 2  # the head's answer, in either order
    >>> write("judge_pair.jsonl", mt_bench.judgment_lines(matches, replies, "judge"))
    >>> judgments = mt_bench.read_judgments("judge_pair.jsonl", questions)
    >>> mt_bench.pair_scores(judgments.pairs, baseline="plain").models[0].wins
    2
"""

from typing import TYPE_CHECKING

from coala_jax._lazy import lazy_names

if TYPE_CHECKING:
    from coala_jax.evaluation.mt_bench._answers import answer_line, read_answers, read_references
    from coala_jax.evaluation.mt_bench._judge_prompts import read_judge_prompts
    from coala_jax.evaluation.mt_bench._judging import (
        Match,
        judgment_lines,
        pair_matches,
        single_matches,
    )
    from coala_jax.evaluation.mt_bench._judgments import (
        Judgments,
        PairJudgment,
        SingleJudgment,
        read_judgments,
    )
    from coala_jax.evaluation.mt_bench._own_prompts import own_judge_prompts
    from coala_jax.evaluation.mt_bench._questions import Question, read_questions
    from coala_jax.evaluation.mt_bench._scores import ModelScores, model_scores
    from coala_jax.evaluation.mt_bench._win_rates import (
        PairScores,
        WinRates,
        pair_scores,
    )

__all__ = [
    "Judgments",
    "Match",
    "ModelScores",
    "PairJudgment",
    "PairScores",
    "Question",
    "SingleJudgment",
    "WinRates",
    "answer_line",
    "judgment_lines",
    "model_scores",
    "own_judge_prompts",
    "pair_matches",
    "pair_scores",
    "read_answers",
    "read_judge_prompts",
    "read_judgments",
    "read_questions",
    "read_references",
    "single_matches",
]
__getattr__ = lazy_names(
    __name__,
    {
        "_answers": ["answer_line", "read_answers", "read_references"],
        "_judge_prompts": ["read_judge_prompts"],
        "_judging": ["Match", "judgment_lines", "pair_matches", "single_matches"],
        "_judgments": ["Judgments", "PairJudgment", "SingleJudgment", "read_judgments"],
        "_own_prompts": ["own_judge_prompts"],
        "_questions": ["Question", "read_questions"],
        "_scores": ["ModelScores", "model_scores"],
        "_win_rates": ["PairScores", "WinRates", "pair_scores"],
    },
)
