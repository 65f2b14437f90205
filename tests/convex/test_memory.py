"""Peak memory of a solve stays within the formula of docs/solver.md."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import Config, Params, PreferenceFeatures, cronos, solve
from coala_jax.convex import _memory
from coala_jax.convex._memory import LEAST_SHARE, temporary_bytes

FLOAT_BYTES = 4


def reserved(pairs, width, config, dtype=jnp.float32):
    """What XLA reserves for users beside arguments and results; nothing runs."""
    shape = jax.ShapeDtypeStruct((pairs, width), dtype)
    params = jax.tree.map(lambda _: jax.ShapeDtypeStruct((), jnp.float32), Params())
    solver = jax.jit(lambda params, features: cronos(params, features, config=config))
    lowered = solver.lower(params, PreferenceFeatures(shape, shape))
    # With the passes that tests/conftest.py does without: they keep what loops do not change.
    compiled = lowered.compile(compiler_options={"xla_disable_hlo_passes": ""})
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize(
    ("pairs", "width", "config"),
    [
        pytest.param(4000, 40, Config(n_gates=16), marks=pytest.mark.slow),
        pytest.param(600, 150, Config(n_gates=8), marks=pytest.mark.slow),
        (500, 200, Config(n_gates=8)),
        pytest.param(300, 280, Config(n_gates=8), marks=pytest.mark.slow),
        pytest.param(1000, 200, Config(n_gates=8, adapt_rows=False), marks=pytest.mark.slow),
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
    bound = temporary_bytes(2 * pairs, width + 1, config)
    assert LEAST_SHARE * bound < reserved(pairs, width, config) <= bound


@pytest.mark.slow
@pytest.mark.parametrize("model", ["relu", "gated_relu"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_compact_rows_have_no_copy(monkeypatch, model, dtype):
    """Of 2 bytes a number but their bits, which a CPU copies: 6 bytes of whole rows are saved."""
    # A block so small that a copy of the rows would be seen beside it.
    monkeypatch.setattr("coala_jax._row_blocks.BLOCK_NUMBERS", 1 << 14)
    config = Config(n_gates=4, model=model, adapt_rows=False, rows="compact")
    pairs, width = 3000, 300
    size = jnp.dtype(dtype).itemsize
    bits = 2 * pairs * width * size if size == 2 else 0
    bound = temporary_bytes(2 * pairs, width + 1, config)
    assert bound < 2 * pairs * width * FLOAT_BYTES
    assert reserved(pairs, width, config, dtype) <= bound + bits


def test_what_cannot_fit_is_refused_with_what_would(monkeypatch):
    monkeypatch.setattr(_memory, "_device_bytes", lambda side: 40e9)
    side = np.broadcast_to(np.float32(0), (1_000_000, 4096))  # holds one number
    features = PreferenceFeatures(side, side)
    with pytest.raises(ValueError, match="bfloat16 takes 37.4 GB, rows over 8 such devices fit"):
        cronos(Params(), features)
    with pytest.raises(ValueError, match="up to 175 GB on a device of 40 GB"):
        solve(Params(), features)
    half = np.broadcast_to(np.float16(0), side.shape)
    told = (
        r"4096 float16 features, Config\(rows='full'\) and 16 gates take up to 175 GB on a device "
        r"of 40 GB: Config\(rows='compact', adapt_rows=False\) takes 37.4 GB"
    )
    with pytest.raises(ValueError, match=told) as raised:
        cronos(Params(), PreferenceFeatures(half, half))
    assert "bfloat16" not in str(raised.value)  # what a store has is as good
    monkeypatch.setattr(_memory, "_device_bytes", lambda side: 1e6)
    with pytest.raises(ValueError, match="give fewer gates"):
        cronos(Params(), features)


@pytest.mark.slow
def test_a_callers_features_are_never_donated():
    features = PreferenceFeatures(*(jax.random.normal(jax.random.key(k), (20, 3)) for k in (0, 1)))
    config = Config(n_gates=3, max_iterations=25)
    cronos(Params(), features, config=config)
    assert not any(array.is_deleted() for array in features[:2])
