"""pyscnn 0.0.10 (Mishkin et al. 2022): augmented Lagrangian, or gated R-FISTA and cones after it.

The package is `pyscnn` on PyPI and imports as `scnn`; PyPI's own `scnn` is another one, for graphs.
Its objective is 1/(2 m) ||F u - y||^2 + lam sum_i ||u_i||: ours over m. By default it also scales
the columns of X to unit norm, which changes the penalty; standardised columns all have norm
sqrt(m), so X / sqrt(m) does the same to every column and leaves the program as it was, with
lam = strength / m^1.5 and weights sqrt(m) times ours. On CPUs it computes in numpy.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import lab
import numpy as np
from protocol import Problem, Stage, parser, read_problem, write_result
from scnn.metrics import Metrics
from scnn.models import ConvexGatedReLU, ConvexReLU
from scnn.private.interface import build_internal_regularizer, build_optimizer, set_device
from scnn.private.models import AL_MLP, ConvexMLP
from scnn.regularizers import NeuronGL1
from scnn.solvers import AL, ApproximateConeDecomposition, Optimizer

# The delta that `scnn.optimize_model` gives its augmented Lagrangian models.
DELTA = 1000
KERNEL = "einsum"
# Steps after which weights are recorded, whatever the solver's own criterion says.
RECORDED = (10, 30, 100, 300, 1000, 3000, 10_000)


class Scaled(NamedTuple):
    """A problem in scnn's units."""

    data: tuple[Any, Any]
    patterns: Any
    gates: Any
    regularizer: NeuronGL1
    scale: float


class Stop(Exception):
    """Raised in a callback when the budget is spent."""


class Recorder:
    """Callback of scnn's procedures: weights at `RECORDED` steps, and the end of the budget."""

    def __init__(self, read: Callable[[Any], np.ndarray], budget: float) -> None:
        self.read, self.budget = read, budget
        self.stages: list[Stage] = []
        self.steps = 0
        self.start = time.perf_counter()

    def __call__(self, model: Any, *_: Any) -> Any:
        """Called after every inner step."""
        self.steps += 1
        if self.seconds > self.budget:
            self.record("budget spent", model)
            raise Stop
        if self.steps in RECORDED:
            self.record(f"{self.steps} steps", model)
        return model

    @property
    def seconds(self) -> float:
        """Since the recorder was made."""
        return time.perf_counter() - self.start

    def record(self, label: str, model: Any) -> None:
        """Keep the model's weights as a stage."""
        seconds = self.seconds
        self.stages.append(Stage(label, self.steps, seconds, self.read(model)))


def main() -> None:
    """Run the contender."""
    arguments = _arguments()
    set_device("cpu", arguments.dtype, 778)
    logging.getLogger("scnn").setLevel(logging.ERROR)
    scaled = _scale(read_problem(arguments.problem))
    run = _augmented_lagrangian if arguments.method == "al" else _gated_then_cones
    write_result(arguments.result, run(scaled, arguments), 0.0)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--method", choices=("al", "cones"), default="al")
    options.add_argument("--tolerance", type=float, default=1e-6, help="scnn's default: 1e-6")
    options.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    options.add_argument("--budget", type=float, default=600.0, help="seconds")
    return options.parse_args()


def _scale(problem: Problem) -> Scaled:
    rows = len(problem.y)
    scale = float(np.sqrt(rows))

    def tensor(array: np.ndarray) -> Any:
        return lab.tensor(array, dtype=lab.get_dtype())

    return Scaled(
        data=(tensor(problem.x / scale), tensor(problem.y[:, None])),
        patterns=tensor(problem.patterns.T),
        gates=tensor(problem.gates.T),
        regularizer=NeuronGL1(problem.strength / rows / scale),
        scale=scale,
    )


def _augmented_lagrangian(scaled: Scaled, arguments: argparse.Namespace) -> list[Stage]:
    """The constrained program itself: R-FISTA within multiplier updates."""
    solver = AL(
        ConvexReLU(lab.to_np(scaled.gates)),
        tol=arguments.tolerance,
        constraint_tol=arguments.tolerance,
    )
    recorder = Recorder(lambda model: _weights(model, scaled), arguments.budget)
    model = AL_MLP(*_sizes(scaled), KERNEL, delta=DELTA, regularizer=_internal(scaled))
    return _run(solver, model, scaled, recorder)


def _gated_then_cones(scaled: Scaled, arguments: argparse.Namespace) -> list[Stage]:
    """The gated program, then its approximate decomposition onto the cones; recorded at the end."""
    solver = ApproximateConeDecomposition(
        ConvexGatedReLU(lab.to_np(scaled.gates)), tol=arguments.tolerance
    )
    recorder = Recorder(lambda model: _weights(model, scaled), arguments.budget)
    model = ConvexMLP(*_sizes(scaled), KERNEL, regularizer=_internal(scaled))
    return _run(solver, model, scaled, recorder)[-1:]


def _sizes(scaled: Scaled) -> tuple[int, Any, Any]:
    return scaled.data[0].shape[1], scaled.patterns, scaled.gates


def _internal(scaled: Scaled) -> Any:
    return build_internal_regularizer(scaled.regularizer)


def _run(solver: Optimizer, model: Any, scaled: Scaled, recorder: Recorder) -> list[Stage]:
    """What `scnn.optimize_model` does, with a callback and without its metrics.

    The patterns are given instead of computed: `optimize_model` would sort and merge them.
    """
    procedure = build_optimizer(solver, scaled.regularizer, Metrics())
    logger = logging.getLogger("scnn")
    none: tuple[list[str], list[str], list[str]] = ([], [], [])
    try:
        status, model, _ = procedure(
            logger, model, lambda model: model, scaled.data, scaled.data, none, callback=recorder
        )
    except Stop:
        return recorder.stages
    recorder.record("own criterion" if status.get("success") else "step limit", model)
    return recorder.stages


def _weights(model: Any, scaled: Scaled) -> np.ndarray:
    """(2, P, D) weights in our units; gated weights u stand as v = u, w = 0."""
    weights = np.array(lab.to_np(model.weights)) / scaled.scale
    return weights[:, 0] if weights.ndim == 4 else np.stack([weights[0], 0 * weights[0]])


if __name__ == "__main__":
    main()
