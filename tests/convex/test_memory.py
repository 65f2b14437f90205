"""Peak memory of a solve stays within the formula of docs/solver.md."""

import jax
import jax.numpy as jnp
import pytest

from coala_jax import Config, Params, PreferenceFeatures, cronos

FLOAT_BYTES = 4


def temporary_floats(pairs: int, width: int, config: Config) -> float:
    """What XLA reserves beside arguments and results; nothing runs."""
    shape = jax.ShapeDtypeStruct((pairs, width), jnp.float32)
    params = jax.tree.map(lambda _: jax.ShapeDtypeStruct((), jnp.float32), Params())
    solver = jax.jit(lambda params, features: cronos(params, features, config=config))
    compiled = solver.lower(params, PreferenceFeatures(shape, shape)).compile()
    return compiled.memory_analysis().temp_size_in_bytes / FLOAT_BYTES


def formula(pairs: int, width: int, config: Config) -> int:
    """Of docs/solver.md, section Memory, in numbers of the solver's dtype."""
    rows, columns, gates = 2 * pairs, width + 1, config.n_gates
    features = 4 * rows * columns
    if config.model == "gated_relu":
        return features + 10 * gates * rows + 4 * columns**2 + 60 * rows
    pays = config.adapt_rows and columns**2 <= 100 * rows
    inverses = (6 * gates if pays else 4) * columns**2
    return features + 15 * (2 * gates * rows) + inverses + 60 * rows


@pytest.mark.parametrize(
    ("pairs", "width", "config"),
    [
        (4000, 40, Config(n_gates=16)),
        (600, 150, Config(n_gates=8)),
        (500, 200, Config(n_gates=8)),
        (300, 280, Config(n_gates=8)),
        (1000, 200, Config(n_gates=8, adapt_rows=False)),
        (2000, 50, Config(n_gates=12, model="gated_relu")),
    ],
    ids=[
        "many rows",
        "wide",
        "wide enough for projections",
        "too wide to pay",
        "one inverse",
        "gated",
    ],
)
def test_temporaries_stay_within_the_formula(pairs, width, config):
    bound = formula(pairs, width, config)
    assert 0.45 * bound < temporary_floats(pairs, width, config) <= bound


@pytest.mark.slow
def test_a_callers_features_are_never_donated():
    features = PreferenceFeatures(*(jax.random.normal(jax.random.key(k), (20, 3)) for k in (0, 1)))
    config = Config(n_gates=3, max_iterations=25)
    cronos(Params(), features, config=config)
    assert not any(array.is_deleted() for array in features[:2])
