"""Products with weights as torch stores them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax.backbones._ops import FEW_ROWS, linear


@pytest.mark.parametrize(
    "shape", [(5,), (1, 5), (2, 5), (2, 3, 5), (FEW_ROWS, 5), (FEW_ROWS + 1, 5), (0, 5)]
)
def test_a_layer_is_the_same_whatever_the_number_of_rows(shape):
    draw = np.random.default_rng(0)
    x, weight, bias = (draw.standard_normal(s).astype(np.float32) for s in (shape, (7, 5), (7,)))
    for made in (linear, jax.jit(linear)):
        np.testing.assert_allclose(made(x, weight, bias), x @ weight.T + bias, atol=1e-5)


def test_few_rows_are_turned_on_a_cpu_alone_and_keep_their_type():
    weight, rows = jnp.ones((7, 5), jnp.bfloat16), jnp.ones((3, 5), jnp.bfloat16)
    assert linear(rows, weight).dtype == jnp.bfloat16
    lowered = jax.jit(linear).trace(rows, weight)
    cpu, gpu = (lowered.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "cuda"))
    assert "optimization_barrier" in cpu
    assert "optimization_barrier" not in gpu
    alone = jax.jit(linear).trace(rows[:1], weight).lower(lowering_platforms=("cpu",))
    assert "optimization_barrier" not in alone.as_text()


def test_a_layer_of_few_rows_has_derivatives_and_is_mapped():
    draw = np.random.default_rng(0)
    x, weight = (jnp.asarray(draw.standard_normal(shape)) for shape in ((3, 4, 5), (7, 5)))
    found = jax.grad(lambda w: linear(x, w).sum())(weight)
    expected = jnp.broadcast_to(x.sum((0, 1)), weight.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(linear, (0, None))(x, weight), x @ weight.T, rtol=1e-5)
