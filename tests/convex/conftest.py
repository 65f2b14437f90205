"""Small problems and independent truths for the convex tests."""

from collections.abc import Callable

import numpy as np
import pytest

import coala_jax


def draw_pairs(seed: int, pairs: int = 15, width: int = 3) -> coala_jax.PreferenceFeatures:
    rng = np.random.default_rng(seed)
    shift = 0.5
    chosen = rng.standard_normal((pairs, width)) + shift
    return coala_jax.PreferenceFeatures(chosen, rng.standard_normal((pairs, width)))


def standardised_rows(
    features: coala_jax.PreferenceFeatures, certificate: coala_jax.Certificate
) -> np.ndarray:
    rows = np.concatenate([features.chosen, features.rejected]).astype(np.float64)
    rows = (rows - np.asarray(certificate.mean)) / np.asarray(certificate.scale)
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)


@pytest.fixture(scope="session")
def make_pairs() -> Callable[..., coala_jax.PreferenceFeatures]:
    return draw_pairs


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., np.ndarray]:
    return standardised_rows
