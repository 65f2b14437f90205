"""Groups of responses from the pairs that rows of `--pairs groups` become: `group_table`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from coala_jax._stored_rows import row_blocks
from coala_jax._types import GroupFeatures
from coala_jax.data._answer_groups import Members, holds_groups, members_of
from coala_jax.features._errors import FeatureError
from coala_jax.features._identity import FeatureIdentity
from coala_jax.features._table import FeatureTable


class GroupTable(NamedTuple):
    """Groups of a store, an .npz or a data set.

    Attributes:
        features: n groups of up to k responses, (n, k, d) in the type of the table; their scores,
            (n, k) float32, are those of their rows less the best one.
        ids: (n,) names of the rows.
        keys: (n,) what must not be split: the rows' group, else the hash of the prompt.
        identity: how the features were made; None where the file does not say.
        rows: (n,) int64 number of the first row of the table that each was made of.
        lengths: (n, k) int64 characters of the responses; None where the table has none.
    """

    features: GroupFeatures
    ids: tuple[str, ...]
    keys: tuple[str, ...]
    identity: FeatureIdentity | None
    rows: np.ndarray
    lengths: np.ndarray | None


def group_table(table: FeatureTable) -> GroupTable:
    """The groups of features that were extracted with ``--pairs groups``.

    Such rows are the best response of a group against each of the others, with the difference of
    the scores as margin: the first side of all of them is one member, the second ones are the rest.

    Args:
        table: as `load_features` gives it.

    Returns:
        The groups, in the order of the table.

    Raises:
        FeatureError: features of pairs.

    Example:
        >>> import numpy as np
        >>> from coala_jax.data import RowOptions, read_rows
        >>> from coala_jax.features import FeatureTable, group_table
        >>> rows = [{"prompt": "2 + 2?", "completions": ["4", "5", "22"], "scores": [1, 0.5, 0]}]
        >>> pairs = read_rows(rows, RowOptions(pairs="groups")).rows
        >>> margin = np.array([row.margin for row in pairs], np.float32)
        >>> best, others = np.ones((2, 4), np.float32), np.zeros((2, 4), np.float32)
        >>> table = FeatureTable(best, others, tuple(row.id for row in pairs), margin=margin)
        >>> groups = group_table(table).features
        >>> groups.responses.shape, groups.scores.tolist()
        ((1, 3, 4), [[0.0, -0.5, -1.0]])
    """
    if not holds_groups(table.ids):
        raise FeatureError(
            "features: they are of pairs; read the rows again with `extract --pairs groups` "
            "(RowOptions(pairs='groups')), which keeps what responses go together"
        )
    parts = _parts(table)
    rows = _rows_by_group(parts)
    first = [some[0] for some in rows]
    count = np.array([len(some) for some in rows])
    members, width = 1 + int(count.max()), table.chosen.shape[1]
    # Of every row its group, and its second side's number among the members.
    group = np.repeat(np.arange(len(rows)), count)
    member = 1 + np.arange(len(group)) - np.repeat(np.cumsum(count) - count, count)
    responses = np.zeros((len(rows), members, width), table.chosen.dtype)
    for begin, block in row_blocks(table.chosen[first]):
        responses[begin : begin + len(block), 0] = block
    for begin, block in row_blocks(table.rejected):
        here = slice(begin, begin + len(block))
        responses[group[here], member[here]] = block
    scores, mask = np.zeros((len(rows), members), np.float32), np.zeros((len(rows), members), bool)
    mask[:, 0] = mask[group, member] = True
    if table.margin is not None:
        scores[group, member] = -table.margin
    lengths = None
    if table.lengths is not None:
        lengths = np.zeros((len(rows), members), np.int64)
        lengths[:, 0] = table.lengths[first, 0]
        lengths[group, member] = table.lengths[:, 1]
    keys = table.groups or table.prompt_hashes or table.ids
    return GroupTable(
        GroupFeatures(
            responses,
            scores,
            mask=mask,
            weight=None if table.weight is None else table.weight[first],
        ),
        tuple(parts[row].group for row in first),
        tuple(keys[row] for row in first),
        table.identity,
        np.array(first),
        lengths,
    )


def group_counts(table: FeatureTable) -> dict[str, Any] | None:
    """How many groups there are, of how many responses, with how many tied pairs; None of pairs."""
    if not holds_groups(table.ids):
        return None
    sizes: Counter[int] = Counter()
    tied = 0
    for rows in _rows_by_group(_parts(table)):
        behind = [0.0, *([] if table.margin is None else table.margin[rows].tolist())]
        sizes[1 + len(rows)] += 1
        tied += sum(count * (count - 1) // 2 for count in Counter(behind).values())
    return {
        "total": sizes.total(),
        "answers": {str(size): sizes[size] for size in sorted(sizes)},
        "tied_pairs": tied,
    }


def _parts(table: FeatureTable) -> list[Members]:
    return [named for name in table.ids if (named := members_of(name))]


def _rows_by_group(parts: Sequence[Members]) -> list[list[int]]:
    """The numbers of the pairs of every group, which stand together."""
    by_group = itertools.groupby(range(len(parts)), key=lambda row: parts[row][:2])
    return [list(rows) for _, rows in by_group]
