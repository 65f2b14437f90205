"""The comparison of methods: plans, rows, judgements, the table, and a matrix that is killed."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from coala_jax.backbones._tokenizer import load_tokenizer
from tests.backbones.variants import SIZES

ROOT = Path(__file__).parents[2]
PLANS = ROOT / "benchmarks" / "plans"
BACKBONE = Path(str(resources.files("coala_jax.quickstart"))) / "backbone"
TRL = Path(os.environ.get("COALA_BENCH_TRL", ROOT / ".venvs/bench-trl/bin/python"))
SMALL = {
    "models": {"small": {"path": str(BACKBONE), "lora_targets": ["c_attn", "c_proj"]}},
    "sets": {"tutoring": {"tutoring": True, "train": 60, "held_out": 20}},
    "methods": {"untrained": {"kind": "untrained"}, "coala": {"kind": "coala"}},
    "seeds": [0],
    "decoding": {"prompts": 4, "max_new_tokens": 12, "best_of": 2},
}
TRAINED = {
    "sft": {"kind": "sft", "learning_rate": [1e-3]},
    "dpo": {"kind": "dpo", "start": "sft", "learning_rate": [1e-3], "beta": [0.1, 0.05]},
    "reward": {"kind": "reward", "start": "sft", "learning_rate": [1e-3], "batch": 1},
}


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    for folder in (ROOT, ROOT / "benchmarks"):
        monkeypatch.syspath_prepend(str(folder))


@pytest.fixture
def plan_of(tmp_path):
    """Writes a plan with some fields changed, and reads it."""
    from methods_plan import read_plan

    def make(**changes):
        path = tmp_path / "plan.yaml"
        path.write_text(json.dumps({**SMALL, **changes}))  # YAML holds JSON
        return read_plan(path)

    return make


@pytest.mark.parametrize("name", ["embedded", "gemma", "paper"])
def test_plans_of_the_repository_compare_the_four_methods_and_a_reward_model(name):
    from methods_plan import KINDS, read_plan

    plan = read_plan(PLANS / f"{name}.yaml")
    kinds = {method.kind for method in plan.methods.values()}
    assert kinds == set(KINDS)
    assert plan.start_of("dpo") == plan.start_of("orpo") == "sft"
    assert len(plan.methods["dpo"].beta) == 3


def test_the_paper_s_plan_has_the_paper_s_settings():
    from methods_plan import KNOWN_SETS, Training, read_plan

    plan = read_plan(PLANS / "paper.yaml")
    papers = {name for name, known in KNOWN_SETS.items() if known.pairs is not None}
    assert (len(plan.models), {data.known for data in plan.sets.values()}) == (6, papers)
    assert plan.training == Training(1, 2, 8, 1000, 16, 32, 0.05)
    assert plan.methods["dpo"].beta[::-1] == (0.01, 0.05, 0.1)
    assert plan.methods["orpo"].beta == (0.1, 0.5, 1.0, 2.0)
    assert all(2e-4 in m.learning_rate for m in plan.methods.values() if m.learning_rate)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modells": {}}, "no field 'modells'; did you mean models"),
        ({"models": {}}, "models: {} must be a mapping"),
        ({"models": {"a": {"path": "x"}}}, "models.a: .*lora_targets"),
        ({"sets": {"a": {"known": "imdb", "tutoring": True}}}, "sets.a: give one of"),
        ({"sets": {"a": {"known": "imbd"}}}, "known='imbd' must be one of"),
        ({"sets": {"a": {"tutoring": True}}}, "say how many: train, held_out"),
        ({"methods": {"a": {"kind": "ppo"}}}, "methods.a: kind='ppo' must be one of"),
        ({"methods": {"a": {"kind": "coala", "start": "b"}}}, "start='b' must be a method before"),
        ({"methods": {"a": {"kind": "sft"}}}, "sft needs at least one learning_rate"),
        ({"methods": {"a": {"kind": "sft", "learning_rate": ["1e-4"]}}}, "numbers above 0"),
        (
            {"methods": {"a": {"kind": "sft", "learning_rate": [1.0], "beta": [1.0]}}},
            "sft has no beta",
        ),
        (
            {"methods": {"a": {"kind": "sft", "learning_rate": [1.0], "batch": 3}}},
            "batch=3 must divide the .* pairs of a step",
        ),
        ({"methods": {"a": {"kind": "coala", "batch": 1}}}, "of a trained method"),
        ({"seeds": []}, r"seeds=\(\) must be whole numbers"),
        ({"held_out": 1.5}, "held_out=1.5 must lie between 0 and 1"),
        ({"training": {"batch": 2.5}}, "batch=2.5 must be a whole number above 0"),
        ({"training": {"warmup": -1}}, "warmup=-1 must be at least 0"),
        ({"training": {"lora_dropout": 2}}, "lora_dropout=2 must be from 0 to below 1"),
        ({"training": {"dtype": "half"}}, "dtype='half' must be one of float32, bfloat16"),
        ({"sets": {"a": {"data": "f", "train": 0}}}, "train=0 must be a whole number above 0"),
        ({"methods": {"rows": {"kind": "coala"}}}, "methods: rows would share a folder"),
        (
            {"methods": {name: {"kind": "coala"} for name in ("a b", "a-b")}},
            "methods: a-b, a-b would share a folder",
        ),
    ],
)
def test_a_plan_that_cannot_be_run_is_named(plan_of, changes, message):
    from methods_plan import PlanError

    with pytest.raises(PlanError, match=message):
        plan_of(**changes)


def hub_folder(cache, hub_id, kind):
    """A checkpoint as the hub's cache has it, without weights."""
    snapshot = cache / f"models--{hub_id.replace('/', '--')}" / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("1" * 40)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BACKBONE / name, snapshot / name)
    if kind != "gpt2":
        config = {**SIZES, "model_type": kind, "vocab_size": 2048}
        (snapshot / "config.json").write_text(json.dumps(config))


@pytest.mark.slow
def test_the_paper_s_models_and_sets_are_found_offline(tmp_path, monkeypatch):
    """Small stand-ins: checkpoints in the hub's cache, data sets in their repositories' layouts."""
    datasets = pytest.importorskip("datasets")
    parquet, pyarrow = map(pytest.importorskip, ("pyarrow.parquet", "pyarrow"))
    from huggingface_hub import constants
    from methods_cells import resolved
    from methods_plan import KNOWN_SETS, read_plan

    plan = read_plan(PLANS / "paper.yaml")
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name, model in plan.models.items():
        kind = "llama" if "llama" in name else "mistral" if "7b" in name else "gpt2"
        hub_folder(cache, model.path, kind)

    def messages(*texts):
        roles = ("user", "assistant")
        return [{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)]

    texts = [f"The film was seen by {n} people and they all said so." for n in range(8)]
    scores = {"correctness": 1, "coherence": 1, "complexity": 1, "verbosity": 1}
    of_set = {
        "edufeedback": [{"prompt": t, "chosen": "yes", "rejected": "no"} for t in texts],
        "ultrafeedback": [
            {
                "prompt": t,
                "chosen": messages(t, "yes"),
                "rejected": messages(t, "no"),
                "score_chosen": 2.0,
                "score_rejected": 1.0,
            }
            for t in texts
        ],
        "imdb": [
            {"text": t + (" Dull.", " Fine.")[n % 2], "label": n % 2} for n, t in enumerate(texts)
        ],
        "helpsteer": [
            {"prompt": t, "response": answer, "helpfulness": good, **scores}
            for t in texts
            for good, answer in enumerate(("bad", "good"))
        ],
    }
    folders = {}
    for name, rows in of_set.items():
        known = KNOWN_SETS[name]
        folders[known.hub_id] = tmp_path / f"set-{name}"
        (folders[known.hub_id] / "data").mkdir(parents=True)
        file = folders[known.hub_id] / "data" / f"{known.split}-00000-of-00001.parquet"
        parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    asked = []
    original = datasets.load_dataset_builder

    def local_builder(hub_id, config=None, revision=None):
        asked.append(hub_id)
        return original(str(folders[hub_id]), cache_dir=str(tmp_path / "datasets"))

    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets, "load_dataset_builder", local_builder)
    lines = [*resolved(plan, download=True)]
    families = [line.split(", ")[1] for line in lines[:6]]
    assert families == ["gpt2", "gpt2", "llama", "mistral", "mistral", "llama"]
    assert [int(line.split()[-2]) for line in lines[6:]] == [8, 8, 8, 8]
    assert asked == [known.hub_id for known in (KNOWN_SETS[name] for name in plan.sets)]


def test_copies_may_stand_for_a_plan_s_models_and_sets(tmp_path):
    from methods_plan import PlanError, read_plan

    plan = read_plan(PLANS / "paper.yaml", {"gpt2": "here"}, {"imdb": "copy"})
    assert (plan.models["gpt2"].path, plan.sets["imdb"].source) == ("here", "copy")
    assert read_plan(PLANS / "gemma.yaml", sets={"hh_helpful": "f"}).sets["hh_helpful"].data == "f"
    with pytest.raises(PlanError, match="sets: no 'gpt2'; paper.yaml has edufeedback"):
        read_plan(PLANS / "paper.yaml", sets={"gpt2": "here"})


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [
        {
            "id": str(n),
            "prompt": f"Which number comes behind {n}?",
            "chosen": f"{n + 1} does" + " of course" * (n % 7),
            "rejected": f"{n} does ",
        }
        for n in range(120)
    ]
    rows[5]["rejected"] = f" {rows[5]['chosen']}"  # the same tokens
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_are_split_by_prompt_and_have_the_tokens_that_trl_gives_them(plan_of, data, tmp_path):
    from methods_plan import PlanError
    from methods_rows import (
        DEVELOPMENT,
        FITTED,
        HELD_OUT,
        SIDES,
        TRAIN,
        made_from,
        read_part,
        require_made_from,
        write_parts,
    )

    plan = plan_of(sets={"own": {"data": str(data), "train": 70}}, held_out=0.2, max_length=24)
    tokenizer = load_tokenizer(BACKBONE)
    origin = made_from(plan, "own", 0, BACKBONE)
    assert not require_made_from(tmp_path / "rows", origin)
    write_parts(plan, "own", 0, tokenizer, tmp_path / "rows", origin)
    parts = {
        name: read_part(tmp_path / "rows", name) for name in (TRAIN, FITTED, DEVELOPMENT, HELD_OUT)
    }
    keys = {name: set(part.keys) for name, part in parts.items()}
    assert not keys[TRAIN] & keys[HELD_OUT] and not keys[FITTED] & keys[DEVELOPMENT]
    assert keys[FITTED] | keys[DEVELOPMENT] == keys[TRAIN]
    assert len(parts[TRAIN].rows) <= 70 and 5 <= len(parts[DEVELOPMENT].rows) <= 25
    ids = {row["id"] for part in parts.values() for row in part.rows}
    assert "5" not in ids
    end = tokenizer.raw.eos_token
    for part in parts.values():
        for side, sequences in part.sequences(tokenizer).items():
            for row, one in zip(part.rows, sequences, strict=True):
                whole = tokenizer.raw(row["prompt"] + row[side] + end)["input_ids"]
                assert list(one.tokens) == whole and len(whole) < 24
    info = json.loads((tmp_path / "rows" / "rows.json").read_text())
    assert info["left out"] > 1 and info["train"] == len(parts[TRAIN].rows)
    assert tuple(parts[TRAIN].sequences(tokenizer)) == SIDES
    assert require_made_from(tmp_path / "rows", origin)
    moved = shutil.copy(data, tmp_path / "moved.jsonl")
    own = {"own": {"data": str(moved), "train": 70}}
    elsewhere = made_from(plan_of(sets=own, held_out=0.2, max_length=24), "own", 0, BACKBONE)
    assert require_made_from(tmp_path / "rows", elsewhere)
    data.write_text(data.read_text() + "\n")
    others = ({"data": str(data), "train": 60}, 0), ({"data": str(data), "train": 70}, 1)
    for (own, seed), names in zip(others, ("set, data", "seed, data"), strict=True):
        plan = plan_of(sets={"own": own}, held_out=0.2, max_length=24)
        with pytest.raises(PlanError, match=f"was made from another {names}; give another --out"):
            require_made_from(tmp_path / "rows", made_from(plan, "own", seed, BACKBONE))


def test_pairs_are_ordered_by_implicit_reward_and_by_mean_log_probability():
    from methods_quality import PairLogProbs

    tokens = np.array([1, 2, 4]), np.array([1, 1, 1])
    start = PairLogProbs(np.array([-1.0, -4, -8]), np.array([-1.0, -3, -3]), *tokens)
    policy = PairLogProbs(np.array([-0.5, -6, -8]), np.array([-1.0, -3, -3]), *tokens)
    np.testing.assert_array_equal(policy.implicit_correct(start), [1, 0, 0.5])
    np.testing.assert_array_equal(policy.mean_correct(), [1, 0.5, 1])


def test_a_token_s_operations_are_those_of_a_pass_over_it():
    from methods_quality import token_flops
    from training_flops import scoring_flops

    from coala_jax.backbones._backbone import read_family

    config = read_family(BACKBONE)[2]
    assert token_flops(config, 1) == scoring_flops(config, 1, 1, 1)


def written(cell, **fields):
    """A result of a cell."""
    cell.folder.mkdir(parents=True)
    usual = {"stages": [], "answers": {}, "keys": ["a", "b", "c", "d"]}
    usual |= {"date": "2026-11-29", "device": "cpu", "versions": {"jax": "0.10.2"}}
    (cell.folder / "result.json").write_text(json.dumps({**usual, **fields}))


def answers_file(cell, name, direct, evaluations):
    lines = [
        {
            "key": f"k{n}",
            "text": f"one two three {n}",
            "direct": is_direct,
            "log_prob": -4.0,
            "tokens": 4,
            "prompt_tokens": 3,
            "evaluations": evaluations,
            "flops": 1e6 * evaluations,
        }
        for n, is_direct in enumerate(direct)
    ]
    (cell.folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_table_sets_quality_beside_cost(plan_of, tmp_path):
    from methods_cells import cells_of
    from methods_report import write_report

    plan = plan_of(methods={**SMALL["methods"], **TRAINED}, seeds=[0, 1])
    cells = cells_of(plan, tmp_path / "out", Path("python"))
    training = {
        "stage": "training",
        "flops": 4e9,
        "counted_micro_batch": 21.0,
        "formula_micro_batch": 20.0,
        "seconds": 10.0,
        "peak_bytes": {"process": 10**9},
    }
    setting = {"learning_rate": 1e-3, "beta": 0.1}
    margins = {"steps": [1.0, 2.0], "values": [0.0, 0.5]}
    for cell in cells:
        if cell.method == "dpo":
            fields = {"setting": setting, "stages": [training], "margins": margins}
            fields["trials"] = [{"flops": 1e9}, {"flops": 2e9}]
            fields["answers"] = {"plain": {"file": "plain"}}
            written(cell, correct={"implicit": [1, 0, 0, 0], "mean": [1, 1, 0, 0]}, **fields)
            answers_file(cell, "plain", [False, True, False], 4)
        if cell.method == "sft":
            written(cell, correct={"mean": [1, 1, 0, 0]}, stages=[{**training, "flops": 1e9}])
        if cell.method == "coala":
            ways = {"plain": {"file": "plain"}, "guided": {"file": "guided"}}
            stages = [{**training, "stage": name, "flops": 1e8} for name in ("extraction", "head")]
            written(cell, correct={"head": [1, 1, 1, 0]}, stages=stages, answers=ways)
            answers_file(cell, "plain", [True, False, False], 4)
            answers_file(cell, "guided", [True, True, False], 8)
    places = argparse.Namespace(results=tmp_path / "results", name="m", command="python m.py")
    write_report(cells, places)
    result = json.loads((tmp_path / "results" / "m.json").read_text())
    rows = {row["method"]: row for row in result["rows"]}
    assert (result["cells"], result["of"]) == (6, 10)
    minus = rows["coala"]["minus_dpo"]
    assert (minus["implicit"]["mean"], minus["mean"]["mean"]) == (0.5, 0.25)
    assert rows["coala"]["seeds"] == [0, 1] and rows["coala"]["accuracy_by_seed"] == [0.75] * 2
    assert rows["dpo"]["minus_dpo"] == {"implicit": None, "mean": None}
    assert rows["dpo"]["cost"]["trials_flops"] == 3e9
    assert rows["dpo"]["cost"]["settings"][0]["at_an_end"] == {"learning_rate": False, "beta": True}
    assert rows["coala"]["cost"]["flops"] == 2e8 and rows["dpo"]["cost"]["flops_before"] == 1e9
    assert rows["dpo"]["cost"]["counted_over_formula"] == 1.05
    guided = rows["coala"]["answers"]["guided"]
    assert guided["direct_minus_dpo"]["mean"] == pytest.approx(1 / 3)
    assert (guided["direct"]["mean"], guided["perplexity"]) == pytest.approx((2 / 3, np.e))
    assert (guided["evaluations_per_token"], guided["flops_per_token"]) == (2.0, 2e6)
    lines = (tmp_path / "results" / "m.md").read_text().splitlines()
    pairs = next(line for line in lines if line.startswith("| coala |") and "0.750" in line)
    assert "| 0.0002 | 0.050 |" in pairs  # of DPO's 4e9
    assert "| 0.001, 0.1! |" in next(line for line in lines if line.startswith("| dpo |"))
    spent = next(line for line in lines if line.startswith("| coala | guided |"))
    assert spent.endswith("| 3.8e+03 |")  # (4e9 - 2e8) / 1e6
    assert (tmp_path / "results" / "m.png").stat().st_size > 10_000
    assert (tmp_path / "results" / "m-margins.png").stat().st_size > 10_000


def command(tmp_path, plan, *options):
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps(plan))
    script = str(ROOT / "benchmarks" / "methods.py")
    out, results = str(tmp_path / "out"), str(tmp_path / "results")
    words = [sys.executable, script, "--plan", str(path), "--out", out, "--results", results]
    return [*words, "--trl", str(TRL), *options], {**os.environ, "PYTHONPATH": str(ROOT)}


def run(tmp_path, plan, *options):
    words, environment = command(tmp_path, plan, *options)
    return subprocess.run(words, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_a_matrix_that_was_killed_goes_on(tmp_path):
    words, environment = command(tmp_path, SMALL)
    group = tmp_path / "out" / "small" / "tutoring" / "seed-0"
    with subprocess.Popen(
        words, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    ) as running:
        deadline = time.monotonic() + 300
        while not (group / "coala" / "features").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(running.pid, signal.SIGKILL)
    first = (group / "untrained" / "result.json").stat().st_mtime_ns
    assert not (group / "coala" / "result.json").exists()
    done = run(tmp_path, SMALL)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "untrained" not in done.stderr
    assert (group / "untrained" / "result.json").stat().st_mtime_ns == first
    result = json.loads((tmp_path / "results" / "methods-plan.json").read_text())
    rows = {row["method"]: row for row in result["rows"]}
    ways = rows["coala"]["answers"]
    assert [*ways] == ["plain", "guided", "best of 2"]
    # The same model, prompts and draws; a head's reward of the response is another evaluation.
    same = ("direct", "perplexity", "distinct_2", "tokens")
    plain = rows["untrained"]["answers"]["plain"]
    assert [ways["plain"][name] for name in same] == [plain[name] for name in same]
    assert ways["guided"]["evaluations_per_token"] > ways["plain"]["evaluations_per_token"]
    assert [*rows["coala"]["cost"]["stages"]] == ["extraction", "head"]
    assert all(stage["flops"] > 0 for stage in rows["coala"]["cost"]["stages"].values())
    other = {**SMALL, "decoding": {**SMALL["decoding"], "max_new_tokens": 13}}
    refused = run(tmp_path, other)
    assert refused.returncode and "was made with another decoding" in refused.stderr


@pytest.mark.slow
@pytest.mark.skipif(not TRL.exists(), reason="make bench-env makes TRL's environment")
def test_trained_methods_come_back_through_their_adapters(data, tmp_path):
    plan = {
        **SMALL,
        "sets": {"own": {"data": str(data), "train": 30, "held_out": 12}},
        "methods": {**TRAINED, "coala": {"kind": "coala", "start": "sft"}},
        "held_out": 0.2,
    }
    done = run(tmp_path, plan)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((tmp_path / "results" / "methods-plan.json").read_text())
    rows = {row["method"]: row for row in result["rows"]}
    assert [*rows] == ["sft", "dpo", "reward", "coala"]
    for name, orders in (("sft", 2), ("dpo", 2), ("reward", 1), ("coala", 1)):
        assert len(rows[name]["accuracy"]) == orders
        assert rows[name]["cost"]["flops"] > 1e9
    assert not any(row["answers"] for row in rows.values())  # no rule judges these
    for name in TRAINED:
        assert rows[name]["cost"]["counted_over_formula"] == pytest.approx(1, abs=0.1)
    words, environment = command(tmp_path, plan)
    words[1] = str(ROOT / "benchmarks" / "training_bill.py")
    results = words.index("--results")
    del words[results : results + 2]
    bill = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert bill.returncode == 0, bill.stderr[-2000:]
    of_cpu = [line.split(" | ") for line in bill.stdout.splitlines() if "| cpu |" in line]
    for name, line in zip(TRAINED, of_cpu, strict=True):
        assert line[3] == name and line[6:] == ["-", "- |"]  # no head on the checkpoint
        # The second beta of dpo may have been the better one, and changes no operation.
        assert float(line[5]) == pytest.approx(rows[name]["cost"]["flops"] / 1e12, rel=1e-3)
    made = tmp_path / "out" / "small" / "own" / "seed-0"
    jobs = [json.loads((made / name / "final" / "job.json").read_text()) for name in TRAINED]
    steps = [(job["batch"], job["accumulation"]) for job in jobs]
    assert steps == [(2, 8), (2, 8), (1, 16)]  # as many pairs a step
    dpo = made / "dpo"
    trials = sorted(path.name for path in dpo.glob("trial-*"))
    assert trials == ["trial-lr-0.001-beta-0.05", "trial-lr-0.001-beta-0.1"]
    chosen = json.loads((dpo / "result.json").read_text())["setting"]
    scores = {t: json.loads((dpo / t / "score.json").read_text())["score"] for t in trials}
    assert scores[f"trial-lr-0.001-beta-{chosen['beta']:g}"] == max(scores.values())


def test_a_plan_is_looked_at_without_running_it(tmp_path, capsys):
    from methods import main

    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps(SMALL))
    main(["--plan", str(path), "--out", str(tmp_path / "out"), "--dry-run"])
    lines = capsys.readouterr().out.splitlines()
    size = load_tokenizer(BACKBONE).size
    assert lines[0] == f"model small: backbone, gpt2, {size} ids"
    assert lines[-1] == "to make: small, tutoring, seed 0, coala"
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit, match="--methods ppo: the plan has untrained, coala"):
        main(["--plan", str(path), "--out", str(tmp_path / "out"), "--methods", "ppo"])


def test_what_is_not_there_is_said_for_every_model_and_set(tmp_path, capsys):
    from methods import main

    models = {**SMALL["models"], "none": {"path": "no/model", "lora_targets": ["a"]}}
    sets = {"none": {"data": str(tmp_path / "no.jsonl")}, **SMALL["sets"]}
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps({**SMALL, "models": models, "sets": sets}))
    main(["--plan", str(path), "--out", str(tmp_path / "out"), "--dry-run"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("model none: NOT THERE: no/model")
    assert lines[2].startswith(f"set none: NOT THERE: {tmp_path / 'no.jsonl'}")
    assert lines[3] == "set tutoring: generated"


def test_a_method_without_what_it_starts_from_is_refused(tmp_path):
    from methods import main

    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps({**SMALL, "methods": TRAINED}))
    words = ["--plan", str(path), "--out", str(tmp_path / "out"), "--trl", sys.executable]
    with pytest.raises(SystemExit, match=r"--methods: .*, dpo starts from sft; add it"):
        main([*words, "--methods", "dpo"])
