"""Arena-Hard v0.1 and v2.0: games against a baseline, win rates, style control.

Source: lmarena/arena-hard-auto (Apache-2.0) at 196f6b8; Li et al. 2024, arXiv 2406.11939.
"""

from coala_jax.evaluation.arena_hard._answers import (
    StyledAnswers,
    answer_rows,
    read_answer_folder,
    read_answers,
)
from coala_jax.evaluation.arena_hard._games import Match, judgment_rows, make_matches
from coala_jax.evaluation.arena_hard._judgments import Judgment, Judgments, read_judgments
from coala_jax.evaluation.arena_hard._prompts import JudgePrompts, read_prompts
from coala_jax.evaluation.arena_hard._questions import BASELINES, Question, read_questions
from coala_jax.evaluation.arena_hard._scores import ModelScore, score_models
from coala_jax.evaluation.arena_hard._style import Style, TokenCounter
from coala_jax.evaluation.arena_hard._style_control import StyleControl, control_style

__all__ = [
    "BASELINES",
    "JudgePrompts",
    "Judgment",
    "Judgments",
    "Match",
    "ModelScore",
    "Question",
    "Style",
    "StyleControl",
    "StyledAnswers",
    "TokenCounter",
    "answer_rows",
    "control_style",
    "judgment_rows",
    "make_matches",
    "read_answer_folder",
    "read_answers",
    "read_judgments",
    "read_prompts",
    "read_questions",
    "score_models",
]
