"""Ties are worth half, whatever the arrays."""

import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax._accuracy import pairwise_accuracy


@pytest.mark.parametrize("array", [np.array, jnp.array])
def test_ties_count_half_and_nan_is_never_right(array):
    chosen, rejected = [1.0, 2.0, 3.0, np.nan, 0.0], [1.0, 1.0, 4.0, 0.0, np.nan]
    right = pairwise_accuracy(array(chosen), array(rejected))
    assert right.tolist() == [0.5, 1.0, 0.0, 0.0, 0.0]
    assert np.issubdtype(right.dtype, np.floating)
