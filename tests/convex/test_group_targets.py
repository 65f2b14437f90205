"""What a loss of groups aims at, from scores of any size, precision and type."""

import jax
import numpy as np
import pytest
from scipy.special import softmax

from coala_jax import Config, GroupFeatures, Params
from coala_jax._group_inputs import group_targets, prepare_groups
from coala_jax._inputs import prepare_params

RESPONSES = np.random.default_rng(0).standard_normal((2, 3, 2)).astype("float32")
ADVANTAGES = ["centered", "standardized", "leave_one_out"]


def targets(loss, scores=None, *, advantage="centered", temperature=1.0, ranks=None):
    """Labels of groups of three in the solver's dtype, in float64."""
    config = Config(phase1_loss=loss, advantage=advantage)
    arrays = prepare_groups(GroupFeatures(RESPONSES, scores, ranks))
    params = prepare_params(Params(temperature=temperature))
    return np.asarray(group_targets(config, arrays, params)[0], np.float64)


@pytest.mark.parametrize("advantage", ADVANTAGES)
def test_a_member_that_is_far_behind_leaves_the_others_apart(advantage):
    """Their mean is so large that in float32 the advantages of the other two are equal."""
    scores = np.array([[1.0, 1 - 1e-6, -1e5], [0.0, 3e-6, 1e-6]], "float32")
    behind = (scores - scores.max(axis=1, keepdims=True)).astype(np.float64)
    unit = {
        "centered": 1.0,
        "standardized": behind.std(axis=1, ddof=1, keepdims=True),
        "leave_one_out": 2 / 3,
    }[advantage]
    tau = 1e-6 / np.ravel(unit)[0]
    found = targets("listwise", scores, advantage=advantage, temperature=tau)
    np.testing.assert_allclose(found, softmax(behind / unit / tau, axis=1), rtol=1e-5, atol=1e-30)


def test_at_temperature_zero_the_best_has_all_however_near_the_next_is():
    scores = np.array([[1.0, 1 + 1e-12, -1e9], [1e-60, 0.0, 0.0]])
    found = targets("listwise", scores, temperature=0.0)
    np.testing.assert_array_equal(found, [[0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e25])
def test_standardized_advantages_have_no_unit(scale):
    scores = np.array([[0.0, 1.0, 3.0], [2.0, 2.0, -1.0]])
    wanted = scores - scores.mean(axis=1, keepdims=True)
    wanted /= scores.std(axis=1, ddof=1, keepdims=True)
    found = targets("group_squared", (scale * scores).astype("float32"), advantage="standardized")
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8", "uint32", "int64"])
@pytest.mark.parametrize("as_jax", [False, True])
def test_integers_may_differ_by_more_than_their_type_holds(dtype, as_jax, x64):
    if as_jax and dtype == "int64" and not x64:
        pytest.skip("jax has none")
    most, least = np.iinfo(dtype).max, np.iinfo(dtype).min
    known = np.array([[least, most, most - 1], [0, least, most]], dtype)
    wide = known.astype(object)
    with jax.enable_x64(x64):
        given = jax.numpy.asarray(known) if as_jax else known
        scores, ranks = targets("group_squared", given), targets("group_squared", ranks=given)
        order = targets("plackett_luce", ranks=given)
    wanted = np.array(
        [[float(3 * value - sum(group)) / 3 for value in group] for group in wide.tolist()]
    )
    np.testing.assert_allclose(scores, wanted, rtol=1e-6, atol=1e-6 * float(most))
    np.testing.assert_allclose(ranks, -wanted, rtol=1e-6, atol=1e-6 * float(most))
    np.testing.assert_array_equal(order[0], [0, 2, 1])


def test_differences_of_float32_scores_are_those_of_float64_under_x64():
    scores = np.array([[1.0, 1 / 3, 0.1], [0.7, 1e-9, 0.3]], "float32")
    wide = scores.astype(np.float64)
    with jax.enable_x64(True):
        found = targets("group_squared", scores)
    np.testing.assert_allclose(found, wide - wide.mean(axis=1, keepdims=True), rtol=1e-14)
