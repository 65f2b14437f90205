"""AlpacaEval 2: its files, its judge, and its win rates with intervals that hold.

Instructions, baseline, judge's template, difficulties and gamed rows are read from the user's files
(CC BY-NC 4.0, of tatsu-lab/alpaca_eval); no text of them is in this package.

Example:
    >>> import json
    >>> from pathlib import Path
    >>> from coala_jax.evaluation import alpaca_eval
    >>> from coala_jax.evaluation._chat import Reply
    >>> asked = [{"instruction": f"Add 1 to {n}."} for n in range(4)]
    >>> _ = Path("alpaca_eval.json").write_text(json.dumps(asked))
    >>> questions = alpaca_eval.read_questions("alpaca_eval.json")
    >>> answers = {}
    >>> for name, step in [("base", 2), ("head", 1)]:
    ...     rows = alpaca_eval.output_rows(questions, [f"{n + step}" for n in range(4)], name)
    ...     alpaca_eval.write_outputs(Path(f"{name}.json"), rows)
    ...     answers[name] = alpaca_eval.read_outputs(f"{name}.json")
    >>> pairs = alpaca_eval.pair_outputs(questions, answers["base"], answers["head"])
    >>> template = alpaca_eval.OWN_WORDING
    >>> calls = alpaca_eval.judge_calls(pairs, template)
    >>> replies = [Reply("m" if call.switched else "M") for call in calls]  # a judge that can add
    >>> rows, verdicts = alpaca_eval.judged(pairs, calls, replies, template)
    >>> annotations = alpaca_eval.Annotations("base", "head", "judge", rows, "annotations.json")
    >>> alpaca_eval.write_annotations(Path("annotations.json"), annotations)
    >>> annotations = alpaca_eval.read_annotations("annotations.json")
    >>> float(alpaca_eval.win_rate(annotations.preferences()).win_rate)
    100.0
    >>> found = alpaca_eval.score(annotations, questions)
    >>> alpaca_eval.write_leaderboard(Path("leaderboard.csv"), found)
    >>> alpaca_eval.leaderboard_row(found)["n_wins"], alpaca_eval.score_report(found)["model"]
    (4, 'head')
    >>> len(alpaca_eval.score_warnings(found)) > 0  # four instructions say little
    True
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
