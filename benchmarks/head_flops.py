"""Floating-point operations of `select`, counted as it runs, by stage and by compiled function.

    PYTHONPATH=. python benchmarks/head_flops.py     # benchmarks/results/head-flops.md and .json

Made pairs, defaults of `select`. What counts: `counted_flops.py`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from counted_flops import REST, counted, counting
from reporting import account, best_seconds, finish, markdown, origin, parser_of, say

from coala_jax import Params, PreferenceFeatures, select
from coala_jax._inputs import prepare_features, prepare_params
from coala_jax.convex._coarse import coarse_advance, coarse_begin, linear_probes
from coala_jax.convex._flops import admm_flops
from coala_jax.convex._phase1 import _cronos
from coala_jax.convex._prepare import prepare
from coala_jax.preference._finetune import _finetune
from coala_jax.selection import SELECTED, Selection
from coala_jax.selection._left_out import _margins

# The stage of every compiled function that has products. The rest is the margins of linear probes,
# which no function is compiled for.
STAGES = {
    linear_probes.__name__: "selection",
    coarse_begin.__name__: "selection",
    coarse_advance.__name__: "selection",
    _margins.__name__: "selection",
    REST: "selection",
    _cronos.__name__: "phase1",
    _finetune.__name__: "phase2",
}
SHAPES = ((480, 128), (500, 640))
WAYS = ("plain", "counted")
COLUMNS = (
    *("pairs x features", "selection", "Phase I", "Phase II"),
    *("preparation", "ADMM steps", "steps", *(f"{way}, s" for way in WAYS)),
)
GIGA = 1e9


class CountedSelection(NamedTuple):
    """What `select` found, and its operations.

    Attributes:
        selection: as `select` gives it.
        functions: operations by compiled function.
    """

    selection: Selection
    functions: dict[str, int]

    @property
    def stages(self) -> dict[str, int]:
        """Operations of ``selection``, ``phase1`` and ``phase2``."""
        stages: Counter[str] = Counter(dict.fromkeys(STAGES.values(), 0))
        for function, flops in self.functions.items():
            stages[STAGES[function]] += flops
        return dict(stages)


def counted_select(
    params: Params,
    features: PreferenceFeatures,
    groups: Sequence[Hashable] | None = None,
    **options: Any,
) -> CountedSelection:
    """`select`, of the same arguments, counted: folds, candidates and the solve with the choice."""
    with counting([name for name in STAGES if name != REST]) as flops:
        selection = select(params, features, groups, **options)
    return CountedSelection(selection, {name: flops[name] for name in STAGES})


def made_pairs(pairs: int, width: int, seed: int = 0) -> PreferenceFeatures:
    """Gaussian features of a noisy reward that is linear but for two columns."""
    rng = np.random.default_rng(seed)
    one, other = rng.standard_normal((2, pairs, width)).astype(np.float32)
    direction = rng.standard_normal(width) / np.sqrt(width)
    rewards = [
        2 * side @ direction + np.abs(side[:, 0]) - np.abs(side[:, 1]) + rng.standard_normal(pairs)
        for side in (one, other)
    ]
    swap = (rewards[0] < rewards[1])[:, None]
    return PreferenceFeatures(np.where(swap, other, one), np.where(swap, one, other))


def main() -> None:
    """Count every case; results are written after each."""
    parser = parser_of(__doc__, "head-flops")
    parser.add_argument("--made", nargs="+", default=[f"{n}x{d}" for n, d in SHAPES])
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for shape in arguments.made:
        rows.append(_row(*map(int, shape.split("x"))))
        say(str(rows[-1]))
        _write(arguments, rows)


def _row(pairs: int, width: int) -> dict[str, Any]:
    features, params = made_pairs(pairs, width), Params()
    found = counted_select(params, features)
    selection = found.selection
    stats = selection.solution.stats.phase1
    return {
        **{"pairs": pairs, "width": width, "choice": str(selection.choice)},
        **{"stages": found.stages, "functions": found.functions},
        "iterations": int(stats.iterations),
        "preparation": _preparation(features, selection.choice.params),
        "steps": admm_flops(
            *(int(stats.iterations), int(stats.cg_iterations), 2 * pairs, width + 1),
            *(SELECTED.n_gates, SELECTED.model),
        ),
        "plain_seconds": best_seconds(lambda: select(params, features).solution),
        "counted_seconds": best_seconds(lambda: counted_select(params, features).functions),
    }


def _preparation(features: PreferenceFeatures, params: Params) -> int:
    """Operations before the first step of the solve with the choice, lambda_max among them."""
    key, _ = jax.random.split(jax.random.key(0))
    run = jax.jit(lambda params, pairs: prepare(params, pairs, SELECTED, key, None))
    return counted(run, prepare_params(params), prepare_features(features)).flops


def _write(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    result = account(rows=rows)
    stages = markdown(
        f"GFLOP by stage. Of Phase I: preparation, lambda_max among it, and ADMM steps by formula; "
        f"the rest is certificates and projections. {origin(result)}.",
        COLUMNS,
        (
            [
                f"{row['pairs']} x {row['width']}",
                *(f"{row['stages'][stage] / GIGA:.3f}" for stage in dict.fromkeys(STAGES.values())),
                *(f"{row[part] / GIGA:.3f}" for part in ("preparation", "steps")),
                *(row["iterations"], *(f"{row[f'{way}_seconds']:.2f}" for way in WAYS)),
            ]
            for row in rows
        ),
    )
    functions = markdown(
        "GFLOP by compiled function; the choice.",
        ("pairs x features", *(name.strip("_") for name in STAGES), "choice"),
        (
            [
                f"{row['pairs']} x {row['width']}",
                *(f"{row['functions'][name] / GIGA:.3f}" for name in STAGES),
                row["choice"],
            ]
            for row in rows
        ),
    )
    table = "\n".join([stages, functions])
    finish(arguments, result, table)


if __name__ == "__main__":
    main()
