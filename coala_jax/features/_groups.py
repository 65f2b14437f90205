"""Groups of responses from the pairs that rows of `--pairs groups` become: `group_table`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coala_jax._types import GroupFeatures
from coala_jax.features._errors import FeatureError
from coala_jax.features._identity import FeatureIdentity
from coala_jax.features._table import FeatureTable

# NAME/2>0: of row NAME response 2, one of the best, against response 0; NAME/2=3 where they tie.
_MEMBER = re.compile(r"(.*)/(\d+)[>=](\d+)", re.DOTALL)


class GroupTable(NamedTuple):
    """Groups of a store, an .npz or a data set.

    Attributes:
        features: n groups of up to k responses; scores are those of their rows less the best one.
        ids: (n,) names of the rows.
        keys: (n,) what must not be split: the rows' group, else the hash of the prompt.
        identity: how the features were made; None where the file does not say.
        rows: (n,) number of the first row of the table that each was made of.
        lengths: (n, k) characters of the responses; None where the table has none.
    """

    features: GroupFeatures
    ids: tuple[str, ...]
    keys: tuple[str, ...]
    identity: FeatureIdentity | None
    rows: np.ndarray
    lengths: np.ndarray | None


def holds_groups(ids: Sequence[str]) -> bool:
    """Whether rows are what `--pairs groups` makes, by their names."""
    return bool(ids) and all(_MEMBER.fullmatch(name) for name in ids)


def group_table(table: FeatureTable) -> GroupTable:
    """The groups of features that were extracted with ``--pairs groups``.

    Such rows are the best response of a group against each of the others, with the difference of
    the scores as margin: the first side of all of them is one member, the second ones are the rest.

    Args:
        table: as `load_features` gives it.

    Raises:
        FeatureError: features of pairs.
    """
    if not holds_groups(table.ids):
        raise FeatureError(
            "features: they are of pairs; read the rows again with `extract --pairs groups` "
            "(RowOptions(pairs='groups')), which keeps what responses go together"
        )
    parts = [match.groups() for name in table.ids if (match := _MEMBER.fullmatch(name))]
    rows = [
        list(some)
        for _, some in itertools.groupby(range(len(parts)), key=lambda row: parts[row][:2])
    ]
    members, width = 1 + max(map(len, rows)), table.chosen.shape[1]
    responses = np.zeros((len(rows), members, width), table.chosen.dtype)
    scores, mask = np.zeros((len(rows), members), np.float32), np.zeros((len(rows), members), bool)
    lengths = None if table.lengths is None else np.zeros((len(rows), members), np.int64)
    for group, some in enumerate(rows):
        responses[group, 0] = table.chosen[some[0]]
        responses[group, 1 : 1 + len(some)] = table.rejected[some]
        mask[group, : 1 + len(some)] = True
        if table.margin is not None:
            scores[group, 1 : 1 + len(some)] = -table.margin[some]
        if lengths is not None and table.lengths is not None:
            lengths[group, 0] = table.lengths[some[0], 0]
            lengths[group, 1 : 1 + len(some)] = table.lengths[some, 1]
    first = [some[0] for some in rows]
    keys = table.groups or table.prompt_hashes or table.ids
    return GroupTable(
        GroupFeatures(
            responses,
            scores,
            mask=mask,
            weight=None if table.weight is None else table.weight[first],
        ),
        tuple(parts[row][0] for row in first),
        tuple(keys[row] for row in first),
        table.identity,
        np.array(first),
        lengths,
    )
