"""AlpacaEval 2: its files, its judge, and its win rates with intervals that hold.

Instructions, baseline, judge's template, difficulties and gamed rows are read from the user's files
(CC BY-NC 4.0, of tatsu-lab/alpaca_eval); no text of them is in this package.
"""

from typing import TYPE_CHECKING

from coala_jax._lazy import lazy_names
from coala_jax.evaluation.alpaca_eval._annotations import (
    Annotation,
    Annotations,
    read_annotations,
    write_annotations,
)
from coala_jax.evaluation.alpaca_eval._length_controlled import LengthControlled
from coala_jax.evaluation.alpaca_eval._length_data import (
    GamedRows,
    LengthData,
    read_length_data,
)
from coala_jax.evaluation.alpaca_eval._outputs import (
    Pair,
    Question,
    output_rows,
    pair_outputs,
    read_outputs,
    read_questions,
    write_outputs,
)
from coala_jax.evaluation.alpaca_eval._report import (
    leaderboard_row,
    score_report,
    score_warnings,
    write_leaderboard,
)
from coala_jax.evaluation.alpaca_eval._score import Score, score
from coala_jax.evaluation.alpaca_eval._template import OWN_WORDING, Template, read_template
from coala_jax.evaluation.alpaca_eval._win_rate import WinRate, win_rate

if TYPE_CHECKING:
    from coala_jax.evaluation.alpaca_eval._judging import judge_calls, judged

__all__ = [
    "OWN_WORDING",
    "Annotation",
    "Annotations",
    "GamedRows",
    "LengthControlled",
    "LengthData",
    "Pair",
    "Question",
    "Score",
    "Template",
    "WinRate",
    "judge_calls",
    "judged",
    "leaderboard_row",
    "output_rows",
    "pair_outputs",
    "read_annotations",
    "read_length_data",
    "read_outputs",
    "read_questions",
    "read_template",
    "score",
    "score_report",
    "score_warnings",
    "win_rate",
    "write_annotations",
    "write_leaderboard",
    "write_outputs",
]
# Scores need no judge, which takes a second to load.
__getattr__ = lazy_names(__name__, {"_judging": ["judge_calls", "judged"]})
