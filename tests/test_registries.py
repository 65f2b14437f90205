"""A loss, a family or a data set is one file and a place in its registry: all else reads that."""

import dataclasses
import json

import numpy as np
import pytest

from coala_jax import Config, Params, cronos
from coala_jax.backbones._families import FAMILIES
from coala_jax.backbones._support import check_support
from coala_jax.cli._main import build_parser, main
from coala_jax.cli._options import solver_settings
from coala_jax.data import load_named, read_rows
from coala_jax.data._named import KNOWN_SETS
from coala_jax.data._named._known_set import KnownSet
from coala_jax.losses import HUBER, LOSSES, Loss
from tests.helpers import draw_pairs


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    return " ".join(capsys.readouterr().out.split())


def test_a_loss_in_the_registry_is_an_option_and_is_solved_with(monkeypatch, capsys):
    monkeypatch.setitem(LOSSES, "toy", Loss(*HUBER))
    assert ",toy}" in help_of(["solve"], capsys)
    words = ["solve", "features.npz", "--out", "head", "--phase1-loss", "toy", "--n-gates", "2"]
    config = solver_settings(build_parser().parse_args(words)).config
    features = draw_pairs(np.random.default_rng(0), 12, 2)
    cronos(Params(), features, config=config).raise_for_status()
    with pytest.raises(ValueError, match="plackett_luce, toy, or a Loss of your own"):
        Config(phase1_loss="toys")


def test_a_family_in_the_registry_is_listed_and_known(monkeypatch, checkpoint, tmp_path, capsys):
    fields = json.loads((checkpoint / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**fields, "model_type": "toy"}))
    assert any("'toy' is not supported" in fault for fault in check_support(tmp_path).faults)
    monkeypatch.setitem(FAMILIES, "toy", dataclasses.replace(FAMILIES["gpt2"], covers="A toy"))
    assert main(["backbones"]) == 0
    assert "A toy" in capsys.readouterr().out
    support = check_support(tmp_path)
    assert support.sizes["width"] == 16
    assert not any("'toy' is not supported" in fault for fault in support.faults)


def test_a_data_set_in_the_registry_is_offered_and_loaded(monkeypatch, tmp_path, capsys):
    row = {"question": "Why?", "good": "So.", "bad": "No."}
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({**row, "question": f"Why {n}?"}) + "\n" for n in range(9)))
    names = {"question": "prompt", "good": "chosen", "bad": "rejected"}

    def renamed(rows, attributes):
        assert attributes == ("taste",)
        for each in rows:
            yield each._replace(fields={names[key]: text for key, text in each.fields.items()})

    toy = KnownSet("toy", "org/toy", (dict.fromkeys(row, ""),), 9, renamed, attributes=("taste",))
    monkeypatch.setitem(KNOWN_SETS, "toy", toy)
    text = help_of(["data", "get"], capsys)
    assert "toy (org/toy)" in text and "of helpsteer, toy, ultrafeedback with" in text
    assert load_named("toy", file).check() == "9 pairs, as in the paper"
    out = tmp_path / "out"
    assert main(["data", "get", "toy", "--from", str(file), "--out", str(out)]) == 0
    kept = [read_rows(out / name).rows for name in ("train.jsonl", "eval.jsonl")]
    assert sum(map(len, kept)) == 9 and kept[0][0].chosen == "So."
