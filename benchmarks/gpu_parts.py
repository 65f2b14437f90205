"""What a solve of Phase I on a device is made of, part by part, each measured: for gpu_solver.py.

A step is timed bare, `STEPS` of them after as many (and one change of row penalties, where these
pay), since a solve also prepares, projects and certifies; the bytes that it must move are those of
`step_costs`, and share of copy is their rate over that of reading and writing an array as large as
X.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from problems import SIGNAL, SPECTRUM_EXPONENT, TEACHER_NEURONS
from reporting import Measured, best_seconds
from step_costs import FLOAT_BYTES, Size, step_bytes

from coala_jax import Config, Params, Phase1Solution, PreferenceFeatures, Status, certify, cronos
from coala_jax._group_inputs import prepare_for
from coala_jax._inputs import prepare_params
from coala_jax.convex import CronosProblem, CronosState, cronos_init, cronos_step
from coala_jax.convex._penalties import balance_rows, rows_pay
from coala_jax.convex._prepare import at_strength, prepare
from coala_jax.convex._program import column_products, row_products
from coala_jax.convex._rows import for_steps

# Pairs made at once: float32 rows of 4096 pairs of width 4096 take 134 MB.
CHUNK_PAIRS = 4096
# Calls that are queued before waiting, so that launching one hides behind the one before.
CALLS = 10
# Bare ADMM steps in one run: enough that copying the state once does not show.
STEPS = 100
# Tolerances that the first certificate meets, to load kernels before anything is timed.
LOOSE = 1e30


def measure_copy(size: Size) -> Measured:
    """Bandwidth of reading and writing an array as large as X, in bytes a second."""
    array = jax.random.normal(jax.random.key(0), (size.rows, size.columns), jnp.float32)
    add_one = jax.jit(lambda x: x + 1)

    def chain() -> jax.Array:
        result = array
        for _ in range(CALLS):
            result = add_one(result)
        return result

    seconds = best_seconds(chain) / CALLS
    moved = 2 * array.nbytes
    figures = {"seconds": seconds, "bytes": moved, "bytes_per_second": moved / seconds}
    return Measured(figures, moved / seconds)


def measure_features(size: Size) -> Measured:
    """Seconds to make the features, compilation included."""
    start = time.perf_counter()
    features = jax.block_until_ready(make_features(size))
    return Measured({"seconds": time.perf_counter() - start}, features)


@functools.partial(jax.jit, static_argnums=0)
def make_features(size: Size) -> PreferenceFeatures:
    """Pairs as `problems.py` makes them, in bfloat16 and on the device.

    Features have a power-law spectrum and unit variance; pairs are ranked by a two-layer teacher
    with noise. Rows are made a chunk of pairs at a time, so that float32 never holds all of them.
    """
    rotation_key, first_key, second_key, noise_key, rows_key = jax.random.split(
        jax.random.key(0), 5
    )
    with jax.default_matmul_precision("highest"):
        rotation, _ = jnp.linalg.qr(jax.random.normal(rotation_key, (size.width, size.width)))
        mixing = jnp.arange(1, size.width + 1)[:, None] ** -SPECTRUM_EXPONENT * rotation
        mixing = mixing / jnp.linalg.norm(mixing, axis=0)
        first = jax.random.normal(first_key, (size.width, TEACHER_NEURONS))
        second = jax.random.normal(second_key, (TEACHER_NEURONS,))

        def one_pair(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            rows = jax.random.normal(key, (2, size.width)) @ mixing
            return rows.astype(jnp.bfloat16), jnp.maximum(rows @ first, 0) @ second

        keys = jax.random.split(rows_key, size.pairs)
        rows, score = lax.map(one_pair, keys, batch_size=min(CHUNK_PAIRS, size.pairs))
    score = SIGNAL * score / jnp.std(score) + jax.random.normal(noise_key, score.shape)
    swap = (score[:, 0] < score[:, 1])[:, None]
    return PreferenceFeatures(
        jnp.where(swap, rows[:, 1], rows[:, 0]), jnp.where(swap, rows[:, 0], rows[:, 1])
    )


def measure_compile(config: Config, features: PreferenceFeatures) -> Measured:
    """Seconds to compile `cronos`; its value is the executable, run once to load its kernels."""

    def solve(params: Params, features: PreferenceFeatures) -> Phase1Solution:
        return cronos(params, features, config=config)

    loose = _params(LOOSE, LOOSE)
    start = time.perf_counter()
    # The features are an argument: closed over, they would be a constant of gigabytes.
    compiled = jax.jit(solve).lower(loose, features).compile()
    seconds = time.perf_counter() - start
    jax.block_until_ready(compiled(loose, features))
    return Measured({"seconds": seconds}, compiled)


def measure_solve(
    tolerance: float,
    solve: Callable[[Params, PreferenceFeatures], Phase1Solution],
    features: PreferenceFeatures,
) -> Measured:
    """One solve, timed once; the figures are what the solver reports."""
    params = _params(tolerance)
    start = time.perf_counter()
    solution = jax.block_until_ready(solve(params, features))
    seconds = time.perf_counter() - start
    figures = {name: value.item() for name, value in solution.stats._asdict().items()}
    figures["status"] = Status(figures["status"]).name.lower()
    return Measured({"seconds": seconds, **figures}, solution)


def measure_certificate(features: PreferenceFeatures, solution: Phase1Solution) -> Measured:
    """The bounds that a solution's certificate proves, all products in float32."""
    report = certify(Params(), features, solution.certificate)
    figures = {name: value.item() for name, value in report._asdict().items()}
    return Measured({"reported_gap": solution.stats.relative_gap.item(), **figures})


def measure_preparation(config: Config, features: PreferenceFeatures) -> Measured:
    """All that precedes the first step, once; its value is what the steps start from."""
    run = functools.partial(_prepare, config, _params(LOOSE, LOOSE), features)
    seconds = best_seconds(run, repeats=1)
    return Measured({"seconds": seconds}, run())


def measure_row_penalties(config: Config, start: tuple[CronosProblem, CronosState]) -> Measured:
    """One change of the row penalties, an inverse a block, after the first steps.

    No figure where they do not pay: a solve of this size never makes them.
    """
    problem, state = start
    state = _steps(config, problem, state)
    if not state.rows.by_block:
        return Measured({}, (problem, state))
    run = functools.partial(_balance, config, problem, state)
    seconds = best_seconds(run, repeats=1)
    return Measured({"seconds": seconds}, (problem, run()))


def measure_step(
    size: Size,
    copy_rate: float | None,
    config: Config,
    balanced: tuple[CronosProblem, CronosState],
) -> Measured:
    """Mean of bare ADMM steps, against the bytes that they must move."""
    problem, state = balanced
    run = functools.partial(_steps, config, problem, state)
    seconds = best_seconds(run) / STEPS
    cg_iterations = int(run().cg_iterations - state.cg_iterations) / STEPS
    x = problem.program.features
    row_bytes = min(leaf.dtype.itemsize for leaf in jax.tree.leaves(x))
    moved = step_bytes(size, cg_iterations, by_block=state.rows.by_block, row_bytes=row_bytes)
    rate = moved / seconds
    return Measured(
        {
            "seconds": seconds,
            "cg_iterations": cg_iterations,
            "bytes": moved,
            "bytes_per_second": rate,
            "share_of_copy": None if copy_rate is None else rate / copy_rate,
        }
    )


def measure_product(size: Size, name: str, columns: int, precision: str) -> Measured:
    """One product as the step makes it: X times 2P blocks, or X^T times P."""
    x_key, right_key = jax.random.split(jax.random.key(1))
    x = jax.random.normal(x_key, (size.rows, columns), jnp.float32)
    blocks = 2 * size.gates if name == "row" else size.gates
    length = columns if name == "row" else size.rows
    right = jax.random.normal(right_key, (blocks, length), jnp.float32)
    product = jax.jit(row_products if name == "row" else column_products)
    with jax.default_matmul_precision(precision):
        seconds = best_seconds(lambda: [product(x, right) for _ in range(CALLS)]) / CALLS
    moved = FLOAT_BYTES * (size.rows * columns + blocks * (size.rows + columns))
    return Measured(
        {
            "seconds": seconds,
            "flops_per_second": 2 * size.rows * columns * blocks / seconds,
            "bytes_per_second": moved / seconds,
        }
    )


@functools.partial(jax.jit, static_argnums=0)
def _prepare(
    config: Config, params: Params, features: PreferenceFeatures
) -> tuple[CronosProblem, CronosState]:
    """As `cronos` begins."""
    with jax.default_matmul_precision("highest"):
        params = prepare_params(params)
        prepared = prepare(params, prepare_for(config, features), config, None, None)
        problem, _ = at_strength(params, config, prepared)
        return problem, cronos_init(problem, adapt_rows=rows_pay(config, problem.program))


@functools.partial(jax.jit, static_argnums=0)
def _steps(config: Config, problem: CronosProblem, state: CronosState) -> CronosState:
    """Bare steps, without any certificate, with the products that steps have."""
    program = problem.program
    program = dataclasses.replace(program, features=for_steps(program.features))
    problem = problem._replace(program=program)
    with jax.default_matmul_precision(config.precision):
        return lax.fori_loop(
            0,
            STEPS,
            lambda _, state: cronos_step(problem, state, config.max_cg_iterations),
            state,
        )


@functools.partial(jax.jit, static_argnums=0)
def _balance(config: Config, problem: CronosProblem, state: CronosState) -> CronosState:
    with jax.default_matmul_precision("highest"):
        return balance_rows(problem, state)


def _params(tolerance: float, residual_tolerance: float = Params().residual_tolerance) -> Params:
    """Gap and violation within one tolerance; any explained share will do."""
    params = Params(
        gap_tolerance=tolerance,
        violation_tolerance=tolerance,
        residual_tolerance=residual_tolerance,
        explained_minimum=0.0,
    )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
