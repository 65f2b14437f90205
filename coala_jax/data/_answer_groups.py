"""Whole groups of answers: how the pairs are named that they are read as, and the way back."""

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from coala_jax.data._errors import DataError
from coala_jax.data._message import Message
from coala_jax.data._rows import PreferenceRow

# NAME/2>0: of group NAME answer 2, one of the best, against answer 0; NAME/2=3 where they tie.
_MEMBERS = re.compile(r"(.*)/(\d+)[>=](\d+)", re.DOTALL)
# Where the scores of such a pair stand; what the same is called in UltraFeedback's pairs.
SCORES = SCORE_CHOSEN, SCORE_REJECTED = "score_chosen", "score_rejected"


class Members(NamedTuple):
    """Which answers of a group are a pair.

    Attributes:
        group: its name.
        best: the number of an answer with the best score, from 0.
        other: that of the other one.
    """

    group: str
    best: int
    other: int


class AnswerGroup(NamedTuple):
    """Answers to one prompt with their scores, in the order of the source.

    Attributes:
        name: of the row they stood in, or of the first of several rows.
        answers: their texts.
        scores: as they stood there; of ranks, these below 0.
        row: the pair of a best answer and another one, for what they have in common.
        messages: of every answer, where it was messages and these were kept; else empty.
    """

    name: str
    answers: tuple[str, ...]
    scores: tuple[float, ...]
    row: PreferenceRow
    messages: tuple[tuple[Message, ...], ...] = ()

    @property
    def tied(self) -> int:
        """How many pairs of its answers have one score."""
        return sum(one == other for one, other in itertools.combinations(self.scores, 2))


def pair_name(members: Members, tied: bool) -> str:
    """The name of a pair of a group."""
    return f"{members.group}/{members.best}{'=' if tied else '>'}{members.other}"


def members_of(name: str) -> Members | None:
    """What a name of `pair_name` says; None of any other name."""
    match = _MEMBERS.fullmatch(name)
    return Members(match[1], int(match[2]), int(match[3])) if match else None


def holds_groups(ids: Sequence[str]) -> bool:
    """Whether rows are what ``pairs="groups"`` makes, by their names."""
    return bool(ids) and all(members_of(name) for name in ids)


def answer_groups(rows: Iterable[PreferenceRow]) -> list[AnswerGroup]:
    """The groups of rows that were read with ``pairs="groups"``, in their order.

    Raises:
        DataError: names a row that is of no group.
    """
    named = itertools.groupby(rows, key=lambda row: _members(row)[:2])
    return [_group(name, best, list(pairs)) for (name, best), pairs in named]


def _members(row: PreferenceRow) -> Members:
    members = members_of(row.id)
    if members is None or not row.extra.keys() >= {*SCORES}:
        raise DataError(
            f"rows: {row.id!r} is of no group; read them with RowOptions(pairs='groups')"
        )
    return members


def _group(name: str, best: int, pairs: Sequence[PreferenceRow]) -> AnswerGroup:
    first = pairs[0]
    texts, turns = {best: first.chosen}, {best: first.messages and first.messages.chosen}
    scores = {best: first.extra[SCORE_CHOSEN]}
    for pair in pairs:
        other = _members(pair).other
        texts[other], turns[other] = pair.rejected, pair.messages and pair.messages.rejected
        scores[other] = pair.extra[SCORE_REJECTED]
    order = sorted(texts)
    shared = {key: value for key, value in first.extra.items() if key not in SCORES}
    return AnswerGroup(
        name,
        tuple(texts[number] for number in order),
        tuple(scores[number] for number in order),
        first._replace(extra=shared),
        tuple(spoken for number in order if (spoken := turns[number]) is not None),
    )
