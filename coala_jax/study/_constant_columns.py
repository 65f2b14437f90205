"""Feature columns that carry nothing: which, and when that is all of them."""

from __future__ import annotations

import jax
import numpy as np

from coala_jax._inputs import prepare_features
from coala_jax._types import PreferenceFeatures
from coala_jax.convex._standardize import fit_standardization
from coala_jax.features import FeatureError
from coala_jax.study._pairs import PairSet

# A warning names this many columns; the rest is a number.
NAMED_COLUMNS = 8


def constant_columns(pairs: PairSet) -> tuple[int, ...]:
    """Columns that the solver ignores because they do not vary over these pairs.

    Raises:
        FeatureError: no column varies.
    """
    constant = np.asarray(_constant(pairs.as_pairs()))
    if constant.all():
        raise FeatureError(
            f"{pairs.source}: all {constant.size} columns of chosen and rejected are constant over "
            f"the {pairs.pair_count()} training pairs; there is nothing to learn from"
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
