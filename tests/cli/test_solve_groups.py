"""`coala-jax solve` on groups of responses: whole, or as the pairs of their members."""

import json

import numpy as np
import pytest

import coala_jax
from coala_jax.cli._main import main

GROUPS, MEMBERS, WIDTH = 40, 4, 5
FAST = ("--n-gates", "3", "--ridge", "0.1", "--max-epochs", "300", "--group-lasso", "0.1")


@pytest.fixture
def store(tmp_path):
    """An .npz of groups; the last one's scores are all equal."""
    rng = np.random.default_rng(0)
    responses = rng.standard_normal((GROUPS, MEMBERS, WIDTH)).astype("f4")
    scores = np.round(responses[..., 0] + 0.1 * rng.standard_normal((GROUPS, MEMBERS)), 1)
    scores[-1] = 0
    best = scores.argmax(1)
    rows = [(g, best[g], j) for g in range(GROUPS) for j in range(MEMBERS) if j != best[g]]
    margin = np.array([scores[g, i] - scores[g, j] for g, i, j in rows], "f4")
    marks = np.where(margin > 0, ">", "=")
    path = tmp_path / "groups.npz"
    np.savez(
        path,
        chosen=np.array([responses[g, i] for g, i, _ in rows]),
        rejected=np.array([responses[g, j] for g, _, j in rows]),
        id=np.array([f"row-{g}/{i}{mark}{j}" for (g, i, j), mark in zip(rows, marks, strict=True)]),
        prompt_sha256=np.array([f"{g:064x}" for g, _, _ in rows]),
        margin=margin,
    )
    return path, responses, scores


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["listwise", "bradley_terry"])
def test_a_store_of_groups_is_solved(store, tmp_path, capsys, loss):
    path, responses, scores = store
    out = tmp_path / "head"
    words = ("solve", str(path), "--out", str(out), "--phase1-loss", loss, *FAST)
    assert main([*words, "--temperature", "0.5"]) == 0
    said = capsys.readouterr().err
    assert ("--phase1-loss listwise takes them whole" in said) == (loss == "bradley_terry")
    report = json.loads((out / "report.json").read_text())
    assert report["groups"] == {"train": 32, "eval": 7}  # the one that says nothing is in neither
    pairs = sum((row[:, None] > row).sum() for row in scores)  # the other of two is no pair again
    assert sum(report["pairs"].values()) == pairs
    assert report["split"] == {"by": "prompt", "train_keys": 32, "eval_keys": 7}
    assert report["rows"]["set_aside"] == {"groups whose responses have the same score": 1}
    assert report["params"]["temperature"] == 0.5
    head, _ = coala_jax.load_head(out)
    groups = coala_jax.GroupFeatures(responses, scores)
    assert float(coala_jax.accuracy(head, groups)) > 0.85
    assert report["eval"]["rewards/accuracies"] > 0.7


@pytest.mark.slow
def test_strengths_are_chosen_on_left_out_groups(store, tmp_path, capsys):
    path, *_ = store
    words = ["solve", str(path), "--out", str(tmp_path / "head"), "--phase1-loss", "group_squared"]
    assert main([*words, "--n-gates", "3", "--advantage", "standardized"]) == 0
    report = json.loads((tmp_path / "head" / "report.json").read_text())
    assert report["config"]["advantage"] == "standardized" and report["selection"]["folds"] == 5
    assert report["selection"]["choice"]["accuracy"] > 0.7


def test_beginnings_of_groups_are_refused(store, tmp_path, capsys):
    path, *_ = store
    assert main(["solve", str(path), "--out", str(tmp_path / "head"), "--prefixes"]) == 2
    assert "beginnings are of pairs, and its rows are groups" in capsys.readouterr().err


def test_groups_that_say_nothing_are_named(store, tmp_path, capsys):
    path, *_ = store
    with np.load(path) as known:
        np.savez(path, **{**known, "margin": np.zeros(len(known["margin"]), "f4")})
    assert main(["solve", str(path), "--out", str(tmp_path / "head")]) == 2
    assert "groups.npz: nothing to learn: of 40 groups 0 have fewer" in capsys.readouterr().err
