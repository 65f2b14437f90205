"""TRL as a contender: its losses, and a run of each method. Needs `make bench-env`."""

import json
import os
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from coala_jax.quickstart import tutoring_rows

ROOT = Path(__file__).parents[2]
BACKBONE = Path(str(resources.files("coala_jax.quickstart"))) / "backbone"
PYTHON = Path(os.environ.get("COALA_BENCH_TRL", ROOT / ".venvs/bench-trl/bin/python"))
CONTENDERS = ROOT / "benchmarks" / "contenders"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="make bench-env makes TRL's environment"),
]


def trl(script, *words):
    command = [str(PYTHON), str(CONTENDERS / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_losses_are_the_known_ones():
    """Those of tunix's tests, of DPO with beta .1 and of the odds ratio."""
    found = json.loads(trl("trl_golden.py", BACKBONE).splitlines()[-1])
    assert found["dpo"] == pytest.approx(0.753059, abs=1e-6)
    assert found["orpo"] == pytest.approx(0.708672, abs=1e-6)


def test_products_into_float32_are_counted():
    """As TRL's fused head makes them on a GPU alone; torch's own count raises on them."""
    code = """
import torch
from torch.utils.flop_counter import FlopCounterMode
from trl_trainer import COUNTS

left, right = (torch.zeros(s, dtype=torch.bfloat16, device="meta") for s in ((4, 3), (3, 5)))
into = torch.zeros(4, 5, device="meta")
with FlopCounterMode(display=False, custom_mapping=COUNTS) as counter:
    torch.addmm(into, left, right, out_dtype=torch.float32, out=into)
    torch.addmm(into, left.float(), right.float())
print(counter.get_total_flops())
"""
    command = [str(PYTHON), "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=CONTENDERS)
    assert int(done.stdout) == 2 * 2 * 4 * 3 * 5


@pytest.mark.parametrize("method", ["sft", "dpo", "orpo", "reward"])
def test_a_run_leaves_an_adapter_and_an_account(method, tmp_path):
    rows = tutoring_rows(0, 8, 2)
    for name, part in (("train", rows.train), ("judged", rows.eval)):
        lines = [{f: getattr(row, f) for f in ("prompt", "chosen", "rejected")} for row in part]
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    job = {
        "method": method,
        "model": str(BACKBONE),
        "train": str(tmp_path / "train"),
        "judged": str(tmp_path / "judged"),
        "out": str(tmp_path / "out"),
        "learning_rate": 1e-3,
        "beta": 0.1,
        "epochs": 1,
        "batch": 2,
        "accumulation": 2,
        "warmup_steps": 0,
        "max_length": 512,
        "seed": 0,
        "lora": {"r": 4, "lora_alpha": 8, "target_modules": ["c_attn", "c_proj"]},
        "merge": method == "sft",
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    trl("trl_trainer.py", tmp_path / "job.json")
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "out" / "merged" / "config.json").is_file() == (method == "sft")
    pairs, steps = len(rows.train), -(-len(rows.train) // 4)
    assert result["steps"] == steps
    sides = 1 if method == "sft" else 2
    assert sum(shape[0] for shape in result["micro_batches"]) == sides * pairs
    assert all(real <= count * slots for count, slots, real in result["micro_batches"])
    assert result["counted"]["flops"] > 1e8
    assert result["peak_bytes"]["process"] > 1e8
    if method == "dpo":  # the policy is the reference
        assert result["log"][0]["loss"] == pytest.approx(0.6931, abs=2e-4)
    if method == "reward":
        assert [len(pair) for pair in result["rewards"]] == [2] * len(rows.eval)
