"""Solve rows that lie on one device and on all of them, and say what came of it, as JSON.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m tests.convex.devices

Run by `test_sharded_rows.py`: how many devices there are is known once a process.
"""

import json
import re

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from coala_jax import Config, GroupFeatures, Params, PreferenceFeatures, solve

GROUPS, MEMBERS, WIDTH = 32, 4, 3
CASES = {
    "bradley_terry": Config(phase1_loss="bradley_terry"),
    "listwise": Config(phase1_loss="listwise"),
    "plackett_luce": Config(phase1_loss="plackett_luce", model="gated_relu", linear_path=True),
    "group_squared": Config(phase1_loss="group_squared", linear_path=True),
}
_SHAPE = re.compile(r"\w+\[([\d,]*)\]")


def draw(loss):
    """Pairs, or groups of as many rows: one lacks a member, one says nothing."""
    rng = np.random.default_rng(0)
    responses = rng.standard_normal((GROUPS, MEMBERS, WIDTH))
    if loss == "bradley_terry":
        chosen, rejected = responses.reshape(2, -1, WIDTH)
        return PreferenceFeatures(chosen + 0.3, rejected)
    scores = np.abs(responses[..., 0]) + responses[..., 1]
    mask = np.ones(scores.shape, bool)
    mask[3, 1], scores[5] = False, 1.0
    return GroupFeatures(responses, scores, mask=mask)


def gathered(compiled):
    """Elements of all arrays that a program brings together on every device."""
    lines = re.findall(r"= (.*?) all-gather(?:-start)?\(", compiled.as_text())
    shapes = [shape for line in lines for shape in _SHAPE.findall(line)]
    return sum(int(np.prod([int(size) for size in shape.split(",") if size])) for shape in shapes)


def figures(solution):
    first, second = solution.stats.phase1, solution.stats.phase2
    return {
        "status": int(solution.status),
        "iterations": int(first.iterations),
        "epochs": int(second.epochs),
        "values": [float(x) for x in (first.primal_value, first.dual_bound, second.loss)],
    }


def main():
    mesh = jax.make_mesh((len(jax.devices()),), ("rows",), axis_types=(AxisType.Auto,))
    by_row = NamedSharding(mesh, PartitionSpec("rows"))
    found = {}
    for loss, config in CASES.items():
        features = draw(loss)
        run = jax.jit(lambda features, config=config: solve(Params(), features, config=config))
        split = jax.tree.map(lambda leaf: jax.device_put(leaf, by_row), features)
        compiled = run.lower(split).compile()
        found[loss] = {
            "whole": figures(run(features)),
            "split": figures(compiled(split)),
            "gathered": gathered(compiled),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
