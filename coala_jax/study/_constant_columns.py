"""Feature columns that carry nothing: which, and when that is all of them."""

from __future__ import annotations

import jax
import numpy as np

from coala_jax._inputs import prepare_features
from coala_jax._processes import gathered
from coala_jax._stored_rows import row_blocks
from coala_jax._types import PreferenceFeatures
from coala_jax.convex._standardize import fit_standardization
from coala_jax.features import FeatureError
from coala_jax.study._pair_set import PairSet

# A warning names this many columns; the rest is a number.
NAMED_COLUMNS = 8


def constant_columns(pairs: PairSet) -> tuple[int, ...]:
    """Columns that the solver ignores because they do not vary over the pairs of all processes.

    Raises:
        FeatureError: no column varies.
    """
    # The least and the largest of a column tell whether it varies.
    least, most = np.full((2, pairs.chosen.shape[1]), np.inf, np.float32)
    most = -most
    for side in (pairs.chosen, pairs.rejected):
        counted = side if pairs.weight is None else side[pairs.weight > 0]
        for _, block in row_blocks(counted):
            least = np.minimum(least, block.min(axis=0, initial=np.inf).astype(np.float32))
            most = np.maximum(most, block.max(axis=0, initial=-np.inf).astype(np.float32))
    least, most = gathered(least[None]).min(axis=0), gathered(most[None]).max(axis=0)
    extremes = np.stack([least, most])
    constant = np.asarray(_constant(PreferenceFeatures(extremes, extremes)))
    if constant.all():
        count = int(gathered(np.array([pairs.pair_count()])).sum())
        raise FeatureError(
            f"{pairs.source}: all {constant.size} columns of chosen and rejected are constant over "
            f"the {count} training pairs; there is nothing to learn from"
        )
    return tuple(np.flatnonzero(constant).tolist())


@jax.jit
def _constant(features: PreferenceFeatures) -> jax.Array:
    """(d,) booleans, as the solver finds them."""
    arrays = prepare_features(features)
    return fit_standardization(arrays.rows, arrays.row_weight).constant


def constant_columns_warning(pairs: PairSet, columns: tuple[int, ...]) -> str:
    """One line that names the ignored columns."""
    shown = ", ".join(map(str, columns[:NAMED_COLUMNS]))
    more = ", ..." if len(columns) > NAMED_COLUMNS else ""
    return (
        f"{pairs.source}: {len(columns)} of {pairs.chosen.shape[1]} feature columns are constant "
        f"and ignored: {shown}{more}"
    )
