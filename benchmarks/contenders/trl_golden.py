"""TRL's DPO and ORPO losses of log probabilities whose losses are known.

    .venvs/bench-trl/bin/python benchmarks/contenders/trl_golden.py MODEL

The arrays are those of tunix's tests (google/tunix c7d8950f, of its DPO trainer). TRL computes its
losses inside its trainers: they are made for a small checkpoint MODEL, and given log probabilities
in place of those of a model. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from trl_trainer import Job, make_trainer

BETA = 0.1
# ORPO's negative log-likelihood of the chosen in these tests.
LIKELIHOOD = 3.423784
# Responses, the chosen ones first, and tokens of each.
SHAPE = (8, 4)


def main() -> None:
    """Print the losses."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        row = {"prompt": "Student: a?\nTutor:", "chosen": " b", "rejected": " c"}
        rows.write_text(json.dumps(row) + "\n", "utf-8")

        def trainer(method: str) -> Any:
            job = Job(
                method=method,
                model=sys.argv[1],
                train=str(rows),
                judged=str(rows),
                out=folder,
                learning_rate=1e-4,
                beta=BETA,
                epochs=1,
                batch=1,
                accumulation=1,
                warmup_steps=0,
                max_length=64,
                seed=0,
                lora={"r": 2, "target_modules": ["c_attn"]},
            )
            return make_trainer(job)[0]

        found = {"dpo": _dpo(trainer("dpo")), "orpo": _orpo(trainer("orpo"))}
    sys.stdout.write(json.dumps(found) + "\n")


def _dpo(trainer: Any) -> float:
    """The loss of policy and reference."""
    np.random.seed(0)  # noqa: NPY002 - the generator of the known answers
    policy, reference = np.random.normal(0, 5, (2, *SHAPE))  # noqa: NPY002
    ones = torch.ones(SHAPE[0], SHAPE[1] + 1, dtype=torch.long)
    chosen, rejected = torch.from_numpy(reference.sum(-1)).chunk(2)
    inputs = {
        "input_ids": ones,
        "attention_mask": ones,
        # A prompt of one token before each response.
        "completion_mask": ones.clone().index_fill_(1, torch.tensor([0]), 0),
        "ref_chosen_logps": chosen,
        "ref_rejected_logps": rejected,
    }
    made = SimpleNamespace(
        log_probs=torch.from_numpy(policy),
        entropy=torch.zeros(SHAPE),
        mean_logits=torch.zeros(SHAPE),
        is_top1=torch.zeros(SHAPE, dtype=torch.bool),
    )
    trainer.precompute_ref_logps = True
    return float(trainer._compute_loss(lambda **_: made, inputs, False))


def _orpo(trainer: Any) -> dict[str, float]:
    """The odds-ratio term, which beta multiplies; and the whole loss, with that of likelihood."""
    np.random.seed(0)  # noqa: NPY002 - as above
    log_probs = torch.from_numpy(-np.abs(np.random.rand(*SHAPE)).sum(-1))  # noqa: NPY002
    losses, *_ = trainer.odds_ratio_loss(*log_probs.chunk(2))
    none = torch.zeros(1)
    trainer.concatenated_forward = lambda *_: (
        *log_probs.chunk(2),
        none,
        none,
        torch.tensor(LIKELIHOOD),
    )
    whole, _ = trainer.get_batch_loss_metrics(None, {})
    return {"odds ratio": float(-losses.mean() / BETA), "whole": float(whole)}


if __name__ == "__main__":
    main()
