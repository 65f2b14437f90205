"""Rows with several responses to a prompt, each with a score: pairs of them, or whole groups."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from coala_jax.data._answer_groups import SCORE_CHOSEN, SCORE_REJECTED, Members, pair_name
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

    What `pairs_by_score` says of ties holds for each row.
    """

    def pairs(row: SourceRow, fields: Mapping[str, Any]) -> Iterator[SourceRow]:
        scores = _scores(fields)
        responses = prompt_and_completions(fields, fields["completions"], options, conversations)
        kept = {key: value for key, value in fields.items() if key not in KEYS}
        if kept.get("group") is None:
            kept["group"] = responses.group

        def pair(better: int, worse: int) -> SourceRow:
            made = {
                "prompt": responses.prompt,
                "chosen": responses.texts[better],
                "rejected": responses.texts[worse],
            }
            messages = responses.pair(better, worse)
            return row._replace(fields=kept | made, content=row.kept(), messages=messages)

        return pairs_by_score(row, row_name(fields, row.number), scores, options.pairs, pair)

    return each_row(rows, pairs)


def pairs_by_score(
    row: SourceRow,
    name: str,
    scores: Sequence[float],
    which: Pairs,
    pair: Callable[[int, int], SourceRow],
) -> Iterator[SourceRow]:
    """Pairs of a better and a worse response of a group, with names and margins.

    Pairs with tied scores are given without fields, so that they are counted. Of whole groups they
    are kept: the best response is paired with each of the others, and names say so; a group of
    which all scores are tied is given once, without fields.

    Args:
        row: what is set aside of ties.
        name: of the group.
        scores: of its responses, two or more.
        which: the pairs to make.
        pair: makes one of the numbers of a better and a worse response.
    """
    if which == "groups" and min(scores) == max(scores):
        yield row.set_aside(TIED)
        return
    for better, worse in _pairs(scores, which):
        tied = scores[better] == scores[worse]
        if tied and which != "groups":
            yield row.set_aside(TIED)
            continue
        made: dict[str, Any] = {"id": name, "margin": scores[better] - scores[worse]}
        if which == "all":
            made["id"] = f"{name}/{better}-{worse}"
        elif which == "groups":
            made["id"] = pair_name(Members(name, better, worse), tied)
            made |= {SCORE_CHOSEN: scores[better], SCORE_REJECTED: scores[worse]}
        both = pair(better, worse)
        assert both.fields is not None  # a pair has them
        yield both._replace(fields={**both.fields, **made})


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
