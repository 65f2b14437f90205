"""Phase I on one GPU: seconds, share of the card's bandwidth, memory, and what TF32 costs.

    PYTHONPATH=. python benchmarks/gpu_solver.py                         # one card, 8 minutes
    PYTHONPATH=. python benchmarks/gpu_solver.py --name gpu_p3 --pairs 118016 --tolerances 1e-3
    python benchmarks/gpu_solver.py --pairs 60 --width 6 --gates 3       # any machine, installed

Made preference features are solved by `coala_jax.cronos` to certified gaps, its steps with float32
products and with the TF32 ones that are a GPU's default. Every certificate is recomputed by
`coala_jax.certify`.

How each part is measured: gpu_parts.py. ``--rows compact full`` takes one after the other. Problem
P3 has 118 000 pairs; 118 016 is the next multiple of 128 (docs/solver.md, On a GPU).

A part that fails, or for which the rest of the budget is too short, stays in the tables with its
reason. Tables and JSON are written after every part. The peak of the device's memory is the
highest so far, the same for all that follows it.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, get_args, get_type_hints

from gpu_parts import (
    measure_certificate,
    measure_compile,
    measure_copy,
    measure_features,
    measure_preparation,
    measure_product,
    measure_row_penalties,
    measure_solve,
    measure_step,
)
from reporting import Measured, Recorder, figure, markdown, origin, parser_of
from step_costs import Size

from coala_jax import Config, PreferenceFeatures

# Of an option whose value is that of `Config`.
DEFAULT = "default"


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
