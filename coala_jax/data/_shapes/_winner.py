"""Rows with two responses and which of them is better, as people and judges are asked.

Known are the columns of SHP, PKU-SafeRLHF, HelpSteer2-preference, HelpSteer3, Chatbot Arena and
AlpacaFarm, and any pair such as ``response_a`` and ``response_b`` with a column ``winner``.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax.data._errors import DataError
from coala_jax.data._message import ASSISTANT, USER, Message
from coala_jax.data._options import WINNER, RowOptions
from coala_jax.data._reasons import TIED
from coala_jax.data._rows import RowFault, require_number
from coala_jax.data._sources._row import SourceRow, columns_of, each_row, first_rows

# What two responses are called, without what tells them apart; those that tell most come first.
CONVERSATION = "conversation"
STEMS = (
    *("response", "answer", "output", "completion", "generation", CONVERSATION, "human_ref"),
    *("candidate", "summary", "text"),
)
SUFFIXES = (("a", "b"), ("0", "1"), ("1", "2"))
_SIDE = re.compile(rf"({'|'.join(STEMS)})_?([abAB012])")
# Columns where a prompt stands that has no column of its name, by the column beside it.
PROMPT = "prompt"
PROMPTS = {"human_ref": "history", "overall_preference": "context"}
# PKU-SafeRLHF says which is more helpful and which safer: the first counts unless one is named.
SAFER, BETTER = "safer_response_id", "better_response_id"
ONE_HOT = ("winner_model_a", "winner_model_b", "winner_tie")
TIES = {"tie", "tie (bothbad)", "tie (both bad)", "bothbad", "both bad", "both_bad"} | {
    *("both", "neither", "draw", "equal", "same")
}
FIRST, SECOND, NEITHER = 1.0, -1.0, 0.0
# How much better the first response of a row is than the second: its sign says which is.
Verdict = Callable[[Mapping[str, Any]], float]


class _Layout(NamedTuple):
    """The columns of two responses, what tells them apart, and what says which is better."""

    stem: str
    sides: tuple[str, str]
    suffixes: tuple[str, str]
    verdicts: tuple[str, ...]


def has_winner(columns: Collection[str]) -> bool:
    """Whether columns are those of two responses and of which is better."""
    layout = _layout(columns)
    return layout is not None and bool(layout.verdicts)


def winner_rows(rows: Iterable[SourceRow], options: RowOptions) -> Iterator[SourceRow]:
    """The same rows with prompt, chosen and rejected; ties are given without fields.

    The margin is the strength of the preference, where there is one.

    Raises:
        DataError: columns that hold no two responses, or several verdicts; numbers of a verdict
            that cannot be those of the responses.
    """
    seen, rows = first_rows(rows)
    columns = columns_of(seen)
    if not columns:
        return rows
    layout = _layout(columns)
    if layout is None:
        raise DataError(
            f"format='winner': the columns ({', '.join(columns)}) hold no two responses; name them "
            "with columns={...} (--columns response_a=left,response_b=right,winner=better)"
        )
    column, verdict = _verdict(layout, seen, options)
    prompt = PROMPTS.get(layout.stem, PROMPTS.get(column, PROMPT))
    if PROMPT not in columns and prompt not in columns and layout.stem != CONVERSATION:
        raise DataError(
            f"format='winner': of the columns ({', '.join(columns)}) none is prompt; name it with "
            "columns={...} (--columns prompt=question)"
        )

    def pair(row: SourceRow, fields: Mapping[str, Any]) -> Iterator[SourceRow]:
        better = verdict(fields)
        if better == NEITHER:
            yield row.set_aside(TIED)
            return
        used = {*layout.sides, column, *(ONE_HOT if column == ONE_HOT[0] else ())}
        made = {name: value for name, value in fields.items() if name not in used}
        if fields.get(PROMPT) is None:
            made[PROMPT] = made.pop(prompt, None)
        answers = [fields.get(side) for side in layout.sides]
        if turns := _turns(made[PROMPT], answers):
            made[PROMPT], answers = turns
        made["chosen"], made["rejected"] = answers if better > 0 else reversed(answers)
        if column in _STRENGTHS and made.get("margin") is None:
            made["margin"] = abs(better)
        yield row._replace(fields=made, content=row.kept())

    return each_row(rows, pair)


def _layout(columns: Collection[str]) -> _Layout | None:
    """The columns of two responses; None where there are none, or three."""
    found: dict[str, dict[str, str]] = {stem: {} for stem in STEMS}
    for column in columns:
        if isinstance(column, str) and (side := _SIDE.fullmatch(column)):
            found[side[1]][side[2].lower()] = column
    for stem, sides in found.items():
        suffixes = tuple(sorted(sides))
        if suffixes in SUFFIXES:
            first, second = suffixes
            verdicts = [name for name in (WINNER, *_VERDICTS) if name in columns]
            if stem != "human_ref":
                verdicts = [name for name in verdicts if name != "labels"]
            return _Layout(stem, (sides[first], sides[second]), (first, second), tuple(verdicts))
    return None


def _verdict(
    layout: _Layout, seen: Sequence[Mapping[str, Any]], options: RowOptions
) -> tuple[str, Verdict]:
    """The column that says which response is better, and how it is read."""
    there = list(layout.verdicts)
    if WINNER in options.columns:
        there = [WINNER]
    elif BETTER in there and SAFER in there:
        there.remove(SAFER)
    if len(there) != 1:
        found = f"{' and '.join(there)} each say" if there else "no column says"
        raise DataError(
            f"format='winner': {found} which response is better; name one with columns={{...}} "
            f"(--columns winner={(*there, 'better')[0]})"
        )
    (column,) = there
    if read := _VERDICTS.get(column):
        return column, read
    _require_numbers_of(layout, column, seen)
    names = [{name.lower(), options.columns.get(name, name).lower()} for name in layout.sides]
    return column, lambda fields: _choice(fields.get(column), column, layout.suffixes, names)


def _require_numbers_of(layout: _Layout, column: str, seen: Sequence[Mapping[str, Any]]) -> None:
    """Raise where a verdict counts from 0 and the responses from 1, or the other way round."""
    numbers = {_number(fields.get(column)) for fields in seen} - {None}
    if layout.suffixes == ("1", "2"):
        other = {0.0, 1.0} <= numbers and 2.0 not in numbers
    else:
        other = layout.suffixes == ("0", "1") and 2.0 in numbers
    if other:
        values = ", ".join(f"{number:g}" for number in sorted(n for n in numbers if n is not None))
        raise DataError(
            f"{column}: its values ({values}) are not the numbers of {' and '.join(layout.sides)}; "
            f"write {' or '.join(layout.suffixes)}, and tie where neither is better"
        )


def _choice(
    value: Any, column: str, suffixes: tuple[str, str], names: Sequence[Collection[str]]
) -> float:
    """What a value says that names the better response, by its number or letter.

    Raises:
        RowFault: it names neither.
    """
    number = _number(value)
    text = value.strip().lower() if isinstance(value, str) else ""
    if value is None or value == "":
        raise RowFault(f"no {column}")
    if text in TIES:
        return NEITHER
    if number is not None and suffixes != SUFFIXES[0]:
        first, second = map(float, suffixes)
        if number in (first, second):
            return FIRST if number == first else SECOND
        if number == (first + second) / 2 or (number == 0 and first):
            return NEITHER
    for better, suffix, called in zip((FIRST, SECOND), suffixes, names, strict=True):
        if text in called or re.fullmatch(rf"(?:\w+[ _-])?{suffix}", text):
            return better
    raise RowFault(f"{column} names neither response, nor a tie")


def _number(value: Any) -> float | None:
    """The number that a value is or says; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _strength(column: str) -> Verdict:
    """A column whose numbers are negative where the first response is better."""

    def read(fields: Mapping[str, Any]) -> float:
        value: Any = fields.get(column)
        if value is None:
            raise RowFault(f"no {column}")
        value = _number(value) if isinstance(value, str) else value
        require_number(column, value)
        return -float(value)

    return read


def _first_is_better(fields: Mapping[str, Any]) -> float:
    """SHP's labels: 1 where the first response is better, else 0."""
    value = _number(fields.get("labels"))
    if value not in (0.0, 1.0):
        raise RowFault("labels is neither 0 nor 1")
    return FIRST if value else SECOND


def _one_hot(fields: Mapping[str, Any]) -> float:
    """Chatbot Arena's three columns, one of which is 1."""
    hot = [_number(fields.get(column)) for column in ONE_HOT]
    if sorted(hot, key=lambda value: value or 0) != [0.0, 0.0, 1.0]:
        raise RowFault(f"exactly one of {', '.join(ONE_HOT)} must be 1")
    return (FIRST, SECOND, NEITHER)[hot.index(1.0)]


_STRENGTHS = ("preference_strength", "overall_preference")
# Columns that say which response is better, and what reads them where it is not by name.
_VERDICTS: Mapping[str, Verdict | None] = {
    **{column: _strength(column) for column in _STRENGTHS},
    "labels": _first_is_better,
    ONE_HOT[0]: _one_hot,
    **dict.fromkeys((BETTER, SAFER, "preference", "choice")),
}


def _turns(prompt: Any, answers: Sequence[Any]) -> tuple[Any, list[Any]] | None:
    """Prompt and answers of conversations as lists of texts in JSON, as Chatbot Arena has them.

    None where they are none. Of several turns the first question is the prompt, and the later ones
    stand among the answers.

    Raises:
        RowFault: a turn that nobody has answered.
    """
    lists = [_texts(value) for value in (prompt, *answers)]
    if not all(lists) or len(set(map(len, lists))) != 1:
        return None
    if any(text is None for texts in lists for text in texts):
        raise RowFault("no answer to one of the turns")
    questions, *sides = lists
    if len(questions) == 1:
        return questions[0], [side[0] for side in sides]

    def talk(replies: Sequence[str]) -> list[dict[str, str]]:
        turns = [Message(ASSISTANT, replies[0])]
        for question, reply in zip(questions[1:], replies[1:], strict=True):
            turns += [Message(USER, question), Message(ASSISTANT, reply)]
        return [{"role": turn.role, "content": turn.content} for turn in turns]

    return [{"role": USER, "content": questions[0]}], [talk(side) for side in sides]


def _texts(value: Any) -> list[str]:
    """The texts of a list in JSON, with nulls where there are none; empty where it is no list."""
    if not isinstance(value, str) or not value.startswith("["):
        return []
    try:
        texts = json.loads(value)
    except (ValueError, RecursionError):
        return []
    is_list = isinstance(texts, list) and all(t is None or isinstance(t, str) for t in texts)
    return texts if is_list else []
