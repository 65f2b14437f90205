"""Gates: the hyperplanes whose activation patterns D_i the convex program is built on."""

from __future__ import annotations

import jax


def sample_gates(
    key: jax.Array, n_gates: int, width: int, dtype: jax.typing.DTypeLike
) -> jax.Array:
    """Gaussian gate vectors h_i (Pilanci & Ergen 2020, section 3): (P, D)."""
    return jax.random.normal(key, (n_gates, width), dtype)


def activation_patterns(features: jax.Array, gates: jax.Array) -> jax.Array:
    """D_i = 1(X h_i >= 0) as booleans: (m, D), (P, D) -> (P, m)."""
    return gates @ features.T >= 0
