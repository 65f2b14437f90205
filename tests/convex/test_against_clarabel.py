"""The optimum of program (3) against a cone solver, in float64."""

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import Config, Params, Status, cronos
from tests.helpers import draw_pairs, standardised_rows

LOSSES = ["squared", "logistic", "squared_hinge", "huber", "bradley_terry"]
TIGHT = {"gap_tolerance": 1e-5, "violation_tolerance": 1e-4, "residual_tolerance": 1e-3}


def cone_optimum(
    model: str, loss: str, x: np.ndarray, d: np.ndarray, y: np.ndarray, strength: float
) -> float:
    """Optimum of (3), or of the gated program without its cones.

    y are labels of rows, or offsets of pairs for a pairwise loss.
    """
    blocks, width = len(d), x.shape[1]
    v = [cp.Variable(width) for _ in range(blocks)]
    w = [cp.Variable(width) for _ in range(blocks)]
    z = sum(cp.multiply(d[i], x @ (v[i] - w[i])) for i in range(blocks))
    cones = [cp.multiply(2 * d[i] - 1, x @ u) >= 0 for i in range(blocks) for u in (v[i], w[i])]
    if model == "gated_relu":
        # With w = 0 the split v - w is the gated weight itself.
        cones = [u == 0 for u in w]
    # Squared hinge and Huber as inner minima: CVXPY's own leave Clarabel short of eight digits.
    core = cp.Variable(len(y))
    if loss == "squared_hinge":
        cones.append(core >= 1 - cp.multiply(y, z))
    value = {
        "squared": lambda: 0.5 * cp.sum_squares(z - y),
        "logistic": lambda: cp.sum(cp.logistic(-cp.multiply(y, z))),
        "squared_hinge": lambda: 0.5 * cp.sum_squares(core),
        "huber": lambda: 0.5 * cp.sum_squares(core) + cp.norm1(z - y - core),
        "bradley_terry": lambda: cp.sum(cp.logistic(y - z[: len(y)] + z[len(y) :])),
    }[loss]()
    problem = cp.Problem(cp.Minimize(value + strength * sum(map(cp.norm, v + w))), cones)
    return problem.solve(solver=cp.CLARABEL, tol_gap_rel=1e-8, tol_gap_abs=1e-8)


@pytest.fixture(scope="module")
def compiled():
    """One compiled solve a loss; twenty problems of one shape share it."""
    solvers = {}

    def run(model, loss, params, features, key):
        if (model, loss) not in solvers:
            config = Config(model=model, phase1_loss=loss, n_gates=4, max_iterations=20_000)
            solvers[model, loss] = jax.jit(lambda p, f, k: cronos(p, f, config=config, key=k))
        return solvers[model, loss](params, features, key)

    return run


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("model", ["relu", "gated_relu"])
def test_optimum_agrees_with_clarabel(model, seed, compiled):
    loss = LOSSES[seed % 5]
    features = draw_pairs(seed)
    with jax.enable_x64(True):
        params = Params(group_lasso=[0.05, 0.1, 0.3, 0.5][seed // 5], gamma=0.3, **TIGHT)
        params = jax.tree.map(jnp.asarray, params)
        solution = compiled(model, loss, params, features, jax.random.key(seed))
    assert Status(int(solution.status)) == Status.SOLVED
    certificate = jax.tree.map(np.asarray, solution.certificate)
    best = cone_optimum(
        model,
        loss,
        standardised_rows(features, certificate),
        certificate.patterns.astype(float),
        certificate.labels,
        float(certificate.group_lasso_strength),
    )
    assert float(solution.stats.primal_value) == pytest.approx(best, rel=1e-4)
    assert float(solution.stats.dual_bound) <= best * (1 + 1e-7)
    assert float(solution.stats.primal_value) >= best * (1 - 1e-7)
