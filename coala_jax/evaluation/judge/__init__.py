"""Language models as judges: any OpenAI-compatible endpoint, every reply kept."""

from coala_jax.evaluation.judge._grading import Grades, grade_answers
from coala_jax.evaluation.judge._judge import Judge, open_judge
from coala_jax.evaluation.judge._pair_report import PairReport, pair_report
from coala_jax.evaluation.judge._pairwise import Comparison, Judged, judge_pairs
from coala_jax.evaluation.judge._prompts import JudgePrompt, read_judge_prompts
from coala_jax.evaluation.judge._settings import JudgeSettings, Prices

__all__ = [
    "Comparison",
    "Grades",
    "Judge",
    "JudgePrompt",
    "JudgeSettings",
    "Judged",
    "PairReport",
    "Prices",
    "grade_answers",
    "judge_pairs",
    "open_judge",
    "pair_report",
    "read_judge_prompts",
]
