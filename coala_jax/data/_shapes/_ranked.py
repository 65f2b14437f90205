"""Rows with several answers to a prompt, each with its rank, as Nectar's, or its score."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from coala_jax.data._options import RowOptions
from coala_jax.data._rows import RowFault, require_number
from coala_jax.data._sources._row import SourceRow, each_row

ANSWERS = "answers"
# Where the text of an answer stands.
TEXTS = ("answer", "text", "response", "completion", "content")
# Where its rank or score stands, and what a rank more is worth.
POINTS = {"rank": -1, "score": 1, "rating": 1, "overall_score": 1}
NOT_RANKED = (
    'answers is not a list of {"answer": ..., "rank": ...} or {"answer": ..., "score": ...}'
)


def ranked_rows(rows: Iterable[SourceRow], _: RowOptions) -> Iterator[SourceRow]:
    """The same rows with completions and scores: a rank less is a point more; 1 is the best.

    All answers of a row have ranks, or all have scores.
    """
    return each_row(rows, _scored)


def _scored(row: SourceRow, fields: Mapping[str, Any]) -> Iterator[SourceRow]:
    answers = fields.get(ANSWERS)
    if answers is None:
        raise RowFault(f"no {ANSWERS}")
    if not isinstance(answers, list) or not all(isinstance(each, Mapping) for each in answers):
        raise RowFault(NOT_RANKED)
    texts, scores = [], []
    points = next(
        (name for name in POINTS if any(each.get(name) is not None for each in answers)), ""
    )
    for answer in answers:
        text = next((name for name in TEXTS if name in answer), None)
        if text is None or answer.get(points) is None:
            raise RowFault(NOT_RANKED)
        require_number("a rank" if points == "rank" else "a score", answer[points])
        texts.append(answer[text])
        scores.append(POINTS[points] * answer[points])
    made = {name: value for name, value in fields.items() if name != ANSWERS}
    yield row._replace(fields={**made, "completions": texts, "scores": scores}, content=row.kept())
