"""Every loss of responses or pairs: prox, conjugate and dual scale against numerical truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import entr, xlog1py

from coala_jax.losses import LOSSES, get_loss
from tests.convex.compiled_losses import compiled_loss

NAMES = sorted(name for name, loss in LOSSES.items() if not loss.grouped)
LABELS = st.sampled_from([-1.0, 1.0])


@pytest.mark.parametrize("name", NAMES)
@given(z=st.floats(-20, 20), y=LABELS, step=st.floats(1e-3, 1e3))
def test_prox_minimises_its_definition(name, z, y, step):
    with jax.enable_x64(True):
        one = np.ones(1)
        prox = float(compiled_loss(name).prox(z * one, y * one, step * one)[0])

        def definition(x: float) -> float:
            value = float(compiled_loss(name).value(x * one, y * one, one))
            return step * value + 0.5 * (x - z) ** 2

        best = minimize_scalar(definition, bounds=(z - step - 1, z + step + 1), method="bounded")
        assert definition(prox) <= definition(best.x) + 1e-9 * (1 + abs(best.fun))


@pytest.mark.parametrize("name", NAMES)
def test_negative_gradient_is_minus_the_gradient(name):
    loss = compiled_loss(name)
    rng = np.random.default_rng(0)
    z, weight = jnp.asarray(rng.standard_normal(8)), jnp.asarray(rng.uniform(0.5, 2, 8))
    y = jnp.asarray(np.where(np.arange(8) % 2, 1.0, -1.0))
    expected = -jax.grad(loss.value)(z, y, weight)
    np.testing.assert_allclose(loss.negative_gradient(z, y, weight), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_dual_value_attains_fenchel_equality_at_the_gradient(name):
    """-l*(-r) = l(z) + r z at r = -grad l(z), and is below it elsewhere."""
    loss = compiled_loss(name)
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        z, weight = jnp.asarray(rng.standard_normal(16)), jnp.asarray(rng.uniform(0.5, 2, 16))
        y = jnp.asarray(np.where(np.arange(16) % 2, 1.0, -1.0))
        r = loss.negative_gradient(z, y, weight)
        bound = float(loss.dual_value(r, y, weight))
        assert bound == pytest.approx(float(loss.value(z, y, weight) + r @ z), rel=1e-10)
        other = jnp.asarray(rng.standard_normal(16))
        assert bound <= float(loss.value(other, y, weight) + r @ other) + 1e-10


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cap", [0.05, 0.7, 50.0])
def test_best_scale_maximises_the_dual_within_its_cap(name, cap):
    loss = compiled_loss(name)
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        z, weight = jnp.asarray(rng.standard_normal(16)), jnp.asarray(rng.uniform(0.5, 2, 16))
        y = jnp.asarray(np.where(np.arange(16) % 2, 1.0, -1.0))
        r = loss.negative_gradient(z, y, weight)
        scale = float(loss.best_scale(r, y, weight, jnp.asarray(cap)))
        best = float(loss.dual_value(scale * r, y, weight))
        assert 0 <= scale <= cap
        for t in np.linspace(0, cap, 200):
            assert float(loss.dual_value(t * r, y, weight)) <= best + 1e-9


@pytest.mark.parametrize("name", ["bradley_terry", "logistic"])
@pytest.mark.parametrize("q", [1e-3, 1e-5, 1e-7, 4e-8, 0.5, 1.0])
def test_the_entropy_of_small_probabilities_keeps_its_digits(name, q):
    """In float32 1 - q is rounded by as much as q is there: bounds were 3 % above the truth."""
    q = np.float32(q)
    exact = entr(np.float64(q)) - xlog1py(1 - np.float64(q), -np.float64(q))
    one = jnp.ones(1, jnp.float32)
    label = 0 * one if name == "bradley_terry" else one
    value = float(compiled_loss(name).dual_value(jnp.full(1, q), label, one))
    assert value == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_without_weight_does_not_count(name):
    loss = compiled_loss(name)
    z, y = jnp.asarray([0.3, 5.0]), jnp.asarray([1.0, -1.0])
    both, one = jnp.asarray([1.0, 0.0]), jnp.ones(1)
    assert float(loss.value(z, y, both)) == pytest.approx(float(loss.value(z[:1], y[:1], one)))
    r = loss.negative_gradient(z, y, both)
    assert float(r[1]) == 0
    alone = loss.dual_value(r[:1], y[:1], one)
    assert float(loss.dual_value(r, y, both)) == pytest.approx(float(alone))


@pytest.mark.parametrize(
    ("name", "r"),
    [("logistic", 1.5), ("huber", -1.5), ("squared_hinge", -0.1), ("bradley_terry", 1.1)],
)
def test_a_dual_point_outside_its_domain_bounds_nothing(name, r):
    loss = compiled_loss(name)
    assert float(loss.dual_value(jnp.asarray([r]), jnp.ones(1), jnp.ones(1))) == -np.inf


@given(z=st.floats(-1e3, 1e3), target=st.floats(-1e3, 1e3), step=st.floats(1e-3, 1e3))
def test_differences_have_targets_of_any_size_and_sign(z, target, step):
    """The prox of a parabola in closed form, its conjugate -l*(-r) = r y - r^2 / 2."""
    loss = compiled_loss("squared_difference")
    with jax.enable_x64(True):
        one = jnp.ones(1)
        prox = float(loss.prox(z * one, target * one, step * one)[0])
        assert prox == pytest.approx((z + step * target) / (1 + step), rel=1e-12, abs=1e-12)
        r = float(loss.negative_gradient(z * one, target * one, one)[0])
        dual = float(loss.dual_value(r * one, target * one, one))
        value = float(loss.value(z * one, target * one, one))
    assert value == pytest.approx(0.5 * (z - target) ** 2)
    assert dual == pytest.approx(r * target - r**2 / 2, abs=1e-6)
    assert dual == pytest.approx(value + r * z, abs=1e-6)


def test_an_unknown_loss_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="phase1_loss='hingge' must be one of squared, logistic"):
        get_loss("hingge")
