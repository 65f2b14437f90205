"""Losses of groups: values, proxes and conjugates against their definitions, masks and ties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from coala_jax.losses import LOSSES
from tests.convex.compiled_losses import compiled_loss

NAMES = sorted(name for name, loss in LOSSES.items() if loss.grouped)


@pytest.fixture(autouse=True)
def _in_float64():
    with jax.enable_x64(True):
        yield


def group(name, rng, k, missing=0):
    """Outputs of mean zero, labels and weights of one group, with members that are missing."""
    members = np.arange(k + missing) < k
    z = np.where(members, rng.normal(size=k + missing), 0)
    z = np.where(members, z - z[members].mean(), 0)
    labels = {
        "group_squared": lambda: rng.normal(size=k),
        "listwise": lambda: rng.dirichlet(np.ones(k)),
        "plackett_luce": lambda: rng.permutation(k) if k < 4 else rng.integers(0, 3, k),
    }[name]()
    if name == "group_squared":
        labels = labels - labels.mean()
    if name == "plackett_luce":
        labels = np.unique(labels, return_inverse=True)[1]
    labels = np.concatenate([labels, np.full(missing, 7.0 if name == "plackett_luce" else 0.0)])
    return z[None], labels[None].astype(float), np.where(members, rng.uniform(0.5, 2), 0.0)[None]


def plain_value(name, z, labels, weight):
    """The loss in plain numpy, of the members alone."""
    member = weight[0] > 0
    z, labels, weight = z[0][member], labels[0][member], weight[0][member][0]
    if name == "group_squared":
        return weight * 0.5 * np.sum((z - labels) ** 2)
    if name == "listwise":
        return weight * (np.log(np.exp(z).sum()) - labels @ z)
    drawn = [j for j in range(len(z)) if labels[j] < labels.max()]
    return weight * sum(np.log(np.exp(z[labels >= labels[j]]).sum()) - z[j] for j in drawn)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("k", "missing"), [(2, 0), (3, 2), (5, 0), (1, 2)])
def test_values_are_those_of_the_members(name, k, missing):
    rng = np.random.default_rng(k)
    z, labels, weight = group(name, rng, k, missing)
    found = compiled_loss(name).value(*map(jnp.asarray, (z, labels, weight)))
    assert found == pytest.approx(plain_value(name, z, labels, weight), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [2, 5])
def test_the_dual_point_is_minus_the_gradient(name, k):
    """Of outputs in the space of means zero, where the gradient of a group sums to zero."""
    loss = compiled_loss(name)
    z, labels, weight = map(jnp.asarray, group(name, np.random.default_rng(k), k, 1))
    slope = jax.jit(jax.grad(loss.value))(z, labels, weight)
    r = loss.negative_gradient(z, labels, weight)
    assert np.allclose(r, -slope, atol=1e-14)
    assert abs(float(r.sum())) < 1e-14 and r[0, -1] == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("step", [1e-3, 1.0, 30.0, 1e4])
def test_the_prox_is_stationary(name, step):
    loss, rng = compiled_loss(name), np.random.default_rng(0)
    for spread in (0.1, 5.0, 300.0):
        z, labels, weight = map(jnp.asarray, group(name, rng, 5, 2))
        steps = step * weight
        found = loss.prox(spread * z, labels, steps)
        left = found - spread * z - loss.negative_gradient(found, labels, steps)
        assert np.abs(left).max() < 1e-11 * (step + spread), spread
        assert abs(float(found.sum())) < 1e-10 * (step + spread)
        assert np.all(np.asarray(found)[0, 5:] == 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [2, 3, 6])
def test_the_dual_value_is_the_conjugate(name, k):
    """-l*(-r) is the least l(z) + r z; at r = -grad l(z) it is met by that z."""
    loss, rng = compiled_loss(name), np.random.default_rng(k)
    z, labels, weight = map(jnp.asarray, group(name, rng, k, 1))
    r = loss.negative_gradient(z, labels, weight)
    met = float(loss.value(z, labels, weight) + jnp.vdot(r, z))
    dual = float(loss.dual_value(r, labels, weight))
    assert dual <= met and dual == pytest.approx(met, abs=1e-12 * (1 + abs(met)))
    inside = 0.7 * r

    def above(x):
        moved = jnp.asarray(np.append(x, 0)[None]) - jnp.mean(x)
        moved = jnp.where(weight > 0, moved, 0)
        return float(loss.value(moved, labels, weight) + jnp.vdot(inside, moved))

    least = minimize(above, np.zeros(k), method="BFGS", options={"gtol": 1e-7}).fun
    assert float(loss.dual_value(inside, labels, weight)) == pytest.approx(least, abs=1e-7)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"group_squared"}))
def test_no_bound_where_a_share_is_below_zero(name):
    z, labels, weight = map(jnp.asarray, group(name, np.random.default_rng(1), 3))
    r = compiled_loss(name).negative_gradient(z, labels, weight)
    assert compiled_loss(name).dual_value(-r, labels, weight) == -np.inf


@pytest.mark.parametrize("name", NAMES)
def test_the_best_scale_is_no_worse_than_any_other(name):
    loss, rng = compiled_loss(name), np.random.default_rng(3)
    for _ in range(3):
        z, labels, weight = map(jnp.asarray, group(name, rng, 4, 1))
        r = loss.negative_gradient(z, labels, weight) * rng.uniform(0.05, 3)
        for cap in (0.3, 100.0):
            best = float(loss.best_scale(r, labels, weight, jnp.asarray(cap)))
            found = float(loss.dual_value(best * r, labels, weight))
            grid = [float(loss.dual_value(t * r, labels, weight)) for t in np.linspace(0, cap, 400)]
            assert 0 <= best <= cap and found >= max(grid) - 1e-6


@pytest.mark.parametrize("name", ["listwise", "plackett_luce"])
@pytest.mark.parametrize("reach", [4.0, 10.0, 40.0])
def test_the_loss_of_a_group_that_is_fitted_does_not_vanish_in_float32(name, reach):
    """What is left of it is far below the rounding of the outputs."""
    rng = np.random.default_rng(0)
    z = np.where(np.arange(5) == 0, reach, -reach) + rng.uniform(-0.1, 0.1, (50, 5))
    labels = np.tile([1.0, 0, 0, 0, 0] if name == "listwise" else [0.0, 1, 1, 1, 1], (50, 1))
    exact, coarse = (
        float(
            compiled_loss(name).value(
                *(jnp.asarray(x, kind) for x in (z.astype("f4"), labels, labels * 0 + 1))
            )
        )
        for kind in (jnp.float64, jnp.float32)
    )
    assert coarse == pytest.approx(exact, rel=1e-4) and exact > 0


@pytest.mark.parametrize("name", ["listwise", "plackett_luce"])
@pytest.mark.parametrize(("kind", "far"), [("float32", -25.0), ("float64", -45.0)])
def test_a_member_of_next_to_no_share_leaves_the_bound(name, kind, far):
    """Whatever rounding makes of its sign, the others are bounded as if it were not there."""
    loss, rng = compiled_loss(name), np.random.default_rng(0)
    for _ in range(8):
        z = np.append(rng.normal(size=4), far)[None]
        labels = {"listwise": rng.dirichlet(np.ones(4)), "plackett_luce": rng.permutation(4)}[name]
        labels = np.append(labels, 0.0 if name == "listwise" else 4.0)[None]
        z, labels, weight = (jnp.asarray(x, kind) for x in (z, labels, np.ones((1, 5))))
        r = loss.negative_gradient(z, labels, weight)
        rounded = r.at[0, -1].set(1e-9 if kind == "float32" else 1e-18)
        for point in (r, rounded):
            scale = loss.best_scale(point, labels, weight, jnp.asarray(1.0, kind))
            found = float(loss.dual_value(scale * point, labels, weight))
            wanted = float(loss.value(z, labels, weight) + jnp.vdot(r, z))
            assert found >= wanted * (1 - 1e-3)


@pytest.mark.parametrize("name", ["listwise", "plackett_luce"])
def test_two_members_are_a_pair_of_bradley_terry(name):
    rng = np.random.default_rng(0)
    half, weight = jnp.asarray(rng.normal(size=50)), jnp.asarray(rng.uniform(0.2, 2, 50))
    z, both = jnp.stack([half, -half], 1), jnp.stack([weight, weight], 1)
    labels = jnp.tile(jnp.array([[1.0, 0.0] if name == "listwise" else [0.0, 1.0]]), (50, 1))
    loss, pairwise, zero = compiled_loss(name), compiled_loss("bradley_terry"), jnp.zeros(50)
    assert np.isclose(
        loss.value(z, labels, both), pairwise.value(2 * half, zero, weight), rtol=1e-14
    )
    r = loss.negative_gradient(z, labels, both)
    pair = pairwise.negative_gradient(2 * half, zero, weight)
    assert np.allclose(r, jnp.stack([pair, -pair], 1), rtol=1e-13)
    dual, known = (
        loss.dual_value(r, labels, both),
        pairwise.dual_value(pair, zero, weight),
    )
    assert np.isclose(dual, known, rtol=1e-12)
    # A difference of 2 h has twice the squared distance of (h, -h).
    found = loss.prox(z, labels, both)
    assert np.allclose(
        found[:, 0] - found[:, 1], pairwise.prox(2 * half, zero, 2 * weight), atol=1e-12
    )


@pytest.mark.parametrize("name", NAMES)
def test_float32_claims_no_more_than_float64(name):
    """The bound in float32, which its own rounding has been taken from, is below the true one."""
    loss, rng = compiled_loss(name), np.random.default_rng(5)
    for sharp in (1.0, 30.0):
        z, labels, weight = group(name, rng, 6)
        exact = [jnp.asarray(x, jnp.float64) for x in (sharp * z, labels, weight)]
        r = loss.negative_gradient(*exact)
        true = float(loss.dual_value(r, *exact[1:]))
        coarse = [jnp.asarray(x, jnp.float32) for x in (r, labels, weight)]
        found = float(loss.dual_value(*coarse))
        assert found <= true + 1e-6 * abs(true)
        assert found == pytest.approx(true, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", ["listwise", "plackett_luce"])
def test_what_a_fitted_group_still_pulls_keeps_its_digits_in_float32(name):
    """1 less a share near 1 does not: the dual point of a group that is fitted was all of one sign.

    Such a point sums to zero over no group, and its shares are none.
    """
    z = np.array([[14.0, -4.0, -10.0], [0.0, 30.0, -30.0]])
    labels = {
        "listwise": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
        "plackett_luce": [[0.0, 1.0, 1.0], [1.0, 0.0, 2.0]],
    }[name]
    weight = np.full((2, 3), 2.0)
    exact = compiled_loss(name).negative_gradient(*map(jnp.asarray, (z, np.array(labels), weight)))
    with jax.enable_x64(False):
        found = compiled_loss(name).negative_gradient(
            *(jnp.asarray(leaf, jnp.float32) for leaf in (z, labels, weight))
        )
    # Of two numbers of 1 there is no difference below 6e-8, and these are of 1e-8 to 1e-26.
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    assert np.all(np.abs(np.sum(found, axis=1)) <= 1e-6 * np.abs(exact).max(axis=1))


@pytest.mark.parametrize("name", ["listwise", "plackett_luce"])
@pytest.mark.parametrize("step", [155.36, 1e6, 1e9])
@pytest.mark.parametrize("members", [8, 24])
def test_the_prox_of_a_long_step_is_a_number_in_float32(name, members, step):
    """Newton's method was led beyond its root, where exponentials overflow: by rounding, and where
    several of many members share most of the target, as rewards of 0 and 1 have it."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((100, members))
    best = np.arange(members) < 4
    labels = {
        "listwise": np.where(
            np.arange(100)[:, None] % 2 == 0,
            rng.dirichlet(np.full(members, 0.1), 100),
            np.where(best, 12, 1) / np.where(best, 12, 1).sum(),
        ),
        "plackett_luce": np.argsort(rng.standard_normal((100, members)), axis=1).astype(float),
    }[name]
    steps = np.full(z.shape, step)
    prox = compiled_loss(name).prox
    exact = prox(*map(jnp.asarray, (z, labels, steps)))
    with jax.enable_x64(False):
        found = prox(*(jnp.asarray(leaf, jnp.float32) for leaf in (z, labels, steps)))
    assert np.abs(found - exact).max() <= 1e-5 * step
