"""Judgments of Arena-Hard, ours or others', and the games in them that count."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from coala_jax._files import file_sha256
from coala_jax.evaluation._benchmark_rows import BenchmarkRow, benchmark_rows, by_key
from coala_jax.evaluation._chat import USER
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation._own_wording import Wording, own_wording_warnings, read_wording
from coala_jax.evaluation._shown_answers import Shown
from coala_jax.evaluation.arena_hard._answers import StyledAnswers, answer_files
from coala_jax.evaluation.arena_hard._games import VERDICTS
from coala_jax.evaluation.arena_hard._questions import BASELINES, Question, category_of, uid_of

# As the script of v2.0 scores, and as that of v0.1 did (commit 0489bf3).
Scoring = Literal["v2.0", "v0.1"]


class Judgment(NamedTuple):
    """What a judge said of one answer.

    Attributes:
        uid: key of the question.
        category: of the question.
        judge: who said it.
        model: whose answer it is.
        baseline: what it was set against.
        labels: of the game in which the baseline is A, and of the other; None without one that has
            a meaning.
        prompts: what the judge was shown in each game; empty where the file does not say.
        wording: whose words it was told; None where the file does not say.
        place: file and row, for messages.
    """

    uid: str
    category: str
    judge: str
    model: str
    baseline: str
    labels: tuple[str | None, str | None]
    prompts: tuple[str, str]
    wording: Wording | None
    place: str

    @property
    def null(self) -> int:
        """How many of its games have no label."""
        return self.labels.count(None)


class Battles(NamedTuple):
    """Games that count.

    Attributes:
        uid: (n,) keys of their questions: what their intervals are clustered by.
        model: (n,) whose answer was judged.
        baseline: what all were set against.
        win: (n,) float64, how well the model did: 1 won, 0.5 a tie, 0 lost.
        weight: (n,) float64, how often the game counts: `DECISIVE` times where much better.
    """

    uid: np.ndarray
    model: np.ndarray
    baseline: str
    win: np.ndarray
    weight: np.ndarray

    def of(self, model: str) -> Battles:
        """Those of one model."""
        mine = self.model == model
        return Battles(
            self.uid[mine], self.model[mine], self.baseline, self.win[mine], self.weight[mine]
        )


class Judgments(NamedTuple):
    """What files of judgments hold.

    Attributes:
        rows: in the order of the files.
        notes: what must be known of them.
        sha256: of each file.
    """

    rows: tuple[Judgment, ...]
    notes: tuple[str, ...]
    sha256: Mapping[str, str]

    def categories(self) -> list[str]:
        """Those that were judged, in the order in which they first stand."""
        return list(dict.fromkeys(row.category for row in self.rows))

    def of(self, category: str) -> list[Judgment]:
        """The rows of one category."""
        return [row for row in self.rows if row.category == category]


def read_judgments(
    sources: Sequence[str | os.PathLike[str]], questions: Sequence[Question] | None = None
) -> Judgments:
    """Judgments of files, or of the folders ``model_judgment/JUDGE`` of one judge or several.

    Those of a judge on its own answers are left out, as the original does, and are noted.

    Args:
        sources: files or folders.
        questions: of the benchmark; judgments of other questions are then an error.

    Raises:
        DataError: no such file.
        EvaluationError: a row that is broken, of another question, that stands twice, or whose
            baseline is not that of the other rows of its category.
    """
    files = list(dict.fromkeys(file for source in sources for file in answer_files(source)))
    rows = [_judgment(row) for file in files for row in benchmark_rows(file)]
    by_key(
        rows,
        lambda row: (row.judge, row.model, row.uid),
        lambda row: f"judges {row.model} on {row.uid}",
    )
    if questions is not None:
        _require_asked(rows, questions)
    _require_one_baseline(rows)
    judges = {row.judge for row in rows}
    kept = tuple(row for row in rows if row.model not in judges)
    if not kept:
        raise EvaluationError(f"{files[0]}: a judge's judgments of itself only; nothing to score")
    notes = [*_self_notes(rows, judges), *_null_notes(kept), *_baseline_notes(kept)]
    notes += _missing_notes(kept, questions)
    notes += own_wording_warnings([row.wording for row in kept], [row.category for row in kept])
    return Judgments(kept, tuple(notes), {str(file): file_sha256(Path(file)) for file in files})


def battles_of(rows: Sequence[Judgment], scoring: Scoring = "v2.0") -> Battles:
    """The games that count, of the judgments of one category.

    Args:
        rows: against one baseline.
        scoring: ``v2.0`` leaves out both games of a row where one has no label, ``v0.1`` that one.

    Raises:
        EvaluationError: none has a label.
    """
    games = []
    for row in rows:
        if row.null and scoring == "v2.0":
            continue
        for number, label in enumerate(row.labels):
            if label is not None:
                first, times = VERDICTS[label]
                # In the first game A is the baseline.
                games.append((row.uid, row.model, first if number else 1 - first, times))
    if not games:
        raise EvaluationError(f"{rows[0].place}: no game of {rows[0].category} has a label")
    uid, model, win, weight = zip(*games, strict=True)
    return Battles(
        np.array(uid, object),
        np.array(model, object),
        rows[0].baseline,
        np.array(win, float),
        np.array(weight, float),
    )


def shown_answers(
    rows: Iterable[Judgment], systems: Mapping[str, StyledAnswers]
) -> Iterator[Shown]:
    """Answers beside what the judge was shown of their systems.

    Args:
        rows: of judgments; those of files that do not say what was shown give none.
        systems: answers by the name of the system.
    """
    for row in rows:
        for system in (row.model, row.baseline):
            answers = systems[system].answers.by_question if system in systems else {}
            if (answer := answers.get(row.uid)) is not None:
                for prompt in filter(None, row.prompts):
                    yield Shown(row.category, prompt, answer.text, system, answer.place)


def _judgment(row: BenchmarkRow) -> Judgment:
    games = row.field(list, "games")
    if len(games) != 2 or not all(game is None or isinstance(game, Mapping) for game in games):
        raise EvaluationError(f"{row.place}: games is no list of two games, each may be null")
    category = category_of(row)
    baseline = row.fields.get("baseline") or BASELINES.get(category)
    if not isinstance(baseline, str):
        raise EvaluationError(f"{row.place}: says no baseline, and {category} has no known one")
    first, second = (_label(row, game) for game in games)
    return Judgment(
        uid_of(row),
        category,
        row.text("judge"),
        # As show_result.py: a model may be named by its path.
        row.text("model", "model_id").split("/")[-1],
        baseline.split("/")[-1],
        (first, second),
        (_shown(games[0]), _shown(games[1])),
        read_wording(row),
        row.place,
    )


def _label(row: BenchmarkRow, game: Mapping[str, Any] | None) -> str | None:
    score = None if game is None else game.get("score")
    if score is not None and not isinstance(score, str):
        raise EvaluationError(f"{row.place}: score is {score!r}, a label such as A>B is expected")
    return score if score in VERDICTS else None


def _shown(game: Mapping[str, Any] | None) -> str:
    """What the judge was shown, in the form of v2.0 or of v0.1."""
    found = (game or {}).get("prompt") or (game or {}).get("user_prompt") or ""
    if isinstance(found, list):
        parts = [part for part in found if isinstance(part, Mapping) and part.get("role") == USER]
        return "\n".join(part["content"] for part in parts if isinstance(part.get("content"), str))
    return found if isinstance(found, str) else ""


def _require_asked(rows: Iterable[Judgment], questions: Sequence[Question]) -> None:
    asked = {question.uid for question in questions}
    foreign = [row for row in rows if row.uid not in asked]
    if foreign:
        raise EvaluationError(
            f"{foreign[0].place}: judges question {foreign[0].uid}, one of {len(foreign)} that are "
            "not among the questions; give the questions of this version of the benchmark"
        )


def _require_one_baseline(rows: Iterable[Judgment]) -> None:
    first: dict[str, Judgment] = {}
    for row in rows:
        earlier = first.setdefault(row.category, row)
        if earlier.baseline != row.baseline:
            raise EvaluationError(
                f"{row.place}: {row.category} against {row.baseline}, {earlier.place} against "
                f"{earlier.baseline}; win rates against different baselines cannot be compared, "
                "score them apart"
            )


def _self_notes(rows: Sequence[Judgment], judges: set[str]) -> list[str]:
    own = Counter(row.model for row in rows if row.model in judges)
    return [
        f"{count} judgments of {model} are left out: it is a judge here"
        for model, count in own.items()
    ]


def _null_notes(rows: Sequence[Judgment]) -> list[str]:
    null = Counter({row.model: 0 for row in rows})
    for row in rows:
        null[row.model] += row.null
    return [f"{count} games of {model} have no label" for model, count in null.items() if count]


def _baseline_notes(rows: Sequence[Judgment]) -> list[str]:
    found = {row.category: row.baseline for row in rows}
    return [
        f"{category} is set against {baseline}, the benchmark's is {BASELINES[category]}: its "
        "published scores are no comparison"
        for category, baseline in found.items()
        if BASELINES.get(category, baseline) != baseline
    ]


def _missing_notes(rows: Sequence[Judgment], questions: Sequence[Question] | None) -> list[str]:
    asked: dict[str, set[str]] = {}
    for each in rows if questions is None else questions:
        asked.setdefault(each.category, set()).add(each.uid)
    judged: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        judged.setdefault((row.model, row.category), set()).add(row.uid)
    return [
        f"{model} is judged on {len(uids)} of {len(asked[category])} questions of {category}"
        for (model, category), uids in judged.items()
        if len(uids) < len(asked.get(category, ()))
    ]
