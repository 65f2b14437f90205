"""Losses of groups beside pairs of the same groups, on made answers against a reference."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WIDTH, MODELS = 4, 3


def write_set(shared, name, prompts, seed=0):
    """Answers whose first feature is what a judge likes; one pair is missing."""
    rng = np.random.default_rng(seed)
    rows, columns = [], {"id": [], "chosen": [], "rejected": []}
    for prompt in range(prompts):
        reference, *others = rng.standard_normal((1 + MODELS, WIDTH)).astype("f2")
        for model, answer in enumerate(others):
            if (prompt, model) == (0, 0):
                continue
            won = bool(answer[0] > reference[0])
            sides = ("a", f"m{model}") if not won else (f"m{model}", "a")
            rows.append(
                {
                    "id": f"{prompt}/{model}",
                    "prompt": f"question {prompt}",
                    "chosen": "x",
                    "rejected": "y",
                    "chosen_model": sides[0],
                    "rejected_model": sides[1],
                    "margin": abs(float(answer[0] - reference[0])),
                }
            )
            columns["id"].append(rows[-1]["id"])
            columns["chosen"].append(answer if won else reference)
            columns["rejected"].append(reference if won else answer)
    for folder in ("data", "features"):
        (shared / folder).mkdir(exist_ok=True, parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (shared / "data" / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines))
    np.savez(shared / "features" / f"{name}.npz", **columns)
    return rows


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import groups

    return groups


def test_pairs_against_a_reference_become_groups_with_signed_margins(measured, tmp_path):
    rows = write_set(tmp_path, "made", 5)
    prompts = measured.prompts_of("made", tmp_path, None)
    assert prompts.responses.shape == (5, 1 + MODELS, WIDTH)
    np.testing.assert_array_equal(prompts.mask.sum(axis=1), [3, 4, 4, 4, 4])
    there = prompts.responses[..., 0] - prompts.responses[:, :1, 0]
    np.testing.assert_allclose(prompts.scores[prompts.mask], there[prompts.mask], atol=2e-3)
    judged = prompts.pairs("judged_pairs")
    assert len(judged) == len(rows) and (judged[:, 1:] == 0).sum() == len(rows)
    for method in ("best_worst", "all_pairs"):
        row, better, worse = prompts.pairs(method).T
        assert (prompts.scores[row, better] > prompts.scores[row, worse]).all()
    assert len(prompts.pairs("best_worst")) == 5
    assert len(prompts.pairs("all_pairs")) == 4 * 6 + 3
    # A head that sees what the judge sees orders everything right, its opposite nothing.
    for sign, share in ((1, 1.0), (-1, 0.0)):
        shares = measured.judged(lambda x, sign=sign: sign * x[:, 0], prompts)
        np.testing.assert_array_equal(shares, np.full((5, 2), share))


def test_prompts_where_nothing_is_better_are_left_out_and_a_reference_is_needed(measured, tmp_path):
    from coala_jax.features import load_features

    rows = write_set(tmp_path, "made", 3)
    table = load_features(tmp_path / "features" / "made.npz")
    by_id = {row["id"]: row for row in rows}
    tied = {
        name: {**row, "margin": 0.0} if row["prompt"] == "question 1" else row
        for name, row in by_id.items()
    }
    assert len(measured.grouped(table, tied).names) == 2
    other = {
        name: {**row, "chosen_model": name, "rejected_model": "z" + name}
        for name, row in by_id.items()
    }
    with pytest.raises(ValueError, match="is in 1 of 8 pairs: none is the reference"):
        measured.grouped(table, other)


def test_no_features_are_told_apart_from_bad_ones(measured, tmp_path):
    assert measured.prompts_of("absent", tmp_path, tmp_path / "made") is None


@pytest.mark.slow
def test_methods_are_judged_and_a_report_is_written(measured, tmp_path, monkeypatch):
    write_set(tmp_path, "made", 24)  # too few for folds, which would take most of the time
    words = ["--sets", "made", "absent", "--splits", "2", "--out", str(tmp_path / "out")]
    methods = ["best_worst", "all_pairs", "listwise"]
    monkeypatch.setattr(
        "sys.argv", ["groups.py", *words, "--shared", str(tmp_path), "--methods", *methods]
    )
    measured.main()
    result = json.loads((tmp_path / "out" / "groups.json").read_text())
    assert result["splits"] == 2 and result["versions"]["jax"]
    assert [row["method"] for row in result["rows"]] == methods
    for row in result["rows"]:
        assert row["accuracy"]["low"] <= row["accuracy"]["mean"] <= row["accuracy"]["high"]
        assert row["accuracy"]["mean"] > 0.6 and row["accuracy_of_judged"]["mean"] > 0.6
        assert (row["minus_best_worst"] is None) == (row["method"] == "best_worst")
    table = (tmp_path / "out" / "groups.md").read_text()
    assert table.count("| made |") == len(methods)
