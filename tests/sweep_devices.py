"""Run sweeps and folds over the devices that there are and one by one, and print both as JSON.

Run by `test_sharded_vmap.py`: how many devices there are is known once a process.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from coala_jax import (
    CoalaError,
    Config,
    Params,
    PreferenceFeatures,
    select,
    sharded_vmap,
    solve,
)
from coala_jax.selection import SELECTED, Grid
from tests.collectives import collectives_of
from tests.helpers import draw_pairs

CONFIG = Config(n_gates=3)
# One more than a device each, so that one has two and others copies.
ELEMENTS = 9
TIGHT = Params(
    gap_tolerance=1e-8, residual_tolerance=1e-8, violation_tolerance=1e-8, excess_tolerance=1e-12
)


def one(key, rho, features):
    return solve(Params(rho=rho), features, key=key, config=CONFIG)


def figures(solutions):
    """Status, steps and epochs of every element, and values."""
    first, second = solutions.stats.phase1, solutions.stats.phase2
    counts = [solutions.status, first.iterations, second.epochs]
    values = [first.primal_value, first.dual_bound, second.loss]
    return np.asarray(counts).T.tolist(), np.asarray(values).T.tolist()


def sweep(features):
    """Of the solves one by one, of as many as there are devices, and of one more."""
    keys, rhos = jax.random.split(jax.random.key(1), ELEMENTS), np.geomspace(0.1, 10, ELEMENTS)
    singles = [figures(one(key, rho, features)) for key, rho in zip(keys, rhos, strict=True)]
    over_devices = sharded_vmap(one, (0, 0, None))
    whole = over_devices(keys[:-1], rhos[:-1], features)
    program = jax.jit(over_devices).lower(keys[:-1], rhos[:-1], features).compile().as_text()
    leaves = jax.tree.leaves(whole)
    return {
        "singles": list(map(list, zip(*singles, strict=True))),
        "one a device": figures(whole),
        "one more": figures(over_devices(keys, rhos, features)),
        "loops": program.count(" while("),
        "collectives": len(collectives_of(program)),
        "devices of leaves": sorted({len(leaf.addressable_shards) for leaf in leaves}),
        "elements of shards": sorted(
            {shard.data.shape[0] for leaf in leaves for shard in leaf.addressable_shards}
        ),
    }


def gradients(features):
    """Of a sum over a sweep by its own values and by what all elements share."""

    def outputs(lasso, ridge, features, config):
        params = TIGHT._replace(group_lasso=lasso, ridge=ridge)
        return jnp.sum(solve(params, features, config=config).head(features.chosen) ** 2)

    def gradient(transform, config=CONFIG):
        mapped = transform(lambda *inputs: outputs(*inputs, config), (0, None, None))
        lassos = jnp.linspace(0.1, 0.2, 3)
        total = jax.grad(lambda *inputs: jnp.sum(mapped(*inputs, features)), argnums=(0, 1))
        by_lasso, by_ridge = total(lassos, 1e-2)
        return [*map(float, by_lasso), float(by_ridge)]

    unsolved = dataclasses.replace(CONFIG, max_iterations=25)
    return {
        "vmap": gradient(jax.vmap),
        "devices": gradient(sharded_vmap),
        "unsolved": int(np.isnan(gradient(sharded_vmap, unsolved)).sum()),
    }


def folds(features):
    """Five, of features on one device, and on two that have a copy each, in three turns."""
    config = dataclasses.replace(SELECTED, n_gates=2)
    grid = Grid((0.5, 0.3, 0.2), (1.0, 0.1), (0.1,))
    every = NamedSharding(Mesh(jax.devices()[:2], "copies"), PartitionSpec())
    found = []
    for placed in (features, jax.device_put(features, every)):
        choice = select(Params(), placed, config=config, grid=grid, rule="minimum").choice
        losses = [each.log_loss for each in choice.table]
        found.append({"choice": str(choice), "values": [*losses, *map(float, choice.odds)]})
    return found


def parts_of_devices(features):
    """Two elements on one device, and each with its rows over half of all."""
    halves = np.array(jax.devices()).reshape(2, -1)
    keys, rows = jax.random.split(jax.random.key(1)), PartitionSpec("rows")
    split = [jax.device_put(features, NamedSharding(Mesh(half, "rows"), rows)) for half in halves]
    return {
        "whole": [figures(one(key, 0.1, features)) for key in keys],
        "split": [figures(one(*each)) for each in zip(keys, (0.1, 0.1), split, strict=True)],
    }


def refusals(features):
    """What is said of rows that are split where elements are."""
    mesh = jax.make_mesh((len(jax.devices()),), ("rows",), axis_types=(AxisType.Auto,))
    split = jax.device_put(features, NamedSharding(mesh, PartitionSpec("rows")))
    keys = jax.random.split(jax.random.key(1), len(jax.devices()))
    messages = []
    for call in (
        lambda: sharded_vmap(one, (0, None, None))(keys, 1.0, split),
        lambda: sharded_vmap(lambda key: one(key, 1.0, split))(keys),
    ):
        try:
            call()
        except CoalaError as error:
            messages.append(str(error))
    return messages


def main():
    features = draw_pairs(0, 64)
    few = PreferenceFeatures(*(side[:24] for side in features[:2]))
    found = {
        "sweep": sweep(features),
        "gradients": gradients(few),
        "folds": folds(features),
        "parts": parts_of_devices(features),
        "refusals": refusals(features),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
