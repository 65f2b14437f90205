"""What a contender reads and writes; it needs numpy alone, so that any environment can run it.

    python contenders/NAME.py IN.npz OUT.npz [options]

IN holds one convex program, min 1/2 ||F u - y||^2 + strength sum_i ||u_i|| subject to G u >= 0 with
F u = sum_i D_i X (v_i - w_i) and G u = (E_i X v_i, E_i X w_i), E = 2 D - 1. OUT holds the weights
that were reached and the time it took. What they are worth is for `solvers.py` to say.
"""

from __future__ import annotations

import argparse
import resource
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Fields of a stage that a contender may leave out.
_DUALS = ("dual_point", "multipliers")


class Problem(NamedTuple):
    """One convex program.

    Attributes:
        x: (m, D) float32 standardised rows; the last column is constant, for the bias. Of every
            pair the chosen response and behind it the rejected one.
        patterns: (P, m) bool, D_i.
        gates: (P, D) float32 gate vectors of these patterns.
        y: (m,) float32 targets, +1 and -1.
        strength: absolute group-lasso strength.
    """

    x: np.ndarray
    patterns: np.ndarray
    gates: np.ndarray
    y: np.ndarray
    strength: float


class Stage(NamedTuple):
    """What a contender had at one moment.

    Attributes:
        label: what was asked for, for example ``gap 1e-2``.
        steps: iterations taken, in the contender's own unit.
        seconds: wall time to there, without compilation.
        weights: (2, P, D) weights (v, w).
        dual_point: (m,) dual variable of F u, from a solver that has one; any values bound the
            optimum once they are scaled, and the bound serves all contenders.
        multipliers: (2, P, m) non-negative multipliers of G u >= 0 that belong to it.
    """

    label: str
    steps: int
    seconds: float
    weights: np.ndarray
    dual_point: np.ndarray | None = None
    multipliers: np.ndarray | None = None


def parser(description: str) -> argparse.ArgumentParser:
    """The two positional arguments that all contenders share."""
    shared = argparse.ArgumentParser(description=description)
    shared.add_argument("problem", type=Path, help="npz of the problem")
    shared.add_argument("result", type=Path, help="npz of the result, written at the end")
    return shared


def write_problem(path: Path, problem: Problem) -> None:
    """Write IN."""
    np.savez(path, **problem._asdict())


def read_problem(path: Path) -> Problem:
    """Read IN."""
    with np.load(path) as arrays:
        problem = Problem(**{name: arrays[name] for name in Problem._fields})
    return problem._replace(strength=float(problem.strength))


def write_result(path: Path, stages: list[Stage], compile_seconds: float) -> None:
    """Write OUT, with the largest memory that this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts kilobytes
    duals = {
        name: np.stack([getattr(stage, name) for stage in stages]).astype(np.float32)
        for name in _DUALS
        if all(getattr(stage, name) is not None for stage in stages)
    }
    np.savez(
        path,
        **duals,
        label=np.array([stage.label for stage in stages]),
        steps=np.array([stage.steps for stage in stages]),
        seconds=np.array([stage.seconds for stage in stages]),
        weights=np.stack([stage.weights for stage in stages]).astype(np.float32),
        compile_seconds=compile_seconds,
        peak_bytes=peak,
    )


class Result(NamedTuple):
    """OUT, read back."""

    stages: list[Stage]
    compile_seconds: float
    peak_bytes: int


def read_result(path: Path) -> Result:
    """Read OUT."""
    with np.load(path) as arrays:
        columns = [arrays[name].tolist() for name in ("label", "steps", "seconds")]
        names = [name for name in ("weights", *_DUALS) if name in arrays]
        stages = [
            Stage(*row, **{name: arrays[name][i] for name in names})
            for i, row in enumerate(zip(*columns, strict=True))
        ]
        return Result(stages, float(arrays["compile_seconds"]), int(arrays["peak_bytes"]))
