"""Solve rows that lie on one device and on all of them, and say what came of it, as JSON.

Of Phase I the collectives of the compiled program too: what rows of several devices meet.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m tests.convex.devices

Run by `test_sharded_rows.py`: how many devices there are is known once a process.
"""

import json

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from coala_jax import Config, GroupFeatures, Params, PreferenceFeatures, solve
from coala_jax import _row_blocks as row_blocks
from coala_jax._group_inputs import prepare_for
from coala_jax._inputs import prepare_params
from coala_jax.convex._linear_system import TIGHT_ROWS
from coala_jax.convex._phase1 import _cronos
from tests.collectives import KINDS, collectives_of

# No multiple of the chunks in which sums are bounded: on no number of devices may one straddle two.
GROUPS, MEMBERS, WIDTH = 40, 4, 3
CASES = {
    "bradley_terry": Config(phase1_loss="bradley_terry"),
    "plackett_luce": Config(phase1_loss="plackett_luce", model="gated_relu", linear_path=True),
    "group_squared": Config(phase1_loss="group_squared", linear_path=True),
    "compact": Config(phase1_loss="bradley_terry", linear_path=True, rows="compact"),
}
# Each takes some ten seconds to compile: on two devices the others are as these are.
ON_TWO = ("bradley_terry", "compact")
# Of the loop of conjugate gradients, within that of ADMM's steps and that of its checks.
_CG_LOOP = "while/body/while/body/closed_call/while/body"


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


def collectives(features, config):
    """Of Phase I: the most elements of an array that goes between devices, by kind, and how often
    a step of conjugate gradients has any."""
    arrays = prepare_for(config, features)
    with jax.default_matmul_precision("highest"):
        lowered = _cronos.lower(prepare_params(Params()), arrays, config, None, None)
    found = collectives_of(lowered.compile().as_text())
    most = {
        kind: max((each.elements for each in found if each.kind == kind), default=0)
        for kind in KINDS
    }
    return {"most": most, "cg": sum(_CG_LOOP in each.name for each in found)}


def figures(solution):
    first, second = solution.stats.phase1, solution.stats.phase2
    return {
        "status": int(solution.status),
        "iterations": int(first.iterations),
        "epochs": int(second.epochs),
        "values": [float(x) for x in (first.primal_value, first.dual_bound, second.loss)],
    }


def main():
    row_blocks.BLOCK_NUMBERS = 40  # five pairs at a time
    mesh = jax.make_mesh((len(jax.devices()),), ("rows",), axis_types=(AxisType.Auto,))
    by_row = NamedSharding(mesh, PartitionSpec("rows"))
    found = {}
    for loss in ON_TWO if len(jax.devices()) == 2 else CASES:
        config = CASES[loss]
        features = draw(config.phase1_loss)
        split = jax.tree.map(lambda leaf: jax.device_put(leaf, by_row), features)
        found[loss] = {
            "whole": figures(solve(Params(), features, config=config)),
            "split": figures(solve(Params(), split, config=config)),
            "weights": 2 * config.n_gates * (WIDTH + 1),
            "candidates": 4 * config.n_gates,
            "groups": GROUPS,
            "tight": TIGHT_ROWS * (WIDTH + 1),
            "has_path": config.linear_path,
            **collectives(split, config),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
