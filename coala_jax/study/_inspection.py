"""What a file of preference pairs gives away before anything is trained on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from coala_jax._accuracy import pairwise_accuracy
from coala_jax._errors import CoalaError
from coala_jax._folds import fold_parts
from coala_jax._intervals import Interval, share_interval
from coala_jax.data import PreferenceRow
from coala_jax.data._split import eval_mask, joint_keys, text_sha256
from coala_jax.study._pair_set import BY_GROUP, BY_PROMPT
from coala_jax.study._repeats import Leaks, Repeats, count_leaks, count_repeats
from coala_jax.study._simple_rules import (
    Accuracy,
    given_part,
    length_rule,
    vocabulary_probe,
)

ONE_KEY = "all rows belong together: nothing can be held out"
NOTHING_LEFT = "every held-out row shares a prompt or group with the training rows"
# What the usual split holds out, for the count of prompts that a split by row tears apart.
ROW_SPLIT_FRACTION = 0.2


class Lengths(NamedTuple):
    """(n,) lengths of the texts of n rows, in one unit."""

    prompt: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray


class Inspection(NamedTuple):
    """The figures of a file of pairs.

    Attributes:
        rows: how many there are; of both parts where a held-out file was given.
        prompts: distinct prompts.
        split_by: what is never split: ``group`` (and prompt) or ``prompt``.
        keys: how many of these there are.
        characters: lengths in characters.
        tokens: lengths in tokens; None without a tokenizer.
        longer: share of rows whose chosen response has more characters, with its interval.
        shorter: share of rows whose chosen response has fewer.
        balance: as ``longer``, equal lengths counted half: 0.5 where length says nothing.
        repeats: rows that repeat others.
        leaks: what the held-out file shares with the training file; None where there is none.
        row_split_leaks: the same of a random split by row of these rows, which is a common mistake.
        length_rule: accuracy of preferring the longer response, or the shorter one, as training
            rows say.
        vocabulary_probe: accuracy of a linear probe on TF-IDF.
        held_out: how rows were held out for the two.
    """

    rows: int
    prompts: int
    split_by: str
    keys: int
    characters: Lengths
    tokens: Lengths | None
    longer: Interval
    shorter: float
    balance: Interval
    repeats: Repeats
    leaks: Leaks | None
    row_split_leaks: Leaks
    length_rule: Accuracy
    vocabulary_probe: Accuracy
    held_out: str


def inspect_pairs(
    rows: Sequence[PreferenceRow],
    held_out: Sequence[PreferenceRow] = (),
    *,
    token_counts: Callable[[Sequence[str]], Sequence[int]] | None = None,
    seed: int = 0,
) -> Inspection:
    """Measure what can be known of preference pairs without a model.

    Accuracies are of unseen prompts: by folds, so that every row is held out once, or on
    ``held_out`` where it is given, but for rows that share a prompt or group with ``rows``. Rows
    count alike, whatever their weights.

    Args:
        rows: one row or more, to train on where ``held_out`` is given.
        held_out: the other part of a split that was made elsewhere.
        token_counts: texts to their lengths in tokens.
        seed: of the folds and of the split by row.

    Returns:
        The figures.

    Raises:
        CoalaError: no rows.
    """
    if not rows:
        raise CoalaError("rows: none to inspect")
    given = [*rows, *held_out]
    prompts = [text_sha256(row.prompt) for row in given]
    groups = [row.group for row in given if row.group is not None]
    grouped = len(groups) == len(given)
    named_groups = groups if grouped else None
    keys = joint_keys(groups, prompts) if grouped else prompts
    characters = _lengths(given, lambda texts: [len(text) for text in texts])
    chosen, rejected = characters.chosen, characters.rejected
    is_held_out = np.arange(len(given)) >= len(rows)
    leaks = count_leaks(prompts, named_groups, is_held_out) if held_out else None
    by_row = eval_mask([str(number) for number in range(len(given))], ROW_SPLIT_FRACTION, seed)
    if held_out:
        parts = given_part(keys, is_held_out)
        manner = "the held-out file, without rows that share a prompt or group with the other"
    else:
        parts = fold_parts(keys, seed)
        manner = f"{len(parts)} folds by {BY_GROUP if grouped else BY_PROMPT}"
    nothing = Accuracy(None, why_not=NOTHING_LEFT if held_out else ONE_KEY)
    return Inspection(
        rows=len(given),
        prompts=len(set(prompts)),
        split_by=BY_GROUP if grouped else BY_PROMPT,
        keys=len(set(keys)),
        characters=characters,
        tokens=None if token_counts is None else _lengths(given, token_counts),
        longer=share_interval((chosen > rejected).astype(np.float64), keys),
        shorter=float(np.mean(chosen < rejected)),
        balance=share_interval(pairwise_accuracy(chosen, rejected), keys),
        repeats=count_repeats(given),
        leaks=leaks,
        row_split_leaks=count_leaks(prompts, named_groups, by_row),
        length_rule=length_rule(chosen, rejected, keys, parts) if parts else nothing,
        vocabulary_probe=vocabulary_probe(given, keys, parts) if parts else nothing,
        held_out=manner,
    )


def _lengths(
    rows: Sequence[PreferenceRow], measure: Callable[[Sequence[str]], Sequence[int]]
) -> Lengths:
    return Lengths(
        *(
            np.asarray(measure([getattr(row, part) for row in rows]), np.int64)
            for part in Lengths._fields
        )
    )
