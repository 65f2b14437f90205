"""`coala-jax backbones`, and the model options of the other commands."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from coala_jax.cli._main import main
from coala_jax.features._store import open_store
from tests.backbones.gguf_files import write_gguf
from tests.backbones.variants import SIZES, write_variant

WEIGHTS = "model.safetensors"


@pytest.fixture
def adapter(checkpoint, tmp_path):
    """A LoRA adapter of the tiny backbone's first layer."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    fields = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "fan_in_fan_out": True}
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    rng = np.random.default_rng(0)
    name = "base_model.model.transformer.h.0.attn.c_attn.lora_{}.weight"
    pair = {name.format("A"): rng.normal(size=(2, 16)), name.format("B"): rng.normal(size=(48, 2))}
    save_file(pair, folder / "adapter_model.safetensors")
    return folder


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"the student {i}", "chosen": "yes", "rejected": "no"} for i in range(2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_families_are_listed(capsys):
    assert main(["backbones"]) == 0
    assert "gpt2" in capsys.readouterr().out
    assert main(["backbones", "--json"]) == 0
    assert "gpt2" in json.loads(capsys.readouterr().out)["families"]


def test_a_supported_folder_exits_with_0(checkpoint, capsys):
    assert main(["backbones", str(checkpoint)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["model", "type", "gpt2"]
    assert "2 layers, 16 width" in lines[1]
    assert WEIGHTS in lines[2]
    assert lines[-1] == "supported"
    assert main(["backbones", str(checkpoint), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["supported"] is True and result["sizes"]["layers"] == 2


def test_a_gguf_file_is_a_model_of_the_commands(data, tmp_path, capsys):
    fields = {"model_type": "llama", **SIZES, "vocab_size": 300}
    file = write_gguf(write_variant(tmp_path / "model", fields), tmp_path / "tiny.gguf")
    assert main(["backbones", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["model", "type", "llama"] and "tiny.gguf (" in lines[2]
    words = ["extract", "--model", str(file), "--data", data, "--out", str(tmp_path / "store")]
    assert main([*words, "--pooling", "last", "--json"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed[printed.index("{") :])["identity"]["backbone"] == "tiny.gguf"
    assert main(["data", "inspect", data, "--model", str(file)]) == 0
    capsys.readouterr()
    assert main(["backbones", str(tmp_path / "lost.gguf")]) == 2
    assert "lost.gguf: no such file" in capsys.readouterr().err


def test_what_is_not_supported_is_listed_and_exits_with_2(checkpoint, tmp_path, capsys):
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    fields = json.loads((folder / "config.json").read_text())
    fields |= {"n_head": 7, "add_cross_attention": True}
    (folder / "config.json").write_text(json.dumps(fields))
    assert main(["backbones", str(folder)]) == 2
    out = capsys.readouterr().out
    assert "not supported: GPT-2 config: add_cross_attention=true" in out
    assert "not supported: GPT-2 config: n_head=7" in out
    assert "\nsupported" not in out


def test_an_adapter_goes_into_the_features_and_their_identity(
    checkpoint, adapter, data, tmp_path, capsys
):
    assert main(["backbones", str(checkpoint), "--adapter", str(adapter)]) == 0
    words = ["extract", "--model", str(checkpoint), "--data", data, "--pooling", "last"]
    assert main([*words, "--out", str(tmp_path / "base")]) == 0
    words += ["--adapter", str(adapter)]
    assert main([*words, "--out", str(tmp_path / "adapted"), "--json"]) == 0
    printed = capsys.readouterr().out
    identity = json.loads(printed[printed.index("{") :])["identity"]
    assert identity["backbone"] == "tiny-gpt2+adapter"
    base, adapted = (open_store(tmp_path / name) for name in ("base", "adapted"))
    assert base.manifest["identity"]["weights_sha256"] != identity["weights_sha256"]
    assert np.abs(base.table.chosen - adapted.table.chosen).max() > 1e-3
    # A merge on disk, made by hand, gives the same features.
    merged = tmp_path / "merged"
    shutil.copytree(checkpoint, merged)
    tensors, pair = load_file(merged / WEIGHTS), load_file(adapter / "adapter_model.safetensors")
    down, up = (next(pair[name] for name in pair if f"lora_{side}" in name) for side in "AB")
    tensors["transformer.h.0.attn.c_attn.weight"] += (2 * (up @ down).T).astype(np.float32)
    save_file(tensors, merged / WEIGHTS)
    words = ["extract", "--model", str(merged), "--data", data, "--pooling", "last"]
    assert main([*words, "--out", str(tmp_path / "by-hand")]) == 0
    np.testing.assert_allclose(
        open_store(tmp_path / "by-hand").table.chosen, adapted.table.chosen, rtol=1e-4, atol=1e-5
    )


def test_score_refuses_the_base_with_an_adapter_it_was_not_made_with(
    quickstart, checkpoint, adapter, data, tmp_path, capsys
):
    out = tmp_path / "rewards.jsonl"
    words = ["score", str(quickstart), "--model", str(checkpoint), "--data", data]
    assert main([*words, "--adapter", str(adapter), "--out", str(out)]) == 2
    assert "weights_sha256" in capsys.readouterr().err
    assert main([*words, "--out", str(out)]) == 0


def test_layers_and_the_models_type_reach_the_store(checkpoint, data, tmp_path):
    store = str(tmp_path / "store")
    words = ["extract", "--model", str(checkpoint), "--data", data, "--out", store]
    assert main([*words, "--layers", "-1,-2", "--model-dtype", "bfloat16"]) == 0
    manifest = open_store(store).manifest
    assert manifest["identity"]["layer"] == "-1,-2"
    assert manifest["identity"]["compute_dtype"] == "bfloat16"
    assert manifest["width"] == 2 * 2 * 16
    assert manifest["tokens"]["run"] >= manifest["tokens"]["distinct"] > 0


def test_layers_that_are_no_numbers_are_refused(checkpoint, data, tmp_path, capsys):
    words = ["extract", "--model", str(checkpoint), "--data", data, "--out", str(tmp_path / "s")]
    assert main([*words, "--layers", "last"]) == 2
    assert "'last' is not a list of integers such as -1,-8" in capsys.readouterr().err
    assert main([*words, "--layers", "7"]) == 2
    assert "layers=(7,): the model has layers 0" in capsys.readouterr().err
