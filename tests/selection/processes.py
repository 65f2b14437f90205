"""`select` in one of several processes, each with its part of the rows; prints the choice as JSON.

Run by `test_processes.py`: python -m tests.selection.processes NUMBER OF ADDRESS
"""

import dataclasses
import json
import sys

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from coala_jax import Params, PreferenceFeatures, select
from coala_jax.selection import SELECTED, Grid

PAIRS, WIDTH = 240, 3


def draw():
    """Of the pairs some have no weight, and one is a copy in the other half of the rows."""
    rng = np.random.default_rng(0)
    chosen, rejected = rng.standard_normal((2, PAIRS, WIDTH))
    chosen += 0.6 * np.abs(chosen[:, ::-1])
    chosen[-7], rejected[-7] = chosen[3], rejected[3]
    return chosen, rejected, rng.integers(0, 3, PAIRS).astype(float), 0.1 * rng.random(PAIRS)


def main(number, count, address):
    if count > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(address, count, number)
    axis = jax.make_mesh((len(jax.devices()),), ("rows",), axis_types=(AxisType.Auto,))
    by_row = NamedSharding(axis, PartitionSpec("rows"))
    columns = [
        jax.make_array_from_callback(whole.shape, by_row, lambda here, whole=whole: whole[here])
        for whole in draw()
    ]
    choice = select(
        Params(),
        PreferenceFeatures(*columns),
        config=dataclasses.replace(SELECTED, n_gates=2),
        grid=Grid((0.5, 0.2), (1.0, 0.1), (0.1,)),
        folds=2,
        rule="minimum",
    ).choice
    losses = [each.log_loss for each in choice.table]
    same = choice.groups[3] == choice.groups[-7]
    found = {"choice": str(choice), "copies": same, "values": [*losses, *map(float, choice.odds)]}
    print(json.dumps({"processes": jax.process_count(), **found}))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
