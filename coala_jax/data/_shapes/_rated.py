"""Rows with one response each and its score: those to one prompt are a group."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from coala_jax.data._errors import DataError
from coala_jax.data._options import RESPONSE, RowOptions
from coala_jax.data._reasons import LEFT_OVER
from coala_jax.data._rows import RowFault, require_number, row_name
from coala_jax.data._shapes._conversation import Conversations
from coala_jax.data._shapes._scored import pairs_by_score
from coala_jax.data._shapes._several import Single, pair_of, single
from coala_jax.data._sources._row import SourceRow, columns_of, each_row, first_rows
from coala_jax.data._split import normalise_text

COMPLETION, SCORE = "completion", "score"
# What the columns are called. HelpSteer and HelpSteer2 have five attributes, of which helpfulness
# counts unless another is named.
TEXTS, SCORES = (COMPLETION, RESPONSE), (SCORE, "rating", "helpfulness")
KEYS = ("prompt", COMPLETION, SCORE, "system", "id", "margin")
# What a pair has of its better response where the rows of a group differ.
OF_THE_BETTER = ("weight", "group")
ONLY_RESPONSE = f"{LEFT_OVER}the only response to its prompt"


def has_rating(columns: Collection[str]) -> bool:
    """Whether columns are those of one response and its score."""
    return all(any(name in columns for name in names) for names in (TEXTS, SCORES))


def rating_rows(rows: Iterable[SourceRow], options: RowOptions) -> Iterator[SourceRow]:
    """The same rows with completion and score, whatever these are called.

    Raises:
        DataError: columns that hold no response or no score, or several scores.
    """
    seen, rows = first_rows(rows)
    columns = columns_of(seen)
    if not columns:
        return rows
    names = {name: _column(name, columns, options) for name in (COMPLETION, SCORE)}

    def named(row: SourceRow, fields: Mapping[str, Any]) -> tuple[SourceRow]:
        made = {key: value for key, value in fields.items() if key not in names.values()}
        made |= {name: fields.get(column) for name, column in names.items()}
        return (row._replace(fields=made, content=row.kept()),)

    return each_row(rows, named)


def rated_rows(
    rows: Iterable[SourceRow], options: RowOptions, conversations: Conversations
) -> Iterator[SourceRow]:
    """Pairs of responses to the same (normalised) prompt, their margin the difference of scores.

    All rows are read before the first pair is given, prompts in the order they are first seen. What
    `pairs_by_score` says of ties holds for each prompt; a response that is alone is given without
    fields. A group has the name of its first row.
    """
    by_prompt: dict[str, list[tuple[Single, float]]] = {}

    def keep(row: SourceRow, fields: Mapping[str, Any]) -> tuple[()]:
        rated = single(row, fields, options, conversations), _score(fields)
        by_prompt.setdefault(normalise_text(rated[0].responses.prompt), []).append(rated)
        return ()

    yield from each_row(rows, keep)
    for group in by_prompt.values():
        members, scores = zip(*group, strict=True)
        if len(members) == 1:
            yield members[0].row.set_aside(ONLY_RESPONSE)
        else:
            yield from _group(members, scores, options)


def _group(
    members: Sequence[Single], scores: Sequence[float], options: RowOptions
) -> Iterator[SourceRow]:
    """Pairs of a group, with the columns in which all its rows agree."""
    first = members[0]
    shared = {
        key: value
        for key, value in first.fields.items()
        if key not in KEYS and all(each.fields.get(key) == value for each in members)
    }

    def pair(better: int, worse: int) -> SourceRow:
        own = {key: members[better].fields.get(key) for key in OF_THE_BETTER}
        return pair_of(members[better], members[worse], shared | own)

    every = first.row._replace(content=[each.row.kept() for each in members])
    name = row_name(first.fields, first.row.number)
    return pairs_by_score(every, name, scores, options.pairs, pair)


def _column(name: str, columns: Collection[str], options: RowOptions) -> str:
    """The column that is meant by a name.

    Raises:
        DataError: none is, or several may be.
    """
    if name in options.columns:
        return name
    known, example = (TEXTS, "answer") if name == COMPLETION else (SCORES, "points")
    there = [column for column in known if column in columns]
    if len(there) == 1:
        return there[0]
    found = f"of the columns ({', '.join(columns)}) none is {' or '.join(known)}"
    if there:
        found, example = f"{' and '.join(there)} may each be meant", there[0]
    raise DataError(
        f"format='rated': {found}; name one with columns={{...}} (--columns {name}={example})"
    )


def _score(fields: Mapping[str, Any]) -> float:
    """The score of a row.

    Raises:
        RowFault: it has none, or one that is no finite number.
    """
    score: Any = fields.get(SCORE)
    if score is None or score == "":
        raise RowFault("no score")
    if isinstance(score, str):
        with suppress(ValueError):
            score = float(score)  # as tables write it
    require_number("score", score)
    number: float = score
    return number
