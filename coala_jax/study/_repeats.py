"""Rows that repeat or contradict each other, and what two parts of a split share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from coala_jax.data import PreferenceRow
from coala_jax.data._split import normalise_text, text_sha256
from coala_jax.study._hold_out import shared_keys


class Repeats(NamedTuple):
    """Rows that say what others say; texts are compared without case, spacing, Unicode's forms.

    Attributes:
        rows: rows with the prompt, chosen and rejected of an earlier row.
        contradictions: rows for which there is a row of the same prompt and responses, the other
            way round.
        prompts: rows whose prompt another row has too.
        near_prompts: rows whose prompt is the beginning of another row's, as the same conversation
            at an earlier turn.
        both_sides: rows with a response that is chosen in one row and rejected in another.
    """

    rows: int
    contradictions: int
    prompts: int
    near_prompts: int
    both_sides: int


class Leaks(NamedTuple):
    """What two parts of a split share.

    Attributes:
        prompts: distinct prompts in both parts.
        groups: distinct groups in both parts; None where the rows name none.
        rows: held-out rows with such a prompt or group.
        held_out: held-out rows in all.
    """

    prompts: int
    groups: int | None
    rows: int
    held_out: int


def count_repeats(rows: Sequence[PreferenceRow]) -> Repeats:
    """Count what the texts of rows say more than once, or both ways round."""
    texts = [tuple(map(normalise_text, _texts(row))) for row in rows]
    again, contradictions = _again_and_both_ways(texts)
    prompts = Counter(prompt for prompt, _, _ in texts)
    both = {chosen for _, chosen, _ in texts} & {rejected for _, _, rejected in texts}
    return Repeats(
        rows=again,
        contradictions=contradictions,
        prompts=sum(prompts[prompt] > 1 for prompt, _, _ in texts),
        near_prompts=sum(prompts[prompt] for prompt in _beginnings(prompts)),
        both_sides=sum(chosen in both or rejected in both for _, chosen, rejected in texts),
    )


def count_again_and_both_ways(rows: Sequence[PreferenceRow]) -> tuple[int, int]:
    """`Repeats.rows` and `Repeats.contradictions` alone, by hashes: no text is held twice."""
    return _again_and_both_ways([tuple(map(text_sha256, _texts(row))) for row in rows])


def _texts(row: PreferenceRow) -> tuple[str, str, str]:
    return row.prompt, row.chosen, row.rejected


def _again_and_both_ways(said: Sequence[tuple[str, ...]]) -> tuple[int, int]:
    """How many of (prompt, chosen, rejected) were there before, and stand the other way round too.

    Sides that differ in case or spacing alone are the same here, and contradict nothing.
    """
    distinct = set(said)
    turned = (
        chosen != rejected and (prompt, rejected, chosen) in distinct
        for prompt, chosen, rejected in said
    )
    return len(said) - len(distinct), sum(turned)


def _beginnings(prompts: Iterable[str]) -> list[str]:
    """Those of distinct prompts that another one begins with, up to the end of a word."""
    ordered, found = sorted(prompts), []
    for place, prompt in enumerate(ordered):
        for following in ordered[place + 1 :]:  # those that begin with it come next
            if not following.startswith(prompt):
                break
            if not following[len(prompt)].isalnum():
                found.append(prompt)
                break
    return found


def count_leaks(
    prompts: Sequence[str], groups: Sequence[str] | None, is_held_out: np.ndarray
) -> Leaks:
    """Count what two parts of rows share.

    Args:
        prompts: (n,) prompt, or its hash, of every row.
        groups: (n,) group of every row; None where they name none.
        is_held_out: (n,) booleans, true where the row is held out.
    """
    shared_prompts = shared_keys(prompts, is_held_out)
    shared_groups = None if groups is None else shared_keys(groups, is_held_out)
    rows = sum(
        bool(out)
        and (
            prompts[number] in shared_prompts
            or (groups is not None and groups[number] in (shared_groups or ()))
        )
        for number, out in enumerate(is_held_out)
    )
    return Leaks(
        prompts=len(shared_prompts),
        groups=None if shared_groups is None else len(shared_groups),
        rows=rows,
        held_out=int(is_held_out.sum()),
    )
