"""jaxcld 0.2.4: the ADMM of CRONOS as the authors of COALA and CRONOS publish it.

Defaults are those of `train_cvxnn.py` in the package's repository (pilancilab/CLD): rank 20,
pcg_iters 32, admm_iters 6, rho 0.1, gamma_ratio 1. Its objective has the factor 1/2 and no mean
over rows, so `beta` is the strength as it stands.

Its split u = v has the fixed weight 1 beside G u = s, so the scale of X decides how it converges;
`--unit-rows` divides X by its mean row norm, which makes the same program in other units.
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from jaxcld.models.cvx_relu_mlp import CVX_ReLU_MLP
from jaxcld.optimizers.admm import admm
from protocol import Problem, Stage, parser, read_problem, write_result

RANK = 20
PCG_ITERATIONS = 32
GAMMA_RATIO = 1.0
DEFAULT_RHO = 0.1
DEFAULT_STEPS = 6


def main() -> None:
    """Run the contender."""
    arguments = _arguments()
    problem = read_problem(arguments.problem)
    scale = 1.0
    if arguments.unit_rows:
        scale = 1 / float(np.linalg.norm(problem.x, axis=1).mean())
        problem = problem._replace(x=scale * problem.x, strength=scale * problem.strength)
    _, first = _run(problem, arguments.rho, 1)
    _, second = _run(problem, arguments.rho, 1)
    stages: list[Stage] = []
    spent, per_step = 0.0, second
    for steps in arguments.steps:
        if stages and spent + steps * per_step > arguments.budget:
            break
        weights, seconds = _run(problem, arguments.rho, steps)
        spent, per_step = spent + seconds, seconds / steps
        stages.append(Stage(f"{steps} steps", steps, seconds, scale * weights))
    write_result(arguments.result, stages, max(first - second, 0.0))


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--rho", type=float, default=DEFAULT_RHO)
    options.add_argument("--unit-rows", action="store_true", help="X in units of its row norm")
    options.add_argument("--steps", type=int, nargs="+", default=[DEFAULT_STEPS, 60])
    options.add_argument("--budget", type=float, default=600.0, help="seconds, all stages together")
    return options.parse_args()


def _run(problem: Problem, rho: float, steps: int) -> tuple[np.ndarray, float]:
    """Weights after some steps from zero and the seconds they took."""
    model = _model(problem, rho)
    settings = {
        "rank": RANK,
        "beta": problem.strength,
        "gamma_ratio": GAMMA_RATIO,
        "admm_iters": steps,
        "pcg_iters": PCG_ITERATIONS,
        "check_opt": False,
    }
    start = time.perf_counter()
    weights, _ = admm(model, settings)  # (1, 2, D, P)
    weights = jax.block_until_ready(weights)
    seconds = time.perf_counter() - start
    return np.asarray(weights[0]).transpose(0, 2, 1), seconds


def _model(problem: Problem, rho: float) -> CVX_ReLU_MLP:
    """One class, our gates, our targets.

    `admm` fits the one-hot rows of integer labels, one program a class. Its one use of
    `batch_rmatvec_F` is for that right side, so the instance (and no file of the package) answers
    with F^T y for +-1 targets; no other step sees labels. `get_ncvx_weights` turns the result
    into a network and is left out: it is no part of the solve, and compiles anew for every number
    of neurons.
    """
    x, targets = jnp.asarray(problem.x), jnp.asarray(problem.y)
    patterns = jnp.asarray(problem.patterns.T, jnp.float32)
    model = CVX_ReLU_MLP(
        x,
        jnp.zeros(len(targets), jnp.int32),
        1,
        patterns.shape[1],
        problem.strength,
        rho,
        jax.random.PRNGKey(0),  # the kind of key that the package documents
        d_diags=patterns,
        e_diags=2 * patterns - 1,
    )
    model.batch_rmatvec_F = lambda _: model.rmatvec_F(targets)[None]
    model.get_ncvx_weights = lambda _: (None, None)
    return model


if __name__ == "__main__":
    main()
