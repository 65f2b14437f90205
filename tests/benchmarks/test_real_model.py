"""The benchmark of a real model: its parts, its tasks, and all of it at a small size."""

import argparse
import gzip
import json
import math
import os
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp

from coala_jax.backbones import load_backbone
from coala_jax.backbones._tokenizer import load_tokenizer

ROOT = Path(__file__).parents[2]
BACKBONE = Path(str(resources.files("coala_jax.quickstart"))) / "backbone"
# What the judge of this name needs of the package that has it.
VADER = """class SentimentIntensityAnalyzer:
    def polarity_scores(self, text):
        words = text.count("good") - text.count("bad")
        return {"compound": words + text.count("e") / 1000}
"""


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch, tmp_path):
    package = tmp_path / "packages" / "vaderSentiment"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "vaderSentiment.py").write_text(VADER)
    for folder in (ROOT, ROOT / "benchmarks", package.parent):
        monkeypatch.syspath_prepend(str(folder))


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(BACKBONE)


@pytest.fixture
def data(tmp_path):
    draw = np.random.default_rng(0)
    words = [
        "plot",
        "actor",
        "scene",
        "music",
        "light",
        "story",
        "ending",
        "camera",
        "voice",
        "town",
    ]
    folder = tmp_path / "data"
    folder.mkdir()
    with gzip.open(folder / "imdb_like.jsonl.gz", "wt") as file:
        for number in range(400):
            middle = " ".join(draw.choice(words, 40))
            verdict = ("bad", "good")[number % 2]
            text = f"The {words[number % 5]} was so {verdict} in {middle}. A {verdict} film."
            row = {"id": str(number), "text": text, "label": number % 2}
            file.write(json.dumps(row) + "\n")
    return folder


def test_a_part_is_made_once_and_under_other_settings_again(tmp_path):
    from resumed_parts import Parts

    made = []

    def make():
        made.append(len(made))
        return {"value": made[-1], "none": math.nan}

    first = Parts(tmp_path, {"seed": 0}).made("part", make)
    assert first == Parts(tmp_path, {"seed": 0}).made("part", make) == {"value": 0, "none": None}
    assert Parts(tmp_path, {"seed": 1}).made("part", make)["value"] == 1
    assert len(made) == 2


def test_what_breaks_off_leaves_no_part(tmp_path):
    from resumed_parts import Parts

    def fail():
        raise KeyboardInterrupt

    parts = Parts(tmp_path, {})
    with pytest.raises(KeyboardInterrupt):
        parts.made("part", fail)
    assert parts.read("part") is None
    assert parts.made("part", lambda: 1) == 1


def test_when_the_time_is_up_nothing_is_begun_and_what_is_known_stays(tmp_path):
    from resumed_parts import Parts

    Parts(tmp_path, {}).made("known", lambda: 1)
    late = Parts(tmp_path, {}, end=time.monotonic() - 1)
    assert late.made("known", lambda: 2) == 1
    assert late.made("other", lambda: 2) is None
    assert late.read("other") is None


def test_parts_of_reviews_are_disjoint_and_have_their_shares(data):
    from sentiment_task import read_reviews

    parts = read_reviews(data / "imdb_like.jsonl.gz", 0)
    ids = [review.id for reviews in parts.values() for review in reviews]
    assert sorted(ids, key=int) == [str(number) for number in range(400)]
    assert len(parts["head"]) == pytest.approx(160, abs=40)
    assert len(parts["prompts"]) == pytest.approx(80, abs=30)
    other = read_reviews(data / "imdb_like.jsonl.gz", 1)
    assert {r.id for r in other["head"]} != {r.id for r in parts["head"]}


def test_pairs_go_on_from_the_same_words_and_have_each_review_once(data, tokenizer):
    from sentiment_task import read_reviews, review_pairs

    reviews = {r.id: r for r in read_reviews(data / "imdb_like.jsonl.gz", 0)["head"]}
    rows = review_pairs([*reviews.values()], tokenizer, 32)
    used = [name for row in rows for name in row["id"].split(":")]
    assert len(used) == len(set(used)) > 100
    for row in rows:
        good, bad = (reviews[name] for name in row["id"].split(":"))
        assert good.positive and not bad.positive
        for side, review in (("chosen", good), ("rejected", bad)):
            assert review.text.startswith(row["prompt"] + row[side])
            assert len(tokenizer.encode(row[side])) == 32
    # The longest beginning that two of them have.
    assert {len(row["prompt"].split()) for row in rows} >= {4}


def test_prompts_are_whole_words_of_few_tokens(data, tokenizer):
    from sentiment_task import read_reviews, review_prompts

    reviews = read_reviews(data / "imdb_like.jsonl.gz", 0)["prompts"]
    prompts = review_prompts(reviews, tokenizer, 8, 0)
    assert len(set(prompts)) == 8
    for prompt in prompts:
        assert 4 <= len(tokenizer.encode(prompt)) <= 8
        assert any(review.text.startswith(prompt + " ") for review in reviews)
    with pytest.raises(ValueError, match="prompts: 1000 asked for"):
        review_prompts(reviews, tokenizer, 1000, 0)


def test_judges_are_tested_on_reviews_that_they_have_not_seen(data):
    pytest.importorskip("sklearn")
    from sentiment_task import Judges, Review, read_reviews

    reviews = read_reviews(data / "imdb_like.jsonl.gz", 0)["judge"]
    judges = Judges(reviews, 6)
    assert judges.accuracy["whole"] == {"tfidf": 1, "vader": 1}
    good, bad = judges.tfidf(["a good scene", "a bad scene"])
    assert good > 0.5 > bad
    # Reviews at the end train nothing: turned round, they make the judges wrong.
    count = len(reviews) // 5
    turned = [Review(r.id, r.text, not r.positive) for r in reviews[-count:]]
    assert Judges([*reviews[:-count], *turned], 6).accuracy["whole"] == {"tfidf": 0, "vader": 0}


def test_the_scale_is_that_of_most_sentiment_once_all_are_known():
    from sentiment_report import Judged, _best_scale
    from sentiment_runs import Method

    def judged(tfidf, vader):
        return Judged([], {"tfidf": np.array([tfidf]), "vader": np.array([vader])})

    method = Method("guided", {}, (1.0, 2.0))
    tried = {1.0: judged(0.6, 0.1), 2.0: judged(0.5, 0.4)}
    assert _best_scale(method, tried) == 2
    assert _best_scale(method, {**tried, 2.0: None}) is None
    assert _best_scale(Method("blocks", {}, (1.0,)), {1.0: None}) == 1


def test_distinct_counts_ngrams_of_all_texts_together():
    from sentiment_report import distinct

    assert distinct(["a b a", "A b"], 1) == 2 / 5
    assert distinct(["a b a", "a b"], 2) == 2 / 3


def test_likelihoods_are_those_of_the_whole_vocabulary():
    from likelihood import response_log_probs

    backbone = load_backbone(BACKBONE)
    prompts, responses = [[5, 9, 300], [7]], [[11, 2, 40, 8], [1000, 3]]
    found = response_log_probs(backbone, prompts, responses)
    for prompt, response, own in zip(prompts, responses, found, strict=True):
        tokens = np.array([[*prompt, *response]], np.int32)
        logits = np.asarray(backbone.module.logits(backbone.module(tokens)), np.float64)[0]
        places = np.arange(len(prompt) - 1, len(prompt) + len(response) - 1)
        expected = logits[places, response] - logsumexp(logits[places], axis=1)
        np.testing.assert_allclose(own, expected, atol=1e-4)


def test_runs_are_all_there_once_with_the_most_telling_first():
    from sentiment_runs import BEST_OF, HELD_OUT, METHODS, PLAIN, Run, runs

    found = [*runs(METHODS)]
    assert len(found) == len({(r.kind, r.method.name, r.scale, r.sample) for r in found})
    assert found[0] == Run(HELD_OUT, PLAIN, 0.0, 0)
    assert sum(run.method is PLAIN for run in found) == max(BEST_OF)
    for method in METHODS:
        held_out = [r.scale for r in found if r.method is method and r.kind == HELD_OUT]
        assert sorted(held_out) == sorted(method.scales)


def run(data, out, *options):
    own = ("--out", str(out), "--results", str(out), "--layers", "-1")
    return run_script("real_model.py", data, *own, *options)


def run_script(name, data, *options):
    paths = [str(ROOT), str(data.parent / "packages")]
    words = [sys.executable, str(ROOT / "benchmarks" / name), "--model", str(BACKBONE)]
    words += ["--data", str(data), *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


@pytest.mark.slow
def test_sentiment_is_measured_and_gone_on_with(data, tmp_path):
    pytest.importorskip("sklearn")
    small = ("--prompts", "4", "--development-prompts", "2", "--batch-size", "4")
    small += ("--value-prompts", "0")
    options = ("--parts", "sentiment", *small, "--methods", "blocks of 8, best of 2")
    assert "there is no table" in run(data, tmp_path / "out", *options, "--minutes", "0")
    assert "blocks-of-8--best-of-2-held-out" in run(data, tmp_path / "out", *options)
    path = tmp_path / "out" / "real-model-sentiment.json"
    result = json.loads(path.read_text())
    rows = {row["method"]: row for row in result["rows"]}
    best = [f"best of {n}" for n in (2, 4, 8, 16)]
    assert [*rows] == ["plain", *best, "blocks of 8, best of 2"]
    rewards = [rows[name]["reward"]["mean"] for name in ("plain", *best)]
    assert rewards == sorted(rewards) and rewards[0] < rewards[-1]
    costs = [rows[name]["cost"] for name in ("plain", *best)]
    assert costs == sorted(costs) and costs[0] == 1
    assert all(row["log_prob"]["mean"] < 0 for row in rows.values())
    assert "| best of 4 |" in path.with_suffix(".md").read_text()
    # A second run makes nothing, and finds the same without any time.
    path.unlink()
    assert "held-out" not in run(data, tmp_path / "out", *options, "--minutes", "0")
    assert json.loads(path.read_text())["rows"] == result["rows"]


@pytest.mark.slow
def test_rounds_are_rewarded_by_one_judge_and_judged_by_both(data, tmp_path):
    pytest.importorskip("sklearn")
    small = ("--layer", "-1", "--rounds", "1", "--samples", "2", "--prompts", "8")
    small += ("--held-out", "4", "--best-of", "2", "--out", str(tmp_path))
    report = run_script("sentiment_rounds.py", data, "--work", str(tmp_path / "work"), *small)
    assert "held-out reward of 4 prompts, plain" in report
    result = json.loads((tmp_path / "sentiment-rounds.json").read_text())
    told = [(row["head"], row["way"]) for row in result["rows"]]
    assert told == [("before", "plain"), ("round 0", "guided"), ("round 0", "best_of_n")]
    assert all(len(row[judge]) == 4 for row in result["rows"] for judge in ("vader", "tfidf"))
    kept = (tmp_path / "work" / "held-out-plain.jsonl").read_text().splitlines()
    assert [json.loads(line)["rewards"][0] for line in kept] == result["rows"][0]["vader"]


@pytest.mark.slow
def test_a_head_of_values_is_made_and_guides(data, tmp_path):
    pytest.importorskip("sklearn")
    small = ("--parts", "sentiment", "--prompts", "3", "--development-prompts", "1")
    method = "value head, N = 1, 5 candidates"
    run(data, tmp_path / "out", *small, "--methods", method, "--value-prompts", "24")
    (head,) = (tmp_path / "out").glob("*/value-head")
    assert json.loads((head / "head.json").read_text())["scores"] == "prefix"
    rows = json.loads((tmp_path / "out" / "real-model-sentiment.json").read_text())["rows"]
    own = [row for row in rows if row["method"] == method]
    assert [row["scale"] for row in own] == [0.5, 1, 2, 4, 8]
    assert sum(row["chosen"] for row in own) == 1
    assert all(row["guided_steps"] > 0 for row in own)


def test_parts_of_a_set_of_pairs_are_joined_with_all_that_they_have():
    from layer_accuracy import joined

    from coala_jax.study._pair_set import PairSet

    def part(first, **fields):
        draw = np.random.default_rng(first)
        sides = draw.standard_normal((2, 3, 4)).astype(np.float32)
        keys = tuple(map(str, range(first, first + 3)))
        cut = {"prompt": first, "response": 1}
        return PairSet("set", *sides, keys, "prompt", cut=cut, **fields)

    lengths = np.arange(6).reshape(3, 2)
    parts = [part(0, lengths=lengths, margin=np.ones(3, np.float32)), part(3, lengths=lengths)]
    whole = joined(parts)
    np.testing.assert_array_equal(whole.chosen, np.concatenate([each.chosen for each in parts]))
    np.testing.assert_array_equal(whole.margin, [1, 1, 1, 0, 0, 0])
    assert whole.weight is None and whole.lengths.shape == (6, 2)
    assert (whole.keys, whole.cut) == (tuple("012345"), {"prompt": 3, "response": 2})
    rows = np.arange(6) % 2 == 0
    assert len(whole.take(rows).margin) == 3
    assert joined(parts[:1]).lengths.shape == (3, 2)


@pytest.mark.slow
def test_preference_pairs_are_judged_on_layers_and_poolings(data, tmp_path):
    pytest.importorskip("sklearn")
    draw = np.random.default_rng(1)
    for name in ("webgpt", "hh_helpful", "alpaca_eval_v2"):
        with gzip.open(data / f"{name}.jsonl.gz", "wt") as file:
            for number in range(60):
                noise = draw.integers(0, 1000)
                answers = {"chosen": f"Yes, {noise} is good.", "rejected": f"No {noise} bad."}
                row = {"id": f"{name}-{number}", "prompt": f"Is {number} even?", **answers}
                file.write(json.dumps(row) + "\n")
    options = ("--parts", "pairs", "--splits", "1", "--rows", "50")
    run(data, tmp_path / "out", *options)
    path = tmp_path / "out" / "real-model-pairs.json"
    result = json.loads(path.read_text())
    assert {one["pairs"] for one in result["sets"].values()} == {50}
    accuracy = {(row["set"], row["method"]): row["accuracy"]["mean"] for row in result["rows"]}
    for name in result["sets"]:
        assert accuracy[name, "length"] == 1
        assert accuracy[name, "default"] == accuracy[name, "probe, layer -1, mean"] == 1
    assert "webgpt-split-0" not in run(data, tmp_path / "out", *options)


@pytest.mark.slow
def test_cost_is_measured_in_processes_of_their_own_and_kept(data, tmp_path, monkeypatch):
    import model_cost

    for name, value in {"CORES": (1,), "BATCHES": (1,), "STEPS": 2, "PAIRS": 2}.items():
        monkeypatch.setattr(model_cost, name, value)
    for name in ("EXTRACTION_REPEATS", "GENERATION_REPEATS"):
        monkeypatch.setattr(model_cost, name, 1)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    arguments = argparse.Namespace(
        model=BACKBONE, data=data, out=tmp_path / "out", end=math.inf, command="python"
    )
    late = argparse.Namespace(**{**vars(arguments), "end": -math.inf})
    assert model_cost.result_of(late) is None
    result = model_cost.result_of(arguments)
    extraction, generation = result["extraction"], result["guided_cost"]
    assert {"ours", "ours, shared"} <= {row["contender"] for row in extraction}
    assert all(row["tokens_per_second"] > 0 for row in extraction)
    plain, default, *others = generation
    assert (plain["contender"], plain["ratio"]) == ("plain", 1)
    assert default["contender"].startswith("the default")
    assert sum(row["contender"].startswith("5 candidates") for row in others) == 4
    assert result["generation_peak_bytes"]["plain"] > 1e8
    assert {row["cores"] for row in (*extraction, *generation)} == {1}
    table = model_cost.table(result)
    assert table.count("| plain |") == 1
    # What was measured stays.
    again = model_cost.result_of(late)
    assert again["guided_cost"] == generation
