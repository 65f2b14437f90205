"""Language models as judges: any OpenAI-compatible endpoint, every reply kept.

Example:
    >>> from coala_jax.evaluation._benchmark_rows import Answer, Answers
    >>> from coala_jax.evaluation._chat import Reply
    >>> from coala_jax.evaluation.judge import grade_answers, judge_pairs, pair_report
    >>> questions = {f"q{n}": f"{n} + 1?" for n in range(4)}
    >>> def answers(system: str, texts: dict[str, str]) -> Answers:
    ...     by_question = {key: Answer(key, (text,), system, "here") for key, text in texts.items()}
    ...     return Answers(system, by_question, "in memory")
    >>> right = answers("head", {f"q{n}": f"{n + 1}!" for n in range(4)})
    >>> wrong = answers("plain", {f"q{n}": "0" for n in range(4)})
    >>> def ask(requests):  # a judge that likes exclamation marks; `open_judge` gives a real one
    ...     texts = [request.messages[-1][1] for request in requests]
    ...     return [Reply("[[A]]" if t.find("!") < t.rfind("0") else "[[B]]") for t in texts]
    >>> pair_report(judge_pairs(ask, questions, right, wrong)).wins
    4
    >>> grades = grade_answers(lambda requests: [Reply("[[7]]")] * len(requests), questions, right)
    >>> grades.mean.mean
    7.0
"""

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
