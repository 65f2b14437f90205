"""What the trained methods of a plan would cost, by formula, without training; beside COALA's bill.

    PYTHONPATH=. python benchmarks/training_bill.py --plan benchmarks/plans/gemma.yaml \
        --model gemma=DIR --out OUT      # OUT of benchmarks/methods.py, whose COALA cells are read

TRL makes the micro-batches of every method and they go through `training_flops`: those of a run on
a CPU and of one on a GPU, where the states of responses alone meet the output head. Prints a table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from methods import TRL, named_place
from methods_cells import Cell, cells_of
from methods_plan import HEAD, TRAINED, read_plan, rooted
from methods_rows import HELD_OUT, TRAIN
from methods_training import Setting, Trainer
from reporting import HERE, figure, markdown
from training_flops import training_flops

from coala_jax._files import write_text
from coala_jax._json import json_text
from coala_jax.backbones._backbone import read_family
from coala_jax.backbones._hub import find_checkpoint

SHAPES = HERE / "contenders" / "trl_shapes.py"
WHERE = ("cpu", "gpu")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plan", type=Path, required=True, help="YAML file, see benchmarks/plans")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cells")
    parser.add_argument("--trl", type=Path, default=TRL, help="Python that has trl, peft, torch")
    for name in ("model", "set"):
        parser.add_argument(
            f"--{name}", type=named_place, action="append", default=[], help="NAME=PLACE"
        )
    arguments = parser.parse_args()
    plan = read_plan(arguments.plan, dict(arguments.model), dict(arguments.set))
    cells = cells_of(plan, arguments.out, arguments.trl)
    heads = {cell.group: bill for cell in cells if (bill := _head_flops(cell)) is not None}
    rows = [row for cell in cells for row in _rows(cell, heads.get(cell.group))]
    columns = ("model", "set", "seed", "method", "run on", "TFLOP", "COALA's TFLOP", "share")
    sys.stdout.write(markdown("Of one epoch, its start not among it.", columns, rows))


def _head_flops(cell: Cell) -> int | None:
    """Of a COALA cell on the checkpoint that is made."""
    if cell.plan.methods[cell.method].kind != HEAD or cell.start or cell.result is None:
        return None
    return sum(stage["flops"] for stage in cell.result["stages"])


def _rows(cell: Cell, head: int | None) -> Iterator[list[Any]]:
    """Of a trained method, on a CPU and on a GPU."""
    method, model = cell.plan.methods[cell.method], cell.plan.models[cell.model]
    if method.kind not in TRAINED:
        return
    cell.make_rows()
    folder = find_checkpoint(rooted(model.path)).folder
    config = read_family(folder)[2]
    for where, shapes in _shapes(cell, folder).items():
        rank, targets = cell.plan.training.lora_rank, model.lora_targets
        flops = training_flops(config, method.kind, shapes, rank, targets)
        share = None if head is None else head / flops
        names = (cell.model, cell.data, cell.seed, cell.method, where)
        yield [*names, figure(flops, ".4g", 1e12), figure(head, ".4g", 1e12), figure(share, ".3f")]


def _shapes(cell: Cell, start: Path) -> dict[str, Any]:
    """The micro-batches of the first of a method's settings."""
    plan, method = cell.plan, cell.plan.methods[cell.method]
    trainer = Trainer(
        plan, plan.models[cell.model], method, start, cell.seed, cell.rows, cell.folder, cell.python
    )
    setting = Setting(method.learning_rate[0], (*method.beta, 0.0)[0])
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        write_text(job, json_text(trainer.job(setting, Path(folder), TRAIN, HELD_OUT)))
        command = [str(cell.python), str(SHAPES), str(job)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"training_bill.py: {cell}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {where: found[where] for where in WHERE}


if __name__ == "__main__":
    main()
