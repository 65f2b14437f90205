"""GRPO by TRL as a contender: runs, tokens, operations, adapters. Needs `make bench-env`."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from coala_jax.backbones import load_backbone
from coala_jax.backbones._backbone import read_family
from coala_jax.decoding import GenerationConfig
from coala_jax.features import TextTemplate
from coala_jax.features._tokens import encode_prompts
from coala_jax.improvement import ImproveSettings, improve
from tests.backbones.variants import write_variant
from tests.benchmarks.trl_models import BACKBONE, CONTENDERS, DTYPES, LLAMA, PYTHON, ROOT

TARGETS = {"gpt2": ["c_attn", "c_proj"], "llama": ["q_proj", "k_proj", "v_proj", "down_proj"]}
# With a KL term, and without.
BETAS = {"gpt2": 0.04, "llama": 0.0}
SAMPLES, BATCH, ACCUMULATION, NEW_TOKENS, BUDGET = 4, 4, 2, 12, 200
# A reward that random weights earn something of, and that sees a column of the rows.
REWARD = """
def letters(prompts, completions, terms, **_):
    assert len(prompts) == len(completions) == len(terms)
    return [text.count("e") / max(len(text), 1) for text in completions]
"""
# Log probabilities of the tokens of a text, by torch.
TORCH_SCORES = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
model, adapter, ids = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
scorer = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
for trained in (False, True):
    scorer = PeftModel.from_pretrained(scorer, adapter) if trained else scorer
    with torch.no_grad():
        scores = scorer(torch.tensor([ids])).logits[0].log_softmax(-1)
    print(json.dumps([float(scores[place, id]) for place, id in enumerate(ids[1:])]))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="make bench-env makes TRL's environment"),
]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    for folder in (ROOT, ROOT / "benchmarks"):
        monkeypatch.syspath_prepend(str(folder))


def trl(*words, beside=ROOT):
    command = [str(PYTHON.absolute()), *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(beside), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=CONTENDERS, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def rows():
    """Questions with what the reward wants."""
    sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
    try:
        from grpo import with_terms
        from rounds import questions
    finally:
        del sys.path[:2]
    return [*with_terms(questions(0, 10)[0])]


@pytest.fixture(scope="module", params=list(TARGETS))
def done(request, rows, tmp_path_factory):
    """A family, a folder with a run, and what it said."""
    family = request.param
    folder = tmp_path_factory.mktemp(family)
    model = BACKBONE
    if family == "llama":
        model = write_variant(folder / "model", LLAMA)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(BACKBONE / name, model)
    (folder / "rewards.py").write_text(REWARD)
    (folder / "train").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = {
        "model": str(model),
        "train": str(folder / "train"),
        "out": str(folder / "run"),
        "reward": "rewards:letters",
        "tokens": BUDGET,
        "learning_rate": 1e-2,
        "beta": BETAS[family],
        "samples": SAMPLES,
        "max_new_tokens": NEW_TOKENS,
        "temperature": 1.0,
        "top_p": 0.9,
        "top_k": 50,
        "batch": BATCH,
        "accumulation": ACCUMULATION,
        "seed": 0,
        "lora": {"r": 4, "lora_alpha": 8, "target_modules": TARGETS[family]},
        "dtype": DTYPES[family],
    }
    (folder / "job.json").write_text(json.dumps(job))
    trl("trl_grpo.py", folder / "job.json", beside=folder)
    result = json.loads((folder / "run" / "result.json").read_text())
    return family, model, folder / "run", result


def test_training_ends_with_the_step_that_reaches_the_budget(done):
    _, _, _, result = done
    steps = [line for line in result["log"] if "reward" in line]
    assert len(steps) == len(result["generations"]) == result["steps"]
    answers = BATCH * ACCUMULATION
    made = [round(line["completions/mean_length"] * answers) for line in steps]
    assert sum(made) == result["tokens"] >= BUDGET > sum(made[:-1])
    # TRL counts prompts too.
    seen = result["tokens"] + result["prompt_tokens"]
    assert steps[-1]["num_tokens"] == seen
    assert sum(real for _, _, real, _ in result["micro_batches"]) == seen
    for (count, _, passes), line in zip(result["generations"], steps, strict=True):
        assert (count, passes) == (answers, line["completions/max_length"])
    assert passes <= NEW_TOKENS


def test_prompts_have_the_tokens_that_this_package_gives_them(done, rows):
    _, model, _, result = done
    tokenizer = load_backbone(model).tokenizer
    prompts = encode_prompts(tokenizer, [row["prompt"] for row in rows], TextTemplate())
    lengths = sorted(map(len, prompts))
    asked = result["steps"] * BATCH * ACCUMULATION // SAMPLES
    assert asked <= len(rows)  # every question once before any is asked again
    least, most = sum(lengths[:asked]), sum(lengths[-asked:])
    assert SAMPLES * least <= result["prompt_tokens"] <= SAMPLES * most
    assert {slots for _, slots, _ in result["generations"]} <= set(lengths)


def test_the_formula_is_what_torch_counts(done):
    from training_flops import grpo_flops

    family, model, _, result = done
    step = result["counted"]["step"]
    formula = grpo_flops(
        read_family(model)[2],
        [result["generations"][step]],
        result["micro_batches"][step * ACCUMULATION : (step + 1) * ACCUMULATION],
        4,
        TARGETS[family],
        reference=BETAS[family] != 0,
    )
    assert result["counted"]["generation"] == pytest.approx(formula["generation"], rel=0.01)
    assert result["counted"]["flops"] == pytest.approx(sum(formula.values()), rel=0.01)


def test_the_adapter_scores_as_in_torch(done, rows):
    from likelihood import response_log_probs

    _, model, folder, result = done
    assert result["trained_weights"] > 0 and result["peak_bytes"]["process"] > 1e8
    backbone = load_backbone(model, adapter=folder / "adapter")
    ids = list(backbone.tokenizer.encode(rows[0]["prompt"] + " It is a gain."))
    printed = trl("-c", TORCH_SCORES, model, folder / "adapter", json.dumps(ids))
    before, after = map(np.array, map(json.loads, printed.splitlines()[-2:]))
    (scores,) = response_log_probs(backbone, [ids[:1]], [ids[1:]])
    np.testing.assert_allclose(scores, after, atol=2e-3)
    assert np.abs(after - before).max() > 1e-2


@pytest.fixture(scope="module")
def rounds(tmp_path_factory):
    """A folder as benchmarks/rounds.py makes it, of one seed."""
    sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
    try:
        from rounds import direct, questions
    finally:
        del sys.path[:2]
    work = tmp_path_factory.mktemp("rounds")
    train, unseen = questions(0, 6)
    settings = ImproveSettings(
        samples=8,
        rounds=2,
        evaluated=("guided", "best_of_n"),
        best_of=2,
        patience=2,
        generation=GenerationConfig.from_options(max_new_tokens=72),
        batch_size=64,
    )
    folder = work / "held-out" / "seed-0" / "rounds"
    improve(load_backbone(BACKBONE), train, direct, folder, held_out=unseen, settings=settings)
    return work, train, unseen, settings


def test_rounds_cost_what_their_answers_and_features_take(rounds):
    from methods_quality import token_flops
    from rounds import direct
    from rounds_bill import rounds_bill

    work, train, unseen, settings = rounds
    backbone = load_backbone(BACKBONE)
    folder = work / "held-out" / "seed-0" / "rounds"
    bill = rounds_bill(backbone, train, unseen, direct, folder, settings)
    for number, each in enumerate(bill):
        known = json.loads((folder / f"round-{number:03d}" / "round.json").read_text())
        assert each["tokens"] == known["tokens"]
        # Of the tokens alone; slots that are padding and rows that have ended are run too.
        least = known["tokens"] * token_flops(backbone.config, 0)
        assert 1 < each["sampling"] / least < 5
        of_layers = backbone.config.depth * 2 * backbone.config.matrix_weights
        assert 0.1 < each["features"] / (known["tokens"] * of_layers) < 10
        assert each["head"] > 0
    assert len(bill) == 2
    with pytest.raises(ValueError, match="round-000: has"):
        rounds_bill(backbone, train[:3], unseen, direct, folder, settings)


def test_grpo_stands_beside_the_rounds(rounds, tmp_path):
    work = rounds[0]
    words = ["--work", work, "--questions", 6, "--rates", 1e-3, "--trl", PYTHON, "--out", tmp_path]
    command = [sys.executable, ROOT / "benchmarks" / "grpo.py", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for _ in range(2):  # the second makes nothing again
        subprocess.run(
            [*map(str, command)], check=True, capture_output=True, env=environment, cwd=ROOT
        )
    result = json.loads((tmp_path / "grpo.json").read_text())
    named = {(row["head"], row["way"]): row for row in result["rows"]}
    grpo, last = named["GRPO", "plain"], named["improve, round 1", "guided"]
    assert grpo["tokens"] >= last["tokens"] > named["improve, round 0", "guided"]["tokens"]
    assert grpo["flops"] > 0 and len(grpo["direct"]) == len(last["direct"]) == 6
    assert grpo["groups"] == last["groups"]
    assert [one["learning_rate"] for one in result["tried"]] == [1e-3]
    table = (tmp_path / "grpo.md").read_text()
    assert "| GRPO | plain |" in table and "GRPO's trials" in table
