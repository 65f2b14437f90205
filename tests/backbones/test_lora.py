"""LoRA adapters: the merge against numpy and torch's own linear layer, and what is refused."""

import json
import math
import re
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax.serialization import msgpack_serialize
from safetensors.numpy import load_file, save_file

from coala_jax.backbones import CheckpointError, load_backbone
from coala_jax.backbones._backbone import read_family
from coala_jax.backbones._checkpoint import checked_tensors, load_module
from coala_jax.backbones._family import Family
from coala_jax.backbones._lora import merge_adapter, read_adapter
from coala_jax.backbones._weights import stored_tensors

from .variants import CAUSAL, filled, write_variant

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


def _as_flax(checkpoint, folder):
    """A GPT-2 folder with its weights in the layout of Flax."""
    tree = {}
    for name, tensor in load_file(checkpoint / BASE_WEIGHTS).items():
        module, leaf = name.rsplit(".", 1)
        kernel = leaf == "weight" and ".c_" in name  # of a Conv1D: the transpose
        tree.setdefault(module, {})["kernel" if kernel else leaf] = tensor.T if kernel else tensor
    flax = Path(shutil.copytree(checkpoint, folder))
    (flax / BASE_WEIGHTS).unlink()
    (flax / "flax_model.msgpack").write_bytes(msgpack_serialize(tree))
    return flax


def test_an_adapter_is_merged_into_the_flax_layout_too(checkpoint, tmp_path):
    adapter = _write(tmp_path / "adapter", _tensors(_factors(["attn.c_attn"])))
    flax = _as_flax(checkpoint, tmp_path / "flax")
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
    fields={},
    stem="",
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
    return merge_adapter(stored, adapter, LINEAR_FAMILY, None)[0]


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


def test_how_a_weight_lies_is_known_whatever_fan_in_fan_out_says(checkpoint, tmp_path):
    """PEFT saves it as false where a GPT-2's lm_head was wrapped after its Conv1D."""
    tensors = _tensors(_factors(["attn.c_attn", "attn.c_proj"]))
    hidden = [
        _hidden(checkpoint, adapter=_write(tmp_path / str(said), tensors, fan_in_fan_out=said))
        for said in (True, False)
    ]
    np.testing.assert_array_equal(*hidden)


PREFIX = "base_model.model."
EMBEDDING, HEAD, QUERY, NORM = (
    "model.embed_tokens.weight",
    "lm_head.weight",
    "model.layers.1.self_attn.q_proj.weight",
    "model.norm.weight",
)
LINEAR = {"target_modules": ["layers.1.self_attn.q_proj"], "fan_in_fan_out": False}
DECODER = {**CAUSAL["llama"], "num_key_value_heads": 2}


def _decoder_factors(name, shape):
    """A and B of a weight, by PEFT's names, and what they add to it."""
    rng = np.random.default_rng(len(name))
    down = rng.normal(size=(RANK, shape[1])).astype(np.float32)
    up = rng.normal(size=(shape[0], RANK)).astype(np.float32)
    module = PREFIX + name.removesuffix(".weight")
    tensors = {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}
    return tensors, ALPHA / RANK * (up @ down)


def _embedding_factors(shape):
    """As `_decoder_factors`, of the embedding."""
    rng = np.random.default_rng(7)
    down = rng.normal(size=(RANK, shape[0])).astype(np.float32)
    up = rng.normal(size=(shape[1], RANK)).astype(np.float32)
    module = PREFIX + EMBEDDING.removesuffix(".weight")
    tensors = {f"{module}.lora_embedding_A": down, f"{module}.lora_embedding_B": up}
    return tensors, ALPHA / RANK * (up @ down).T


def _saved_by_peft(name, base):
    """Tensors of an adapter as PEFT saves them, its fields, and the embedding and head it makes."""
    embedding, head = base[EMBEDDING], base[HEAD]
    other, third = filled("other", embedding.shape), filled("third", embedding.shape)
    lora_head, more_head = _decoder_factors(HEAD, head.shape)
    lora_embedding, more_embedding = _embedding_factors(embedding.shape)
    with_base = {f"{PREFIX}lm_head.base_layer.weight": head}
    saved = {
        "embedding trained": ({PREFIX + EMBEDDING: other}, ["embed_tokens"], other, head),
        "head trained": ({PREFIX + HEAD: other}, ["lm_head"], embedding, other),
        "both trained": (
            {PREFIX + EMBEDDING: other, PREFIX + HEAD: third},
            ["embed_tokens", "lm_head"],
            other,
            third,
        ),
        "both trained as one": (
            {PREFIX + EMBEDDING: other, PREFIX + HEAD: other},
            ["embed_tokens", "model.embed_tokens"],
            other,
            other,
        ),
        "head adapted": (lora_head | with_base, None, embedding, head + more_head),
        "head adapted, no base saved": (lora_head, None, embedding, head + more_head),
        "embedding adapted": (lora_embedding, None, embedding + more_embedding, head),
        "both adapted": (
            lora_embedding | lora_head,
            None,
            embedding + more_embedding,
            head + more_head,
        ),
        "saved with its embeddings": (
            {PREFIX + EMBEDDING: embedding, PREFIX + HEAD: head},
            None,
            embedding,
            head,
        ),
        "neither": ({}, None, embedding, head),
    }
    tensors, modules, embedding, head = saved[name]
    targets = LINEAR["target_modules"] + (["lm_head"] if "head adapted" in name else [])
    fields = {**LINEAR, "modules_to_save": modules, "target_modules": targets}
    return tensors, fields, embedding, head


ADAPTED = {
    "embedding trained": False,
    "head trained": False,
    "both trained": False,
    "both trained as one": True,
    "head adapted": False,
    "head adapted, no base saved": False,
    "embedding adapted": False,
    "both adapted": False,
    "saved with its embeddings": True,
    "neither": True,
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", list(ADAPTED))
def test_embedding_and_head_are_what_peft_makes_of_them(tmp_path, name, tied):
    """Tied ones are apart once one was adapted or trained: the other keeps the base's weights."""
    folder = write_variant(tmp_path / "base", {**DECODER, "tie_word_embeddings": tied})
    base = load_file(folder / BASE_WEIGHTS)
    base.setdefault(HEAD, base[EMBEDDING])
    tensors, fields, embedding, head = _saved_by_peft(name, base)
    query, more_query = _decoder_factors(QUERY, base[QUERY].shape)
    adapter = _write(tmp_path / "adapter", tensors | query, **fields)
    module = _load(folder, adapter)
    np.testing.assert_allclose(module.embedding[...], embedding, rtol=1e-6, atol=1e-6)
    found = module.logits(jnp.eye(head.shape[1]))
    np.testing.assert_allclose(found, head.T, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        module.layers.q_weight[1], base[QUERY] + more_query, rtol=1e-6, atol=1e-6
    )
    assert module.config.tie_word_embeddings == (tied and ADAPTED[name])


def _load(folder, adapter):
    _, family, config = read_family(folder)
    return load_module(folder, family, config, adapter=read_adapter(adapter))


@pytest.mark.parametrize("entry", ["model.norm", "norm", "model.layers.1"])
def test_modules_trained_whole_are_found_by_the_end_of_their_names(tmp_path, entry):
    folder = write_variant(tmp_path / "base", DECODER)
    base = load_file(folder / BASE_WEIGHTS)
    names = [name for name in base if f"{entry}." in name]  # "norm" is the end of other norms too
    trained = {name: filled(name + "!", base[name].shape) for name in names}
    tensors = {PREFIX + name: tensor for name, tensor in trained.items()}
    fields = {**LINEAR, "target_modules": ["layers.0.self_attn.q_proj"], "modules_to_save": [entry]}
    query, _ = _decoder_factors(QUERY.replace("1", "0"), (16, 16))
    adapter = _write(tmp_path / "adapter", tensors | query, **fields)
    _, family, config = read_family(folder)
    merged, _ = merge_adapter(
        checked_tensors(folder, family, config)[0], read_adapter(adapter), family, config
    )
    for name, tensor in trained.items():
        np.testing.assert_array_equal(merged[family.layout_name(name)].read(), tensor)
    lost = names[0]
    del tensors[PREFIX + lost]
    with pytest.raises(CheckpointError, match=rf"missing: {re.escape(family.layout_name(lost))}"):
        _load(folder, _write(tmp_path / "adapter", tensors | query, **fields))


def test_a_tied_base_of_the_flax_layout_keeps_its_head(checkpoint, tmp_path):
    base = load_file(checkpoint / BASE_WEIGHTS)
    name = "transformer.wte.weight"
    other = filled("other", base[name].shape)
    tensors = _tensors(_factors(["attn.c_attn"])) | {PREFIX + name: other}
    adapter = _write(tmp_path / "adapter", tensors, modules_to_save=["wte"])
    module = load_backbone(_as_flax(checkpoint, tmp_path / "flax"), adapter=adapter).module
    np.testing.assert_array_equal(module.wte_weight[...], other)
    np.testing.assert_array_equal(module.lm_head[...], base[name])


@pytest.mark.parametrize("entries", [["classifier", "score"], None])
def test_what_classifies_is_of_no_account(checkpoint, tmp_path, entries):
    """PEFT saves it for the task SEQ_CLS, and asks for both names whatever the model has."""
    factors = _tensors(_factors(["attn.c_attn"]))
    plain = _write(tmp_path / "plain", factors)
    score = {PREFIX + "score.weight": np.ones((1, 16), np.float32)}
    adapter = _write(tmp_path / "adapter", factors | score, modules_to_save=entries)
    np.testing.assert_array_equal(
        _hidden(checkpoint, adapter=adapter), _hidden(checkpoint, adapter=plain)
    )


def test_an_adapter_may_bring_the_head_that_a_checkpoint_lacks(tmp_path):
    folder = write_variant(tmp_path / "base", DECODER)
    base = load_file(folder / BASE_WEIGHTS)
    head = base.pop(HEAD)
    save_file(base, folder / BASE_WEIGHTS)
    query, _ = _decoder_factors(QUERY, base[QUERY].shape)
    assert not _load(folder, _write(tmp_path / "without", query, **LINEAR)).generates
    adapter = _write(tmp_path / "with", query | {PREFIX + HEAD: head}, **LINEAR)
    np.testing.assert_array_equal(_load(folder, adapter).lm_head[...], head)


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
        ({"use_rslora": "false"}, "use_rslora='false' must be true or false"),
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
        ("{}wte.lora_embedding_A", ZEROS, r"wte\.lora_embedding_B is missing"),
        ("{}h.0.attn.c_attn.lora_C.weight", ZEROS, r"lora_C\.weight not supported"),
        (
            "{}h.0.attn.c_attn.lora_magnitude_vector.weight",
            ZEROS[0],
            "lora_magnitude_vector.weight not supported",
        ),
        ("{}wpe.weight", ZEROS, r"wpe\.weight is \(3, 16\), expected \(64, 16\)"),
        ("{}v_head.weight", ZEROS, r"not in the checkpoint: v_head\.weight"),
        ("base_model.model.lm_head.weight", ZEROS, r"lm_head\.weight is \(3, 16\), expected"),
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
