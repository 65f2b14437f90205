"""Feature columns that carry nothing: which, and when that is all of them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

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
    rows = np.concatenate([pairs.chosen, pairs.rejected])
    count = int(fit_standardization(jnp.asarray(rows)).constant)
    width = rows.shape[1]
    if count == width:
        raise FeatureError(
            f"{pairs.source}: all {width} columns of chosen and rejected are constant over the "
            f"{len(pairs.chosen)} training pairs; there is nothing to learn from"
        )
    largest = np.abs(rows).max(axis=0)
    # The solver's count decides; the columns are those with the smallest spread for their size.
    relative = rows.std(axis=0, dtype=np.float64) / np.where(largest > 0, largest, 1)
    return tuple(sorted(np.argsort(relative, kind="stable")[:count].tolist()))


def constant_columns_warning(pairs: PairSet, columns: tuple[int, ...]) -> str:
    """One line that names the ignored columns."""
    shown = ", ".join(map(str, columns[:NAMED_COLUMNS]))
    more = ", ..." if len(columns) > NAMED_COLUMNS else ""
    return (
        f"{pairs.source}: {len(columns)} of {pairs.chosen.shape[1]} feature columns are constant "
        f"and ignored: {shown}{more}"
    )
