"""Features of preference pairs with the columns that go with them."""

from typing import NamedTuple

import numpy as np

from coala_jax.features._identity import FeatureIdentity


class FeatureTable(NamedTuple):
    """Features of n pairs, whatever file they come from.

    Attributes:
        chosen: (n, d) float32 or float16 (float64 in an .npz).
        rejected: (n, d), same type.
        ids: (n,) names of the rows.
        prompt_hashes: (n,) hashes of the normalised prompts; None where the file has none.
        margin: (n,) float32, 0 where a row has none; None where no row has one.
        weight: (n,) float32, 1 where a row has none; None where no row has one.
        groups: (n,) group of every row; None unless every row has one.
        identity: how the features were made; None where the file does not say.
    """

    chosen: np.ndarray
    rejected: np.ndarray
    ids: tuple[str, ...]
    prompt_hashes: tuple[str, ...] | None = None
    margin: np.ndarray | None = None
    weight: np.ndarray | None = None
    groups: tuple[str, ...] | None = None
    identity: FeatureIdentity | None = None
