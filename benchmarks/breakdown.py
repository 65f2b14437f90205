"""Where the time of Phase I goes: standardise, gates, lambda_max, steps, certificates.

    python benchmarks/breakdown.py                  # benchmarks/results/breakdown.md and .json
    python benchmarks/breakdown.py --sets gemma --losses squared

Every part is compiled and timed by itself (the fastest of three) and counts as often as a solve
with the defaults runs it. ``rest`` is what the whole solve takes beyond them: the optimum on the
rays, writing the solution, checking the head, and what the parts cost more inside one program.
``plain`` is the time of the steps alone with one inverse for all blocks. Seconds want an idle
machine. Writes Markdown and JSON.
"""

from __future__ import annotations

import argparse
import collections
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
from convergence import GEMMA, programs, shown
from reporting import REPEATS, SHARED_FOLDER, account, markdown, origin, parser_of, save, say

from coala_jax import Config, Params, PreferenceFeatures, Status
from coala_jax._inputs import PairArrays, prepare_features, prepare_params
from coala_jax.convex import _certified_loop, _feasible, _penalties
from coala_jax.convex._certificate import zero_network
from coala_jax.convex._cronos import CronosProblem, CronosState, cronos_init, cronos_step
from coala_jax.convex._gates import sample_gates
from coala_jax.convex._lambda_max import lambda_max
from coala_jax.convex._linear_system import OutputSystem, Point, factorize, solve_correction
from coala_jax.convex._penalties import balance_rows, projected_rows_pay, rows_pay
from coala_jax.convex._phase1 import _cronos
from coala_jax.convex._prepare import Prepared, at_strength, prepare
from coala_jax.convex._program import Program
from coala_jax.convex._projection import Cones, cones_of, tight_rows
from coala_jax.convex._standardize import fit_standardization, standardize

SETS = (GEMMA, "alpaca_eval_v2", "1000x1024x8")
# Of the hidden states of Gemma: the table of docs/measurements.md is about 960 pairs.
GEMMA_PAIRS = 960
PARTS = (
    "standardise",
    "gates",
    "factors",
    "interior points",
    "lambda_max",
    "steps",
    "row penalties",
    "dual bounds",
    "projections",
)
COLUMNS = (
    "pairs",
    "loss",
    "status",
    "steps",
    *(f"{part}, s" for part in PARTS),
    "rest, s",
    "whole, s",
    "plain, s",
    "whole / plain",
    "compile, s",
)
# Functions whose runs inside a solve are counted, by the part they stand for.
COUNTED = (
    ("row penalties", _penalties, "balance_rows"),
    ("row penalties", _feasible, "tight_rows"),
    ("dual bounds", _certified_loop, "_dual"),
    ("projections", _feasible, "push_inside"),
)
# Steps of conjugate gradients that are timed together.
CG_STEPS = 20


class Case(NamedTuple):
    """One solve to take apart."""

    name: str
    params: Params
    pairs: PairArrays
    config: Config


def main() -> None:
    """Run the benchmark."""
    arguments = _arguments()
    rows: list[dict[str, Any]] = []
    for name, features, gates in programs(arguments.sets, arguments.features):
        if name == GEMMA:
            features = PreferenceFeatures(*(side[:GEMMA_PAIRS] for side in features[:2]))
        for loss in arguments.losses:
            config = Config(n_gates=gates, phase1_loss=loss)
            case = Case(name, prepare_params(Params()), prepare_features(features), config)
            with jax.default_matmul_precision(config.precision):
                rows.append(_measure(case))
            say(rows[-1])
            _write(arguments, rows)  # after every program, so that none is lost
    if rows:
        sys.stdout.write(_write(arguments, rows))


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "breakdown")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--losses", nargs="+", default=["squared", "bradley_terry"])
    parser.add_argument("--features", type=Path, default=SHARED_FOLDER / "features")
    return parser.parse_args()


def _measure(case: Case) -> dict[str, Any]:
    """One row of the table.

    Steps are timed between the first and the second check and stand for all; what the solve's take
    of conjugate-gradient steps beyond those is added.
    """
    runs = _runs(case)
    start = time.perf_counter()
    solver = _cronos.lower(case.params, case.pairs, case.config, None, None).compile()
    compiled = time.perf_counter() - start
    whole, solution = _fastest(lambda: solver(case.params, case.pairs, None, None))
    steps = int(solution.stats.iterations)
    parts, plain, of_cg = _times(case)
    between = steps / case.config.check_every
    further = int(solution.stats.cg_iterations) - between * of_cg.taken
    parts["steps"] = between * parts["steps"] + further * of_cg.seconds
    for part, count in runs.items():
        parts[part] *= count
    plain *= between
    return {
        "pairs": case.name,
        "loss": case.config.phase1_loss,
        "status": Status(int(solution.status)).name.lower(),
        "steps": steps,
        "runs": runs,
        **{f"{part}, s": parts[part] for part in PARTS},
        "rest, s": whole - sum(parts.values()),
        "whole, s": whole,
        "plain, s": plain,
        "whole / plain": whole / plain,
        "compile, s": compiled,
    }


class OfCg(NamedTuple):
    """Conjugate-gradient steps that the timed ADMM steps took, and seconds of one."""

    taken: int
    seconds: float


def _times(case: Case) -> tuple[dict[str, float], float, OfCg]:
    """Seconds of one run of every part, and of the plain steps between two checks."""
    params, pairs, config = case.params, case.pairs, case.config
    prepared = jax.jit(lambda: prepare(params, pairs, config, None, None))()
    problem, _ = jax.jit(lambda: at_strength(params, config, prepared))()
    by_rows = rows_pay(config, prepared.program)
    plain, _ = _steps(problem, config, cronos_init(problem, adapt_rows=False))
    seconds, state = _steps(problem, config, cronos_init(problem, adapt_rows=by_rows))
    parts = {"steps": seconds, "row penalties": 0.0, **_preparation(case, prepared)}
    taken = int(state.cg_iterations) // 2  # of two stretches between checks
    if projected_rows_pay(config, prepared.program):
        parts["row penalties"], _ = _timed(tight_rows, prepared.cones, state.multipliers)
    if by_rows:
        state = jax.jit(balance_rows)(problem, state)
    seconds, _ = _timed(_cg_steps, problem, state)
    parts["dual bounds"], _ = _timed(_certified_loop._dual, problem.program, state)
    parts["projections"], _ = _timed(_one_round(case, prepared), problem, state)
    return parts, plain, OfCg(taken, seconds / CG_STEPS)


def _cg_steps(problem: CronosProblem, state: CronosState) -> Any:
    """So many steps of conjugate gradients."""
    return solve_correction(
        problem.program,
        state.rows,
        OutputSystem(problem.outputs, state.path),
        state.weights_dual,
        Point(state.point, state.products, state.fitted, state.linear),
        tolerance=0.0,
        max_iterations=CG_STEPS,
    )


def _preparation(case: Case, prepared: Prepared) -> dict[str, float]:
    """Seconds of what a solve does before its first step."""
    config, program, x = case.config, prepared.program, prepared.program.features
    by_rows = rows_pay(config, program)

    def standardised(pairs: PairArrays) -> jax.Array:
        found = fit_standardization(pairs.rows, pairs.row_weight)
        return standardize(pairs.rows, found)

    def largest(program: Program, cones: Cones) -> Any:
        return lambda_max(program, cones, tolerance=1e-2, adapt_rows=by_rows)

    def gates(x: jax.Array) -> Any:
        return sample_gates(jax.random.key(0), config.n_gates, x)

    system, vectors, cones = prepared.system, prepared.gates.vectors, prepared.cones
    return {
        "standardise": _timed(standardised, case.pairs)[0],
        "gates": _timed(gates, x)[0],
        "factors": _timed(factorize, x)[0],
        "interior points": _timed(cones_of, program, system, vectors)[0],
        "lambda_max": _timed(largest, program, cones)[0],
    }


def _steps(problem: CronosProblem, config: Config, state: CronosState) -> tuple[float, CronosState]:
    """Seconds of the steps between the first and the second check, and the state after them."""

    def steps(problem: CronosProblem, state: CronosState) -> CronosState:
        return jax.lax.fori_loop(
            0,
            config.check_every,
            lambda _, state: cronos_step(problem, state, config.max_cg_iterations),
            state,
        )

    _, state = _timed(steps, problem, state)
    return _timed(steps, problem, state)


def _one_round(case: Case, prepared: Prepared) -> Callable[..., Any]:
    """The first round of a projection, which is never enough."""

    def project(problem: CronosProblem, state: CronosState) -> Any:
        return _feasible.feasible_primal(
            problem,
            prepared.cones,
            state,
            zero_network(problem.program),
            jnp.zeros_like(state.slack),
            lambda _: jnp.array(False),
            rounds=jnp.array(1),
            own_rows=projected_rows_pay(case.config, problem.program),
        )

    return project


def _runs(case: Case) -> dict[str, int]:
    """How often a solve runs the parts whose number depends on its course."""
    found: collections.Counter[str] = collections.Counter()
    with _counting(found):
        jax.clear_caches()
        jax.block_until_ready(_cronos(*case[1:], None, None))
        jax.effects_barrier()
    jax.clear_caches()
    return {part: found[part] for part, *_ in COUNTED}


@contextmanager
def _counting(found: collections.Counter[str]) -> Iterator[None]:
    """Programs traced meanwhile tell when they run the functions of COUNTED."""

    def told(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            jax.debug.callback(lambda: found.update([part]))
            return function(*arguments)

        return run

    with ExitStack() as patches:
        for part, module, name in COUNTED:
            function = told(part, getattr(module, name))
            patches.enter_context(mock.patch.object(module, name, function))
        yield


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds of a function once it is compiled, and its result."""
    compiled = jax.jit(function).lower(*arguments).compile()
    return _fastest(lambda: compiled(*arguments))


def _fastest(run: Callable[[], Any]) -> tuple[float, Any]:
    """Least seconds of several runs after a first, and the result."""
    result = jax.block_until_ready(run())
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def _write(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> str:
    """Write table and JSON of the rows so far; gives the table."""
    result = account(rows=rows)
    table = markdown(origin(result), COLUMNS, ([shown(row[c]) for c in COLUMNS] for row in rows))
    save(arguments, result, table)
    return table


if __name__ == "__main__":
    main()
