"""Solve rows whose number no number of devices divides, on one device and on all, as JSON.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m tests.uneven_rows

Run by `test_shard_rows.py`: how many devices there are is known once a process.
"""

import json

import jax
import numpy as np

from coala_jax import Config, GroupFeatures, Params, PreferenceFeatures, shard_rows, solve
from tests.convex.devices import figures
from tests.helpers import draw_pairs

ABSOLUTE = Config(
    phase1_loss="logistic", model="gated_relu", linear_path=True, strength_unit="absolute"
)


def draw_groups():
    """Seven groups of four, one without a member, one that says nothing, one of weight 0."""
    rng = np.random.default_rng(1)
    responses = rng.standard_normal((7, 4, 3))
    mask = np.ones((7, 4), bool)
    mask[3, 1] = False
    scores = np.abs(responses[..., 0]) + responses[..., 1]
    scores[5] = 1.0
    return GroupFeatures(responses, scores, mask=mask, weight=np.array([1, 2, 1, 1, 0, 1, 3.0]))


def problems(devices):
    """By name: features, strength and settings."""
    return {
        "uneven": (draw_pairs(0, 13), Params(), Config(phase1_loss="bradley_terry")),
        "absolute": (draw_pairs(2, 13, 5), Params(group_lasso=1.0), ABSOLUTE),
        "fewer than devices": (draw_pairs(3, max(2, devices - 3)), Params(), Config()),
        "one a device": (draw_pairs(4, devices), Params(), Config(phase1_loss="bradley_terry")),
        "groups": (draw_groups(), Params(), Config(phase1_loss="listwise")),
    }


def all_figures(solution):
    """Those of the other tests, and lambda_max, -1 where the strength is absolute."""
    found, first = figures(solution), solution.stats.phase1
    bounds = np.nan_to_num([first.lambda_max_lower, first.lambda_max], nan=-1.0)
    return {**found, "values": [*found["values"], *bounds.tolist()]}


def main():
    devices, found = len(jax.devices()), {}
    for name, (features, params, config) in problems(devices).items():
        split = shard_rows(features)
        leaf = split.chosen if isinstance(split, PreferenceFeatures) else split.responses
        found[name] = {
            "whole": all_figures(solve(params, features, config=config)),
            "split": all_figures(solve(params, split, config=config)),
            "rows": len(leaf),
            "rows_a_device": sorted({len(each.data) for each in leaf.addressable_shards}),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
