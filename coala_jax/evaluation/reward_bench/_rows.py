"""Rows of RewardBench 1 and 2, told apart by their columns; each is whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from coala_jax._files import file_sha256
from coala_jax.data._options import SourceOptions
from coala_jax.evaluation._benchmark_rows import BenchmarkRow, benchmark_rows, by_key
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.reward_bench._published import (
    REWARD_BENCH,
    REWARD_BENCH_2,
    TIES,
    Published,
)

# Of the Ties set: the same question with one right answer, and with several.
REF, TIED = "ref", "tied"
_TIES_ID = re.compile(rf"({REF}|{TIED}):(\d+)")


class BenchRow(NamedTuple):
    """A prompt with answers of which it is known which are right.

    Attributes:
        id: as the file has it.
        subset: one of the benchmark's.
        prompt: the question.
        answers: the right ones first.
        correct: how many are right; at least one, and fewer than all.
        place: file and row, for messages.
    """

    id: str
    subset: str
    prompt: str
    answers: tuple[str, ...]
    correct: int
    place: str

    @property
    def cluster(self) -> str:
        """What depends on each other has the same: rows of a prompt, or of a number of Ties."""
        return f"{TIES}:{ties_number(self)[1]}" if self.subset == TIES else self.prompt


class RewardBench(NamedTuple):
    """The rows of a benchmark.

    Attributes:
        published: which benchmark they are of.
        rows: in the order of the file.
        name: of the file.
        file_sha256: of its bytes; None of what is no single file.
    """

    published: Published
    rows: tuple[BenchRow, ...]
    name: str
    file_sha256: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each subset that is there, in the published order."""
        there = Counter(row.subset for row in self.rows)
        return {name: there[name] for name in self.published.counts if there[name]}

    @property
    def differences(self) -> tuple[str, ...]:
        """Subsets of which there are more or fewer rows than published, in words."""
        there = self.counts
        return tuple(
            f"{name} {there.get(name, 0)} of {count}"
            for name, count in self.published.counts.items()
            if there.get(name, 0) != count
        )

    @property
    def sha256(self) -> str:
        """Of what is scored, and in which order."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(json.dumps((row.subset, row.id, row.prompt, row.answers)).encode())
        return digest.hexdigest()


def read_reward_bench(
    source: str | os.PathLike[str], options: SourceOptions = SourceOptions()
) -> RewardBench:
    """The rows of RewardBench 1 (``chosen`` is a text) or 2 (``chosen`` is a list).

    Args:
        source: a file or folder of rows, or a hub id: ``allenai/reward-bench`` or
            ``allenai/reward-bench-2``, whose published splits are taken unless another is named.
        options: which of its rows; ``download`` lets a hub id be fetched.

    Raises:
        DataError: no such file, or it cannot be read.
        EvaluationError: a row that is broken, of an unknown subset, or there twice; Ties of which
            no question has both its rows.
    """
    for known in (REWARD_BENCH, REWARD_BENCH_2):
        if str(source) == known.hub_id and options.split is None and not Path(source).exists():
            options = replace(options, split=known.split)
    rows = benchmark_rows(source, options)
    first = rows[0].field((str, list), "chosen")
    published = REWARD_BENCH if isinstance(first, str) else REWARD_BENCH_2
    read = tuple(_read(row, published) for row in rows)
    _require_once(read, published)
    require_paired_ties([row for row in read if row.subset == TIES])
    path = Path(source)
    return RewardBench(published, read, str(source), file_sha256(path) if path.is_file() else None)


def ties_number(row: BenchRow) -> tuple[str, str]:
    """``ref`` or ``tied``, and the number of the question, from the id of a row of Ties.

    Raises:
        EvaluationError: another id.
    """
    found = _TIES_ID.fullmatch(row.id)
    if found is None:
        raise EvaluationError(
            f"{row.place}: id {row.id!r} of a row of {TIES} is not {REF}:NUMBER or {TIED}:NUMBER; "
            "give the rows as they are published"
        )
    return found[1], str(int(found[2]))


def require_paired_ties(rows: Sequence[BenchRow]) -> None:
    """Raise where no question of Ties has both its rows, without which there is no score.

    Args:
        rows: of Ties; none are no fault.

    Raises:
        EvaluationError: says how many questions there are.
    """
    kinds: dict[str, set[str]] = {}
    for row in rows:
        kind, number = ties_number(row)
        kinds.setdefault(number, set()).add(kind)
    if kinds and not any(len(both) == 2 for both in kinds.values()):
        raise EvaluationError(
            f"{rows[0].place}: of {len(kinds)} questions of Ties none has both its rows, "
            f"{REF}:NUMBER and {TIED}:NUMBER, which its score needs; give them, or leave Ties out"
        )


def _read(row: BenchmarkRow, published: Published) -> BenchRow:
    subset = row.text("subset")
    if subset not in published.counts:
        raise EvaluationError(
            f"{row.place}: subset {subset!r} is none of RewardBench {published.version}: "
            f"{', '.join(published.counts)}"
        )
    prompt = row.text("prompt")
    if not prompt.strip():
        raise EvaluationError(f"{row.place}: prompt is empty; mend or remove the row")
    right, wrong = (
        _answers(row, name, published, empty=name == "rejected") for name in ("chosen", "rejected")
    )
    read = BenchRow(
        str(row.field((int, str), "id")), subset, prompt, right + wrong, len(right), row.place
    )
    if published is REWARD_BENCH_2:
        _require_count(row, "num_correct", len(right), "chosen")
        _require_count(row, "total_completions", len(right + wrong), "chosen and rejected")
    if subset != TIES and read.correct != 1:
        raise EvaluationError(
            f"{row.place}: chosen holds {read.correct} answers; outside {TIES} one is right"
        )
    if subset == TIES:
        kind = ties_number(read)[0]
        if kind == TIED and read.correct < 2:
            raise EvaluationError(
                f"{row.place}: id {read.id!r} has 1 right answer; a tied row has several"
            )
    return read


def _answers(row: BenchmarkRow, name: str, published: Published, *, empty: bool) -> tuple[str, ...]:
    """The right or the wrong answers of a row; a wrong one may say nothing."""
    kind = str if published is REWARD_BENCH else list
    given = row.field(kind, name)
    answers = (given,) if isinstance(given, str) else tuple(given)
    if not answers:
        raise EvaluationError(f"{row.place}: {name} holds no answers")
    for number, answer in enumerate(answers):
        if not isinstance(answer, str):
            raise EvaluationError(
                f"{row.place}: {name}[{number}] is {answer!r}, a text is expected"
            )
        if not empty and not answer.strip():
            raise EvaluationError(f"{row.place}: {name} is empty; mend or remove the row")
    return answers


def _require_count(row: BenchmarkRow, name: str, count: int, what: str) -> None:
    """Raise where a row counts its answers and says another number."""
    if row.fields.get(name) is not None and row.field(int, name) != count:
        raise EvaluationError(
            f"{row.place}: {name} is {row.fields[name]}, and {count} answers are in {what}; "
            "give the rows as they are published"
        )


def _require_once(rows: Sequence[BenchRow], published: Published) -> None:
    """Raise where a row is there twice.

    Of RewardBench 2 an id is enough, by which its Ties are found; those of RewardBench 1 come from
    the sets that it was made of, so that only the whole row tells.
    """

    def key(row: BenchRow) -> tuple[object, ...]:
        if published is REWARD_BENCH:
            return row.subset, row.id, row.prompt, row.answers
        return (row.subset, *(ties_number(row) if row.subset == TIES else (row.id,)))

    by_key(rows, key, lambda row: f"has {row.subset} {row.id!r}")
