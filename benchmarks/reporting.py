"""What every benchmark needs around its measurements: options, an account, tables, a budget.

Imports neither jax nor torch: some benchmarks bind their process to cores before these count them.
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SHARED_FOLDER = HERE.parent.parent / "shared"
# Short measurements are repeated, and the fastest counts.
REPEATS = 3
KIB = 1024
# A part may take this many times as long as the longest of its kind did.
GROWTH = 2.0


def parser_of(doc: str, name: str, out: Path = RESULTS) -> argparse.ArgumentParser:
    """A parser under a module's first line, with the folder and the name of its results."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--out", type=Path, default=out, help="folder of the results")
    parser.add_argument("--name", default=name, help="of the files under --out")
    return parser


def account(**fields: Any) -> dict[str, Any]:
    """A result: when, on what, with which versions, and what was found."""
    from coala_jax._machine import device, versions

    date = datetime.now(UTC).date().isoformat()
    return {"date": date, "device": device(), "versions": versions(), **fields}


def origin(result: dict[str, Any]) -> str:
    """When and on what a result was measured, for the line above its table."""
    return f"{result['date']}, {result['device']}, jax {result['versions']['jax']}"


def save(arguments: argparse.Namespace, result: dict[str, Any], table: str) -> None:
    """Write a result as JSON and Markdown where ``--out`` and ``--name`` say."""
    from coala_jax._files import write_text
    from coala_jax._json import json_text

    write_text(arguments.out / f"{arguments.name}.json", json_text(result))
    write_text(arguments.out / f"{arguments.name}.md", table)


def finish(arguments: argparse.Namespace, result: dict[str, Any], table: str) -> None:
    """Write a result, and print its table."""
    save(arguments, result, table)
    sys.stdout.write(table)


def markdown(head: str, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table under a line."""
    return "\n".join([head, "", *map(cells, [columns, ["---"] * len(columns), *rows]), ""])


def cells(row: Iterable[Any]) -> str:
    """A line of a table."""
    return "| " + " | ".join(map(str, row)) + " |"


def interval(fields: dict[str, float]) -> str:
    """A mean with the ends of its interval."""
    return f"{fields['mean']:.3f} [{fields['low']:.3f}, {fields['high']:.3f}]"


def figure(value: float | None, spec: str, unit: float = 1.0) -> str:
    """A figure in a unit, or a dash where there is none."""
    return "-" if value is None else format(value if unit == 1 else value / unit, spec)


def say(line: Any) -> None:
    """Tell how far it is, beside what is written."""
    print(line, file=sys.stderr, flush=True)


def best_seconds(
    run: Callable[[], Any],
    repeats: int = REPEATS,
    calls: int = 1,
    wait: Callable[[Any], Any] | None = None,
) -> float:
    """Seconds of a call: the fastest of so many series of calls, after one that compiles."""
    if wait is None:
        from jax import block_until_ready as wait
    wait(run())
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(calls):
            result = run()
        wait(result)
        best = min(best, (time.perf_counter() - start) / calls)
    return best


def peak_bytes() -> int | None:
    """Most memory of the device in use so far, where the backend counts it."""
    import jax

    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def peak_memory() -> dict[str, int]:
    """The most memory so far, in bytes: of the process, and of the device where it is counted."""
    peaks = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB}
    device = peak_bytes()
    return peaks if device is None else {**peaks, "gpu_allocated": device}


class Measured(NamedTuple):
    """Figures of one row of a table, and what later parts need of it."""

    figures: dict[str, Any]
    value: Any = None


class Recorder:
    """Rows of parts, saved after each: what fails or no longer fits the budget says so in its row.

    Args:
        arguments: with ``out``, ``name`` and ``budget``, seconds for everything.
        fields: of the result, beside its account, its seconds and its rows.
        table: of a result.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        fields: dict[str, Any],
        table: Callable[[dict[str, Any]], str],
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self._arguments, self._fields, self._table = arguments, fields, table
        self._start = time.perf_counter()
        self._longest: dict[Any, float] = {}

    def measure(
        self, identity: dict[str, Any], function: Callable[..., Measured], *inputs: Any
    ) -> Any:
        """Add the row of a part.

        Args:
            identity: cells that say which part it is; parts of a model are of one kind.
            function: makes the figures from the inputs.
            *inputs: values of earlier parts; None is one that failed.

        Returns:
            The value for later parts, or None.
        """
        kind = identity["part"], identity.get("model")
        start = time.perf_counter()
        measured = Measured({})
        failure = self._obstacle(kind, inputs)
        if failure is None:
            try:
                measured = function(*inputs)
            except Exception as error:  # whatever it was, the other parts are still worth having
                lines = str(error).strip().splitlines() or [""]
                failure = f"{type(error).__name__}: {lines[0]}".replace("|", "/")
            spent = time.perf_counter() - start
            self._longest[kind] = max(spent, self._longest.get(kind, 0.0))
        peak = {"peak_bytes": peak_bytes()}
        self.rows.append({**identity, "failure": failure, **peak, **measured.figures})
        say(", ".join(map(str, (*identity.values(), failure or "done"))))
        save(self._arguments, self.result(), self.table())
        return measured.value

    def result(self) -> dict[str, Any]:
        """All that is kept so far."""
        seconds = time.perf_counter() - self._start
        return account(**self._fields, seconds=seconds, rows=self.rows)

    def table(self) -> str:
        """The rows so far as Markdown."""
        return self._table(self.result())

    def _obstacle(self, kind: Any, inputs: tuple[Any, ...]) -> str | None:
        """Why a part cannot run, or None."""
        if any(value is None for value in inputs):
            return "not run: a part before it gave nothing"
        left = self._arguments.budget - (time.perf_counter() - self._start)
        needed = GROWTH * self._longest.get(kind, 0.0)
        if left <= needed:
            return f"not run: {max(left, 0):.0f} s of the budget left, {needed:.0f} s may be needed"
        return None
