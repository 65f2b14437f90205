"""Hugging Face's former Flax layout: names, transposes, and what a broken file says."""

import gc
import json
import shutil
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.serialization import msgpack_serialize
from safetensors.numpy import load_file

from coala_jax.backbones import CheckpointError, load_backbone
from coala_jax.backbones._checkpoint import load_module, read_config
from coala_jax.backbones._families._gpt2 import FAMILY
from coala_jax.backbones._flax_msgpack import flax_tensors

# Written by transformers itself; see the README there.
WRITTEN_BY_TRANSFORMERS = Path(__file__).parent / "flax_gpt2"
WEIGHTS, FLAX = "model.safetensors", "flax_model.msgpack"
TOKENS = jnp.array([[5, 9, 2, 7]])


def _as_flax(tensors, dtype=np.float32):
    """Torch-named GPT-2 tensors as the tree of a Flax model."""
    tree = {}
    for name, tensor in tensors.items():
        *modules, leaf = name.split(".")
        kernel = leaf == "weight" and modules[-1].startswith("c_")
        if leaf == "weight":
            leaf = "kernel" if kernel else "scale" if "ln_" in modules[-1] else "embedding"
        branch = tree
        for module in modules:
            branch = branch.setdefault(module, {})
        branch[leaf] = np.ascontiguousarray(tensor.T if kernel else tensor).astype(dtype)
    return tree


@pytest.fixture
def folder(checkpoint, tmp_path):
    """The tiny checkpoint in the Flax layout."""
    copy = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    tree = _as_flax(load_file(copy / WEIGHTS))
    (copy / FLAX).write_bytes(msgpack_serialize(tree))
    (copy / WEIGHTS).unlink()
    return copy


def _hidden(folder):
    hidden = load_backbone(folder).hidden_states(TOKENS, jnp.ones_like(TOKENS))
    return np.asarray(hidden, np.float32)


def test_a_model_that_transformers_wrote_gives_its_hidden_states():
    config = FAMILY.read_config(read_config(WRITTEN_BY_TRANSFORMERS))
    module = load_module(WRITTEN_BY_TRANSFORMERS, FAMILY, config)
    expected = json.loads((WRITTEN_BY_TRANSFORMERS / "hidden_states.json").read_text())
    hidden = module(jnp.array(expected["tokens"]))
    np.testing.assert_allclose(hidden, expected["hidden_states"], rtol=1e-5, atol=1e-6)


def test_the_flax_layout_gives_the_same_weights_as_safetensors(checkpoint, folder):
    np.testing.assert_array_equal(_hidden(folder), _hidden(checkpoint))
    identity = load_backbone(folder).identity
    assert identity.weights_sha256 != load_backbone(checkpoint).identity.weights_sha256


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-2), ("bfloat16", 1e-1)])
def test_half_precision_is_read(checkpoint, folder, dtype, tolerance):
    tree = _as_flax(load_file(checkpoint / WEIGHTS), jnp.dtype(dtype))
    (folder / FLAX).write_bytes(msgpack_serialize(tree))
    np.testing.assert_allclose(_hidden(folder), _hidden(checkpoint), atol=tolerance)


def test_kernels_of_dense_layers_become_out_in(tmp_path):
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    tree = {"model": {"q_proj": {"kernel": kernel, "bias": np.zeros(3, np.float32)}}}
    (tmp_path / FLAX).write_bytes(msgpack_serialize(tree))
    tensors = flax_tensors(tmp_path / FLAX)
    assert tensors.keys() == {"model.q_proj.weight", "model.q_proj.bias"}
    assert tensors["model.q_proj.weight"].shape == (3, 2)
    np.testing.assert_array_equal(tensors["model.q_proj.weight"].read(), kernel.T)


def test_safetensors_win_over_msgpack(checkpoint, folder):
    shutil.copy(checkpoint / WEIGHTS, folder / WEIGHTS)
    (folder / FLAX).write_bytes(b"not read")
    np.testing.assert_array_equal(_hidden(folder), _hidden(checkpoint))


def test_faults_of_the_tensors_are_named_as_torch_names_them(checkpoint, folder):
    tensors = load_file(checkpoint / WEIGHTS)
    del tensors["transformer.h.1.ln_1.bias"]
    tensors["transformer.h.0.attn.c_attn.weight"] = np.ones((16, 3), np.float32)
    tree = _as_flax(tensors)
    tree["transformer"]["ln_f"]["bias"] = np.ones(16, np.int32)
    (folder / FLAX).write_bytes(msgpack_serialize(tree))
    with pytest.raises(CheckpointError) as caught:
        load_backbone(folder)
    message = str(caught.value)
    assert "missing: h.1.ln_1.bias" in message
    assert "h.0.attn.c_attn.weight is (16, 3), expected (16, 48)" in message
    assert "ln_f.bias has type int32" in message


@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_a_file_that_was_cut_short_is_refused(folder, share):
    content = (folder / FLAX).read_bytes()
    (folder / FLAX).write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="cannot be read as msgpack.*fetch it again"):
        load_backbone(folder)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": {"kernel": "text"}}, r"a\.kernel is str"),
        ({"a": 3}, "a is int"),
        (np.ones(3), "the top is ndarray"),
        ({"a": {"kernel": np.ones(2), "weight": np.ones(2)}}, r"two arrays for tensor a\.weight"),
    ],
)
def test_a_tree_of_other_things_is_refused(tmp_path, tree, message):
    (tmp_path / FLAX).write_bytes(msgpack_serialize(tree))
    with pytest.raises(CheckpointError, match=message):
        flax_tensors(tmp_path / FLAX)


def test_a_sharded_msgpack_is_refused_by_name(folder):
    (folder / FLAX).rename(folder / "flax_model-00001-of-00002.msgpack")
    (folder / "flax_model.msgpack.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="sharded msgpack is not read"):
        load_backbone(folder)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="host memory is where arrays live")
def test_memory_peaks_at_the_file_and_what_is_read_of_it(make_checkpoint, tmp_path):
    folder = make_checkpoint(tmp_path / "model", n_embd=128, n_layer=8)
    (folder / FLAX).write_bytes(msgpack_serialize(_as_flax(load_file(folder / WEIGHTS))))
    (folder / WEIGHTS).unlink()
    config = FAMILY.read_config(read_config(folder))
    load_module(folder, FAMILY, config)  # what is made once is made
    gc.collect()
    tracemalloc.start()
    module = load_module(folder, FAMILY, config)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    leaves = jax.tree.leaves(nnx.state(module))
    copy, largest = (reduce(leaf.nbytes for leaf in leaves) for reduce in (sum, max))
    assert peak <= 1.1 * copy + largest
