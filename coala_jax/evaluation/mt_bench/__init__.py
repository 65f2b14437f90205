"""MT-Bench (Zheng et al. 2023): grades and comparisons of answers of two turns, scores.

Files are those of FastChat's `fastchat/llm_judge`, in and out. Questions, reference answers and
prompts of judges are read from its files; none is in this package.
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
