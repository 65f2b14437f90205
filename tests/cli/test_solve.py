"""`coala-jax solve`: results, exit codes, and what is left behind."""

import errno
import json
import shutil

import ml_dtypes
import numpy as np
import pytest

import coala_jax
from coala_jax._status import SolveError
from coala_jax._stored_rows import StoredRows
from coala_jax.cli._main import main
from tests.stores import draw_rows, write_stores

FAST = ["--n-gates", "3", "--ridge", "0.1", "--max-epochs", "300"]
PARTS = ("train", "eval")
DRAWN = {"margins.png": "matplotlib", "report.html": "jinja2"}
FILES = {"head.safetensors", "head.json", "README.md", "report.json", "history.json", *DRAWN}
REPORT_KEYS = {
    "pairs": ("train", "eval"),
    "phase1": (
        *("status", "relative_gap", "explained", "cone_violation", "iterations", "seconds"),
        *("compile_seconds", "active_neurons", "critical_strength", "primal_value", "dual_bound"),
        "admm_flops",
    ),
    "phase2": (
        *("status", "seconds", "compile_seconds", "epochs", "loss", "gradient_norm", "excess"),
    ),
    "train": ("rewards/accuracies", "rewards/margins", "sigmoid_margin"),
    "eval": ("rewards/accuracies", "rewards/margins", "sigmoid_margin"),
    "baseline": ("linear_probe_accuracy", "length_accuracy"),
    "held_out": ("margins", "reliability"),
    "rows": ("set_aside", "cut"),
    "versions": ("python", "jax", "coala_jax"),
}


def _refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def _json(text):
    return json.loads(text, parse_constant=_refuse)


def _report(folder):
    return _json((folder / "report.json").read_text())


def _without_times(report):
    drop = {"seconds", "compile_seconds", "command", "features"}
    return {
        key: _without_times(value) if isinstance(value, dict) else value
        for key, value in report.items()
        if key not in drop
    }


def test_the_folder_is_complete_and_the_report_is_valid(solved):
    assert {file.name for file in solved.iterdir()} == FILES
    report = _report(solved)
    assert {"device", "command", "seed"} <= report.keys()
    for part, keys in REPORT_KEYS.items():
        assert set(keys) <= report[part].keys()
    assert report["phase1"]["status"] == report["phase2"]["status"] == "solved"
    assert report["phase1"]["seconds"] > 0
    assert report["phase1"]["compile_seconds"] > 0
    assert report["phase1"]["admm_flops"] > 0
    assert report["pairs"]["train"] + report["pairs"]["eval"] == 60
    assert report["prefixes"] is None
    assert report["split"]["by"] == "group"
    assert report["baseline"]["length_accuracy"] is None
    assert report["features"]["constant_columns"] == [2]
    assert not list(solved.parent.glob("*.partial"))
    accuracy = report["eval"]["rewards/accuracies"]
    assert f"| accuracy | {accuracy:.3f} \\[" in (solved / "README.md").read_text()


def test_the_saved_head_has_the_reported_metrics(solved):
    head, metadata = coala_jax.load_head(solved)
    assert metadata.identity is None
    assert metadata.params["ridge"] == 0.1
    assert "scores" not in metadata.document and metadata.scores == "response"
    report = _report(solved)
    with np.load(solved.parent / "features.npz") as table:
        margin = np.asarray(head(table["chosen"]) - head(table["rejected"]))
    total = sum(
        report[part]["rewards/margins"] * report["pairs"][part] for part in ("train", "eval")
    )
    assert margin.sum() == pytest.approx(total, rel=1e-4)


def test_the_history_begins_and_ends_where_the_report_says(solved):
    history, report = _json((solved / "history.json").read_text()), _report(solved)
    assert len(history["train"]["loss"]) == report["phase2"]["epochs"] + 1
    assert np.all(np.diff(history["train"]["loss"]) <= 0)
    for part in ("train", "eval"):
        margins = history[part]["reward_margin"]
        assert margins[0] == pytest.approx(report[part]["initial"]["rewards/margins"])
        kept = 0 if report["head"] == "phase1" else -1
        assert margins[kept] == pytest.approx(report[part]["rewards/margins"], rel=1e-4)
    checks = history["phase1"]
    assert checks["iteration"][-1] == report["phase1"]["iterations"]
    for name in ("primal_value", "dual_bound", "relative_gap"):
        assert checks[name][-1] == pytest.approx(report["phase1"][name])


def test_the_page_shows_the_held_out_pairs_and_is_made_again_from_the_folder(
    solved, tmp_path, capsys
):
    report, page = _report(solved), (solved / "report.html").read_text()
    margins = report["held_out"]["margins"]
    wrong = sum(margins["pairs"][: margins["edges"].index(0)])
    assert sum(margins["pairs"]) == report["pairs"]["eval"]
    share = report["eval"]["rewards/accuracies"]
    assert 1 - wrong / report["pairs"]["eval"] == pytest.approx(share)
    assert (
        sum(each["pairs"] for each in report["held_out"]["reliability"]) == report["pairs"]["eval"]
    )
    probe = report["baseline"]["linear_probe_interval"]
    assert probe["low"] <= report["baseline"]["linear_probe_accuracy"] <= probe["high"]
    assert page.count("<svg") == 7 and report["command"] in page
    shutil.copytree(solved, tmp_path / "head")
    drawn = {name: (tmp_path / "head" / name).read_bytes() for name in DRAWN}
    for name in DRAWN:
        (tmp_path / "head" / name).unlink()
    assert main(["report", str(tmp_path / "head"), "--picture"]) == 0
    assert f"written: {tmp_path / 'head' / 'report.html'}" in capsys.readouterr().out
    assert {name: (tmp_path / "head" / name).read_bytes() for name in DRAWN} == drawn
    out = tmp_path / "pages"
    assert main(["report", str(tmp_path / "head"), "--out", str(out), "--json"]) == 0
    assert _json(capsys.readouterr().out)["files"] == [str(out / "report.html")]
    assert [file.name for file in out.iterdir()] == ["report.html"]
    assert main(["report", str(tmp_path)]) == 2
    assert "give the folder of a head that `coala-jax solve` or" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_result_and_json_goes_to_stdout(
    solved, groups_file, tmp_path, capsys, trackio, broken_wandb
):
    words = ["solve", str(solved.parent / "features.npz"), "--groups", str(groups_file)]
    words += ["--report-to", "wandb,trackio"]
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "README.md").write_text("mine")
    assert main([*words, "--out", str(tmp_path / "again"), *FAST, "--json"]) == 0
    printed = capsys.readouterr()
    assert "README.md is not of this package: it stays" in printed.err
    assert (tmp_path / "again" / "README.md").read_text() == "mine"
    assert "warning: wandb failed and is left out" in printed.err
    assert "ValueError: no login" in printed.err
    _require_tracked(trackio, tmp_path / "again")
    result = _json(printed.out)
    assert result["out"] == str(tmp_path / "again")
    assert len(result["files"]) == len(FILES) - 1
    assert "constant and ignored: 2" in printed.err
    assert _without_times(_report(tmp_path / "again")) == _without_times(_report(solved))
    for name in ("head.safetensors", "history.json", "margins.png"):  # the page has times
        assert (tmp_path / "again" / name).read_bytes() == (solved / name).read_bytes()


def _require_tracked(trackio, folder):
    """A run has its settings, certificates step by step, epochs and final figures."""
    (started,) = trackio.started
    assert (started["project"], started["name"]) == ("coala-jax", folder.name)
    assert started["config"]["params"]["ridge"] == 0.1
    assert trackio.finished
    report, history = _report(folder), _json((folder / "history.json").read_text())
    steps = [(step, each) for step, each in trackio.logged if "phase1/primal_value" in each]
    assert [step for step, _ in steps] == sorted({step for step, _ in steps})
    last, certificate = steps[-1]
    assert last == report["phase1"]["iterations"]
    assert certificate["phase1/primal_value"] == pytest.approx(report["phase1"]["primal_value"])
    assert certificate["phase1/dual_bound"] == pytest.approx(report["phase1"]["dual_bound"])
    assert certificate["phase1/relative_gap"] == pytest.approx(report["phase1"]["relative_gap"])
    epochs = [each for _, each in trackio.logged if "eval/loss" in each]
    assert [each["train/loss"] for each in epochs] == pytest.approx(history["train"]["loss"])
    _, final = trackio.logged[-1]
    assert final["final/eval/rewards/accuracies"] == report["eval"]["rewards/accuracies"]


def test_an_unsolved_phase_exits_with_3_and_still_writes(solved, groups_file, tmp_path, capsys):
    words = ["solve", str(solved.parent / "features.npz"), "--groups", str(groups_file)]
    zero = ["--group-lasso", "1.5", "--no-linear-path"]
    code = main([*words, "--out", str(tmp_path / "zero"), *FAST, *zero])
    printed = capsys.readouterr()
    assert code == 3
    assert "zero_network: no network was sought" in printed.err
    assert _report(tmp_path / "zero")["phase1"]["status"] == "zero_network"
    assert {file.name for file in (tmp_path / "zero").iterdir()} == FILES
    assert str(tmp_path / "zero") in printed.out
    assert "linear probe" in printed.out
    head, _ = coala_jax.load_head(tmp_path / "zero")
    assert head.theta2.shape == (0,)
    card = (tmp_path / "zero" / "README.md").read_text()
    first = card.index("**This head is not solved: `zero_network`.**")
    assert first < card.index("## Results")
    assert main(["push", str(tmp_path / "zero"), "me/zero", "--dry-run"]) == 0
    assert "warning: this head is not solved: zero_network" in capsys.readouterr().out


@pytest.mark.slow
def test_strengths_are_chosen_unless_they_are_given(solved, tmp_path, capsys):
    words = ["solve", str(solved.parent / "features.npz")]
    assert _report(solved)["selection"] is None
    out = tmp_path / "chosen"
    assert main([*words, "--out", str(out), "--n-gates", "3", "--max-epochs", "300"]) == 0
    printed, report = capsys.readouterr(), _report(out)
    assert "choosing strengths on left-out groups" in printed.err
    choice, table = report["selection"]["choice"], report["selection"]["table"]
    assert choice in table
    assert choice["temperature"] == report["temperature"] > 0
    assert report["params"]["linear_ridge"] == choice["linear_ridge"]
    first, *rest = printed.out.splitlines()
    assert first.startswith("accuracy ")  # of what use it is comes before how it was solved
    assert any(line.startswith("chosen    ") for line in rest)
    head, metadata = coala_jax.load_head(out)
    assert metadata.document["temperature"] == report["temperature"]
    with np.load(solved.parent / "features.npz") as table:
        pairs = coala_jax.PreferenceFeatures(table["chosen"], table["rejected"])
    total = sum(report[part]["rewards/accuracies"] * report["pairs"][part] for part in PARTS)
    assert float(coala_jax.accuracy(head, pairs)) * 60 == pytest.approx(total)
    # A strength that is given is not chosen, and both together are a mistake.
    given = ["--linear-ridge", "0.5"]
    assert main([*words, "--out", str(tmp_path / "given"), *given, "--n-gates", "3"]) in (0, 3)
    assert _report(tmp_path / "given")["selection"] is None
    assert _report(tmp_path / "given")["params"]["linear_ridge"] == 0.5
    capsys.readouterr()
    assert main([*words, "--out", str(tmp_path / "both"), *given, "--select", "auto"]) == 2
    assert "--linear-ridge is given, and --select auto chooses it" in capsys.readouterr().err


@pytest.mark.slow
def test_a_phase_two_that_harms_held_out_pairs_is_left_out_and_said(tmp_path, capsys):
    """Noise, fitted without any restraint."""
    rng = np.random.default_rng(0)
    chosen, rejected = rng.standard_normal((2, 60, 8)).astype(np.float32)
    np.savez(tmp_path / "noise.npz", chosen=chosen, rejected=rejected)
    words = ["solve", str(tmp_path / "noise.npz"), "--out", str(tmp_path / "head")]
    main([*words, "--group-lasso", "0.05", "--ridge", "1e-4", "--max-epochs", "2000"])
    printed, report = capsys.readouterr().out, _report(tmp_path / "head")
    assert report["head"] == "phase1"
    assert report["eval"]["log_loss"] == report["eval"]["initial"]["log_loss"]
    assert report["train"]["rewards/accuracies"] > 0.95
    assert "warning: Phase II raised the log loss of held-out pairs from" in printed
    assert "warning: accuracy on unseen pairs is" in printed
    assert "above that of a coin" in printed


@pytest.mark.slow
def test_too_few_groups_are_said(tmp_path, capsys):
    rng = np.random.default_rng(0)
    chosen, rejected = rng.standard_normal((2, 22, 3)).astype(np.float32)
    np.savez(tmp_path / "few.npz", chosen=chosen + 1, rejected=rejected)
    words = ["solve", str(tmp_path / "few.npz"), "--out", str(tmp_path / "head")]
    main([*words, "--n-gates", "3"])
    first = capsys.readouterr()
    assert "is replaced" not in first.err
    printed = first.out
    assert "warning: the training pairs have fewer than 20 groups" in printed
    chosen = "a linear reward (no network), linear ridge 1, no Phase II (too few groups)"
    assert f"chosen    {chosen}" in printed
    assert _report(tmp_path / "head")["selection"]["table"] == []
    main([*words, "--n-gates", "3", "--select", "none"])
    assert f"{tmp_path / 'head'}: the head that was there is replaced" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_behind(solved, groups_file, tmp_path, capsys, monkeypatch):
    def fail(experiment):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("coala_jax.study._head_folder.build_history", fail)
    words = ["solve", str(solved.parent / "features.npz"), "--groups", str(groups_file)]
    assert main([*words, "--out", str(tmp_path / "out" / "head"), *FAST]) == 2
    assert "coala-jax: error: [Errno 28] No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*head*"))


@pytest.mark.parametrize("missing", [True, False])
def test_without_page_and_picture_a_line_says_so_and_the_head_is_there(
    solved, groups_file, tmp_path, capsys, monkeypatch, missing
):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    if missing:
        monkeypatch.setattr("coala_jax.study._head_folder.is_installed", lambda module: False)
    else:
        monkeypatch.setattr("coala_jax.study._head_folder.write_files", fail)
    out = tmp_path / "head"
    out.mkdir()
    for name in DRAWN:
        (out / name).write_bytes(b"old")
    (out / "notes.txt").write_text("kept")
    words = ["solve", str(solved.parent / "features.npz"), "--groups", str(groups_file)]
    assert main([*words, "--out", str(out), *FAST]) == 0
    said = capsys.readouterr().err
    for name, module in DRAWN.items():
        reason = "(OSError: [Errno 28] No space left on device); the head and its figures are; "
        reason += f"`coala-jax report {out}` tries again"
        start = f": it needs {module}; pip install '.[plot]'" if missing else f" {reason}"
        assert f"{name} is not made{start}" in said
    assert {file.name for file in out.iterdir()} == FILES - set(DRAWN) | {"notes.txt"}
    assert (out / "head.safetensors").read_bytes() == (solved / "head.safetensors").read_bytes()


@pytest.mark.slow
def test_the_learning_curve_ends_at_the_head(solved, groups_file, tmp_path, capsys):
    fast = ["--phase2-objective", "none", "--learning-curve"]
    words = ["solve", str(solved.parent / "features.npz"), "--groups", str(groups_file)]
    assert main([*words, "--out", str(tmp_path / "head"), *FAST, *fast]) == 0
    report, printed = _report(tmp_path / "head"), capsys.readouterr().out
    counts = [point["pairs"] for point in report["learning_curve"]]
    assert counts == sorted(set(counts)) and counts[-1] == report["pairs"]["train"]
    assert report["learning_curve"][-1]["head"] == report["eval"]["accuracy_interval"]
    assert f"learning  {counts[0]} training pairs: accuracy 0." in printed
    assert f"{counts[0]} training pairs" in (tmp_path / "head" / "report.html").read_text()


def test_rows_without_prompts_or_groups_are_split_by_row_with_a_warning(
    npz, tmp_path, capsys, monkeypatch
):
    def broken(*arguments):
        raise SolveError("no head was written; breakdown")

    monkeypatch.setattr("coala_jax.study._experiment.run_phases", broken)
    assert main(["solve", npz(), "--out", str(tmp_path / "head")]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert any("rows are split by row; this leaks" in line for line in lines)
    assert lines[-1] == "coala-jax: error: no head was written; breakdown"
    assert not (tmp_path / "head").exists()


@pytest.mark.slow
def test_a_store_of_half_precision_is_solved_in_it(tmp_path, monkeypatch):
    """The head's figures are those of the same features in float32."""
    rows, *sides = draw_rows(60, 4)
    chosen, rejected = (side.astype(ml_dtypes.bfloat16) for side in sides)
    store = write_stores(tmp_path, rows, chosen, rejected)
    placed = []

    def on_device(stored, device=None):
        placed.append((stored.shape, stored.dtype.name))
        return original(stored, device)

    original = StoredRows.on_device
    monkeypatch.setattr(StoredRows, "on_device", on_device)
    out = tmp_path / "head"
    assert main(["solve", str(store), "--out", str(out), "--rows", "compact", *FAST]) == 0
    report, head = _report(out), coala_jax.load_head(out)[0]
    train, held = report["pairs"]["train"], report["pairs"]["eval"]
    assert placed == [((train, 4), "bfloat16")] * 2 + [((held, 4), "bfloat16")] * 2
    margin = np.asarray(head(np.float32(chosen)) - head(np.float32(rejected)))
    total = sum(report[part]["rewards/margins"] * report["pairs"][part] for part in PARTS)
    assert margin.sum() == pytest.approx(total, rel=1e-4)
    assert report["phase1"]["status"] == "solved"


def test_rows_are_read_with_the_options_of_extract(npz, tmp_path, capsys, monkeypatch):
    class Reached(SolveError):
        pass

    def stop(pairs, *_):
        raise Reached(f"{pairs.split_by} {pairs.lengths[0].tolist()}")

    monkeypatch.setattr("coala_jax.cli._solve.run_experiment", stop)
    rows = [f"row-{i},ask {i},ask {i}: yes,no" for i in range(60)]
    data = tmp_path / "survey.csv"
    data.write_text("\n".join(["id,question,best,rejected", *rows]) + "\n")
    words = ["solve", npz(), "--data", str(data), "--out", str(tmp_path / "head")]
    options = ["--columns", "prompt=question,chosen=best", "--strip-prompt"]
    assert main([*words, *options]) == 3
    assert "prompt [5, 2]" in capsys.readouterr().err
    assert main(words) == 2
    assert "are those of no format" in capsys.readouterr().err
    assert main([*words, *options, "--split", "test"]) == 2
    assert "is one file, which has none" in capsys.readouterr().err


def test_options_of_rows_want_rows(npz, tmp_path, capsys):
    words = ["solve", npz(), "--out", str(tmp_path / "head"), "--pairs", "all"]
    assert main(words) == 2
    assert "--pairs says how --data is read: give --data too" in capsys.readouterr().err
