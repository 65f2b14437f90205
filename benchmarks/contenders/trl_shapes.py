"""The micro-batches that a training run by TRL would have, without training.

    .venvs/bench-trl/bin/python benchmarks/contenders/trl_shapes.py JOB.json ...

Job files are those of trl_trainer.py. Prints a JSON object a job: ``cpu`` and ``gpu``, each the
shapes that a run there writes as ``micro_batches``; what meets the output head is what differs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from trl_trainer import Job, make_trainer, shape_of


def main() -> None:
    """Print the shapes."""
    for path in sys.argv[1:]:
        trainer, _ = make_trainer(Job(**json.loads(Path(path).read_text("utf-8"))))
        batches = list(trainer.get_train_dataloader())
        sys.stdout.write(
            json.dumps({"cpu": _shapes(batches, False), "gpu": _shapes(batches, True)})
        )
        sys.stdout.write("\n")


def _shapes(batches: list[Any], on_gpu: bool) -> list[tuple[int, int, int, int]]:
    """Of batches, where a GPU is said to be there or not."""
    real, torch.cuda.is_available = torch.cuda.is_available, lambda: on_gpu
    try:
        return [shape_of(batch) for batch in batches]
    finally:
        torch.cuda.is_available = real


if __name__ == "__main__":
    main()
