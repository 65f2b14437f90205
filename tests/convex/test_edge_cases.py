"""Small, degenerate and broken problems, every status they end in, and the rate of Theorem 4.2."""

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import (
    Config,
    Params,
    PreferenceFeatures,
    Solution,
    SolveError,
    Status,
    cronos,
    solve,
)
from coala_jax.convex import cronos_init, cronos_problem, cronos_step
from coala_jax.convex._certificate import relative_gap
from coala_jax.convex._program import HALVES, Program
from coala_jax.losses import SQUARED
from tests.helpers import draw_pairs, rows_of, standardised_rows

MODELS = ["relu", "gated_relu"]
PAIRS, WIDTH = 20, 3
# Patterns of one side alone and of both, where all rows of a side are the same.
GATES = np.array([[1.0, 0, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1], [1, 1, -1, 0.3]])
PLAIN = draw_pairs(0, PAIRS, WIDTH)


def with_columns(columns: list[int]) -> PreferenceFeatures:
    return PreferenceFeatures(*(array[:, columns] for array in PLAIN[:2]))


def one_row_a_side() -> PreferenceFeatures:
    """Standardised they are (1, 1, 1) and (-1, -1, -1)."""
    ones = np.ones((PAIRS, 1))
    return PreferenceFeatures(ones * [2.0, 5.0, -1.0], ones * [0.0, 1.0, -3.0])


def with_both_labels() -> PreferenceFeatures:
    """Every row is chosen once and rejected once."""
    one, other = (array[: PAIRS // 2] for array in PLAIN[:2])
    return PreferenceFeatures(np.concatenate([one, other]), np.concatenate([other, one]))


def scaled(factor: float) -> PreferenceFeatures:
    return PreferenceFeatures(*(factor * array for array in PLAIN[:2]))


def poisoned(field: str, value: float) -> PreferenceFeatures:
    array = getattr(PLAIN, field).copy()
    array[3, 1] = value
    return PLAIN._replace(**{field: array})


SWAPPED = [0, 2, 1, 3]
# Features, absolute strength and gates. Of one row a side the zero network is optimal from
# 2 n = 40 on, and from 2 n sqrt(3) = 69.28 where a neuron may see both sides.
CASES = {
    "plain": (PLAIN, 1.0, GATES),
    "duplicate column": (with_columns([0, 0, 1]), 1.0, GATES),
    "duplicate column in another order": (with_columns([0, 1, 0]), 1.0, GATES[:, SWAPPED]),
    "one row a side": (one_row_a_side(), 4.0, GATES),
    "below lambda_max": (one_row_a_side(), 36.0, GATES),
    "above lambda_max": (one_row_a_side(), 69.4, GATES),
    "far above lambda_max": (PLAIN, 1e6, GATES),
    "each row with both labels": (with_both_labels(), 1.0, GATES),
    "one row": (PLAIN._replace(rejected=PLAIN.chosen), 1.0, GATES),
    "zero strength": (PLAIN, 0.0, GATES),
    "zero strength and nothing to learn": (with_both_labels(), 0.0, GATES),
    "NaN": (poisoned("chosen", np.nan), 1.0, GATES),
    "infinity": (poisoned("rejected", np.inf), 1.0, GATES),
    "1e-10": (scaled(1e-10), 1.0, GATES),
    "1e10": (scaled(1e10), 1.0, GATES),
    "1e-25": (scaled(1e-25), 1.0, GATES),
    "1e25": (scaled(1e25), 1.0, GATES),
    "negative strength": (PLAIN, -1.0, GATES),
}
BROKEN = ["NaN", "infinity", "negative strength"]


@pytest.fixture(scope="module")
def run_cases():
    """`run_cases(model, cases)` solves a dictionary of cases in one vmapped call."""
    solvers = {}

    def run(model, cases):
        if model not in solvers:
            config = Config(
                model=model, strength_unit="absolute", max_iterations=500, sweep="lockstep"
            )

            def one(chosen, rejected, strength, gates):
                params = Params(group_lasso=strength)
                features = PreferenceFeatures(chosen, rejected)
                return cronos(params, features, config=config, gates=gates)

            solvers[model] = jax.jit(jax.vmap(one))
        arrays = [(*features[:2], strength, gates) for features, strength, gates in cases.values()]
        batch = [np.stack(leaves).astype(np.float32) for leaves in zip(*arrays, strict=True)]
        swept = jax.tree.map(np.asarray, solvers[model](*batch))
        return {
            name: jax.tree.map(lambda leaf, i=i: leaf[i], swept) for i, name in enumerate(cases)
        }

    return run


@pytest.fixture(scope="module", params=MODELS)
def cases(request, run_cases):
    """A model and its solutions by name."""
    return request.param, run_cases(request.param, CASES)


def assert_certified(features, solution, rounding=1e-4) -> None:
    """The squared loss's certificate in numpy, with outputs from the head on raw features."""
    assert int(solution.status) == Status.SOLVED
    certificate = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), solution.certificate)
    x, d, y = standardised_rows(features, certificate), certificate.patterns, certificate.labels
    raw = rows_of(features)
    strength = float(certificate.group_lasso_strength)
    z = np.asarray(solution.head(raw), np.float64)
    primal = 0.5 * np.sum((z - y) ** 2)
    primal += strength * np.linalg.norm(certificate.weights, axis=-1).sum()
    assert primal == pytest.approx(float(solution.stats.primal_value), rel=rounding)
    pulled = (d * certificate.dual_point) @ x
    halves = np.stack([pulled, -pulled])[: len(certificate.weights)]
    halves = halves + ((2 * d - 1) * certificate.multipliers) @ x
    assert np.all(certificate.multipliers >= 0)
    assert np.linalg.norm(halves, axis=-1).max() <= strength * (1 + rounding)
    dual = certificate.dual_point @ (y - 0.5 * certificate.dual_point)
    assert dual == pytest.approx(float(solution.stats.dual_bound), rel=rounding)
    assert -rounding <= (primal - dual) / dual <= 1e-2 + rounding


def status_of(solution) -> Status:
    return Status(int(solution.status))


def least_squares_value(features, certificate) -> float:
    """Optimum without a penalty: every cone has an inside, so v - w is any weight at all."""
    x, d = standardised_rows(features, certificate), np.asarray(certificate.patterns, np.float64)
    columns = np.concatenate([pattern[:, None] * x for pattern in d], axis=1)
    y = np.asarray(certificate.labels, np.float64)
    return 0.5 * np.sum((columns @ np.linalg.lstsq(columns, y, rcond=None)[0] - y) ** 2)


@pytest.mark.parametrize("name", ["plain", "duplicate column", "one row a side"])
def test_they_are_solved_and_certified(name, cases):
    assert_certified(CASES[name][0], cases[1][name])


def test_duplicate_columns_share_their_weight_and_their_order_is_no_matter(cases):
    one, other = (
        cases[1][name] for name in ("duplicate column", "duplicate column in another order")
    )
    assert status_of(one) == status_of(other) == Status.SOLVED
    rewards = np.asarray(one.head(CASES["duplicate column"][0].chosen))
    swapped = np.asarray(other.head(CASES["duplicate column in another order"][0].chosen))
    scale = np.abs(rewards).max()
    assert scale > 0.1
    np.testing.assert_allclose(swapped, rewards, atol=1e-3 * scale)
    # Of two equal columns the least norm takes the same weight each.
    np.testing.assert_allclose(one.head.theta1[0], one.head.theta1[1], atol=1e-3)


def test_one_row_a_side_has_the_optimum_in_closed_form(cases):
    """A neuron a side of norm t / 2 for output t; one for both sides, of norm t / sqrt(3)."""
    model, solutions = cases
    for name in ("one row a side", "below lambda_max"):
        solution, strength = solutions[name], CASES[name][1]
        cost = strength if model == "relu" else strength / np.sqrt(3)
        best = cost - cost**2 / (4 * PAIRS)
        assert status_of(solution) == Status.SOLVED
        assert float(solution.stats.primal_value) == pytest.approx(best, rel=1e-2)
        assert float(solution.stats.dual_bound) <= best * (1 + 1e-5)
        assert float(solution.stats.primal_value) >= best * (1 - 1e-5)
        reward = solution.head(CASES[name][0].chosen)
        np.testing.assert_allclose(reward, 1 - cost / (2 * PAIRS), atol=0.02)


@pytest.mark.parametrize(
    "name",
    [
        "above lambda_max",
        "far above lambda_max",
        "each row with both labels",
        "one row",
        "zero strength and nothing to learn",
    ],
)
def test_where_zero_is_optimal_the_network_is_zero(name, cases):
    solution = cases[1][name]
    assert status_of(solution) == Status.ZERO_NETWORK
    assert not any(np.any(leaf) for leaf in solution.head[:3])
    assert int(solution.stats.active_neurons) == 0
    # Half of 2 n rows, from above.
    assert PAIRS <= float(solution.stats.primal_value) <= PAIRS * (1 + 1e-5)


def test_a_zero_strength_is_least_squares_without_a_gap(cases):
    solution = cases[1]["zero strength"]
    assert status_of(solution) == Status.SOLVED_WITHOUT_GAP
    best = least_squares_value(CASES["zero strength"][0], solution.certificate)
    # Residuals of a hundredth leave the objective about as far above its least.
    assert best * (1 - 1e-5) <= float(solution.stats.primal_value) <= best * 1.02
    residuals = (solution.stats.primal_residual, solution.stats.dual_residual)
    assert max(map(float, residuals)) <= Params().residual_tolerance
    assert float(solution.stats.cone_violation) <= Params().violation_tolerance
    assert float(solution.stats.dual_bound) == 0
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(solution.head))
    assert not np.isnan(solution.stats.relative_gap)


def test_the_gap_where_objective_and_bound_meet_at_zero_is_a_number():
    """An exact fit without a penalty: their ratio would be 0 / 0."""
    assert not np.isnan(relative_gap(jnp.zeros(()), jnp.zeros(())))


@pytest.mark.parametrize("factor", ["1e-10", "1e10", "1e-25", "1e25"])
def test_the_units_of_the_features_are_no_matter(factor, cases):
    """Finite float32 features, whose squares need not be."""
    plain, solution = cases[1]["plain"], cases[1][factor]
    assert int(solution.stats.constant_features) == 0
    assert status_of(solution) == Status.SOLVED
    expected = plain.head(PLAIN.chosen)
    found = solution.head(CASES[factor][0].chosen.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_broken_elements_have_their_status_and_no_network(cases):
    solutions = cases[1]
    assert status_of(solutions["NaN"]) == Status.NOT_FINITE_INPUT
    assert status_of(solutions["infinity"]) == Status.NOT_FINITE_INPUT
    assert status_of(solutions["negative strength"]) == Status.INVALID_PARAMETER
    for name in BROKEN:
        assert not np.any(solutions[name].head.theta2)
        assert int(solutions[name].stats.iterations) == 0


def test_broken_elements_do_not_spoil_their_batch(cases, run_cases):
    """With sound elements in their place all others come out the same to the last bit."""
    model, solutions = cases
    sound = run_cases(model, {**CASES, **dict.fromkeys(BROKEN, CASES["plain"])})
    for name in CASES.keys() - set(BROKEN):
        for leaf, other in zip(
            jax.tree.leaves(solutions[name]), jax.tree.leaves(sound[name]), strict=True
        ):
            np.testing.assert_array_equal(leaf, other, err_msg=name)


# Two pairs and one gate, in float64: the least that can be asked for. 75 steps suffice.
SMALLEST = draw_pairs(0, pairs=2, width=2)


def solve_smallest(model: str, **params: float) -> Solution:
    with jax.enable_x64(True):
        config = Config(model=model, n_gates=1, max_iterations=75)
        return jax.tree.map(np.asarray, solve(Params(**params), SMALLEST, config=config))


@pytest.mark.parametrize("model", MODELS)
def test_two_pairs_and_one_gate_are_solved(model):
    solution = solve_smallest(model)
    assert solution.raise_for_status() is solution
    assert status_of(solution) == Status.SOLVED
    assert int(solution.stats.phase1.distinct_gates) == 1
    assert np.all(solution.head(SMALLEST.chosen) > solution.head(SMALLEST.rejected))


@pytest.mark.parametrize("model", MODELS)
def test_the_zero_network_in_the_unit_of_lambda_max(model):
    for strength in (1.0, 3.0):
        solution = solve_smallest(model, group_lasso=strength)
        assert status_of(solution) == Status.ZERO_NETWORK
        with pytest.raises(SolveError, match="zero_network: no network was sought"):
            solution.raise_for_status()


@pytest.mark.parametrize("model", MODELS)
def test_a_zero_strength_passes_once_residuals_and_violation_meet_their_tolerances(model):
    loose = solve_smallest(model, group_lasso=0.0, residual_tolerance=0.2)
    assert status_of(loose) == Status.SOLVED_WITHOUT_GAP
    assert loose.raise_for_status() is loose
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(loose.head))
    tight = solve_smallest(model, group_lasso=0.0, residual_tolerance=1e-6)
    assert status_of(tight) == Status.ITERATION_LIMIT


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("quantity", ["gap", "residual"])
@pytest.mark.parametrize(
    ("share", "status"),
    [
        (1.01, Status.SOLVED),
        (0.99, Status.SOLVED_INACCURATE),
        (0.34, Status.SOLVED_INACCURATE),
        (0.33, Status.ITERATION_LIMIT),
    ],
)
def test_up_to_three_tolerances_short_is_loosely_solved(model, quantity, share, status):
    """At the cap of steps the tolerance is a share of what was reached."""
    reached = solve_smallest(model, gap_tolerance=0.0).stats.phase1
    residual = max(float(reached.primal_residual), float(reached.dual_residual))
    value = {"gap": float(reached.relative_gap), "residual": residual}[quantity]
    assert value > 1e-12
    solution = solve_smallest(model, **{f"{quantity}_tolerance": share * value})
    assert int(solution.stats.phase1.iterations) == 75
    assert status_of(solution) == int(solution.stats.phase1.status) == status
    if status == Status.SOLVED:
        solution.raise_for_status()
    else:
        with pytest.raises(SolveError, match=f"the solve failed: {status.name.lower()}"):
            solution.raise_for_status()


# More features than rows.
WIDE = draw_pairs(1, pairs=3, width=10)


def solve_wide(model: str, strength: float):
    config = Config(model=model, n_gates=8, max_iterations=1000)
    solution = cronos(Params(group_lasso=strength), WIDE, config=config)
    return jax.tree.map(np.asarray, solution)


@pytest.mark.parametrize("model", MODELS)
def test_more_features_than_rows_are_solved_and_certified(model):
    assert_certified(WIDE, solve_wide(model, 0.1))


@pytest.mark.parametrize("model", MODELS)
def test_an_exact_fit_without_a_penalty_is_a_success(model):
    """Objective and bound are both zero: nothing can be better."""
    solution = solve_wide(model, 0.0)
    assert least_squares_value(WIDE, solution.certificate) < 1e-20
    zero_value = 0.5 * len(solution.certificate.labels)
    assert float(solution.stats.primal_value) <= Params().gap_tolerance * zero_value
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(solution.head))
    assert status_of(solution) in (Status.SOLVED, Status.SOLVED_WITHOUT_GAP)


@pytest.mark.parametrize("model", MODELS)
def test_averages_converge_at_the_rate_of_theorem_4_2(model):
    """Fixed penalties: objective error plus violation of the averaged u is O(1/k)."""
    rng = np.random.default_rng(0)
    x = np.c_[rng.standard_normal((24, 2)), np.ones(24)]
    gates = rng.standard_normal((4, 3))
    d = (gates @ x.T >= 0).astype(float)
    planted = np.maximum(x @ gates[0], 0) - np.maximum(x @ gates[1], 0)
    y = planted + 0.1 * rng.standard_normal(24)
    strength = 0.2 * np.linalg.norm((d * y) @ x, axis=1).max()
    halves = np.array(HALVES[model])

    blocks = [cp.Variable((4, 3)) for _ in halves]
    z = cp.sum(
        cp.multiply(d, sum(h * u for h, u in zip(halves, blocks, strict=True)) @ x.T), axis=0
    )
    penalty = strength * sum(cp.sum(cp.norm(u, axis=1)) for u in blocks)
    cones = [cp.multiply(2 * d - 1, u @ x.T) >= 0 for u in blocks] if model == "relu" else []
    best = cp.Problem(cp.Minimize(cp.sum_squares(z - y) / 2 + penalty), cones).solve(
        solver=cp.CLARABEL, tol_gap_rel=1e-10, tol_gap_abs=1e-10, tol_feas=1e-10
    )

    steps = 1600
    with jax.enable_x64(True):
        arrays = (jnp.asarray(a, float) for a in (x, d, y, np.ones(24), strength))
        program = Program(*arrays, loss=SQUARED, model=model)
        problem = cronos_problem(program, jnp.asarray(1.0))

        def step(state, _):
            state = cronos_step(problem, state, 100)
            return state, state.point

        start = cronos_init(problem, adapt_rows=False)
        _, points = jax.jit(lambda start: jax.lax.scan(step, start, length=steps))(start)
        points = np.asarray(points)
    averages = np.cumsum(points, axis=0) / np.arange(1, steps + 1)[:, None, None, None]

    def error(k: int) -> float:
        u = averages[k - 1]
        products = u @ x.T
        output = np.sum(d * np.tensordot(halves, products, 1), axis=0)
        value = 0.5 * np.sum((output - y) ** 2) + strength * np.linalg.norm(u, axis=-1).sum()
        outside = np.maximum(-(2 * d - 1) * products, 0) if model == "relu" else 0
        return abs(value - best) + np.linalg.norm(outside)

    assert error(25) > 1e-2  # else there is no rate to see
    for k in (25, 50, 100, 200):
        assert 8 * k * error(8 * k) <= 1.5 * k * error(k)
        assert error(8 * k) < error(k) / 3
