"""TRL as a contender: losses, runs of each method, operations. Needs `make bench-env`."""

import json
import shutil
import subprocess

import pytest

from coala_jax.backbones._backbone import read_family
from coala_jax.backbones._tokenizer import load_tokenizer
from coala_jax.features import TextTemplate
from coala_jax.features._tokens import encode_texts
from coala_jax.quickstart import tutoring_rows
from tests.backbones.variants import write_variant
from tests.benchmarks.trl_models import BACKBONE, CONTENDERS, DTYPES, LLAMA, PYTHON, ROOT

TARGETS = {
    "gpt2": ["c_attn", "c_proj"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}
METHODS = ("sft", "dpo", "orpo", "reward")
# A micro-batch as each trainer has it: rows of three tokens and of four, of each two in the loss;
# without a GPU, and where one is said to be there.
PROJECTED = """
import json, torch
from trl_trainer import shape_of
mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
ids, loss = torch.ones_like(mask), torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1]])
plain = {"input_ids": ids, "attention_mask": mask}
sides = {f"{s}_{n}": t for s in ("chosen", "rejected") for n, t in plain.items()}
of = {
    "sft": {**plain, "labels": torch.where(loss == 1, ids, -100)},
    "dpo": {**plain, "completion_mask": loss},
    "reward": plain,
    "orpo": sides,
}
for there in (False, True):
    torch.cuda.is_available = lambda: there
    print(json.dumps({method: shape_of(inputs) for method, inputs in of.items()}))
"""
# What TRL's output head runs on a GPU, and what torch's own formula cannot take.
MIXED = """
import torch
from torch_counter import torch_counter
aten, sums = torch.ops.aten, torch.zeros(4, 6)
half = torch.zeros(4, 8, dtype=torch.bfloat16), torch.zeros(8, 6, dtype=torch.bfloat16)
formula = torch_counter().flop_registry[aten.addmm]
print(formula(sums, *half, torch.float32, out=sums, out_val=sums))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="make bench-env makes TRL's environment"),
]


def trl(*words):
    command = [str(PYTHON.absolute()), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CONTENDERS)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_losses_are_the_known_ones():
    """Those of tunix's tests, of DPO and ORPO with beta .1."""
    found = json.loads(trl("trl_golden.py", BACKBONE).splitlines()[-1])
    assert found["dpo"] == pytest.approx(0.753059, abs=1e-6)
    assert found["orpo"]["odds ratio"] == pytest.approx(0.708672, abs=1e-6)
    assert found["orpo"]["whole"] == pytest.approx(3.494651, abs=1e-6)


def test_positions_meet_the_head_as_the_trainer_has_them():
    on_cpu, on_gpu = map(json.loads, trl("-c", PROJECTED).splitlines()[-2:])
    assert on_cpu["sft"] == on_cpu["dpo"] == [2, 4, 7, 6]
    assert on_cpu["reward"] == [2, 4, 7, 8] and on_cpu["orpo"] == [4, 4, 14, 16]
    assert on_gpu == {**on_cpu, "sft": [2, 4, 7, 4], "dpo": [2, 4, 7, 4]}


def test_products_of_two_types_are_counted():
    assert int(trl("-c", MIXED)) == 2 * 4 * 8 * 6


@pytest.fixture(scope="module")
def rows():
    return tutoring_rows(0, 8, 2)


@pytest.fixture(scope="module", params=list(TARGETS))
def runs(request, rows, tmp_path_factory):
    """A checkpoint's configuration, its adapted modules, and a folder of a run of every method."""
    folder = tmp_path_factory.mktemp(request.param)
    model = BACKBONE
    if request.param == "llama":
        model = write_variant(folder / "model", LLAMA)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(BACKBONE / name, model)
    for name, part in (("train", rows.train), ("judged", rows.eval)):
        lines = [{f: getattr(row, f) for f in ("prompt", "chosen", "rejected")} for row in part]
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    targets = TARGETS[request.param]
    for method in METHODS:
        job = {
            "method": method,
            "model": str(model),
            "train": str(folder / "train"),
            "judged": str(folder / "judged"),
            "out": str(folder / method),
            "learning_rate": 1e-3,
            "beta": 0.1,
            "epochs": 1,
            "batch": 2,
            "accumulation": 2,
            "warmup_steps": 0,
            "max_length": 512,
            "seed": 0,
            "lora": {"r": 4, "lora_alpha": 8, "target_modules": targets},
            "merge": method == "sft",
            "dtype": DTYPES[request.param],
        }
        (folder / f"{method}.json").write_text(json.dumps(job))
    trl("trl_trainer.py", *(folder / f"{method}.json" for method in METHODS))
    return read_family(model)[2], targets, folder


def test_all_trainers_see_the_tokens_that_this_package_does(runs, rows):
    """ORPO's puts a start token before texts whose tokenizer puts none, unless it is stopped."""
    tokenizer = load_tokenizer(BACKBONE)
    bare = TextTemplate(response="{response}")
    tokens = {
        side: sum(
            len(one.tokens)
            for one in encode_texts(
                tokenizer,
                [row.prompt for row in rows.train],
                [getattr(row, side) for row in rows.train],
                bare,
                1 << 20,
            )
        )
        for side in ("chosen", "rejected")
    }
    for method in METHODS:
        shapes = json.loads((runs[2] / method / "result.json").read_text())["micro_batches"]
        wanted = tokens["chosen"] + (tokens["rejected"] if method != "sft" else 0)
        assert sum(real for _, _, real, _ in shapes) == wanted


def test_the_micro_batches_of_a_run_are_known_without_it(runs):
    folder = runs[2]
    printed = trl("trl_shapes.py", *(folder / f"{method}.json" for method in METHODS))
    found = [json.loads(line) for line in printed.splitlines() if line.startswith('{"cpu"')]
    for method, shapes in zip(METHODS, found, strict=True):
        result = json.loads((folder / method / "result.json").read_text())
        assert shapes["cpu"] == result["micro_batches"]
        smaller = [gpu[3] < cpu[3] for gpu, cpu in zip(shapes["gpu"], shapes["cpu"], strict=True)]
        assert all(smaller) == any(smaller) == (method in ("sft", "dpo"))


@pytest.mark.parametrize("method", METHODS)
def test_a_run_leaves_an_adapter_and_an_account(method, runs, rows, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from training_flops import training_flops

    config, targets, folder = runs
    out = folder / method
    result = json.loads((out / "result.json").read_text())
    assert (out / "adapter" / "adapter_model.safetensors").is_file()
    assert (out / "merged" / "config.json").is_file() == (method == "sft")
    pairs, steps = len(rows.train), -(-len(rows.train) // 4)
    assert result["steps"] == steps
    sides = 1 if method == "sft" else 2
    assert sum(shape[0] for shape in result["micro_batches"]) == sides * pairs
    assert all(real <= count * slots for count, slots, real, _ in result["micro_batches"])
    counted = result["counted"]
    one = result["micro_batches"][counted["micro_batch"]]
    formula = training_flops(config, method, [one], 4, targets)
    assert counted["flops"] == pytest.approx(formula, rel=0.01)
    assert result["peak_bytes"]["process"] > 1e8
    if method == "dpo":  # the policy is the reference
        assert result["log"][0]["loss"] == pytest.approx(0.6931, abs=2e-4)
    if method == "reward":
        assert [len(pair) for pair in result["rewards"]] == [2] * len(rows.eval)
