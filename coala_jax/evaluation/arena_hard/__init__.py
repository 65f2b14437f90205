r"""Arena-Hard v0.1 and v2.0: games against a baseline, win rates, style control.

Source: lmarena/arena-hard-auto (Apache-2.0) at 196f6b8; Li et al. 2024, arXiv 2406.11939.

Example:
    >>> import json
    >>> from pathlib import Path
    >>> from coala_jax.evaluation import arena_hard
    >>> from coala_jax.evaluation._chat import Reply
    >>> def write(file, rows):
    ...     Path(file).parent.mkdir(exist_ok=True)
    ...     _ = Path(file).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    >>> category, baseline = "hard_prompt", arena_hard.BASELINES["hard_prompt"]
    >>> asked = [{"uid": f"q{n}", "category": category, "prompt": f"{n} + 1?"} for n in range(4)]
    >>> write("question.jsonl", asked)
    >>> questions = arena_hard.read_questions("question.jsonl")
    >>> for model in (baseline, "head"):
    ...     rows = arena_hard.answer_rows(questions, [f"{model} says **so**."] * 4, model)
    ...     write(f"model_answer/{model}.jsonl", rows)
    >>> answered = arena_hard.read_answer_folder("model_answer")
    >>> head, base = answered["head"].answers, answered[baseline].answers
    >>> matches = arena_hard.make_matches(questions, head, [base])
    >>> replies = [Reply("[[B>A]]"), Reply("[[A>B]]")] * 4  # the baseline is A in the first game
    >>> rows = arena_hard.judgment_rows(matches, replies, judge="judge", model="head")
    >>> write("model_judgment/head.jsonl", rows)
    >>> judgments = arena_hard.read_judgments(["model_judgment/head.jsonl"], questions)
    >>> [each.win_rate.mean for each in arena_hard.score_models(judgments.rows)]
    [1.0]
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
