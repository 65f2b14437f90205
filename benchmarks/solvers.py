"""Convex solvers on the same programs, judged by one certificate.

    make bench-env                                              # contenders' own environments, once
    python benchmarks/solvers.py                                # the tiny and the real problems
    python benchmarks/solvers.py --problems made-2000x384x8 --contenders ours jaxcld

Every contender is a script under ``contenders/`` that runs in a process, and where needed an
environment, of its own; it gets the program as arrays and gives back weights with the wall time to
them, compilation apart. No package's word on its own result is taken: weights are projected onto
the cones and bounded from both sides here, in float64. A contender that has dual variables may add
them, which improves the lower bound and is checked the same way. ``gap`` takes the best lower bound
that any contender gave; ``own gap`` the one of this run alone. Runs that failed stay in the table.
Writes a Markdown table and its JSON.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from contenders.protocol import Problem, Result, Stage, read_result, write_problem
from problems import NAMES, SHARED, TINY_SEEDS, load_problem, small_enough_for_cone_solvers
from reporting import HERE, SHARED_FOLDER, account, markdown, origin, parser_of, save, say

from coala_jax.convex._certificate import explained_share, feasible_dual, relative_gap
from coala_jax.convex._certify import certify_weights
from coala_jax.convex._program import Program
from coala_jax.losses import SQUARED

ENVIRONMENTS = HERE.parent / ".venvs"
# rho and whether rows of X get unit norm: the published default first, the others find what serves
# the solver best. The scale of X is the caller's, and decides as much as rho.
JAXCLD_SETTINGS = (
    (0.1, False),
    (1.0, False),
    (100.0, False),
    (0.1, True),
    (1.0, True),
    (10.0, True),
)
# Beyond what a contender is asked to keep to by itself: starting up, compiling, writing.
GRACE_SECONDS = 300
COLUMNS = (
    "problem",
    "solver",
    "setting",
    "steps",
    "seconds",
    "compile seconds",
    "explained",
    "gap",
    "own gap",
    "violation",
    "peak MB",
)


class Setting(NamedTuple):
    """One way to run a contender.

    Attributes:
        label: name of it in the table.
        options: command-line options of the script.
        swept: one of several values of a knob, of which the table shows the best alone.
    """

    label: str
    options: tuple[str, ...]
    swept: bool = False


class Contender(NamedTuple):
    """A solver.

    Attributes:
        script: name of its script under ``contenders/``, without the suffix.
        environment: name of its environment under ``.venvs/``, or None for this one.
        settings: ways to run it.
        keeps_budget: whether the script takes ``--budget``.
        exact: whether it needs the program to be small.
    """

    script: str
    environment: str | None
    settings: tuple[Setting, ...]
    keeps_budget: bool = False
    exact: bool = False


def _jaxcld(rho: float, unit_rows: bool, swept: bool) -> Setting:
    label = f"rho={rho:g}" + (", unit rows" if unit_rows else "")
    options = ("--rho", str(rho), *(("--unit-rows",) if unit_rows else ()))
    return Setting(label, options, swept)


CONTENDERS = {
    "ours": Contender("ours", None, (Setting("", ()),)),
    "jaxcld": Contender(
        "jaxcld_admm",
        "bench-jaxcld",
        tuple(_jaxcld(rho, unit, swept=i > 0) for i, (rho, unit) in enumerate(JAXCLD_SETTINGS)),
        keeps_budget=True,
    ),
    "scnn": Contender(
        "scnn_solver",
        "bench-scnn",
        (
            Setting("AL", ("--method", "al")),
            Setting("gated + cones", ("--method", "cones")),
        ),
        keeps_budget=True,
    ),
    "clarabel": Contender(
        "cone_solver", None, (Setting("", ("--solver", "clarabel")),), exact=True
    ),
    "scs": Contender("cone_solver", None, (Setting("", ("--solver", "scs")),), exact=True),
}


def main() -> None:
    """Run the benchmark."""
    arguments = _arguments()
    rows: list[dict[str, Any]] = []
    for name in arguments.problems:
        problem = load_problem(name, arguments.features, say)
        if problem is not None:
            rows += _compare(name, problem, arguments)
            _write(arguments, rows)  # after every problem, so that none is lost
    if rows:
        sys.stdout.write(_table(_write(arguments, rows)))


def _write(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write table and JSON of the rows so far; gives the latter."""
    result = account(budget_seconds=arguments.budget, rows=rows)
    save(arguments, result, _table(result))
    return result


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "solvers")
    parser.add_argument(
        "--problems",
        nargs="+",
        choices=NAMES,
        metavar="NAME",
        default=[*TINY_SEEDS, *SHARED],
        help=f"of {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--contenders", nargs="+", choices=tuple(CONTENDERS), default=list(CONTENDERS)
    )
    parser.add_argument(
        "--settings", nargs="+", help="labels of settings to run alone, such as 'rho=1, unit rows'"
    )
    parser.add_argument("--features", type=Path, default=SHARED_FOLDER / "features")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds, each run")
    return parser.parse_args()


def _compare(name: str, problem: Problem, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All contenders on one problem."""
    rows, pairs = problem.x.shape[0], problem.x.shape[0] // 2
    say(
        f"{name}: {rows} rows ({pairs} pairs), {problem.x.shape[1]} columns, "
        f"{len(problem.gates)} gates, strength {problem.strength:.4g}"
    )
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        write_problem(path, problem)
        for solver in arguments.contenders:
            contender = CONTENDERS[solver]
            if contender.exact and not small_enough_for_cone_solvers(problem):
                continue
            for setting in contender.settings:
                if setting.label and setting.label not in (arguments.settings or [setting.label]):
                    continue
                identity = {"problem": name, "solver": solver, "swept": setting.swept}
                for row in _run(contender, setting, path, problem, arguments.budget):
                    found.append(identity | row)
                    say(f"  {solver} {row['setting']}: {row['failure'] or row['primal_value']}")
    return _with_best_bound(problem, found)


def _run(
    contender: Contender, setting: Setting, path: Path, problem: Problem, budget: float
) -> list[dict[str, Any]]:
    """One row a stage, or one that says what went wrong."""
    python = _python(contender.environment)
    if python is None:
        return [_failure(setting, f"no .venvs/{contender.environment}: make bench-env")]
    out = path.with_name("result.npz")
    out.unlink(missing_ok=True)
    script = HERE / "contenders" / f"{contender.script}.py"
    options = (*setting.options, *(("--budget", str(budget)) if contender.keeps_budget else ()))
    command = [str(python), str(script), str(path), str(out), *options]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=budget + GRACE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return [_failure(setting, f"ended after {budget + GRACE_SECONDS:.0f} s")]
    if run.returncode:
        lines = run.stderr.strip().splitlines() or [f"exit {run.returncode}"]
        return [_failure(setting, lines[-1])]
    result = read_result(out)
    return [_row(setting, stage, result, problem) for stage in result.stages]


def _python(environment: str | None) -> Path | None:
    if environment is None:
        return Path(sys.executable)
    python = ENVIRONMENTS / environment / "bin/python"
    return python if python.exists() else None


def _failure(setting: Setting, reason: str) -> dict[str, Any]:
    return {"setting": setting.label, "stage": "", "failure": reason}


def _row(setting: Setting, stage: Stage, result: Result, problem: Problem) -> dict[str, Any]:
    return {
        "setting": ", ".join(filter(None, (setting.label, stage.label))),
        "stage": stage.label,
        "failure": None,
        "steps": stage.steps,
        "seconds": stage.seconds,
        "compile_seconds": result.compile_seconds,
        "peak_bytes": result.peak_bytes,
        **_report(problem, stage),
    }


def _report(problem: Problem, stage: Stage) -> dict[str, float]:
    """The certificate, in float64: a bound is worth what its rounding is."""
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        program = Program(
            features=jnp.asarray(problem.x, float),
            patterns=jnp.asarray(problem.patterns, float),
            labels=jnp.asarray(problem.y, float),
            row_weight=jnp.ones(len(problem.y)),
            strength=jnp.asarray(problem.strength, float),
            loss=SQUARED,
            model="relu",
        )
        gates, weights = jnp.asarray(problem.gates, float), jnp.asarray(stage.weights, float)
        report = certify_weights(program, gates, weights)
        bound = float(report.dual_bound)
        if stage.dual_point is not None:
            bound = max(bound, _given_bound(program, stage))
        primal = float(report.primal_value)
        return {
            "primal_value": primal,
            "dual_bound": bound,
            "weights_gap": float(report.relative_gap),
            "own_gap": float(relative_gap(primal, bound)),
            "cone_violation": float(report.cone_violation),
        }


def _given_bound(program: Program, stage: Stage) -> float:
    """Bound by the dual point that a contender gave, scaled to be feasible."""
    point = jnp.asarray(stage.dual_point, float)
    multipliers = jnp.maximum(jnp.asarray(stage.multipliers, float), 0)
    return float(feasible_dual(program, point, multipliers).value)


def _with_best_bound(problem: Problem, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gap and explained share against the best lower bound that any weights gave.

    A bound of the optimum holds whoever found it; with the own one alone, weights that are nearly
    optimal look as bad as their residual, which converges at half the rate of their value.
    """
    bounds = [row["dual_bound"] for row in rows if not row["failure"]]
    best = float(np.nanmax(bounds)) if np.isfinite(bounds).any() else float("nan")
    zero = 0.5 * float(np.sum(problem.y.astype(float) ** 2))
    return [
        row
        if row["failure"]
        else row
        | {
            "best_bound": best,
            "relative_gap": float(relative_gap(row["primal_value"], best)),
            "explained": float(explained_share(zero, row["primal_value"], best)),
        }
        for row in rows
    ]


def _shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows but swept ones that are not the best of their stage."""
    best: dict[tuple[str, str, str], float] = {}
    for row in rows:
        if row["swept"] and not row["failure"]:
            key = (row["problem"], row["solver"], row["stage"])
            best[key] = min(best.get(key, float("inf")), _order(row))
    return [
        row
        for row in rows
        if not row["swept"]
        or _order(row) == best.get((row["problem"], row["solver"], row["stage"]))
    ]


def _order(row: dict[str, Any]) -> float:
    """The gap, with NaN and failures last."""
    gap = row.get("relative_gap", float("nan"))
    return gap if gap == gap else float("inf")


def _table(result: dict[str, Any]) -> str:
    head = (
        f"{origin(result)}. Of a swept setting the default and the best other value a stage are "
        "shown; the JSON holds all."
    )
    return markdown(head, COLUMNS, map(_cells, _shown(result["rows"])))


def _cells(row: dict[str, Any]) -> list[Any]:
    start = [row["problem"], row["solver"]]
    if row["failure"]:
        return [*start, f"{row['setting']} {row['failure']}".strip(), *["-"] * 8]
    return [
        *start,
        f"{row['setting']} (best of sweep)" if row["swept"] else row["setting"],
        row["steps"],
        f"{row['seconds']:.3g}",
        f"{row['compile_seconds']:.3g}",
        f"{row['explained']:.3f}",
        f"{row['relative_gap']:.1e}",
        f"{row['own_gap']:.1e}",
        f"{row['cone_violation']:.1e}",
        f"{row['peak_bytes'] / 1e6:.0f}",
    ]


if __name__ == "__main__":
    main()
