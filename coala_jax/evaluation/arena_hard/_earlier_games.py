"""Games that an earlier run of a judge settled: they are not asked for again, nor lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax.evaluation._benchmark_rows import benchmark_rows
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.arena_hard._games import NOTHING_SETTLED, Match, Settled, shown_messages
from coala_jax.evaluation.arena_hard._questions import uid_of


class EarlierGames(NamedTuple):
    """What a file of judgments holds before a run.

    Attributes:
        settled: games with a label, by uid and number, that need not be asked for.
        others: rows of questions that the run does not judge, such as those of another category.
    """

    settled: Settled = NOTHING_SETTLED
    others: tuple[Mapping[str, Any], ...] = ()


def read_earlier(path: Path, matches: Sequence[Match]) -> EarlierGames:
    """The games of ``model_judgment/JUDGE/MODEL.jsonl``, if the file is there.

    Args:
        path: of the file.
        matches: that are to be judged.

    Raises:
        EvaluationError: a question was judged by another prompt, or on other answers.
    """
    if not path.is_file() or not path.stat().st_size:
        return EarlierGames()
    asked = {match.question.uid: match for match in matches}
    settled: dict[tuple[str, int], Mapping[str, Any]] = {}
    others = []
    for row in benchmark_rows(path):
        match = asked.get(uid_of(row))
        if match is None:
            others.append(row.fields)
            continue
        for number, game in enumerate(row.field(list, "games")):
            if game is None or game.get("score") is None:
                continue
            if number > 1 or game.get("prompt") != shown_messages(match.requests[number]):
                raise EvaluationError(
                    f"{row.place}: question {match.question.uid} was judged on other answers or "
                    "by another prompt; move the file away, or give another --out"
                )
            settled[match.question.uid, number] = game
    return EarlierGames(settled, tuple(others))
