"""Call whatever takes features with rows on one device and on all, and say what came of it.

With the collectives of every program that was compiled for the split rows, as JSON. Run by
`test_rows_on_devices.py`, with the folder of XLA's dump and one of `PARTS` as its arguments.
"""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from coala_jax import (
    Config,
    GroupFeatures,
    Params,
    PreferenceFeatures,
    certify,
    cronos,
    evaluate,
    finetune,
    refine_gates,
    regularization_path,
    select,
    solve,
)
from coala_jax.preference import reward_metrics
from coala_jax.selection import SELECTED, Grid
from tests.collectives import KINDS, Dumped

# A device of eight has 256 pairs or 128 groups, far more than what may be summed over devices: a
# number a pair of the 8 candidates for gates.
PAIRS, GROUPS, MEMBERS, WIDTH, GATES, BATCH = 2048, 1024, 4, 3, 2, 40
ON_PAIRS = Config(phase1_loss="bradley_terry", n_gates=GATES)
RANKED = Config(phase1_loss="plackett_luce", linear_path=True, n_gates=GATES)
CHOSEN = dataclasses.replace(SELECTED, n_gates=GATES)
GRID = Grid((0.5, 0.2), (1.0, 0.1), (0.1,))
# What is called in a process of its own.
PARTS = {
    "solves": ("solve", "solve groups", "finetune in batches"),
    "figures": ("certify", "evaluate", "reward_metrics", "regularization_path"),
    "gates": ("refine_gates",),
    "choices": ("select", "select groups"),
}


def draw_pairs(rng):
    """Some pairs have no weight, one is a copy."""
    chosen, rejected = rng.standard_normal((2, PAIRS, WIDTH))
    chosen += 0.6 * np.abs(chosen[:, ::-1])
    chosen[7], rejected[7] = chosen[3], rejected[3]
    weight = rng.integers(0, 3, PAIRS).astype(float)
    return PreferenceFeatures(chosen, rejected, weight, 0.1 * rng.random(PAIRS))


def draw_groups(rng):
    """Some groups lack a member."""
    responses = rng.standard_normal((GROUPS, MEMBERS, WIDTH))
    scores = np.abs(responses[..., 0]) + responses[..., 1] + 0.5 * rng.standard_normal((GROUPS, 4))
    mask = np.arange(MEMBERS) < rng.integers(3, MEMBERS + 1, (GROUPS, 1))
    return GroupFeatures(responses, scores, mask=mask)


def of_solution(solution):
    first, second = solution.stats.phase1, solution.stats.phase2
    counts = [solution.status, first.iterations, second.epochs]
    values = [first.primal_value, first.dual_bound, second.loss, second.excess]
    values.append(solution.history.phase2.train.accuracy[0])
    return list(map(int, counts)), list(map(float, values))


def of_refined(solution):
    """Status and objective: descent across cones makes of a rounding other steps after it."""
    return [int(solution.status)], [float(solution.stats.phase1.primal_value)]


def of_phase2(solution):
    return [int(solution.status), int(solution.stats.epochs)], [float(solution.stats.loss)]


def of_values(found):
    return [], [float(value) for leaf in found for value in np.ravel(leaf)]


def of_path(path):
    return list(map(int, path.stats.iterations)), of_values([path.stats.primal_value])[1]


def of_selection(found):
    counts, values = of_solution(found.solution)
    table = found.choice.table
    losses = [each.log_loss for each in (found.choice.candidate, *table)]
    same = found.choice.groups[3] == found.choice.groups[7]
    return [*counts, len(table), int(same)], [*values, *losses, *map(float, found.choice.odds[:9])]


def calls(pairs, groups, head, certificate):
    """By name: what is called, with features as they lie, and what of it counts."""
    params, rng = Params(), np.random.default_rng(1)
    batches = dataclasses.replace(ON_PAIRS, batch_size=BATCH, max_epochs=3)
    rewards = head(pairs.chosen), head(pairs.rejected)
    figures = dict(loss=np.ones(()), log_loss=np.ones(()), beta=1.0, weight=pairs.weight)
    names = rng.integers(0, GROUPS // 2, GROUPS)
    listwise = dataclasses.replace(CHOSEN, phase1_loss="listwise", model="relu")
    return {
        "solve": (lambda: solve(params, pairs, config=ON_PAIRS, eval_features=pairs), of_solution),
        "solve groups": (lambda: solve(params, groups, config=RANKED), of_solution),
        "finetune in batches": (lambda: finetune(params, head, pairs, config=batches), of_phase2),
        "certify": (lambda: certify(params, pairs, certificate, config=ON_PAIRS), of_values),
        "evaluate": (lambda: evaluate(params, head, pairs, config=ON_PAIRS), of_values),
        "reward_metrics": (lambda: reward_metrics(*rewards, **figures), of_values),
        "regularization_path": (
            lambda: regularization_path(params, pairs, np.array([0.5, 0.3]), config=ON_PAIRS),
            of_path,
        ),
        "refine_gates": (
            lambda: refine_gates(params, pairs, config=ON_PAIRS, max_rounds=1),
            of_refined,
        ),
        "select": (
            lambda: select(params, pairs, config=CHOSEN, grid=GRID, folds=2, rule="minimum"),
            of_selection,
        ),
        "select groups": (
            lambda: select(params, groups, names, config=listwise, grid=GRID, folds=2),
            of_selection,
        ),
    }


def main():
    rng = np.random.default_rng(0)
    pairs, groups = draw_pairs(rng), draw_groups(rng)
    mesh = jax.make_mesh((len(jax.devices()),), ("rows",), axis_types=(AxisType.Auto,))
    by_row = NamedSharding(mesh, PartitionSpec("rows"))
    split_pairs, split_groups = jax.device_put((pairs, groups), by_row)
    solved = cronos(Params(), pairs, config=ON_PAIRS)
    given = (solved.head, solved.certificate)
    split_calls = calls(split_pairs, split_groups, *given)
    dumped, found = Dumped(Path(sys.argv[1])), {}
    whole_calls = calls(pairs, groups, *given)
    for name in PARTS[sys.argv[2]]:
        call, figures = whole_calls[name]
        whole = figures(call())
        dumped.new()
        split = split_calls[name][0]()
        exchanged = dumped.new()
        most = {
            kind: max((each.elements for each in exchanged if each.kind == kind), default=0)
            for kind in KINDS
        }
        found[name] = {"whole": whole, "split": figures(split), "most": most}
    print(json.dumps(found))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
