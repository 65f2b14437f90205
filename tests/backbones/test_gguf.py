"""GGUF files: the checkpoint they were made of, transformers' reading of them, and broken ones."""

import hashlib
import json
import shutil
import struct
import sys
import tracemalloc

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from coala_jax.backbones import CheckpointError, load_backbone
from coala_jax.backbones._backbone import read_family
from coala_jax.backbones._checkpoint import checked_tensors, load_module, read_config
from coala_jax.backbones._gguf import read_gguf, stored_gguf_tensor
from coala_jax.backbones._lora import read_adapter
from coala_jax.backbones._support import check_support
from coala_jax.backbones._tokenizer import tokenizer_sha256

from .gguf_files import TYPES, write_file, write_gguf
from .variants import CAUSAL, SIZES, filled, load_variant, write_variant

# Rows of 32 are whole blocks of Q8_0; the vocabulary holds 300 tokens.
WIDE = {**SIZES, "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64}
LLAMA = {"model_type": "llama", **WIDE}
GEMMA = {**WIDE, "head_dim": 16, "sliding_window": 5, "tie_word_embeddings": True}
VARIANTS = {
    "llama": {**LLAMA, "rope_theta": 500.0},
    "llama tied, one key head, biases": {
        **LLAMA,
        "num_key_value_heads": 1,
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": True,
    },
    "llama wide heads": {**LLAMA, "head_dim": 6},
    "llama3 rope": {**CAUSAL["llama wide heads, llama3 rope"], **WIDE, "head_dim": 12},
    "llama linear rope": {**CAUSAL["llama linear rope"], **WIDE},
    "mistral": {"model_type": "mistral", **WIDE, "sliding_window": 5},
    "qwen2 yarn rope": {**CAUSAL["qwen2 yarn rope"], **WIDE, "num_key_value_heads": 2},
    "qwen2 tied": {"model_type": "qwen2", **WIDE, "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", **WIDE, "head_dim": 128},
    "qwen3 biases": {"model_type": "qwen3", **WIDE, "head_dim": 10, "attention_bias": True},
    "gemma2": {"model_type": "gemma2", **GEMMA, "num_key_value_heads": 4},
    "gemma3": {"model_type": "gemma3_text", **GEMMA, "num_hidden_layers": 7},
    "gemma3 linear rope": {
        "model_type": "gemma3_text",
        **GEMMA,
        "tie_word_embeddings": False,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 5e5, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    },
    "phi3": {"model_type": "phi3", **WIDE},
    "phi3 window": {"model_type": "phi3", **WIDE, "sliding_window": 9},
    "phi3 longrope, part of a head": {**CAUSAL["phi3 longrope, part of a head"], **WIDE},
}
# What transformers' reading of a file has all of: it leaves out biases of Llama, widths of heads of
# Qwen 3 but 128, and how rotary frequencies are stretched.
READ_ALIKE = {"llama": "F32", "llama wide heads": "F16", "qwen2 tied": "Q8_0", "qwen3": "F32"}
READ_ALIKE |= {"gemma2": "F16", "gemma3": "Q8_0", "phi3": "Q8_0"}
TOKENS = np.random.default_rng(0).integers(2, 300, (2, 40))
# Whose rotary settings a file says otherwise, and what differs by float32 only.
FACTORS_BY_FILE = ("llama3 rope", "phi3 longrope, part of a head")
SAID_OTHERWISE = {"rms_norm_eps", "rope_parameters"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folders of `VARIANTS`, each made once."""
    made = {}

    def make(name):
        if name not in made:
            path = tmp_path_factory.mktemp("folder") / "model"
            made[name] = write_variant(path, VARIANTS[name])
            _calm(made[name] / "model.safetensors")
        return made[name]

    return make


def _calm(weights):
    """Random matrices: through the waves of `filled`, of low rank, rounding grows.

    The rest in float16, so that 1 + w - 1 is w in float32.
    """
    rng = np.random.default_rng(0)
    tensors = load_file(weights)
    for name in sorted(tensors):
        if (shape := tensors[name].shape)[1:]:
            tensors[name] = (rng.normal(size=shape) / np.sqrt(shape[1])).astype(np.float32)
        else:
            tensors[name] = tensors[name].astype(np.float16).astype(np.float32)
    save_file(tensors, weights, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def file(folder, tmp_path_factory):
    """A Llama in F32, not to be changed."""
    return write_gguf(folder("llama"), tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.mark.parametrize("name", list(VARIANTS))
def test_a_file_has_the_tensors_and_sizes_of_the_folder_it_was_made_of(name, folder, tmp_path):
    path = write_gguf(folder(name), tmp_path / "model.gguf")
    model_type, family, config = read_family(path)
    assert model_type == VARIANTS[name]["model_type"]
    found, config = checked_tensors(path, family, config)
    expected, own = checked_tensors(folder(name), *read_family(folder(name))[1:])
    assert {key: value.shape for key, value in found.items()} == {
        key: value.shape for key, value in expected.items()
    }
    for key, tensor in found.items():
        np.testing.assert_array_equal(tensor.read(), expected[key].read(), err_msg=key)
    assert np.float32(config.rms_norm_eps) == np.float32(own.rms_norm_eps)
    fields, theirs = config.to_dict(), own.to_dict()
    other = {key for key in theirs if fields[key] != theirs[key]}
    assert other <= SAID_OTHERWISE
    assert name in FACTORS_BY_FILE or "rope_parameters" not in other


@pytest.mark.parametrize("name", FACTORS_BY_FILE)
def test_rotary_factors_of_a_file_turn_as_the_configuration_of_the_folder_says(
    name, folder, tmp_path
):
    path = write_gguf(folder(name), tmp_path / "model.gguf")
    assert read_config(path)["rope_scaling"]["rope_type"] == "longrope"
    family, config = read_family(path)[1:]
    tokens = jnp.asarray(TOKENS[:, : config.max_length])
    ours = load_module(path, family, config)(tokens)
    theirs = load_variant(folder(name))(tokens)
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


@pytest.mark.slow  # torch and transformers' models are seconds to import
@pytest.mark.parametrize(("name", "kind"), READ_ALIKE.items())
def test_hidden_states_and_logits_equal_transformers_reading_of_the_file(
    name, kind, folder, tmp_path
):
    path = write_gguf(folder(name), tmp_path / "model.gguf", kind=TYPES[kind])
    expected = transformers_output(path)
    loaded = load_backbone(path)
    hidden = loaded.hidden_states(jnp.asarray(TOKENS), jnp.ones(TOKENS.shape, bool))
    for ours, theirs in (
        (hidden, expected.hidden_states[-1]),
        (loaded.module.logits(hidden), expected.logits),
    ):
        theirs = theirs.numpy()
        assert np.abs(np.asarray(ours) - theirs).max() <= 1e-5 * np.abs(theirs).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", READ_ALIKE)
def test_a_configuration_is_spelt_as_transformers_reads_it(name, folder, tmp_path):
    pytest.importorskip("torch")
    from transformers import AutoConfig

    path = write_gguf(folder(name), tmp_path / "model.gguf")
    fields = read_config(path)
    theirs = AutoConfig.from_pretrained(tmp_path, gguf_file=path.name).to_dict()
    shared = {*fields} & {*theirs}
    assert len(shared) > 12
    assert {key: fields[key] for key in shared} == {key: theirs[key] for key in shared}


def transformers_output(path):
    """What torch makes of a file as transformers reads it; `from_pretrained` wants accelerate."""
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    read = load_gguf_checkpoint(path, return_tensors=True, model_to_load=model)["tensors"]
    lost, extra = model.load_state_dict(read, strict=False)
    assert not extra and {*lost} <= {"lm_head.weight"}
    with torch.no_grad():
        return model(torch.tensor(TOKENS), output_hidden_states=True)


@pytest.mark.parametrize("kind", ["BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ2_0"])
def test_tensors_are_dequantised_as_the_package_does_it(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("coala_jax.backbones._gguf.VALUES_AT_ONCE", 600)  # two rows and a bit
    kind = TYPES[kind]
    values = filled("norm", (5, 256))
    path = write_file(tmp_path / "a.gguf", "llama", {}, {"a": values}, {"a": kind})
    tensor = stored_gguf_tensor(read_gguf(path).tensors["a"])
    assert (tensor.shape, tensor.dtype, tensor.floating) == (values.shape, kind.name, True)
    read = tensor.read()
    np.testing.assert_array_equal(read, gguf.dequantize(gguf.quantize(values, kind), kind))
    assert read.dtype == np.float32 and np.abs(read - values).max() < 1


def test_a_tensor_is_read_without_a_second_copy_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("coala_jax.backbones._gguf.VALUES_AT_ONCE", 2**14)
    values = np.ones((2048, 512), np.float32)
    path = write_file(tmp_path / "a.gguf", "llama", {}, {"a": values}, {"a": TYPES.Q8_0})
    tensor = stored_gguf_tensor(read_gguf(path).tensors["a"])
    tracemalloc.start()
    tensor.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values.nbytes <= peak < 1.3 * values.nbytes


def test_what_is_computed_is_in_the_identity(file, folder, tmp_path):
    identity = load_backbone(file).identity
    assert identity.name == "tiny.gguf" and identity.model_type == "llama"
    assert identity.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    smaller = write_gguf(folder("llama"), tmp_path / "q8.gguf", kind=TYPES.Q8_0)
    other = load_backbone(smaller).identity
    assert other.tokenizer_sha256 == identity.tokenizer_sha256
    assert other.weights_sha256 != identity.weights_sha256
    for key, value, same in (
        ("tokenizer.chat_template", "{{ x }}", True),
        ("tokenizer.ggml.merges", ["i n", "t h"], False),
        ("tokenizer.ggml.add_bos_token", True, False),
    ):
        path = write_gguf(folder("llama"), tmp_path / "other.gguf", metadata={key: value})
        assert (tokenizer_sha256(path) == identity.tokenizer_sha256) is same


def test_metadata_that_are_not_known_are_warned_of_by_name(folder, tmp_path):
    path = write_gguf(folder("llama"), tmp_path / "a.gguf", metadata={"llama.attention.odd": 2.0})
    with pytest.warns(UserWarning, match=r"not known in the file's metadata: attention.odd=2.0"):
        load_backbone(path)
    assert check_support(path).unknown == {"attention.odd": 2.0}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("llama.expert_count", 8, "num_local_experts=8 is not supported"),
        ("llama.attention.causal", False, "is_causal=false is not supported"),
        ("llama.logit_scale", 0.5, "logit_scale=0.5 is not supported"),
        ("llama.attention.head_count", [4, 4, 2], "differs by layer, which is not supported"),
        ("llama.attention.value_length", 4, "value_length=4 is not supported; that of keys, 8, is"),
        ("llama.rope.scaling.type", "longrope", "rope.scaling.type='longrope' is not supported"),
        ("llama.block_count", None, "metadata lack llama.block_count; convert the model again"),
        ("llama.block_count", "3", "llama.block_count must be a positive integer, got '3'"),
        ("llama.attention.head_count", 0, "llama.attention.head_count must be a positive integer"),
        ("llama.attention.key_length", 0, "llama.attention.key_length must be a positive integer"),
        ("llama.block_count", 4, "tensors do not fit the file's metadata; missing: layers.3"),
        ("llama.embedding_length", ["a"], "llama.embedding_length must be a positive integer"),
        ("llama.attention.head_count", ["a"], "head_count must be a positive integer, got ['a']"),
        ("tokenizer.ggml.eos_token_id", [1.5, 2.5], "eos_token_id must be a token's id, or a list"),
        ("tokenizer.chat_template", 5, "tokenizer.chat_template must be a text, got 5"),
        ("tokenizer.chat_template.x", ["a"], "chat_template.x must be a text, got ['a']"),
        ("general.alignment", 0, "general.alignment=0 must be a positive integer"),
        ("split.count", "x", "split.count must be an integer of at least 0, got 'x'"),
        ("split.tensors.count", [1], "split.tensors.count must be an integer of at least 0, got"),
        ("split.count", 2, "split.count=2, but 1 of its parts by the name"),
    ],
)
def test_metadata_that_are_not_computed_are_refused(key, value, message, folder, tmp_path):
    if key == "general.alignment":
        path = write_gguf(folder("llama"), tmp_path / "a.gguf", metadata={"general.alignmenT": 0})
        path.write_bytes(path.read_bytes().replace(b"alignmenT", b"alignment"))
    else:
        path = write_gguf(folder("llama"), tmp_path / "a.gguf", metadata={key: value})
    with pytest.raises(CheckpointError, match=r"a\.gguf: ") as caught:
        load_backbone(path)
    assert message in str(caught.value)


def test_heads_without_any_width_are_named(folder, tmp_path):
    name, metadata = "phi3 longrope, part of a head", {"phi3.embedding_length": 1}
    path = write_gguf(folder(name), tmp_path / "a.gguf", metadata=metadata)
    with pytest.raises(CheckpointError, match="embedding_length=1 is less than one for each of"):
        read_config(path)


@pytest.mark.parametrize(
    ("said", "factor"),
    [
        ({"scaling.factor": 8.0}, 8.0),
        ({"scale_linear": 4.0}, 4.0),
        ({"scaling.type": "linear"}, 1.0),
        ({"scaling.type": "none", "scaling.factor": 8.0}, None),
        ({"scaling.factor": 0.0}, None),
    ],
)
def test_a_factor_without_a_type_stretches_linearly_as_in_llama_cpp(said, factor, folder, tmp_path):
    metadata = {f"llama.rope.{key}": value for key, value in said.items()}
    path = write_gguf(folder("llama"), tmp_path / "a.gguf", metadata=metadata)
    scaling = read_config(path).get("rope_scaling", {"factor": None})
    assert scaling["factor"] == factor
    assert read_family(path)[2].to_dict()["rope_parameters"].get("factor") == factor


def test_which_layers_of_gemma_slide_may_be_in_the_file(folder, tmp_path):
    key = "gemma3.attention.sliding_window_pattern"
    for pattern, windows in (
        (None, (5, 5, 5, 5, 5, None, 5)),
        (3, (5, 5, None, 5, 5, None, 5)),
        ([True, False] + [True] * 5, (5, None, 5, 5, 5, 5, 5)),
    ):
        path = write_gguf(folder("gemma3"), tmp_path / "a.gguf", metadata={key: pattern})
        assert read_family(path)[2].windows == windows
    path = write_gguf(folder("gemma3"), tmp_path / "a.gguf", metadata={key: [True]})
    with pytest.raises(CheckpointError, match=r"1 layer_types for 7 layers"):
        read_family(path)


@pytest.mark.parametrize(
    ("arch", "layers", "width", "heads", "scale"),
    [("gemma2", 26, 2304, 8, 256), ("gemma2", 46, 4608, 32, 144), ("gemma3", 62, 5376, 32, 168)],
)
def test_the_scale_of_gemma_is_that_of_its_published_sizes(
    arch, layers, width, heads, scale, tmp_path
):
    sizes = {
        "block_count": layers,
        "embedding_length": width,
        "attention.head_count": heads,
        "attention.key_length": 128 if layers > 26 else 256,
        "context_length": 8192,
        "feed_forward_length": 9216,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "attn_logit_softcapping": 0.0,
    }
    metadata = {f"{arch}.{key}": value for key, value in sizes.items()}
    path = write_file(tmp_path / "a.gguf", arch, metadata, {"a": np.ones((2, 2))})
    fields = read_config(path)
    assert fields["query_pre_attn_scalar"] == scale
    assert fields["attn_logit_softcapping"] is None


def test_another_architecture_is_refused_by_name(tmp_path):
    path = write_file(tmp_path / "a.gguf", "mamba", {}, {"a": np.ones((2, 2))})
    with pytest.raises(
        CheckpointError, match="general.architecture='mamba' is not supported; .*lla"
    ):
        load_backbone(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"without": ["blk.1.attn_q.weight"]}, "missing: layers.1.self_attn.q_proj.weight"),
        ({"without": ["token_embd.weight"]}, "missing: embed_tokens.weight"),
        (
            {"changed": {"blk.0.ffn_gate_exps.weight": np.ones((2, 4, 4))}},
            "not expected: blk.0.ffn_gate_exps.weight",
        ),
        (
            {"changed": {"blk.2.ffn_up.weight": np.ones((3, 32))}},
            r"layers.2.mlp.up_proj.weight is (3, 32), expected (64, 32)",
        ),
        ({"changed": {"extra.weight": np.ones((0, 4))}}, "tensor extra.weight is (0, 4)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, message, folder, tmp_path):
    path = write_gguf(folder("llama"), tmp_path / "a.gguf", **change)
    with pytest.raises(CheckpointError) as caught:
        load_backbone(path)
    assert message in str(caught.value)


def test_types_that_the_package_cannot_read_are_named(folder, tmp_path):
    path = write_gguf(folder("llama"), tmp_path / "a.gguf")
    content, end = path.read_bytes(), struct.pack("<I2Q", 2, 32, 64)
    for name, number in ((b"blk.0.ffn_gate.weight", 9), (b"blk.1.ffn_gate.weight", 99)):
        head = name + end
        assert content.count(head) == 1
        content = content.replace(head + struct.pack("<I", 0), head + struct.pack("<I", number))
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_backbone(path)
    message = str(caught.value)
    assert f"types that the package gguf {gguf_version()} cannot read: " in message
    assert "Q8_1 (blk.0.ffn_gate.weight), number 99 (blk.1.ffn_gate.weight)" in message
    assert check_support(path).faults == (message,)


def gguf_version():
    from importlib.metadata import version

    return version("gguf")


def test_a_file_that_is_cut_short_anywhere_says_so(file, tmp_path):
    content = file.read_bytes()
    path = tmp_path / "cut.gguf"
    for size in [*range(4, 200, 7), *range(200, len(content) - 1, 9001), len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=r"cut\.gguf: cut short.*fetch it again"):
            check_support(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as GGUF"),
        (b"PK\x03\x04 a zip file", "no GGUF file, it does not begin as one"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "GGUF version 1 is not supported"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "GGUF version 50331648 is not supported"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "general.architecture='None' is not supported"),
        (b"GGUF" + struct.pack("<IQQQ2sI", 3, 0, 1, 2, b"\xff\xff", 4), "cannot be read as GGUF"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"a", 77), "metadata of type 77"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + 2 * struct.pack("<Q1sIB", 1, b"a", 0, 1),
            "twice",
        ),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 1, 0, 1, b"a", 9), "tensor a has 9 axes"),
        (
            b"GGUF"
            + struct.pack("<IQQ", 3, 2, 0)
            + 2 * struct.pack("<Q1sIQIQ", 1, b"a", 1, 1, 0, 0)
            + b"0" * 99,
            "tensor a is there twice",
        ),
        (
            b"GGUF" + struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"a", 1, 33, 8, 0) + b"0" * 99,
            "whose rows are no blocks of 32 values",
        ),
    ],
)
def test_what_is_no_gguf_model_is_refused(content, message, tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.gguf: ") as caught:
        check_support(path)
    assert message in str(caught.value)


def test_a_missing_file_and_what_only_ids_have_are_refused(file):
    with pytest.raises(CheckpointError, match="lost.gguf: no such file; of a hub id, give"):
        load_backbone(file.with_name("lost.gguf"))
    with pytest.raises(CheckpointError, match=r"tiny.gguf is a file, only hub ids have revisions"):
        load_backbone(file, revision="v1")
    with pytest.raises(CheckpointError, match="a file, not a checkpoint folder.*or a .gguf file"):
        load_backbone(__file__)


def test_the_torch_engine_does_not_read_it(file):
    with pytest.raises(CheckpointError, match="reads safetensors, not GGUF; use engine='jax'"):
        load_backbone(file, engine="torch")


def test_a_missing_package_is_named_with_the_extra(folder, tmp_path, monkeypatch):
    path = write_gguf(folder("llama"), tmp_path / "a.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(CheckpointError, match=r"need the package gguf; install it: .*\[gguf\]"):
        load_backbone(path)


def _weights(module):
    """All parameters in a row."""
    leaves = jax.tree.leaves(nnx.state(module, nnx.Param))
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


@pytest.fixture
def parts(folder, tmp_path):
    """A Llama in several files."""
    write_gguf(folder("llama"), tmp_path / "model.gguf", split_max_tensors=12)
    return sorted(tmp_path.glob("model-*.gguf"))


def test_a_model_in_several_files_is_that_of_one(parts, file):
    assert len(parts) == 3
    whole = load_backbone(file)
    loaded = load_backbone(parts[0])
    np.testing.assert_array_equal(_weights(loaded.module), _weights(whole.module))
    assert loaded.identity.tokenizer_sha256 == whole.identity.tokenizer_sha256
    lines = "".join(
        f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in parts
    )
    assert loaded.identity.weights_sha256 == hashlib.sha256(lines.encode()).hexdigest()
    assert check_support(parts[0]).weights == {path.name: path.stat().st_size for path in parts}


def test_parts_that_are_missing_or_mixed_are_named(parts, folder, tmp_path):
    with pytest.raises(CheckpointError, match="give the first, model-00001-of-00003.gguf"):
        load_backbone(parts[1])
    kept = parts[1].rename(tmp_path / "kept")
    with pytest.raises(CheckpointError, match="are missing: model-00002-of-00003.gguf; fetch"):
        load_backbone(parts[0])
    shutil.copy(parts[2], parts[1])
    with pytest.raises(CheckpointError, match="of other parts again: "):
        load_backbone(parts[0])
    other = tmp_path / "other" / "model.gguf"
    other.parent.mkdir()
    write_gguf(folder("qwen3"), other, split_max_tensors=20)
    shutil.copy(sorted(other.parent.glob("*.gguf"))[1], parts[1])
    with pytest.raises(CheckpointError):
        load_backbone(parts[0])
    kept.rename(parts[1])
    alone = shutil.copy(parts[0], tmp_path / "alone.gguf")
    with pytest.raises(CheckpointError, match="split.count=3, but 1 of its parts by the name"):
        load_backbone(alone)


def test_an_adapter_is_merged_as_into_the_folder(file, folder, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    fields = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps(fields))
    names = [f"base_model.model.model.layers.{i}.self_attn.q_proj.lora_" for i in range(3)]
    pairs = {f"{name}A.weight": filled(name, (2, 32)) for name in names}
    pairs |= {f"{name}B.weight": filled(name, (32, 2)) for name in names}
    save_file(pairs, adapter / "adapter_model.safetensors")
    adapted = load_backbone(file, adapter=adapter)
    assert adapted.identity.name == "tiny.gguf+adapter"
    family, config = read_family(folder("llama"))[1:]
    expected = load_module(folder("llama"), family, config, adapter=read_adapter(adapter))
    np.testing.assert_array_equal(_weights(adapted.module), _weights(expected))
    plain = load_module(folder("llama"), family, config)
    assert np.abs(_weights(adapted.module) - _weights(plain)).max() > 1e-2
