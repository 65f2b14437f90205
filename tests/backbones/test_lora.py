"""LoRA adapters: the merge against numpy and torch's own linear layer, and what is refused."""

import json
import math
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax.serialization import msgpack_serialize
from safetensors.numpy import load_file, save_file

from coala_jax.backbones import CheckpointError, load_backbone
from coala_jax.backbones._family import Family
from coala_jax.backbones._lora import merge_adapter, read_adapter
from coala_jax.backbones._weights import stored_tensors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE_WEIGHTS = "model.safetensors"
TOKENS = jnp.array([[5, 9, 2, 7]])
RANK, ALPHA, LAYERS = 3, 7, 2
# (in, out) of the layers of the tiny GPT-2.
SIZES = {"attn.c_attn": (16, 48), "attn.c_proj": (16, 16), "mlp.c_fc": (16, 64)}
# As PEFT 0.21 writes it, but for the fields that are null.
FIELDS = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "peft_version": "0.21.2",
    "base_model_name_or_path": "somewhere/else",
    "inference_mode": True,
    "init_lora_weights": True,
    "bias": "none",
    "fan_in_fan_out": True,
    "lora_alpha": ALPHA,
    "lora_dropout": 0.1,
    "loftq_config": {},
    "megatron_core": "megatron.core",
    "qalora_group_size": 16,
    "modules_to_save": None,
    "r": RANK,
    "rank_pattern": {},
    "alpha_pattern": {},
    "target_modules": ["c_attn"],
    "use_dora": False,
    "use_rslora": False,
}


def _factors(modules, rank_of=lambda module: RANK):
    """Random A and B by module name, of every layer."""
    rng = np.random.default_rng(0)
    factors = {}
    for layer in range(LAYERS):
        for module in modules:
            name, (fan_in, fan_out) = f"transformer.h.{layer}.{module}", SIZES[module]
            rank = rank_of(name)
            down, up = rng.normal(size=(rank, fan_in)), rng.normal(size=(fan_out, rank))
            factors[name] = down.astype(np.float32), up.astype(np.float32)
    return factors


def _tensors(factors, form="base_model.model.{}.lora_{}.weight"):
    return {
        form.format(name, side): tensor
        for name, pair in factors.items()
        for side, tensor in zip("AB", pair, strict=True)
    }


def _write(folder, tensors, **fields):
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(json.dumps({**FIELDS, **fields}))
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def _hidden(folder, **options):
    backbone = load_backbone(folder, **options)
    return np.asarray(backbone.hidden_states(TOKENS, jnp.ones_like(TOKENS)), np.float32)


def _merged_folder(checkpoint, folder, changes):
    """The base with weights changed by hand."""
    shutil.copytree(checkpoint, folder)
    tensors = load_file(folder / BASE_WEIGHTS)
    for name, change in changes.items():
        tensors[name] = (tensors[name] + change).astype(np.float32)
    save_file(tensors, folder / BASE_WEIGHTS, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("rank_stabilised", [False, True])
@pytest.mark.parametrize(
    "form",
    ["base_model.model.{}.lora_{}.weight", "base_model.model.{}.lora_{}.default.weight"],
)
def test_a_gpt2_adapter_is_the_sum_that_numpy_gives(checkpoint, tmp_path, rank_stabilised, form):
    modules = ("attn.c_attn", "attn.c_proj", "mlp.c_fc")
    factors = _factors(modules)
    adapter = _write(
        tmp_path / "adapter",
        _tensors(factors, form),
        target_modules=["c_attn", "attn.c_proj", "c_fc"],
        use_rslora=rank_stabilised,
    )
    scale = ALPHA / (math.sqrt(RANK) if rank_stabilised else RANK)
    # Conv1D holds (in, out): the change is (B A) transposed.
    changes = {
        f"{name}.weight": scale * (up.astype(np.float64) @ down).T
        for name, (down, up) in factors.items()
    }
    expected = _merged_folder(checkpoint, tmp_path / "merged", changes)
    merged = _hidden(checkpoint, adapter=adapter)
    np.testing.assert_allclose(merged, _hidden(expected), rtol=1e-4, atol=1e-5)
    assert np.abs(merged - _hidden(checkpoint)).max() > 0.1


def test_an_adapter_is_merged_into_the_flax_layout_too(checkpoint, tmp_path):
    adapter = _write(tmp_path / "adapter", _tensors(_factors(["attn.c_attn"])))
    tree = {}
    for name, tensor in load_file(checkpoint / BASE_WEIGHTS).items():
        module, leaf = name.rsplit(".", 1)
        kernel = leaf == "weight" and ".c_" in name  # of a Conv1D: the transpose
        tree.setdefault(module, {})["kernel" if kernel else leaf] = tensor.T if kernel else tensor
    flax = Path(shutil.copytree(checkpoint, tmp_path / "flax"))
    (flax / BASE_WEIGHTS).unlink()
    (flax / "flax_model.msgpack").write_bytes(msgpack_serialize(tree))
    np.testing.assert_array_equal(
        _hidden(flax, adapter=adapter), _hidden(checkpoint, adapter=adapter)
    )


def test_names_without_the_models_prefix_are_those_of_the_bare_model(checkpoint, tmp_path):
    tensors = _tensors(_factors(["attn.c_attn"]))
    whole = _write(tmp_path / "whole", tensors)
    bare = {name.replace("transformer.", ""): tensor for name, tensor in tensors.items()}
    bare = _write(tmp_path / "bare", bare)
    np.testing.assert_array_equal(
        _hidden(checkpoint, adapter=whole), _hidden(checkpoint, adapter=bare)
    )


def test_patterns_of_rank_and_alpha_are_honoured(checkpoint, tmp_path):
    ranks = {"transformer.h.0.attn.c_attn": 2}
    factors = _factors(["attn.c_attn"], lambda module: ranks.get(module, RANK))
    adapter = _write(
        tmp_path / "adapter",
        _tensors(factors),
        rank_pattern={"h.0.attn.c_attn": 2},
        alpha_pattern={"attn.nothing": 9, r"^transformer\.h\.1\..*": 5},
    )
    scales = {"transformer.h.0.attn.c_attn": ALPHA / 2, "transformer.h.1.attn.c_attn": 5 / RANK}
    pairs = read_adapter(adapter).pairs
    assert {name: pair.scale for name, pair in pairs.items()} == {
        f"{name}.weight": scale for name, scale in scales.items()
    }
    changes = {
        f"{name}.weight": scales[name] * (up @ down).T for name, (down, up) in factors.items()
    }
    expected = _merged_folder(checkpoint, tmp_path / "merged", changes)
    np.testing.assert_allclose(
        _hidden(checkpoint, adapter=adapter), _hidden(expected), rtol=1e-4, atol=1e-5
    )


def test_modules_that_were_trained_whole_replace_those_of_the_base(checkpoint, tmp_path):
    norm = np.linspace(0.5, 2, 16, dtype=np.float32)
    tensors = {
        **_tensors(_factors(["attn.c_attn"])),
        "base_model.model.transformer.ln_f.weight": norm,
        "base_model.model.transformer.ln_f.modules_to_save.default.bias": norm - 1,
    }
    adapter = _write(tmp_path / "adapter", tensors, modules_to_save=["ln_f"])
    module = load_backbone(checkpoint, adapter=adapter).module
    np.testing.assert_array_equal(module.ln_f_weight[...], norm)
    np.testing.assert_array_equal(module.ln_f_bias[...], norm - 1)


@pytest.mark.parametrize(
    ("targets", "more"),
    [
        (r"transformer\.h\.1\.attn\.c_attn", {}),
        (r"h\.1\.attn\.c_attn", {}),
        (["c_attn"], {"layers_to_transform": [1]}),
        (["c_attn"], {"exclude_modules": ["h.0.attn.c_attn"]}),
        (["h.1.attn.c_attn"], {}),
    ],
)
def test_an_adapter_may_leave_layers_out_where_its_settings_do(checkpoint, tmp_path, targets, more):
    factors = _factors(["attn.c_attn"])
    del factors["transformer.h.0.attn.c_attn"]
    adapter = _write(tmp_path / "adapter", _tensors(factors), target_modules=targets, **more)
    merged, base = (
        load_backbone(checkpoint, adapter=adapter).module,
        load_backbone(checkpoint).module,
    )
    changed = merged.layers.attn_c_attn_weight[...] != base.layers.attn_c_attn_weight[...]
    assert changed.any(axis=(1, 2)).tolist() == [False, True]


# Names alone: a family whose linear weights are (out, in), as torch's are.
LINEAR_FAMILY = Family(
    read_config=dict,
    make=lambda *_: None,
    layout=lambda _: {},
    prefix="model.",
    ignored="",
    covers="",
    splits=lambda _: {},
)


def _merge_linear(tmp_path, base, tensors, **fields):
    (tmp_path / "base").mkdir()
    save_file(base, tmp_path / "base" / BASE_WEIGHTS)
    fields = {"target_modules": ["q_proj"], "fan_in_fan_out": False, **fields}
    adapter = read_adapter(_write(tmp_path / "adapter", tensors, **fields))
    stored = stored_tensors(tmp_path / "base")
    stored = {name.removeprefix("model."): tensor for name, tensor in stored.items()}
    return merge_adapter(stored, adapter, LINEAR_FAMILY)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_linear_layer_gives_what_torch_gives(tmp_path, dtype):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(6, 4)).astype(jnp.dtype(dtype))
    down = rng.normal(size=(RANK, 4)).astype(jnp.dtype(dtype))
    up = rng.normal(size=(6, RANK)).astype(jnp.dtype(dtype))
    name = "model.layers.0.self_attn.q_proj"
    factors = {name: (down, up)}
    merged = _merge_linear(
        tmp_path, {f"{name}.weight": weight}, _tensors(factors), target_modules="all.*|.*q_proj"
    )["layers.0.self_attn.q_proj.weight"]
    values = merged.read()
    assert values.dtype == np.float32 and merged.shape == values.shape == (6, 4)
    x = torch.tensor(rng.normal(size=(5, 4)))
    # The forward pass of a LoRA layer: W x + s B (A x).
    base, a, b = (torch.tensor(array.astype(np.float64)) for array in (weight, down, up))
    expected = x @ base.T + (ALPHA / RANK) * ((x @ a.T) @ b.T)
    np.testing.assert_allclose(x.numpy() @ values.T, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_a_wrong_fan_in_fan_out_is_found_by_the_shapes(checkpoint, tmp_path):
    adapter = _write(
        tmp_path / "adapter", _tensors(_factors(["attn.c_attn"])), fan_in_fan_out=False
    )
    with pytest.raises(
        CheckpointError, match=r"is \(48, 16\), expected \(16, 48\).*is its fan_in_fan_out right"
    ):
        load_backbone(checkpoint, adapter=adapter)


def test_the_identity_is_of_base_and_adapter(checkpoint, tmp_path):
    tensors = _tensors(_factors(["attn.c_attn"]))
    base = load_backbone(checkpoint).identity
    first = load_backbone(checkpoint, adapter=_write(tmp_path / "first", tensors)).identity
    assert first.name == "tiny-gpt2+first"
    assert first.weights_sha256 != base.weights_sha256
    assert first._replace(name=base.name, weights_sha256=base.weights_sha256) == base
    # Where it came from decides nothing; what it adds does.
    same = _write(tmp_path / "same", tensors, base_model_name_or_path="x", lora_dropout=0.5)
    scaled = _write(tmp_path / "scaled", tensors, lora_alpha=ALPHA + 1)
    changed = {name: tensor + 1 for name, tensor in tensors.items()}
    hashes = [
        load_backbone(checkpoint, adapter=folder).identity.weights_sha256
        for folder in (same, scaled, _write(tmp_path / "changed", changed))
    ]
    assert hashes[0] == first.weights_sha256
    assert len({base.weights_sha256, *hashes}) == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"peft_type": "LOHA"}, "peft_type='LOHA' is not supported; 'LORA' is"),
        ({"bias": "all"}, "bias='all' is not supported; 'none' is"),
        ({"use_dora": True}, "use_dora=True is not supported"),
        ({"use_qalora": True, "lora_bias": True}, "use_qalora=True.*lora_bias=True"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'.*changes the base weights"),
        ({"trainable_token_indices": [1]}, r"trainable_token_indices=\[1\] is not supported"),
        ({"some_new_variant": {"k": 1}}, "some_new_variant={'k': 1} is not supported"),
        ({"r": 0}, "r=0 must be a positive number"),
        ({"r": "3"}, "r='3' must be a positive number"),
        ({"lora_alpha": None}, "lora_alpha=None must be a positive number"),
        ({"rank_pattern": {"c_attn": -1}}, "c_attn=-1 must be a positive number"),
        ({"alpha_pattern": [1]}, r"alpha_pattern=\[1\] must map layers to numbers"),
        ({"alpha_pattern": {"(": 3}}, "is no regular expression"),
        ({"target_modules": [3]}, r"target_modules=\[3\] must be a list of module names"),
        ({"modules_to_save": "ln_f"}, "modules_to_save='ln_f' must be a list of module names"),
        ({"r": RANK + 1}, r"lora_A is \(3, 16\) and lora_B \(48, 3\), expected \(4, in\)"),
        ({"target_modules": ["c_attn", "c_fc"]}, r"missing: h\.0\.mlp\.c_fc\.weight, h\.1\.mlp"),
        ({"modules_to_save": ["ln_f"]}, "missing: ln_f"),
    ],
)
def test_settings_that_cannot_be_merged_are_named(checkpoint, tmp_path, fields, message):
    adapter = _write(tmp_path / "adapter", _tensors(_factors(["attn.c_attn"])), **fields)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_backbone(checkpoint, adapter=adapter)
    assert str(adapter) in str(caught.value)


ZEROS = np.zeros((RANK, 16), np.float32)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("{}h.0.attn.c_attn.lora_B.weight", None, r"h\.0\.attn\.c_attn\.lora_B\.weight is missing"),
        (
            "{}h.7.attn.c_attn.lora_A.weight",
            ZEROS,
            r"h\.7\.attn\.c_attn\.lora_B\.weight is missing",
        ),
        ("{}h.0.attn.c_attn.lora_B.weight", ZEROS, r"lora_B \(3, 16\), expected \(3, in\)"),
        ("{}h.0.attn.c_attn.lora_A.weight", ZEROS[:, :8], r"is \(8, 48\), expected \(16, 48\)"),
        ("{}h.0.attn.c_attn.lora_A.weight", ZEROS[0], r"lora_A is \(16,\)"),
        ("{}h.0.attn.c_attn.lora_A.weight", ZEROS.astype(np.int32), "has type I32"),
        ("{}wte.lora_embedding_A", ZEROS, "lora_embedding_A not supported"),
        (
            "{}h.0.attn.c_attn.lora_magnitude_vector.weight",
            ZEROS[0],
            "lora_magnitude_vector.weight not supported",
        ),
        ("{}wpe.weight", ZEROS, r"wpe\.weight is \(3, 16\), expected \(64, 16\)"),
        ("{}score.weight", ZEROS, r"not in the checkpoint: score\.weight"),
        ("base_model.model.lm_head.weight", ZEROS, r"not in the checkpoint: lm_head\.weight"),
    ],
)
def test_tensors_that_do_not_fit_are_named(checkpoint, tmp_path, name, tensor, message):
    tensors = _tensors(_factors(["attn.c_attn"]))
    tensors[name.format("base_model.model.transformer.")] = tensor
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    adapter = _write(tmp_path / "adapter", tensors)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_backbone(checkpoint, adapter=adapter)
    assert str(adapter) in str(caught.value)


def test_a_layer_that_the_checkpoint_lacks_is_named(checkpoint, tmp_path):
    factors = _factors(["attn.c_attn"])
    factors["transformer.h.7.attn.c_attn"] = factors["transformer.h.0.attn.c_attn"]
    adapter = _write(tmp_path / "adapter", _tensors(factors))
    with pytest.raises(CheckpointError, match=r"not in the checkpoint: h\.7\.attn\.c_attn\.weight"):
        load_backbone(checkpoint, adapter=adapter)


def test_a_folder_that_is_no_adapter_is_refused(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match=r"no adapter, it holds no adapter_config\.json"):
        load_backbone(checkpoint, adapter=checkpoint)
    with pytest.raises(CheckpointError, match="no adapter"):
        load_backbone(checkpoint, adapter=tmp_path / "gone")
    adapter = _write(tmp_path / "adapter", _tensors(_factors(["attn.c_attn"])))
    (adapter / WEIGHTS).rename(adapter / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="pickled adapters are never opened"):
        load_backbone(checkpoint, adapter=adapter)
    (adapter / WEIGHTS).write_bytes(b"short")
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load_backbone(checkpoint, adapter=adapter)
    _write(adapter, {})
    with pytest.raises(CheckpointError, match="no tensor in it"):
        load_backbone(checkpoint, adapter=adapter)
