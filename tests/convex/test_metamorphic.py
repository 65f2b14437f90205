"""Relations between problems that hold whatever their optimum is, in float64."""

from functools import partial

import jax
import numpy as np
import pytest

from coala_jax import Config, Params, PreferenceFeatures, Status, cronos
from coala_jax.losses import LOSSES
from tests.helpers import draw_pairs, enumerate_gates

GAP = 1e-8
PARAMS = Params(
    group_lasso=0.1,
    gamma=0.3,
    gap_tolerance=GAP,
    violation_tolerance=1e-6,
    residual_tolerance=1e-6,
)
PAIRS = 6
FEATURES = draw_pairs(3, PAIRS, 1)._replace(margin=np.linspace(0, 1, PAIRS))
MODELS = ["relu", "gated_relu"]
# Every case is compiled anew; the cone solver checks the weights of all losses.
FAST = ("squared", "bradley_terry")
every_problem = pytest.mark.parametrize(
    ("model", "loss"),
    [
        pytest.param(model, loss, marks=[] if loss in FAST else [pytest.mark.slow])
        for model in MODELS
        for loss in sorted(name for name, loss in LOSSES.items() if not loss.grouped)
    ],
)
# Gates do not depend on the loss.
some_problems = pytest.mark.parametrize(
    ("model", "loss"), [(model, loss) for model in MODELS for loss in FAST]
)


def solver_of(model: str, loss: str):
    """``solve(features, gates=None, seed=0, group_lasso=0.1)``: certified, and in numpy."""
    config = Config(n_gates=8, max_iterations=50_000, model=model, phase1_loss=loss)

    def solve(features, gates=None, seed=0, group_lasso=PARAMS.group_lasso):
        params = PARAMS._replace(group_lasso=group_lasso)
        with jax.enable_x64(True):
            key = jax.random.key(seed)
            solution = cronos(params, features, config=config, key=key, gates=gates)
        assert Status(int(solution.status)) == Status.SOLVED
        return jax.tree.map(np.asarray, solution)

    return solve


def every_gate(features: PreferenceFeatures) -> np.ndarray:
    rows = np.concatenate([features.chosen, features.rejected])
    return enumerate_gates(np.c_[(rows - rows.mean(0)) / rows.std(0), np.ones(len(rows))])


def per_pair(function, features: PreferenceFeatures) -> PreferenceFeatures:
    """Every column that there is, changed alike."""
    columns = features._asdict().items()
    return features._replace(**{name: function(c) for name, c in columns if c is not None})


def require_same_optimum(one, other, features, loss, sign=1, unit=1.0):
    """The same value, bound and, up to ``sign``, rewards: of each response, or of a pair's two.

    Values of the first are so many ``unit``s of the second's, which are sums over pairs.
    """
    same = partial(pytest.approx, rel=3 * GAP)
    assert float(one.stats.primal_value) == same(unit * float(other.stats.primal_value))
    assert float(one.stats.dual_bound) == same(unit * float(other.stats.dual_bound))
    with jax.enable_x64(True):
        rewards, others = (
            np.stack([solution.head(features.chosen), solution.head(features.rejected)])
            for solution in (one, other)
        )
    if LOSSES[loss].pairwise:  # what both sides share is free
        rewards, others = rewards[0] - rewards[1], others[0] - others[1]
    # The squared loss is strongly convex: |z - z*|^2 / 2 is at most the gap.
    farthest = np.sqrt(2 * GAP * float(one.stats.primal_value))
    np.testing.assert_allclose(rewards, sign * others, atol=2 * farthest)


@every_problem
def test_the_order_of_pairs_does_not_matter(model, loss):
    solve, gates = solver_of(model, loss), every_gate(FEATURES)
    permuted = per_pair(lambda column: column[[3, 0, 5, 1, 4, 2]], FEATURES)
    require_same_optimum(solve(FEATURES, gates), solve(permuted, gates), FEATURES, loss)


@every_problem
def test_swapped_sides_negate_the_rewards(model, loss):
    solve, gates = solver_of(model, loss), every_gate(FEATURES)
    swapped = FEATURES._replace(chosen=FEATURES.rejected, rejected=FEATURES.chosen)
    require_same_optimum(solve(FEATURES, gates), solve(swapped, gates), FEATURES, loss, sign=-1)


@pytest.mark.slow
@some_problems
def test_sampled_gates_of_no_key_go_below_the_bound_of_all_gates(model, loss):
    solve = solver_of(model, loss)
    every = solve(FEATURES, every_gate(FEATURES))
    strength, bound = every.stats.group_lasso_strength, float(every.stats.dual_bound)
    values = []
    for seed in (1, 2, 3):
        share = strength / solve(FEATURES, seed=seed).stats.lambda_max
        values.append(float(solve(FEATURES, seed=seed, group_lasso=share).stats.primal_value))
    assert min(values) >= bound * (1 - 1e-12)
    assert max(values) > bound * (1 + 10 * GAP)  # eight gates are few


# A pair without weight, far from all others, and one that counts twice; what they stand for.
WEIGHTED = FEATURES._replace(
    chosen=np.r_[[[9.0]], FEATURES.chosen[1:]],
    rejected=np.r_[[[-5.0]], FEATURES.rejected[1:]],
    weight=np.array([0.0, 1, 1, 1, 2, 1]),
)
REPEATED = per_pair(lambda column: column[[4, 1, 2, 3, 4, 5]], FEATURES)
# Weights are of mean 1 over those that have some: five there, six here.
WEIGHTED_UNIT = 5 / 6


@every_problem
def test_weights_are_repeated_pairs(model, loss):
    """Of weight 2 a pair is there twice and of 0 not at all, in every part of the program."""
    solve, gates = solver_of(model, loss), every_gate(REPEATED)
    weighted, repeated = solve(WEIGHTED, gates), solve(REPEATED, gates)
    require_same_optimum(weighted, repeated, REPEATED, loss, unit=WEIGHTED_UNIT)


@some_problems
@pytest.mark.parametrize("seed", [1, 2])
def test_weights_are_repeated_pairs_for_sampled_gates(model, loss, seed):
    solve = solver_of(model, loss)
    weighted, repeated = solve(WEIGHTED, seed=seed), solve(REPEATED, seed=seed)
    np.testing.assert_allclose(weighted.certificate.gates, repeated.certificate.gates, atol=1e-12)
    require_same_optimum(weighted, repeated, REPEATED, loss, unit=WEIGHTED_UNIT)
