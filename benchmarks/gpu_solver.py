"""Phase I on one GPU: seconds, share of the card's bandwidth, memory, and what TF32 costs.

    PYTHONPATH=. python benchmarks/gpu_solver.py                         # one card, 8 minutes
    PYTHONPATH=. python benchmarks/gpu_solver.py --pairs 118000 --tolerances 1e-3 --name gpu_p3
    python benchmarks/gpu_solver.py --pairs 60 --width 6 --gates 3       # any machine, installed

Made preference features are solved by `coala_jax.cronos` to certified gaps, its steps with float32
products and with the TF32 ones that are a GPU's default. Every certificate is recomputed by
`coala_jax.certify`.

A step is timed bare, `STEPS` of them after as many (and one change of row penalties, where these
pay), since a solve also prepares, projects and certifies; the bytes that it must move are those of
`step_costs`, and share of copy is their rate over that of reading and writing an array as large as
X. ``--rows`` are values of `Config.rows`, one after the other; problem P3 is ``--pairs 118000``.

A part that fails, or for which the rest of the budget is too short, stays in the tables with its
reason. Tables and JSON are written after every part. The peak of the device's memory is the
highest so far, the same for all that follows it.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, get_args, get_type_hints

import jax
import jax.numpy as jnp
from jax import lax
from problems import SIGNAL, SPECTRUM_EXPONENT, TEACHER_NEURONS
from reporting import Measured, Recorder, best_seconds, figure, markdown, origin, parser_of
from step_costs import FLOAT_BYTES, Size, step_bytes

from coala_jax import Config, Params, Phase1Solution, PreferenceFeatures, Status, certify, cronos
from coala_jax._inputs import prepare_features, prepare_params
from coala_jax.convex import (
    CronosProblem,
    CronosState,
    cronos_init,
    cronos_step,
)
from coala_jax.convex._penalties import balance_rows, rows_pay
from coala_jax.convex._prepare import at_strength, prepare
from coala_jax.convex._program import column_products, row_products

# Pairs made at once: float32 rows of 4096 pairs of width 4096 take 134 MB.
CHUNK_PAIRS = 4096
# Calls that are queued before waiting, so that launching one hides behind the one before.
CALLS = 10
# Bare ADMM steps in one run: enough that copying the state once does not show.
STEPS = 100
# Of an option whose value is that of `Config`.
DEFAULT = "default"
# Tolerances that the first certificate meets, to load kernels before anything is timed.
LOOSE = 1e30


class Column(NamedTuple):
    """A column of a table: figures by `key`, in `unit`, as `spec` formats them."""

    title: str
    key: str
    spec: str = ""
    unit: float = 1.0


_NOTE = (Column("peak GB", "peak_bytes", ".3g", 1e9), Column("note", "failure"))
_ROWS, _PRECISION = Column("rows", "rows"), Column("precision", "precision")
_TOLERANCE = Column("tolerance", "tolerance", "g")
_CERTIFIED = (
    Column("gap", "relative_gap", ".2e"),
    Column("violation", "cone_violation", ".1e"),
    Column("explained", "explained", ".4f"),
)
# Title, parts and columns of each table.
TABLES = (
    (
        "Parts",
        ("copy", "features", "preparation", "row penalties", "step", "compile"),
        (
            Column("part", "part"),
            _ROWS,
            _PRECISION,
            Column("seconds", "seconds", ".4g"),
            Column("CG steps", "cg_iterations", ".2f"),
            Column("GB", "bytes", ".4g", 1e9),
            Column("GB/s", "bytes_per_second", ".4g", 1e9),
            Column("share of copy", "share_of_copy", ".2f"),
            *_NOTE,
        ),
    ),
    (
        "Phase I",
        ("solve",),
        (
            _ROWS,
            _PRECISION,
            _TOLERANCE,
            Column("seconds", "seconds", ".3g"),
            Column("steps", "iterations"),
            Column("CG steps", "cg_iterations"),
            Column("status", "status"),
            *_CERTIFIED,
            Column("primal residual", "primal_residual", ".1e"),
            Column("dual residual", "dual_residual", ".1e"),
            *_NOTE,
        ),
    ),
    (
        "Certificates of Phase I, recomputed with float32 products",
        ("certificate",),
        (
            _ROWS,
            _PRECISION,
            _TOLERANCE,
            Column("reported gap", "reported_gap", ".2e"),
            *_CERTIFIED,
            Column("primal value", "primal_value", ".7g"),
            Column("dual bound", "dual_bound", ".7g"),
            *_NOTE,
        ),
    ),
    (
        "Products with X",
        ("product",),
        (
            Column("pass", "pass"),
            Column("columns of X", "columns"),
            _PRECISION,
            Column("ms", "seconds", ".3g", 1e-3),
            Column("TFLOP/s", "flops_per_second", ".3g", 1e12),
            Column("GB/s", "bytes_per_second", ".4g", 1e9),
            *_NOTE,
        ),
    ),
)


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark.

    Args:
        argv: the command line without the program; that of the process if None.
    """
    arguments = _arguments(argv)
    size = Size(arguments.pairs, arguments.width, arguments.gates)
    recorder = make_recorder(arguments)
    copy_rate = recorder.measure({"part": "copy"}, measure_copy, size)
    features = recorder.measure({"part": "features"}, measure_features, size)
    for rows, precision in itertools.product(arguments.rows, arguments.precisions):
        config = Config(
            n_gates=size.gates,
            precision=precision,
            max_iterations=arguments.max_iterations,
            **({} if rows == DEFAULT else {"rows": rows}),
        )
        identity = {"rows": rows, "precision": precision}
        _measure_solves(recorder, config, identity, features, arguments.tolerances)
        _measure_step(recorder, config, identity, features, size, copy_rate)
    for precision in arguments.precisions:
        for columns in (size.columns, size.width):
            for name in ("row", "column"):
                identity = {"part": "product", "pass": name, "columns": columns}
                measure = functools.partial(measure_product, size, name, columns, precision)
                recorder.measure({**identity, "precision": precision}, measure)
    sys.stdout.write(recorder.table())


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__, "gpu_solver")
    parser.add_argument("--pairs", type=int, default=60_000, help="n; the program has 2n rows")
    parser.add_argument("--width", type=int, default=4096, help="d of the features")
    parser.add_argument("--gates", type=int, default=16, help="P")
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1e-1, 1e-2, 1e-3])
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=("highest", "high", "default"),
        default=["highest", "default"],
        help="Config.precision; the last two are TF32 on a GPU",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=rows_choices(),
        default=[DEFAULT],
        help="Config.rows: how X is kept and multiplied",
    )
    parser.add_argument("--max-iterations", type=int, default=1000, help="ADMM steps of a solve")
    parser.add_argument("--budget", type=float, default=450.0, help="seconds for everything")
    return parser.parse_args(argv)


def rows_choices() -> tuple[str, ...]:
    """Values of `Config.rows`, where this version has that field, and that of its default."""
    kinds = get_type_hints(Config)
    return (DEFAULT, *(get_args(kinds["rows"]) if "rows" in kinds else ()))


def _measure_solves(
    recorder: Recorder,
    config: Config,
    identity: dict[str, Any],
    features: PreferenceFeatures | None,
    tolerances: list[float],
) -> None:
    """Phase I to every tolerance, each with its certificate recomputed."""
    solve = recorder.measure(
        {"part": "compile", **identity}, functools.partial(measure_compile, config), features
    )
    for tolerance in tolerances:
        one = {**identity, "tolerance": tolerance}
        measure = functools.partial(measure_solve, tolerance)
        solution = recorder.measure({"part": "solve", **one}, measure, solve, features)
        recorder.measure({"part": "certificate", **one}, measure_certificate, features, solution)


def _measure_step(
    recorder: Recorder,
    config: Config,
    identity: dict[str, Any],
    features: PreferenceFeatures | None,
    size: Size,
    copy_rate: float | None,
) -> None:
    """What a solve is made of: preparation, one change of the row penalties, and bare steps."""

    def measure(part: str, function: Callable[..., Measured], value: Any) -> Any:
        return recorder.measure(
            {"part": part, **identity}, functools.partial(function, config), value
        )

    start = measure("preparation", measure_preparation, features)
    balanced = measure("row penalties", measure_row_penalties, start)
    measure("step", functools.partial(measure_step, size, copy_rate), balanced)


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
        prepared = prepare(params, prepare_features(features), config, None, None)
        problem, _ = at_strength(params, config, prepared)
        return problem, cronos_init(problem, adapt_rows=rows_pay(config, problem.program))


@functools.partial(jax.jit, static_argnums=0)
def _steps(config: Config, problem: CronosProblem, state: CronosState) -> CronosState:
    """Bare steps, without any certificate."""
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


def make_recorder(arguments: argparse.Namespace) -> Recorder:
    """What keeps the rows of a run."""
    fields = {
        name: getattr(arguments, name) for name in ("pairs", "width", "gates", "max_iterations")
    }
    return Recorder(arguments, {**fields, "budget_seconds": arguments.budget}, _tables)


def _tables(result: dict[str, Any]) -> str:
    head = (
        f"{origin(result)}. {result['pairs']} pairs of width {result['width']}, "
        f"{result['gates']} gates; {result['seconds']:.0f} s in all."
    )
    tables = [
        markdown(
            f"**{title}**",
            [column.title for column in columns],
            (
                [figure(row.get(column.key), column.spec, column.unit) for column in columns]
                for row in result["rows"]
                if row["part"] in parts
            ),
        )
        for title, parts, columns in TABLES
    ]
    return "\n".join([head, "", *tables])


if __name__ == "__main__":
    main()
