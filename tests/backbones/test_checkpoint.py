"""Checkpoint folders: what is read, what is written, and what is refused by name."""

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
from safetensors.numpy import load_file, save_file

from coala_jax.backbones import CheckpointError, load_backbone, save_checkpoint
from coala_jax.backbones._checkpoint import load_module, save_module
from coala_jax.backbones._families._gpt2 import FAMILY as GPT2_FAMILY
from coala_jax.backbones._families._gpt2 import GPT2, GPT2Config
from tests.helpers import in_threads

from .variants import CAUSAL, ENCODERS, filled, load_variant, write_variant

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENS = jnp.array([[5, 9, 2, 7]])


@pytest.fixture
def folder(checkpoint, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def _change_weights(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def _shard(folder, entry="model-00002-of-00002.safetensors"):
    """Split the weights over two files; the second is written to ``entry``."""
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], entry: names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in parts.items() for name in part}
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def _hidden(folder, **options):
    backbone = load_backbone(folder, **options)
    return np.asarray(backbone.hidden_states(TOKENS, jnp.ones_like(TOKENS)), np.float32)


def test_loading_what_was_saved_gives_the_same_weights(checkpoint, tmp_path):
    backbone = load_backbone(checkpoint)
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    (copy / WEIGHTS).unlink()
    save_checkpoint(copy, backbone.module, backbone.config, jnp.float32)
    again = load_backbone(copy)
    leaves = zip(
        jax.tree.leaves(nnx.state(backbone.module)),
        jax.tree.leaves(nnx.state(again.module)),
        strict=True,
    )
    assert all(np.array_equal(left, right) for left, right in leaves)
    assert again.config == backbone.config
    assert again.identity._replace(name="") == backbone.identity._replace(name="")


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float16, 1e-2), (jnp.bfloat16, 1e-1)])
def test_half_precision_checkpoints_are_read(checkpoint, folder, dtype, tolerance):
    backbone = load_backbone(checkpoint)
    save_checkpoint(folder, backbone.module, backbone.config, dtype)
    np.testing.assert_allclose(_hidden(folder), _hidden(checkpoint), atol=tolerance)
    assert load_backbone(folder).identity != backbone.identity


def test_weights_are_loaded_in_the_dtype_asked_for(checkpoint):
    backbone = load_backbone(checkpoint, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(backbone.module))} == {
        jnp.dtype("bfloat16")
    }
    assert backbone.hidden_states(TOKENS, jnp.ones_like(TOKENS)).dtype == jnp.bfloat16


def test_a_checkpoint_that_torch_saved_gives_torchs_hidden_states(checkpoint, folder):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    fields = json.loads((checkpoint / "config.json").read_text())
    reference = transformers.GPT2LMHeadModel(transformers.GPT2Config.from_dict(fields)).eval()
    (folder / WEIGHTS).unlink()
    reference.save_pretrained(folder)
    with torch.no_grad():
        expected = reference.transformer(torch.tensor(np.array(TOKENS))).last_hidden_state.numpy()
    assert np.abs(_hidden(folder) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_names_without_prefix_and_old_mask_buffers_are_read(checkpoint, folder):
    def as_the_first_gpt2(tensors):
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        tensors["h.0.attn.bias"] = np.ones((1, 1, 4, 4), np.float32)
        tensors["h.1.attn.masked_bias"] = np.array(-1e4, np.float32)

    _change_weights(folder, as_the_first_gpt2)
    np.testing.assert_array_equal(_hidden(folder), _hidden(checkpoint))


HEAD = "lm_head.weight"
TIED = {"gpt2": CAUSAL["gpt2"], "llama": CAUSAL["llama tied, one key head, biases"]}
EMBEDDING = {"gpt2": "transformer.wte.weight", "llama": "model.embed_tokens.weight"}


def _other_head(tensors, embedding):
    tensors[HEAD] = filled("another head", tensors[embedding].shape)


def _same_head(tensors, embedding):
    tensors[HEAD] = tensors[embedding].copy()


def _head_alone(tensors, embedding):
    tensors[HEAD] = tensors.pop(embedding)


@pytest.mark.parametrize("family", list(TIED))
@pytest.mark.parametrize(
    ("tied", "change", "still_tied"),
    [
        (True, None, True),
        (True, _same_head, True),
        (True, _head_alone, True),
        (True, _other_head, False),
        (False, _other_head, False),
        (False, _same_head, False),
    ],
)
def test_next_tokens_are_scored_by_what_is_stored(tmp_path, family, tied, change, still_tied):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = write_variant(tmp_path, TIED[family])
    if change is not None:
        _change_weights(folder, lambda tensors: change(tensors, EMBEDDING[family]))
    fields = {**TIED[family], "tie_word_embeddings": tied}
    (folder / "config.json").write_text(json.dumps(fields))
    module = load_variant(folder)
    assert module.generates and module.config.tie_word_embeddings == still_tied
    with torch.no_grad():
        model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        expected = model(torch.tensor(np.array(TOKENS))).logits.numpy()
    found = module.logits(module(TOKENS))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_tied_tensors_of_the_flax_layout_are_compared_too(checkpoint, folder):
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    embedding = tensors["transformer.wte.weight"]
    for head, still_tied in ((embedding, True), (embedding + 1, False)):
        tree = {"lm_head": {"kernel": head.T}}
        for name, tensor in tensors.items():
            module, leaf = name.rsplit(".", 1)
            kernel = leaf == "weight" and ".c_" in name  # of a Conv1D: the transpose
            tree.setdefault(module, {})["kernel" if kernel else leaf] = (
                tensor.T if kernel else tensor
            )
        (folder / "flax_model.msgpack").write_bytes(msgpack_serialize(tree))
        module = load_backbone(folder).module
        assert module.config.tie_word_embeddings == still_tied
        np.testing.assert_array_equal(module(TOKENS), load_backbone(checkpoint).module(TOKENS))
        np.testing.assert_allclose(module.logits(jnp.eye(16)), head.T, rtol=1e-6, atol=1e-6)


def test_a_head_of_another_shape_than_its_embedding_is_named(tmp_path):
    folder = write_variant(tmp_path, TIED["llama"])
    _change_weights(folder, lambda tensors: tensors.update({HEAD: np.ones((9, 16), np.float32)}))
    with pytest.raises(CheckpointError, match=r"lm_head\.weight is \(9, 16\), expected \(31, 16\)"):
        load_variant(folder)


# Of transformers' classes of an untied Llama, those whose checkpoints have no head for next tokens.
HEADLESS = ("", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")


@pytest.mark.parametrize("kind", HEADLESS)
def test_a_checkpoint_without_its_head_has_hidden_states_alone(tmp_path, kind):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**{**CAUSAL["llama"], "num_key_value_heads": 2})
    model = getattr(transformers, f"Llama{kind or 'Model'}")(config).eval()
    model.save_pretrained(tmp_path)
    assert HEAD not in load_file(tmp_path / WEIGHTS)
    module = load_variant(tmp_path)
    with torch.no_grad():
        output = model(torch.tensor(np.array(TOKENS)), output_hidden_states=True)
    expected = output.hidden_states[-1].numpy()
    assert np.abs(module(TOKENS) - expected).max() <= 1e-4 * np.abs(expected).max()
    assert not module.generates
    with pytest.raises(ValueError, match=r"no lm_head\.weight, which scores next tokens"):
        module.logits(module(TOKENS))
    again = save_checkpoint(tmp_path / "again", module, module.config, jnp.float32)
    assert json.loads((again / "config.json").read_text())["architectures"] == ["LlamaModel"]
    np.testing.assert_array_equal(load_variant(again)(TOKENS), module(TOKENS))


def test_a_gpt2_that_classifies_is_read_and_still_tied(folder, checkpoint):
    score = np.ones((1, 16), np.float32)
    _change_weights(folder, lambda tensors: tensors.update({"score.weight": score}))
    np.testing.assert_array_equal(_hidden(folder), _hidden(checkpoint))
    assert load_backbone(folder).module.generates


def test_an_untied_head_is_saved_without_the_prefix_and_read_again(tmp_path):
    config = GPT2Config(vocab_size=31, n_embd=16, n_layer=1, n_head=2, tie_word_embeddings=False)
    module = GPT2(config, rngs=nnx.Rngs(0))
    save_module(tmp_path, module, GPT2_FAMILY, config, jnp.float32)
    assert HEAD in load_file(tmp_path / WEIGHTS)
    again = load_variant(tmp_path)
    assert again.config == config
    np.testing.assert_array_equal(again.lm_head[...], module.lm_head[...])


def test_what_scores_next_tokens_is_no_part_of_the_identity(folder, checkpoint):
    """Hidden states do not pass it, so that heads on them stay."""
    embedding = load_file(checkpoint / WEIGHTS)["transformer.wte.weight"]
    _change_weights(folder, lambda tensors: tensors.update({HEAD: embedding + 1}))
    first, second = load_backbone(checkpoint), load_backbone(folder)
    assert second.config != first.config
    assert second.identity.config_sha256 == first.identity.config_sha256


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="host memory is where arrays live")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_memory_peaks_at_one_copy_and_one_tensor(make_checkpoint, tmp_path, dtype):
    folder = make_checkpoint(tmp_path / "model", n_embd=128, n_layer=8)
    config = load_backbone(folder).config
    load_module(folder, GPT2_FAMILY, config, dtype)  # what is made once is made
    largest = 4 * 128 * 4 * 128  # bytes of a feed-forward matrix on disk
    gc.collect()
    tracemalloc.start()
    module = load_module(folder, GPT2_FAMILY, config, dtype)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    leaves = jax.tree.leaves(nnx.state(module))
    copy = sum(leaf.nbytes for leaf in leaves)
    slack = 0.1 * copy  # Python's own objects
    assert largest + slack < max(leaf.nbytes for leaf in leaves)  # else a stack would pass too
    # The arrays are numpy's memory, which tracemalloc sees; a copy by XLA it would not.
    assert copy <= kept <= copy + slack
    assert peak <= copy + largest + slack


@pytest.fixture
def encoder(tmp_path):
    """A folder of a BERT that a test may change, and its hidden states."""
    folder = write_variant(tmp_path / "bert", ENCODERS["bert"])
    return folder, np.asarray(load_variant(folder)(TOKENS))


def test_an_encoder_is_read_with_or_without_prefix_and_without_its_heads(encoder):
    folder, expected = encoder

    def as_a_sentence_encoder(tensors):
        for name in list(tensors):
            tensors[name.removeprefix("bert.")] = tensors.pop(name)
        tensors["embeddings.position_ids"] = np.arange(64)[None]
        tensors["pooler.dense.weight"] = tensors["cls.predictions.bias"] = np.ones(3, np.float32)

    _change_weights(folder, as_a_sentence_encoder)
    np.testing.assert_array_equal(load_variant(folder)(TOKENS), expected)


def test_the_first_names_of_an_encoders_norms_are_read(encoder):
    folder, expected = encoder

    def as_in_2018(tensors):
        for name in [name for name in tensors if "LayerNorm" in name]:
            old = name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta")
            tensors[old] = tensors.pop(name)

    _change_weights(folder, as_in_2018)
    np.testing.assert_array_equal(load_variant(folder)(TOKENS), expected)


@pytest.mark.parametrize("name", list(ENCODERS))
def test_an_encoder_that_was_saved_is_read_by_torch(tmp_path, name):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    written = write_variant(tmp_path / "written", ENCODERS[name])
    module = load_variant(written)
    folder = save_checkpoint(tmp_path / "saved", module, module.config, jnp.float32)
    assert load_file(folder / WEIGHTS).keys() == load_file(written / WEIGHTS).keys()
    model, log = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    assert all("pooler" in tensor for tensor in log["missing_keys"])
    with torch.no_grad():
        expected = model.eval()(torch.tensor(np.array(TOKENS))).last_hidden_state.numpy()
    assert np.abs(module(TOKENS) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_a_sharded_checkpoint_is_read(checkpoint, folder):
    _shard(folder)
    np.testing.assert_array_equal(_hidden(folder), _hidden(checkpoint))
    assert len(load_backbone(folder).identity.weights_sha256) == 64


@pytest.mark.parametrize("entry", ["../outside.safetensors", "..", "a\\b.safetensors"])
def test_an_index_entry_that_leaves_the_folder_is_refused(folder, entry):
    _shard(folder)
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["transformer.wte.weight"] = entry
    (folder / INDEX).write_text(json.dumps(index))
    shutil.copy(folder / "model-00001-of-00002.safetensors", folder.parent / "outside.safetensors")
    with pytest.raises(CheckpointError, match="leads out of the folder"):
        load_backbone(folder)


def test_an_index_entry_with_an_absolute_path_is_refused(folder, checkpoint):
    _shard(folder)
    weight_map = {"transformer.wte.weight": str(checkpoint / WEIGHTS)}
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match="leads out of the folder"):
        load_backbone(folder)


def test_a_single_file_wins_over_shards(checkpoint, folder):
    _shard(folder)
    index = json.loads((folder / INDEX).read_text())
    shutil.copy(checkpoint / WEIGHTS, folder / WEIGHTS)
    for shard in set(index["weight_map"].values()):
        (folder / shard).unlink()
    np.testing.assert_array_equal(_hidden(folder), _hidden(checkpoint))


def test_a_missing_shard_and_a_tensor_in_another_shard_are_named(folder):
    _shard(folder)
    index = json.loads((folder / INDEX).read_text())
    weight_map = index["weight_map"]
    first, second = sorted(set(weight_map.values()))
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(weight_map, first)}))
    with pytest.raises(CheckpointError, match="not in the shard the index names: transformer"):
        load_backbone(folder)
    (folder / INDEX).write_text(json.dumps(index))
    (folder / second).unlink()
    with pytest.raises(CheckpointError, match=f"shard {second} of the index is missing"):
        load_backbone(folder)


def test_an_index_without_a_weight_map_is_refused(folder):
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text("{}")
    with pytest.raises(CheckpointError, match="no weight_map"):
        load_backbone(folder)


def test_all_faults_of_the_tensors_are_in_one_error(folder):
    def spoil(tensors):
        del tensors["transformer.h.1.ln_1.bias"]
        tensors["v_head.summary.weight"] = np.ones(3, np.float32)
        tensors["transformer.wpe.weight"] = np.ones((3, 16), np.float32)
        tensors["transformer.ln_f.bias"] = np.ones(16, np.int32)

    _change_weights(folder, spoil)
    with pytest.raises(CheckpointError) as caught:
        load_backbone(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "missing: h.1.ln_1.bias" in message
    assert "not expected: v_head.summary.weight" in message
    assert "wpe.weight is (3, 16), expected (64, 16)" in message
    assert "ln_f.bias has type I32" in message


def test_a_long_list_of_faults_is_cut_and_counted(folder):
    _change_weights(folder, lambda tensors: [tensors.pop(name) for name in sorted(tensors)[:12]])
    with pytest.raises(CheckpointError, match="and 7 more"):
        load_backbone(folder)


def test_weights_that_are_no_safetensors_are_refused(folder):
    (folder / WEIGHTS).write_bytes(b"not tensors at all, but long enough")
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load_backbone(folder)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_weights_that_were_cut_short_are_refused(folder, share):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="if it was cut short, fetch it again"):
        load_backbone(folder)


def test_a_tensor_with_and_without_the_prefix_is_refused(folder):
    _change_weights(
        folder, lambda tensors: tensors.update({"wte.weight": tensors["transformer.wte.weight"]})
    )
    with pytest.raises(CheckpointError, match=r"tensor wte\.weight is there twice"):
        load_backbone(folder)


def test_a_pickle_is_never_opened(folder):
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickled weights are never opened"):
        load_backbone(folder)


def test_a_folder_without_weights_is_refused(folder):
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="neither model.safetensors nor"):
        load_backbone(folder)


def test_a_file_and_a_folder_without_config_are_refused(folder, tmp_path):
    with pytest.raises(CheckpointError, match="a file, not a checkpoint folder"):
        load_backbone(folder / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        load_backbone(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "a JSON object is expected, not list"),
        ("{}", "model_type 'None' is not supported; supported: gpt2"),
        ('{"model_type": "mamba"}', "model_type 'mamba' is not supported"),
        ('{"model_type": "gpt2", "n_head": 7}', "n_head=7 must divide"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(folder, text, message):
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_backbone(folder)
    assert str(folder) in str(caught.value)


def test_weights_that_overflow_on_disk_are_refused_and_nothing_is_written(checkpoint, tmp_path):
    backbone = load_backbone(checkpoint)
    backbone.module.ln_f_bias[...] = backbone.module.ln_f_bias[...].at[3].set(1e6)
    with pytest.raises(CheckpointError, match=r"ln_f\.bias is not finite in float16"):
        save_checkpoint(tmp_path / "out", backbone.module, backbone.config)
    assert not (tmp_path / "out").exists()


def test_identity_follows_weights_config_and_tokenizer(checkpoint, folder):
    first = load_backbone(checkpoint).identity
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_head": 4}))
    second = load_backbone(folder).identity
    assert second.weights_sha256 == first.weights_sha256
    assert second.config_sha256 != first.config_sha256
    with (folder / "tokenizer.json").open("a") as file:
        file.write("\n")
    assert load_backbone(folder).identity.tokenizer_sha256 != first.tokenizer_sha256
    assert (first.name, second.name) == ("tiny-gpt2", "model")


def test_threads_may_share_a_backbone(checkpoint):
    """A call leaves its module's attributes alone, of which another thread may be reading any."""
    backbone = load_backbone(checkpoint)

    def run(_=0):
        return np.asarray(backbone.hidden_states(TOKENS, jnp.ones_like(TOKENS)))

    expected = run()
    assert all(np.array_equal(found, expected) for found in in_threads(run, range(200)))
