"""The figures of a made head, as `coala-jax solve` writes them."""

import copy

import numpy as np

from coala_jax._calibration import calibration_error, log_losses
from coala_jax._intervals import cluster_interval, share_interval
from coala_jax._verdict import Unseen
from coala_jax.study._held_out_bins import margin_histogram, reliability

PAIRS, TEMPERATURE = 200, 0.8


def made_margins() -> tuple[np.ndarray, np.ndarray]:
    """(n,) reward differences before Phase II and after."""
    rng = np.random.default_rng(0)
    before = rng.normal(0.4, 1.0, PAIRS)
    return before, 1.3 * before + rng.normal(0.1, 0.3, PAIRS)


def made_figures() -> tuple[dict, dict]:
    """A report and a history: every field that the page or the picture reads."""
    before, after = made_margins()
    rng = np.random.default_rng(1)
    keys = tuple(f"key {row // 2}" for row in range(PAIRS))
    right = (after > 0).astype(float)
    others = {"linear_probe": rng.random(PAIRS) < 0.6, "length": rng.random(PAIRS) < 0.55}
    reached = {name: share_interval(r.astype(float), keys)._asdict() for name, r in others.items()}
    metrics = {
        "rewards/accuracies": 0.7,
        "rewards/margins": float(after.mean()),
        "initial": {"rewards/margins": float(before.mean())},
    }
    report = {
        "command": "coala-jax solve store --out head",
        "seed": 3,
        "status": "solved",
        "warnings": ["the length rule is close"],
        "head": "phase2",
        "temperature": TEMPERATURE,
        "selection": {
            "summary": "no network, linear ridge 1, no Phase II",
            "folds": 5,
            "table": [
                {
                    "group_lasso": None,
                    "linear_ridge": 0.1,
                    "ridge": None,
                    "log_loss": 0.6612,
                    "standard_error": 0.0123,
                    "accuracy": 0.61,
                }
            ],
        },
        "pairs": {"train": 800, "eval": PAIRS},
        "prefixes": None,
        "features": {"source": "store", "width": 640, "constant_columns": [7]},
        "split": {"by": "prompt", "train_keys": 400, "eval_keys": 100},
        "rows": {"set_aside": {"chosen equals rejected": 1203}, "cut": None},
        "phase1": {
            "status": "solved",
            "relative_gap": 0.008,
            "cone_violation": 1e-3,
            "explained": 0.97,
            "iterations": 300,
            "active_neurons": 12,
            "seconds": 1.25,
            "compile_seconds": 4.5,
        },
        "phase2": {
            "status": "solved",
            "epochs": 40,
            "loss": 0.61,
            "excess": 1e-7,
            "seconds": 0.5,
            "compile_seconds": 2.0,
        },
        "train": metrics,
        "eval": {
            **metrics,
            "accuracy_interval": share_interval(right, keys)._asdict(),
            "calibrated_log_loss": cluster_interval(log_losses(after, TEMPERATURE), keys)._asdict(),
            "calibration_error": calibration_error(after, TEMPERATURE),
        },
        "baseline": {
            **{f"{name}_accuracy": interval["mean"] for name, interval in reached.items()},
            **{f"{name}_interval": interval for name, interval in reached.items()},
            **{
                f"head_minus_{name}": cluster_interval(right - other, keys)._asdict()
                for name, other in others.items()
            },
        },
        "held_out": {
            "margins": margin_histogram(after),
            "reliability": reliability(Unseen(after, keys, None), TEMPERATURE),
        },
        "learning_curve": [
            {"pairs": pairs, "head": {"mean": mean, "low": mean - 0.05, "high": mean + 0.05}}
            for pairs, mean in ((100, 0.55), (200, 0.6), (400, 0.64), (800, 0.66))
        ],
        "params": {"gap_tolerance": 0.01, "beta": 1.0},
        "config": {"phase2_objective": "pairwise", "n_gates": 32},
        "versions": {"python": "3.12.1", "jax": "0.10.2"},
        "device": "cpu (2 cores, x86_64)",
    }
    steps, epochs = np.arange(25.0, 301.0, 25.0), np.arange(41)
    primal = 0.52 + 0.2 * np.exp(-steps / 60)
    gap = np.where(steps < 100, np.inf, 0.4 * np.exp(-steps / 70))
    traces = {
        part: {
            "loss": (0.69 - height * (1 - np.exp(-epochs / 9))).tolist(),
            "reward_margin": (0.4 + 4 * height * (1 - np.exp(-epochs / 9))).tolist(),
        }
        for part, height in (("train", 0.1), ("eval", 0.05))
    }
    history = {
        "epoch": epochs.tolist(),
        **traces,
        "phase1": {
            "iteration": steps.tolist(),
            "primal_value": primal.tolist(),
            "dual_bound": np.where(np.isinf(gap), 0.0, primal / (1 + gap)).tolist(),
            "relative_gap": [None if np.isinf(each) else float(each) for each in gap],
        },
    }
    return report, history


def of_an_earlier_version(report: dict, history: dict) -> tuple[dict, dict]:
    """The same without what was not written before there were pages."""
    report, history = copy.deepcopy((report, history))
    for name in ("held_out", "learning_curve"):
        del report[name]
    for name in ("linear_probe_interval", "length_interval"):
        del report["baseline"][name]
    del history["phase1"]
    return report, history
