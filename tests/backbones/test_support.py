"""What is said of a checkpoint before its weights are read."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from coala_jax.backbones._families._gpt2 import FAMILY
from coala_jax.backbones._support import check_support, config_faults, supported_families

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(checkpoint, tmp_path):
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def _change_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_every_family_is_listed():
    assert "gpt2" in supported_families()


def test_a_checkpoint_that_can_be_loaded_has_sizes_and_no_faults(checkpoint):
    support = check_support(checkpoint)
    assert support.model_type == "gpt2"
    assert support.faults == ()
    assert support.weights == {WEIGHTS: (checkpoint / WEIGHTS).stat().st_size}
    tensors = load_file(checkpoint / WEIGHTS)
    assert support.sizes == {
        "layers": 2,
        "width": 16,
        "ids": len(tensors["transformer.wte.weight"]),
        "tokens": 64,
        "parameters": sum(tensor.size for tensor in tensors.values()),
    }


def test_no_weight_is_read(checkpoint, monkeypatch):
    def refuse(*_):
        raise AssertionError("a weight was read")

    monkeypatch.setattr("coala_jax.backbones._weights._read_safetensors", refuse)
    assert check_support(checkpoint).faults == ()


def test_all_faults_of_a_configuration_are_listed(folder):
    _change_config(folder, add_cross_attention=True, activation_function="swiglu", n_head=7)
    faults = check_support(folder).faults
    assert len(faults) == 3
    for part in ("add_cross_attention=true", "activation_function='swiglu'", "n_head=7"):
        assert sum(part in fault for fault in faults) == 1


def test_a_fault_is_not_listed_twice_because_its_field_was_left_out():
    fields = FAMILY.read_config({}).to_dict()
    assert config_faults(FAMILY, fields) == []
    faults = config_faults(FAMILY, {**fields, "n_head": 7, "n_embd": 64})
    assert faults == ["GPT-2 config: n_head=7 must divide n_embd=64"]

    def read(given):
        if given.get("n_head") != 1:
            raise ValueError("n_head must be there and 1")

    family = dataclasses.replace(FAMILY, read_config=read)
    assert config_faults(family, {"n_head": 2}) == ["n_head must be there and 1"]


def test_an_unknown_family_and_missing_files_are_listed_together(folder):
    _change_config(folder, model_type="mamba")
    (folder / WEIGHTS).unlink()
    support = check_support(folder)
    assert support.sizes == {} and support.weights == {}
    assert "neither model.safetensors nor" in support.faults[0]
    assert "model_type 'mamba' is not supported" in support.faults[1]


def test_tensors_and_tokenizer_that_do_not_fit_are_listed(folder):
    tensors = load_file(folder / WEIGHTS)
    del tensors["transformer.ln_f.bias"]
    save_file(tensors, folder / WEIGHTS)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    tokenizer, weights = check_support(folder).faults
    assert "no tokenizer in it" in tokenizer
    assert "missing: ln_f.bias" in weights


def test_an_adapter_is_checked_by_its_header(folder, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    fields = {"peft_type": "LORA", "r": 2, "fan_in_fan_out": True}
    (adapter / "adapter_config.json").write_text(json.dumps(fields))
    name = "base_model.model.transformer.h.0.attn.c_attn.lora_{}.weight"
    pair = {name.format("A"): np.ones((2, 16)), name.format("B"): np.ones((48, 2))}
    save_file(pair, adapter / "adapter_model.safetensors")
    assert check_support(folder, adapter).faults == ()
    pair[name.format("A")] = np.ones((2, 9))
    save_file(pair, adapter / "adapter_model.safetensors")
    (fault,) = check_support(folder, adapter).faults
    assert "h.0.attn.c_attn.weight is (9, 48), expected (16, 48)" in fault
