"""The optimum of program (3) against a cone solver, in float64."""

import warnings
from functools import partial

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import Config, Params, PreferenceFeatures, Status, cronos
from tests.helpers import draw_pairs, standardised_rows

LOSSES = [
    "squared",
    "logistic",
    "squared_hinge",
    "huber",
    "bradley_terry",
    "squared_difference",
]
PAIRWISE = ("bradley_terry", "squared_difference")
MODELS = ["relu", "gated_relu"]
PAIRS, GAMMA = 15, 0.3
# The last digits are a matter of rounding, and so of how XLA has compiled the rows.
SETTINGS = (
    {},
    {"equilibrate_enable": False},
    {"tol_feas": 1e-7},
    {"tol_feas": 1e-7, "equilibrate_enable": False},
    {"max_step_fraction": 0.9},
)
LINEAR_RIDGE = 0.2
TIGHT = {"gap_tolerance": 1e-5, "violation_tolerance": 1e-4, "residual_tolerance": 1e-3}


def cone_optimum(model, loss, x, d, targets, strength, ridge) -> float:
    """Optimum of (3), or of the gated program without its cones; with a linear path or without.

    Args:
        model: of `Config`.
        loss: of `Config`.
        x: (m, D) rows.
        d: (P, m) patterns.
        targets: labels of rows and their weights, or offsets of pairs and theirs.
        strength: lambda.
        ridge: mu of the linear path; None without one.
    """
    y, weight = targets
    root, blocks, width = np.sqrt(weight), len(d), x.shape[1]
    v = [cp.Variable(width) for _ in range(blocks)]
    w = [cp.Variable(width) for _ in range(blocks)]
    z = sum(cp.multiply(d[i], x @ (v[i] - w[i])) for i in range(blocks))
    cones = [cp.multiply(2 * d[i] - 1, x @ u) >= 0 for i in range(blocks) for u in (v[i], w[i])]
    penalty = strength * sum(map(cp.norm, v + w))
    if ridge is not None:
        path = cp.Variable(width - 1)
        z = z + x[:, :-1] @ path
        penalty = penalty + ridge / 2 * cp.sum_squares(path)
    if model == "gated_relu":
        # With w = 0 the split v - w is the gated weight itself.
        cones = [u == 0 for u in w]
    # Squared hinge and Huber as inner minima: CVXPY's own leave Clarabel short of eight digits.
    core = cp.Variable(len(y))
    if loss == "squared_hinge":
        cones.append(core >= 1 - cp.multiply(y, z))
    inner = 0.5 * cp.sum_squares(cp.multiply(root, core))
    value = {
        "squared": lambda: 0.5 * cp.sum_squares(cp.multiply(root, z - y)),
        "logistic": lambda: weight @ cp.logistic(-cp.multiply(y, z)),
        "squared_hinge": lambda: inner,
        "huber": lambda: inner + weight @ cp.abs(z - y - core),
        "bradley_terry": lambda: weight @ cp.logistic(y - z[::2] + z[1::2]),
        "squared_difference": lambda: 0.5 * cp.sum_squares(cp.multiply(root, z[::2] - z[1::2] - y)),
    }[loss]()
    return eight_digits(cp.Problem(cp.Minimize(value + penalty), cones))


def eight_digits(problem: cp.Problem) -> float:
    """The optimum by Clarabel, with other settings where it falls short of its tolerances."""
    for settings in SETTINGS:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Solution may be inaccurate")
            best = problem.solve(solver=cp.CLARABEL, tol_gap_rel=1e-8, tol_gap_abs=1e-8, **settings)
        if problem.status == cp.OPTIMAL:
            return best
    raise AssertionError("Clarabel meets its tolerances with none of the settings")


def targets_of(loss: str, features: PreferenceFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Labels or offsets, and weights of mean 1 over those that are not 0."""
    weight = features.weight / features.weight[features.weight > 0].mean()
    if loss in PAIRWISE:
        return GAMMA + features.margin, weight
    return np.tile([1.0, -1.0], PAIRS), np.repeat(weight, 2)


@pytest.fixture(scope="module")
def agree():
    """Compare optima; one compiled solve a program, since all problems have one shape."""
    solvers = {}

    def run(model, loss, features, group_lasso, seed, *, path=False):
        config = Config(
            model=model, phase1_loss=loss, n_gates=4, max_iterations=20_000, linear_path=path
        )
        solver = solvers.setdefault(config, jax.jit(partial(cronos, config=config)))
        with jax.enable_x64(True):
            params = Params(
                group_lasso=group_lasso, linear_ridge=LINEAR_RIDGE, gamma=GAMMA, **TIGHT
            )
            params = jax.tree.map(jnp.asarray, params)
            solution = solver(params, features, key=jax.random.key(seed))
        assert Status(int(solution.status)) == Status.SOLVED
        certificate = jax.tree.map(np.asarray, solution.certificate)
        # Pairs without weight are no part of the program.
        counted = np.repeat(features.weight > 0, 2)
        y, weight = targets_of(loss, features)
        best = cone_optimum(
            model,
            loss,
            standardised_rows(features, certificate)[counted],
            certificate.patterns[:, counted].astype(float),
            (y[counted[:: 2 * PAIRS // len(y)]], weight[counted[:: 2 * PAIRS // len(y)]]),
            float(certificate.group_lasso_strength),
            LINEAR_RIDGE * np.count_nonzero(weight) if path else None,
        )
        assert float(solution.stats.primal_value) == pytest.approx(best, rel=1e-4)
        assert float(solution.stats.dual_bound) <= best * (1 + 1e-7)
        assert float(solution.stats.primal_value) >= best * (1 - 1e-7)

    return run


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("model", MODELS)
def test_optimum_agrees_with_clarabel(model, seed, agree):
    ones = np.ones(PAIRS)
    features = draw_pairs(seed, PAIRS)._replace(weight=ones, margin=0 * ones)
    agree(model, LOSSES[seed % 6], features, [0.05, 0.1, 0.3, 0.5][seed // 6], seed)


@pytest.mark.parametrize("group_lasso", [0.05, 0.3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", MODELS)
def test_optimum_with_weights_and_margins_agrees_with_clarabel(model, loss, group_lasso, agree):
    rng = np.random.default_rng(20)
    weight, margin = rng.uniform(0.2, 3, PAIRS), rng.uniform(0, 1, PAIRS)
    if loss == "squared_difference":  # targets of any size and sign
        margin = 20 * margin - 10
    weight[[2, 9]] = 0
    features = draw_pairs(rng, PAIRS)._replace(weight=weight, margin=margin)
    agree(model, loss, features, group_lasso, seed=20)


# The others differ in the curvature of the loss alone.
USUAL = {("relu", "bradley_terry"), ("relu", "squared"), ("gated_relu", "logistic")}


@pytest.mark.parametrize("group_lasso", [0.05, 0.3])
@pytest.mark.parametrize(
    ("model", "loss"),
    [
        pytest.param(model, loss, marks=() if (model, loss) in USUAL else pytest.mark.slow)
        for model in MODELS
        for loss in LOSSES
    ],
)
def test_optimum_beside_a_linear_path_agrees_with_clarabel(model, loss, group_lasso, agree):
    rng = np.random.default_rng(21)
    weight, margin = rng.uniform(0.2, 3, PAIRS), rng.uniform(0, 1, PAIRS)
    weight[4] = 0
    features = draw_pairs(rng, PAIRS)._replace(weight=weight, margin=margin)
    agree(model, loss, features, group_lasso, seed=21, path=True)
