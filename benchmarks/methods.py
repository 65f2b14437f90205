"""SFT, DPO, ORPO, a reward model and COALA on the same models and pairs: quality beside cost.

    make bench-env                                                      # TRL, in .venvs/bench-trl
    PYTHONPATH=. python benchmarks/methods.py --plan benchmarks/plans/embedded.yaml --out OUT

A plan (methods_plan.py) is a matrix of models × data sets × methods × seeds. Each cell is a folder
OUT/model/set/seed-N/method with its settings, runs, answers and ``result.json``; a run that was
ended goes on where it stopped, in a cell too. The table and the two pictures, quality against
operations and reward margins against steps, are written to ``--results`` after every cell.
``--processes`` cells run together, each in a process of its own. Figures: docs/methods.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import multiprocessing
import os
import shlex
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from reporting import HERE, RESULTS, say

if TYPE_CHECKING:
    from methods_cells import Cell

TRL = HERE.parent / ".venvs" / "bench-trl" / "bin" / "python"


def main(argv: Sequence[str] | None = None) -> None:
    """Make the cells that are missing, then the table."""
    arguments = _arguments(argv)
    # Read where torch and XLA start, which is after this.
    together = arguments.processes * arguments.trials
    threads = max((os.cpu_count() or 1) // together, 1)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))
    # Memory of a GPU that jax takes ahead would be lost to TRL.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    from methods_cells import cells_of, resolved
    from methods_plan import TRAINED, PlanError, read_plan
    from methods_report import write_report

    try:
        plan = read_plan(arguments.plan, dict(arguments.model), dict(arguments.set))
    except PlanError as error:
        raise SystemExit(f"methods.py: {error}") from None
    if arguments.seeds:
        plan = dataclasses.replace(plan, seeds=tuple(arguments.seeds))
    cells = cells_of(
        plan,
        arguments.out,
        arguments.trl,
        download=arguments.download,
        together=arguments.trials,
    )
    if arguments.dry_run:
        for line in (*resolved(plan, arguments.download), *map(_state, cells)):
            print(line)
        return
    if unknown := set(arguments.methods or ()) - set(plan.methods):
        known = ", ".join(plan.methods)
        raise SystemExit(f"methods.py: --methods {', '.join(unknown)}: the plan has {known}")
    wanted = [cell for cell in cells if cell.method in (arguments.methods or plan.methods)]
    needs_trl = any(
        plan.methods[cell.method].kind in TRAINED and cell.result is None for cell in wanted
    )
    if needs_trl and not arguments.trl.exists():
        raise SystemExit(f"methods.py: --trl {arguments.trl}: no such Python; run make bench-env")
    try:
        for cell in cells:
            cell.require_same_settings()
        for cell in wanted:
            if (start := cell.start) is not None and start not in wanted and not start.result:
                raise PlanError(f"--methods: {cell} starts from {start.method}; add it")
    except PlanError as error:
        raise SystemExit(f"methods.py: {error}") from None
    failed = _run(wanted, arguments)
    write_report(cells, arguments)
    for cell in wanted:
        if cell.result is None and str(cell) not in failed:
            say(f"not begun, for want of time: {cell}")
    if failed:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in failed.items())
        raise SystemExit(f"methods.py: {len(failed)} cells failed: {reasons}")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plan", type=Path, required=True, help="YAML file, see benchmarks/plans")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cells")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of table and pictures"
    )
    parser.add_argument("--name", default=None, help="of the files under --results")
    parser.add_argument("--trl", type=Path, default=TRL, help="Python that has trl, peft, torch")
    parser.add_argument(
        "--model", type=named_place, action="append", default=[], help="NAME=DIR, for a plan's path"
    )
    parser.add_argument(
        "--set", type=named_place, action="append", default=[], help="NAME=FILE, for a plan's data"
    )
    parser.add_argument("--methods", nargs="+", default=None, help="to run (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", help="to run (default: the plan's)")
    parser.add_argument("--dry-run", action="store_true", help="find models and rows, list cells")
    parser.add_argument("--processes", type=int, default=1, help="cells that run together")
    parser.add_argument("--trials", type=int, default=1, help="of a cell, that run together")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no cell after")
    parser.add_argument("--download", action="store_true", help="fetch what the hub's cache lacks")
    arguments = parser.parse_args(argv)
    for name in ("processes", "trials"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} {getattr(arguments, name)} must be at least 1")
    arguments.name = arguments.name or f"methods-{arguments.plan.stem}"
    arguments.end = time.monotonic() + 60 * arguments.minutes
    places = {str(arguments.out): "OUT", str(arguments.trl): "PYTHON"}
    for name, place in (*arguments.model, *arguments.set):
        places[f"{name}={place}"] = f"{name}=DIR"
    words = sys.argv if argv is None else ["benchmarks/methods.py", *argv]
    arguments.command = shlex.join(["python", *(places.get(word, word) for word in words)])
    return arguments


def _state(cell: Cell) -> str:
    return f"{'made' if cell.result else 'to make'}: {cell}"


def named_place(text: str) -> tuple[str, str]:
    """``NAME=PLACE`` of a command line in its parts."""
    name, sign, place = text.partition("=")
    if not (name and sign and place):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR")
    return name, place


def _run(cells: Sequence[Cell], arguments: argparse.Namespace) -> dict[str, str]:
    """Make the cells in processes of their own, each after what it starts from; why some failed.

    A process each, so that its peak of memory is its own.
    """
    from methods_plan import PlanError
    from methods_report import write_report

    from coala_jax import CoalaError

    failed: dict[str, str] = {}
    waiting = [cell for cell in cells if cell.result is None]
    for group in dict.fromkeys(cell.group for cell in waiting):
        own = [cell for cell in waiting if cell.group == group]
        try:
            own[0].make_rows()
        except (CoalaError, PlanError, ValueError, OSError) as error:
            failed |= {str(cell): f"no rows: {error}" for cell in own}
            waiting = [cell for cell in waiting if cell not in own]
    running: dict[Future[None], tuple[Cell, ProcessPoolExecutor]] = {}
    while True:
        for cell in list(waiting):
            if len(running) == arguments.processes or time.monotonic() > arguments.end:
                break
            start = cell.start
            if start is not None and str(start) in failed:
                failed[str(cell)] = "what it starts from failed"
                waiting.remove(cell)
            elif start is None or start.result is not None:
                say(f"begins: {cell}")
                # Of its own: a process that is killed, for want of memory say, ends its pool.
                pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
                running[pool.submit(cell.make)] = cell, pool
                waiting.remove(cell)
        if not running:
            return failed
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            cell, pool = running.pop(future)
            pool.shutdown()
            error = future.exception()
            if error is not None:
                failed[str(cell)] = f"{type(error).__name__}: {error}"
            say(f"{'failed' if error else 'done'}: {cell} {error or ''}")
        write_report(cells, arguments)


if __name__ == "__main__":
    main()
