"""What is known of the pairs of all processes, of which each has some: `of_all_processes`.

Features stay where they were read; what is one number or text a row is told to all.
"""

from __future__ import annotations

import jax
import numpy as np

from coala_jax._processes import gathered, gathered_texts, rows_before
from coala_jax._types import GroupFeatures
from coala_jax.study._pair_set import PairSet


def of_all_processes(pairs: PairSet) -> PairSet:
    """The pairs of all processes, in their order, but for features: those have no columns here."""
    if jax.process_count() == 1:
        return pairs
    keys, hashes = gathered_texts(pairs.keys), pairs.prompt_hashes
    nothing = np.empty((len(keys), 0), np.float32)
    groups, group_of = pairs.groups, pairs.group_of
    if groups is not None and group_of is not None:
        count, members = np.shape(groups.responses)[:2]
        before = rows_before(count)
        total, most = gathered(np.array([[count, members]], np.int64)).T
        group_of = gathered(np.asarray(group_of, np.int64) + before)
        # Of their arrays the numbers of groups and of members are read.
        groups = GroupFeatures(np.empty((total.sum(), most.max(), 0), np.float32))
    prefix_of = pairs.prefix_of
    if prefix_of is not None:
        before = rows_before(int(prefix_of.max(initial=-1)) + 1)
        prefix_of = gathered(np.asarray(prefix_of, np.int64) + before)
    return pairs._replace(
        chosen=nothing,
        rejected=nothing,
        keys=keys,
        prompt_hashes=None if hashes is None else gathered_texts(hashes),
        lengths=_gathered(pairs.lengths),
        weight=_gathered(pairs.weight),
        margin=_gathered(pairs.margin),
        prefix_of=prefix_of,
        groups=groups,
        group_of=group_of,
    )


def _gathered(column: np.ndarray | None) -> np.ndarray | None:
    return None if column is None else gathered(column)
