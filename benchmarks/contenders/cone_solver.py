"""CVXPY with a cone solver (Clarabel, SCS): exact, for programs small enough to write out."""

from __future__ import annotations

import argparse
import time

import cvxpy as cp
import numpy as np
from protocol import Problem, Stage, parser, read_problem, write_result

# Clarabel at its defaults (1e-8) is the truth of the tiny problems; SCS is a first-order method
# whose default of 1e-4 is loose, so that it gets a second try.
TOLERANCES = {"clarabel": [{}], "scs": [{}, {"eps": 1e-7, "max_iters": 100_000}]}


def main() -> None:
    """Run the contender."""
    arguments = _arguments()
    problem = read_problem(arguments.problem)
    runs = [_solve(problem, arguments.solver, options) for options in TOLERANCES[arguments.solver]]
    write_result(arguments.result, [stage for stage, _ in runs], runs[0][1])


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--solver", choices=tuple(TOLERANCES), default="clarabel")
    return options.parse_args()


def _solve(problem: Problem, solver: str, options: dict[str, float]) -> tuple[Stage, float]:
    """One solve and the seconds that CVXPY took to put the program into standard form."""
    x, patterns = problem.x.astype(np.float64), problem.patterns.astype(np.float64)
    shape = (len(patterns), x.shape[1])
    v, w = cp.Variable(shape), cp.Variable(shape)
    output = cp.sum(cp.multiply(patterns, (v - w) @ x.T), axis=0)
    signs = 2 * patterns - 1
    lasso = cp.sum(cp.norm(v, axis=1)) + cp.sum(cp.norm(w, axis=1))
    cones = [cp.multiply(signs, block @ x.T) >= 0 for block in (v, w)]
    value = 0.5 * cp.sum_squares(output - problem.y) + problem.strength * lasso
    program = cp.Problem(cp.Minimize(value), cones)
    start = time.perf_counter()
    program.solve(solver=solver.upper(), **options)
    seconds = time.perf_counter() - start - program.compilation_time
    label = ", ".join(f"{name}={value:g}" for name, value in options.items()) or "defaults"
    if program.status != cp.OPTIMAL:
        label = f"{label} ({program.status})"
    stage = Stage(
        label,
        int(program.solver_stats.num_iters),
        seconds,
        np.stack([v.value, w.value]),
        dual_point=problem.y - output.value,
        multipliers=np.stack([cone.dual_value for cone in cones]),
    )
    return stage, program.compilation_time


if __name__ == "__main__":
    main()
