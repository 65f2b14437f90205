"""What more training pairs would give: the same solve on parts of them, on one held-out set."""

from __future__ import annotations

from typing import Any

import numpy as np

from coala_jax._intervals import share_interval
from coala_jax._processes import own_part
from coala_jax._status import SolveError
from coala_jax.data._split import eval_mask
from coala_jax.features import FeatureError
from coala_jax.study._all_pairs import of_all_processes
from coala_jax.study._experiment import Experiment, Say, run_experiment
from coala_jax.study._pair_set import PairSet

LearningCurve = list[dict[str, Any]]
SHARES = (1 / 8, 1 / 4, 1 / 2)


def learning_curve(
    pairs: PairSet, held_out: np.ndarray, whole: Experiment, say: Say
) -> LearningCurve:
    """Accuracy on the held-out pairs after training on parts of the others.

    Parts are of whole keys, drawn by the seed, each within the next; the strengths are those of the
    whole. Of several processes all call this together, as `run_experiment`.

    Args:
        pairs: all pairs of this process.
        held_out: (n,) booleans, of the pairs of all processes.
        whole: the experiment on all of them.
        say: is told which part is solved, and which cannot be.

    Returns:
        From few to all: training ``pairs``, and accuracy of ``head`` and ``linear_probe`` with
        their intervals; None for a probe that could not be fitted.
    """
    everyone = of_all_processes(pairs)
    training = np.flatnonzero(~held_out)
    keys = [everyone.keys[row] for row in training]
    settings = whole.settings._replace(select=False)
    points = []
    for share in SHARES:
        kept = held_out.copy()
        kept[training[eval_mask(keys, share, settings.seed)]] = True
        own = pairs.take(own_part(kept, len(pairs.keys)))
        say(f"learning curve: {everyone.pair_count(kept & ~held_out)} training pairs")
        try:
            points.append(_point(run_experiment(own, held_out[kept], settings, _say_nothing)))
        except (FeatureError, SolveError) as error:
            say(f"learning curve: not solved there: {error}")
    return [*points, _point(whole)]


def _point(found: Experiment) -> dict[str, Any]:
    held, probe = found.eval, found.correct.probe
    return {
        "pairs": found.train.pair_count(),
        "head": found.verdict.accuracy._asdict(),
        "linear_probe": None
        if probe is None
        else share_interval(probe, held.keys, held.weight)._asdict(),
    }


def _say_nothing(_: str) -> None:
    """What was said of the whole holds of its parts."""
