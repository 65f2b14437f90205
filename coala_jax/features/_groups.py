"""Groups of responses from the pairs that rows of `--pairs groups` become: `group_table`."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from coala_jax._types import GroupFeatures
from coala_jax.data._answer_groups import members_of
from coala_jax.features._errors import FeatureError
from coala_jax.features._identity import FeatureIdentity
from coala_jax.features._table import FeatureTable


class GroupTable(NamedTuple):
    """Groups of a store, an .npz or a data set.

    Attributes:
        features: n groups of up to k responses; scores are those of their rows less the best one.
        ids: (n,) names of the rows.
        keys: (n,) what must not be split: the rows' group, else the hash of the prompt.
        identity: how the features were made; None where the file does not say.
    """

    features: GroupFeatures
    ids: tuple[str, ...]
    keys: tuple[str, ...]
    identity: FeatureIdentity | None


def group_table(table: FeatureTable) -> GroupTable:
    """The groups of features that were extracted with ``--pairs groups``.

    Such rows are the best response of a group against each of the others, with the difference of
    the scores as margin: the first side of all of them is one member, the second ones are the rest.

    Args:
        table: as `load_features` gives it.

    Raises:
        FeatureError: features of pairs.
    """
    parts = [named for name in table.ids if (named := members_of(name))]
    if not parts or len(parts) < len(table.ids):
        raise FeatureError(
            "features: they are of pairs; read the rows again with `extract --pairs groups` "
            "(RowOptions(pairs='groups')), which keeps what responses go together"
        )
    rows = [
        list(some)
        for _, some in itertools.groupby(range(len(parts)), key=lambda row: parts[row][:2])
    ]
    members, width = 1 + max(map(len, rows)), table.chosen.shape[1]
    responses = np.zeros((len(rows), members, width), table.chosen.dtype)
    scores, mask = np.zeros((len(rows), members), np.float32), np.zeros((len(rows), members), bool)
    for group, some in enumerate(rows):
        responses[group, 0] = table.chosen[some[0]]
        responses[group, 1 : 1 + len(some)] = table.rejected[some]
        mask[group, : 1 + len(some)] = True
        if table.margin is not None:
            scores[group, 1 : 1 + len(some)] = -table.margin[some]
    first = [some[0] for some in rows]
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
    )
