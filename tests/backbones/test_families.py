"""Every family computes what torch computes; trees and caches give what single texts give."""

import json
import shutil
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from coala_jax.backbones._attention import TokenBatch, append, empty_cache, plain_batch
from coala_jax.backbones._config_fields import unknown_fields
from coala_jax.backbones._families import FAMILIES
from coala_jax.backbones._rope import make_rope, rope_parameters

from .variants import CAUSAL, ENCODERS, SIZES, VARIANTS, load_variant, write_variant

GOLDEN = Path(__file__).with_name("golden.json")
LENGTH = 40
TOKENS = np.random.default_rng(0).integers(1, 31, (2, LENGTH))
# The hidden states that golden.json keeps of a variant: row 0 at these positions.
KEPT = (0, 7, 39)
# What goes through the same code in all variants runs on these, and on the others when asked for.
TELLING = {
    "gpt2",
    "llama tied, one key head, biases",
    "mistral sliding",
    "qwen3 layer types",
    "gemma2",
    "gemma3, both bases by layer",
    "phi3 longrope, part of a head",
    "smollm3 sliding, biases",
    "gpt_neox",
    "bert",
    "roberta",
}


def _variants(names):
    marked = [
        pytest.param(name, marks=() if name in TELLING else pytest.mark.slow) for name in names
    ]
    return pytest.mark.parametrize("variant", marked, indirect=True)


causal_only = pytest.mark.parametrize("variant", list(CAUSAL), indirect=True)
causal_telling, all_telling = _variants(CAUSAL), _variants(VARIANTS)
encoders_only = pytest.mark.parametrize("variant", list(ENCODERS), indirect=True)


@partial(jax.jit, static_argnames=("layers", "keep"))
def run(module, batch, cache=None, layers=(-1,), keep=False):
    return module.states(batch, cache, layers, keep=keep)


def _hidden(module, tokens, mask=None):
    mask = None if mask is None else jnp.asarray(mask)
    return np.asarray(run(module, plain_batch(jnp.asarray(tokens), mask)).hidden[0])


def _rounding(name):
    """How far two orders of one computation may be apart, relative to the largest value.

    The weights of this GPT-2 enlarge rounding tenfold (see its bfloat16).
    """
    return 1e-4 if name == "gpt2" else 1e-5


def _alone(module, texts):
    """Hidden states of at most two texts, each padded on the right: one compilation for all."""
    tokens = np.ones((2, LENGTH), int)
    mask = np.zeros((2, LENGTH), bool)
    for row, text in enumerate(texts):
        tokens[row, : len(text)], mask[row, : len(text)] = text, True
    return [_hidden(module, tokens, mask)[row, : len(text)] for row, text in enumerate(texts)]


@pytest.fixture(scope="module", params=list(VARIANTS))
def variant(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("variant")
    write_variant(folder, VARIANTS[request.param])
    return request.param, folder, load_variant(folder)


def test_hidden_states_are_those_recorded_from_torch(variant):
    name, _, module = variant
    expected = np.array(json.loads(GOLDEN.read_text())[name])
    found = _hidden(module, TOKENS)[0, list(KEPT)]
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def _reference(folder, mask=None):
    """Torch's output of these tokens; positions are said, as RoBERTa's would follow the ids."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    fields = json.loads((folder / "config.json").read_text())
    config = FAMILIES[fields["model_type"]].read_config(fields)
    if fields in ENCODERS.values():
        kind, first = transformers.AutoModel, config.first_position
    else:
        kind, first = transformers.AutoModelForCausalLM, 0
    model = kind.from_pretrained(folder, attn_implementation="eager").eval()
    mask = np.ones_like(TOKENS) if mask is None else mask.astype(int)
    with torch.no_grad():
        return model(
            torch.tensor(TOKENS),
            attention_mask=torch.tensor(mask),
            position_ids=torch.tensor(np.maximum(np.cumsum(mask, 1) - 1, 0) + first),
            output_hidden_states=True,
        )


@all_telling
def test_hidden_states_of_every_layer_equal_torch(variant):
    _, folder, module = variant
    output = _reference(folder)
    depth = module.config.depth
    states = run(module, plain_batch(jnp.asarray(TOKENS)), layers=tuple(range(depth + 1)))
    for ours, theirs in zip(states.hidden, output.hidden_states, strict=True):
        theirs = theirs.numpy()
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


@causal_telling
def test_logits_equal_torch(variant):
    _, folder, module = variant
    expected = _reference(folder).logits.numpy()
    found = module.logits(run(module, plain_batch(jnp.asarray(TOKENS))).hidden[0])
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@all_telling
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batches_of_mixed_lengths_equal_torch(variant, side):
    _, folder, module = variant
    mask = np.arange(LENGTH) < np.array([[LENGTH], [13]])
    if side == "left":
        mask = mask[:, ::-1].copy()
    expected = _reference(folder, mask).hidden_states[-1].numpy()
    found = _hidden(module, TOKENS, mask)
    assert np.abs(found - expected)[mask].max() <= 1e-4 * np.abs(expected[mask]).max()
    assert np.isfinite(found).all()


@all_telling
def test_bfloat16_stays_near_float32(variant):
    name, folder, module = variant
    half = load_variant(folder, jnp.bfloat16)
    found = run(half, plain_batch(jnp.asarray(TOKENS))).hidden[0]
    assert found.dtype == jnp.bfloat16
    expected = _hidden(module, TOKENS)
    error = np.linalg.norm(np.asarray(found, np.float32) - expected) / np.linalg.norm(expected)
    # torch's own errors: 0.11 for these weights of GPT-2, 0.11 and 0.16 for those of OLMo, 0.042 of
    # Gemma 3's, at most 0.026 for the others.
    assert error < (0.2 if name in {"gpt2", "olmo2", "olmo3"} else 0.05)


@causal_telling
def test_a_tree_gives_every_branch_what_it_gets_alone(variant):
    name, _, module = variant
    rounding = _rounding(name)
    prompt, left, right = TOKENS[0, :9], TOKENS[0, 9:15], TOKENS[1, :4]
    # The prompt, its two responses, and a text of its own behind them.
    other = TOKENS[1, 10:15]
    tokens = np.concatenate([prompt, left, right, other])
    positions = np.r_[0:15, 9:13, 0:5]
    ends = np.r_[np.full(9, 19), np.full(6, 15), np.full(4, 19), np.full(5, 24)]
    batch = TokenBatch(*(jnp.asarray(x, jnp.int32)[None] for x in (tokens, positions, ends)))
    found = np.asarray(run(module, batch).hidden[0])[0]
    first, second = _alone(module, [[*prompt, *left], [*prompt, *right]])
    (third,) = _alone(module, [other])
    scale = np.abs(first).max()
    assert np.abs(found[:15] - first).max() <= rounding * scale
    assert np.abs(found[15:19] - second[9:]).max() <= rounding * scale
    assert np.abs(found[19:] - third).max() <= rounding * scale


@encoders_only
def test_texts_packed_in_a_row_give_what_each_gets_alone(variant):
    """Two texts, then padding; the second is a single token."""
    _, _, module = variant
    first, second = TOKENS[0, :9], TOKENS[1, :1]
    tokens = np.r_[first, second, TOKENS[0, 20:24]]
    positions = np.r_[0:9, 0, 0, 0, 0, 0]
    ends = np.r_[np.full(9, 9), 10:15]
    batch = TokenBatch(*(jnp.asarray(x, jnp.int32)[None] for x in (tokens, positions, ends)))
    found = np.asarray(run(module, batch).hidden[0])[0]
    alone = np.concatenate(_alone(module, [first, second]))
    assert np.abs(found[:10] - alone).max() <= 1e-5 * np.abs(alone).max()


@encoders_only
def test_padding_in_the_midst_of_a_text_changes_nothing(variant):
    _, _, module = variant
    text = TOKENS[0, :11]
    mask = np.zeros((2, LENGTH), bool)
    mask[0, 3:20:2] = mask[0, 30:32] = True
    tokens = TOKENS.copy()
    tokens[mask] = text
    (alone,) = _alone(module, [text])
    found = _hidden(module, tokens, mask)
    assert np.abs(found[mask] - alone).max() <= 1e-5 * np.abs(alone).max()
    assert np.isfinite(found).all()


@pytest.mark.parametrize("variant", ["roberta"], indirect=True)
def test_positions_are_numbered_as_torch_numbers_them_by_itself(variant):
    _, folder, module = variant
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokens = np.maximum(TOKENS, 2)
    with torch.no_grad():
        model = transformers.AutoModel.from_pretrained(folder).eval()
        expected = model(torch.tensor(tokens)).last_hidden_state.numpy()
    assert np.abs(_hidden(module, tokens) - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("variant", ["bert"], indirect=True)
@pytest.mark.parametrize("argument", ["cache", "keep"])
def test_an_encoder_refuses_a_cache(variant, argument):
    _, _, module = variant
    batch = plain_batch(jnp.asarray(TOKENS))
    options = {"cache": empty_cache(3, 2, 4, 4, 4, jnp.float32)} if argument == "cache" else {}
    with pytest.raises(ValueError, match=f"{argument}: bert is an encoder"):
        module.states(batch, **options, keep=argument == "keep")


@pytest.mark.parametrize("variant", ["bert", "roberta"], indirect=True)
def test_lengths_beyond_the_position_embedding_are_refused(variant):
    _, _, module = variant
    longest = {"bert": 64, "roberta": 62}[module.config.model_type]
    assert module.config.max_length == longest
    with pytest.raises(ValueError, match=f"length {longest + 1} exceeds the model's {longest}"):
        module(jnp.ones((1, longest + 1), int))


@causal_telling
def test_cached_decoding_equals_the_full_pass(variant):
    """Prompts of mixed lengths, then token by token, then candidates that do not see each other."""
    name, _, module = variant
    rounding = _rounding(name)
    lengths, capacity = np.array([12, 7]), 24
    slots = np.arange(12)
    mask = slots < lengths[:, None]
    batch = TokenBatch(
        jnp.asarray(TOKENS[:, :12], jnp.int32),
        jnp.broadcast_to(jnp.asarray(slots, jnp.int32), (2, 12)),
        jnp.asarray(np.where(mask, capacity, slots + 1), jnp.int32),
    )
    states = run(module, batch, keep=True)
    layers, _, _, heads, head_dim = states.keys.shape
    cache = append(empty_cache(layers, 2, capacity, heads, head_dim, jnp.float32), batch, states)
    texts = [list(TOKENS[row, :length]) for row, length in enumerate(lengths)]
    for step in range(3):
        token = TOKENS[:, 20 + step]
        batch = TokenBatch(
            jnp.asarray(token, jnp.int32)[:, None],
            jnp.asarray(lengths + step, jnp.int32)[:, None],
            jnp.full((2, 1), capacity, jnp.int32),
        )
        states = run(module, batch, cache, keep=True)
        cache = append(cache, batch, states)
        texts = [[*text, token[row]] for row, text in enumerate(texts)]
        for row, expected in enumerate(_alone(module, texts)):
            found = np.asarray(states.hidden[0])[row, 0]
            assert np.abs(found - expected[-1]).max() <= rounding * np.abs(expected).max()
    candidates = TOKENS[:, 30:34]
    own = int(cache.lengths[0]) + np.arange(4)
    batch = TokenBatch(
        jnp.asarray(candidates, jnp.int32),
        jnp.broadcast_to(jnp.asarray(lengths + 3, jnp.int32)[:, None], (2, 4)),
        jnp.broadcast_to(jnp.asarray(own + 1, jnp.int32), (2, 4)),
    )
    found = np.asarray(run(module, batch, cache).hidden[0])
    for number in range(4):
        longer = [[*text, candidates[row, number]] for row, text in enumerate(texts)]
        for row, expected in enumerate(_alone(module, longer)):
            error = np.abs(found[row, number] - expected[-1]).max()
            assert error <= rounding * np.abs(expected).max()


@pytest.mark.parametrize("variant", ["gpt2", "mistral sliding", "bert"], indirect=True)
def test_a_layer_asked_for_is_the_same_whatever_else_is(variant):
    _, _, module = variant
    batch = plain_batch(jnp.asarray(TOKENS))
    both = run(module, batch, layers=(-1, 1)).hidden
    np.testing.assert_allclose(both[1], run(module, batch, layers=(1,)).hidden[0], atol=1e-6)
    np.testing.assert_allclose(both[0], run(module, batch).hidden[0], atol=1e-5)


@pytest.mark.parametrize("variant", ["gpt2", "llama", "bert"], indirect=True)
def test_layers_that_are_not_there_are_refused(variant):
    _, _, module = variant
    with pytest.raises(ValueError, match=r"layers=\(4,\): the model has layers 0 .* to 3"):
        module.states(plain_batch(jnp.asarray(TOKENS)), layers=(4,))


def _hidden_under_other_names(folder, fields, rename):
    """Hidden states of a variant's weights, written under other names and with these fields."""
    tensors = load_file(folder / "model.safetensors")
    other = folder.parent / f"{folder.name}-renamed"
    other.mkdir()
    tensors = {rename(name): tensor for name, tensor in tensors.items()}
    tensors["vision_tower.encoder.weight"] = np.ones((2, 2), np.float32)
    save_file(tensors, other / "model.safetensors")
    (other / "config.json").write_text(json.dumps(fields))
    return _hidden(load_variant(other), TOKENS)


@pytest.mark.parametrize("variant", ["gemma3"], indirect=True)
@pytest.mark.parametrize("prefix", ["model.language_model.", "language_model.model."])
def test_the_text_part_of_a_model_that_reads_pictures(variant, prefix, tmp_path):
    name, folder, module = variant
    copy = shutil.copytree(folder, tmp_path / "text")
    part = {key: value for key, value in VARIANTS[name].items() if key != "eos_token_id"}
    fields = {"model_type": "gemma3", "text_config": part, "vision_config": {"image_size": 32}}
    found = _hidden_under_other_names(copy, fields, lambda old: prefix + old.removeprefix("model."))
    np.testing.assert_array_equal(found, _hidden(module, TOKENS))
    assert unknown_fields("Gemma3", fields, FAMILIES["gemma3"].fields) == {}
    strange = {**fields, "text_config": {**part, "surprise": 3}}
    assert unknown_fields("Gemma3", strange, FAMILIES["gemma3"].fields) == {
        "text_config.surprise": 3
    }


@pytest.mark.parametrize("variant", ["gpt_neox"], indirect=True)
def test_a_gpt_neox_of_before_transformers_5(variant, tmp_path):
    """Its head has another name, and causal masks lie beside the weights."""
    name, folder, module = variant
    tensors = load_file(folder / "model.safetensors")
    head = tensors.pop("lm_head.weight")
    more = {
        "embed_out.weight": head,
        "gpt_neox.layers.0.attention.bias": np.ones((1, 1, 4, 4), bool),
        "gpt_neox.layers.0.attention.masked_bias": np.full(1, -1e9, np.float32),
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq": np.ones(1, np.float32),
    }
    save_file(tensors | more, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(VARIANTS[name]))
    hidden = jnp.asarray(_hidden(module, TOKENS))
    np.testing.assert_array_equal(load_variant(tmp_path).logits(hidden), module.logits(hidden))


@pytest.mark.parametrize("variant", ["phi3 longrope, part of a head"], indirect=True)
def test_texts_beyond_the_trained_length_of_longrope_are_refused(variant):
    _, _, module = variant
    assert module.config.max_length == 48
    with pytest.raises(ValueError, match="length 49 exceeds the model's 48 positions"):
        module(jnp.ones((1, 49), int))


def test_a_config_survives_a_round_trip(variant):
    name, _, module = variant
    family = FAMILIES[VARIANTS[name]["model_type"]]
    assert family.read_config(module.config.to_dict()) == module.config
    json.dumps(module.config.to_dict())


@pytest.mark.parametrize("name", ["llama", "qwen3", "bert"])
def test_depth_does_not_grow_the_program(name):
    def size(layers):
        fields = {**VARIANTS[name], "num_hidden_layers": layers}
        family = FAMILIES[fields["model_type"]]
        config = family.read_config(fields)
        module = nnx.eval_shape(lambda: family.make(config, nnx.Rngs(0), jnp.float32))
        graph, state = nnx.split(module)
        text = str(jax.make_jaxpr(lambda state: nnx.merge(graph, state)(TOKENS))(state))
        return text.count(" = ")

    assert size(2) == size(12)


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_float32_asks_for_the_highest_precision_everywhere(name):
    family = FAMILIES[name]
    config = family.read_config(VARIANTS[name])
    module = nnx.eval_shape(lambda: family.make(config, nnx.Rngs(0), jnp.float32))
    graph, state = nnx.split(module)
    text = str(jax.make_jaxpr(lambda state: nnx.merge(graph, state)(TOKENS))(state))
    assert text.count("dot_general") * 2 == text.count("HIGHEST")


@pytest.mark.parametrize(
    ("model_type", "fields", "message"),
    [
        ("llama", {"num_key_value_heads": 3}, "num_key_value_heads=3 must divide"),
        ("llama", {"head_dim": 5}, "head_dim=5 must be even"),
        ("llama", {"hidden_act": "mish"}, "hidden_act='mish' is not supported"),
        ("llama", {"hidden_size": 0}, "hidden_size must be a positive integer, got 0"),
        ("llama", {"vocab_size": "big"}, "vocab_size must be a positive integer, got 'big'"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("llama", {"rope_scaling": {"type": "ntk"}}, "rope_type='ntk' is not supported"),
        ("llama", {"rope_scaling": {"type": "longrope"}}, "needs short_factor as a list of"),
        (
            "phi3",
            {"rope_scaling": {"type": "su", "short_factor": [1.0, 0], "long_factor": [1.0]}},
            "short_factor must be a list of positive numbers",
        ),
        (
            "phi3",
            {"rope_scaling": {"type": "su", "short_factor": [1.0], "long_factor": [1.0, 2.0]}},
            "short_factor has 1 numbers, 2 are needed",
        ),
        ("phi3", {"partial_rotary_factor": 1.5}, "partial_rotary_factor must be a number above 0"),
        ("phi3", {"partial_rotary_factor": 0.4}, "partial_rotary_factor of head_dim=4 leaves 1,"),
        ("gemma2", {"query_pre_attn_scalar": 0}, "query_pre_attn_scalar must be a positive num"),
        ("gemma2", {"sliding_window": None}, "sliding_attention needs a window"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention=true"),
        ("gemma3_text", {"attn_logit_softcapping": 5.0}, "attn_logit_softcapping=5.0 is not"),
        ("gemma3_text", {"layer_types": ["full_attention"]}, "1 layer_types for 3 layers"),
        ("gemma3", {"text_config": {}, "quantization_config": {"bits": 4}}, "quantization_config"),
        ("gemma3", {}, "text_config must be an object of model_type gemma3_text, got None"),
        ("gemma3", {"text_config": {"model_type": "gemma2"}}, "text_config must be an object of"),
        ("gemma3", {"text_config": {"head_dim": 7}}, "head_dim=7 must be even"),
        ("smollm3", {"no_rope_layers": [1, 0]}, "2 no_rope_layers for 3 layers"),
        ("smollm3", {"no_rope_layers": []}, "0 no_rope_layers for 3 layers"),
        ("smollm3", {"no_rope_layers": ["a", 0, 1]}, r"no_rope_layers=\['a', 0, 1\] must hold a 1"),
        ("gemma3_text", {"rope_parameters": {"full_attention": 3}}, "numbers must be an object"),
        (
            "phi3",
            {
                "original_max_position_embeddings": 1,
                "rope_scaling": {"type": "su", "short_factor": [1, 1], "long_factor": [1, 1]},
            },
            "'longrope' needs another original_max_position_embeddings than 1",
        ),
        (
            "olmo3",
            {"rope_theta": 1, "rope_scaling": {"type": "yarn", "factor": 2.0}},
            "rope_type='yarn' needs another rope_theta than 1",
        ),
        ("granite", {"logits_scaling": 0}, "logits_scaling must be a positive number, got 0"),
        ("gpt_neox", {"rotary_pct": 0}, "rotary_pct must be a number above 0"),
        ("llama", {"rope_scaling": {"type": "linear"}}, "needs factor as a positive number"),
        ("llama", {"rope_scaling": {"a": {}}}, "one set of numbers for all layers"),
        ("llama", {"rope_theta": -1}, "rope_theta must be a positive number, or null, got -1"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
        (
            "llama",
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
            "needs low_freq_factor",
        ),
        (
            "qwen3",
            {"use_sliding_window": True, "layer_types": ["linear_attention"] * 3},
            "linear_attention not supported",
        ),
        (
            "qwen2",
            {"use_sliding_window": True, "layer_types": ["full_attention"]},
            "1 layer_types for 3 layers",
        ),
        ("bert", {"num_attention_heads": 3}, "num_attention_heads=3 must divide hidden_size=16"),
        ("bert", {"hidden_act": "mish"}, "hidden_act='mish' is not supported"),
        ("bert", {"type_vocab_size": 0}, "type_vocab_size must be a positive integer, got 0"),
        ("bert", {"num_attention_heads": None}, "num_attention_heads must be a positive integer"),
        ("bert", {"is_decoder": True}, "is_decoder=true is not supported"),
        ("bert", {"add_cross_attention": True}, "add_cross_attention=true is not supported"),
        ("bert", {"quantization_config": {"bits": 4}}, "quantization_config"),
        (
            "roberta",
            {"position_embedding_type": "relative_key"},
            "position_embedding_type='relative_key' is not supported",
        ),
        ("roberta", {"pad_token_id": None}, "pad_token_id=None must be an integer from 0 to 62"),
        ("xlm-roberta", {"pad_token_id": 63}, "pad_token_id=63 must be an integer from 0 to 62"),
    ],
)
def test_a_config_that_cannot_be_honoured_is_refused(model_type, fields, message):
    with pytest.raises(ValueError, match=message):
        FAMILIES[model_type].read_config({**SIZES, **fields})


def test_a_gpt_neox_is_written_as_it_is_read():
    """Its rotary settings have names of their own beside those of all."""
    settings = {"rope_theta": 5000.0, "partial_rotary_factor": 0.5}
    fields = {**VARIANTS["gpt_neox"], "rope_parameters": settings}
    written = FAMILIES["gpt_neox"].read_config(fields).to_dict()
    assert (written["rotary_emb_base"], written["rotary_pct"]) == (5000.0, 0.5)
    assert settings.items() <= written["rope_parameters"].items()


def test_both_spellings_of_rotary_settings_mean_the_same():
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
    old = rope_parameters({"rope_theta": 5e5, "rope_scaling": scaling}, 64)
    new = rope_parameters({"rope_parameters": {"rope_theta": 5e5, **scaling}}, 64)
    assert old == new
    assert make_rope(old, 8).attention_factor == pytest.approx(0.1 * np.log(4) + 1)


def _record():
    """Write golden.json from torch: python -m tests.backbones.test_families"""
    import tempfile

    golden = {}
    for name, fields in VARIANTS.items():
        with tempfile.TemporaryDirectory() as folder:
            hidden = _reference(write_variant(Path(folder), fields)).hidden_states[-1]
        golden[name] = np.round(hidden[0, list(KEPT)].numpy().astype(float), 6).tolist()
    GOLDEN.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    _record()
