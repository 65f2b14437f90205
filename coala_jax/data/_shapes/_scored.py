"""Rows with several responses to a prompt, each with a score: pairs of them, or whole groups."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from coala_jax.data._options import Pairs, RowOptions
from coala_jax.data._reasons import TIED
from coala_jax.data._rows import RowFault, require_number, row_name
from coala_jax.data._shapes._conversation import Conversations
from coala_jax.data._shapes._several import prompt_and_completions
from coala_jax.data._sources._row import SourceRow, each_row

KEYS = ("prompt", "completions", "scores", "system", "id", "margin")
NOT_LISTS = "completions and scores are not two lists of one length"
TOO_FEW = "fewer than two completions"


def scored_rows(
    rows: Iterable[SourceRow], options: RowOptions, conversations: Conversations
) -> Iterator[SourceRow]:
    """Pairs of a better and a worse response of a row, their margin the difference of the scores.

    Pairs with tied scores are given without fields, so that they are counted. Of whole groups they
    are kept: the best response is paired with each of the others, and names say so.
    """

    def pairs(row: SourceRow, fields: Mapping[str, Any]) -> Iterator[SourceRow]:
        scores = _scores(fields)
        responses = prompt_and_completions(fields, fields["completions"], options, conversations)
        name, whole = row_name(fields, row.number), options.pairs == "groups"
        if whole and min(scores) == max(scores):
            yield row.set_aside(TIED)
            return
        for better, worse in _pairs(scores, options.pairs):
            tied = scores[better] == scores[worse]
            if tied and not whole:
                yield row.set_aside(TIED)
                continue
            between = {"one": "", "all": "-", "groups": "=" if tied else ">"}[options.pairs]
            made = {
                "id": f"{name}/{better}{between}{worse}" if between else name,
                "prompt": responses.prompt,
                "chosen": responses.texts[better],
                "rejected": responses.texts[worse],
                "margin": scores[better] - scores[worse],
            }
            kept = {key: value for key, value in fields.items() if key not in KEYS}
            if kept.get("group") is None:
                kept["group"] = responses.group
            messages = responses.pair(better, worse)
            yield row._replace(fields=kept | made, content=row.kept(), messages=messages)

    return each_row(rows, pairs)


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
        require_number("a score", score)
    return scores


def _pairs(scores: Sequence[float], which: Pairs) -> Iterable[tuple[int, int]]:
    """(better, worse) indices; of equal best or worst ones the first is taken."""
    order = range(len(scores))
    best = max(order, key=scores.__getitem__)
    if which == "one":
        return [(best, min(order, key=scores.__getitem__))]
    if which == "groups":
        return [(best, other) for other in order if other != best]
    return [
        (one, other) if scores[one] >= scores[other] else (other, one)
        for one, other in combinations(order, 2)
    ]
