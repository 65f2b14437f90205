"""Rows with several responses to a prompt, each with a score: best against worst, or all pairs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from coala_jax.data._options import RowOptions
from coala_jax.data._rows import TIED, row_name
from coala_jax.data._shapes._conversation import Conversations
from coala_jax.data._shapes._fault import RowFault
from coala_jax.data._shapes._several import Responses, number_fault, prompt_and_completions
from coala_jax.data._sources._row import SourceRow

KEYS = ("prompt", "completions", "scores", "system", "id", "margin")
NOT_LISTS = "completions and scores are not two lists of one length"
TOO_FEW = "fewer than two completions"


def scored_rows(
    rows: Iterable[SourceRow], options: RowOptions, conversations: Conversations
) -> Iterator[SourceRow]:
    """Pairs of a better and a worse response of a row, their margin the difference of the scores.

    Pairs with tied scores are given without fields, so that they are counted.
    """
    for row in rows:
        if row.fields is None:
            yield row
            continue
        try:
            scores = _scores(row.fields)
            responses = prompt_and_completions(
                row.fields, row.fields["completions"], options, conversations
            )
        except RowFault as fault:
            yield row.set_aside(str(fault))
            continue
        for better, worse in _pairs(scores, options):
            if scores[better] == scores[worse]:
                yield row.set_aside(TIED)
            else:
                fields = _fields(row, responses, scores, better, worse, options)
                pair = responses.pair(better, worse)
                yield row._replace(fields=fields, content=row.kept(), messages=pair)


def _scores(fields: Mapping[str, Any]) -> Sequence[float]:
    """The scores of a row.

    Raises:
        RowFault: not two lists of one length, fewer than two, or a score that is no finite number.
    """
    completions, scores = fields.get("completions"), fields.get("scores")
    for key, value in (("completions", completions), ("scores", scores)):
        if value is None:
            raise RowFault(f"no {key}")
    if not isinstance(completions, list) or not isinstance(scores, list):
        raise RowFault(NOT_LISTS)
    if len(completions) != len(scores):
        raise RowFault(NOT_LISTS)
    if len(scores) < 2:
        raise RowFault(TOO_FEW)
    for score in scores:
        if fault := number_fault("a score", score):
            raise RowFault(fault)
    return scores


def _pairs(scores: Sequence[float], options: RowOptions) -> Iterable[tuple[int, int]]:
    """(better, worse) indices; of equal best or worst ones the first is taken."""
    order = range(len(scores))
    if options.pairs != "all":
        return [(max(order, key=scores.__getitem__), min(order, key=scores.__getitem__))]
    return [
        (one, other) if scores[one] >= scores[other] else (other, one)
        for one, other in combinations(order, 2)
    ]


def _fields(
    row: SourceRow,
    responses: Responses,
    scores: Sequence[float],
    better: int,
    worse: int,
    options: RowOptions,
) -> dict[str, Any]:
    assert row.fields is not None  # the caller has seen to it
    name = row_name(row.fields, row.number)
    return {key: value for key, value in row.fields.items() if key not in KEYS} | {
        "id": f"{name}/{better}-{worse}" if options.pairs == "all" else name,
        "prompt": responses.prompt,
        "chosen": responses.texts[better],
        "rejected": responses.texts[worse],
        "margin": scores[better] - scores[worse],
    }
