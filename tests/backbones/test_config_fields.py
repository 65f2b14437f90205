"""Every field of a config.json: read, refused by name, of no account, or said to be unknown."""

import json
import shutil
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax.backbones import CheckpointError, load_backbone
from coala_jax.backbones._config_fields import unknown_fields
from coala_jax.backbones._families import FAMILIES
from coala_jax.backbones._ops import ACTIVATIONS
from coala_jax.backbones._support import check_support
from coala_jax.cli._main import main

from .variants import CAUSAL, ENCODERS, GPT2_SIZES, load_variant, write_variant

TOKENS = np.random.default_rng(2).integers(5, 31, (1, 24))
PLAIN = {
    "gpt2": CAUSAL["gpt2"],
    "llama": CAUSAL["llama"],
    "mistral": CAUSAL["mistral sliding"],
    "qwen2": CAUSAL["qwen2 tied, upper layers sliding"],
    "qwen3": CAUSAL["qwen3"],
    "bert": ENCODERS["bert"],
    "roberta": ENCODERS["roberta"],
    "xlm-roberta": ENCODERS["xlm-roberta, other padding"],
}
DECODERS = ("llama", "mistral", "qwen2", "qwen3")
MORE = {
    "gemma2": CAUSAL["gemma2"],
    "gemma3_text": CAUSAL["gemma3"],
    "phi3": CAUSAL["phi3"],
    "olmo2": CAUSAL["olmo2"],
    "olmo3": CAUSAL["olmo3"],
    "smollm3": CAUSAL["smollm3"],
    "granite": CAUSAL["granite"],
    "gpt_neox": CAUSAL["gpt_neox"],
}
families = pytest.mark.parametrize("model_type", list(PLAIN))


def _read(model_type, **fields):
    return FAMILIES[model_type].read_config({**PLAIN[model_type], **fields})


def _unknown(model_type, **fields):
    family = FAMILIES[model_type]
    return unknown_fields(family.stem, {**PLAIN[model_type], **fields}, family.fields)


def _torch_states(folder):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(torch.tensor(TOKENS)).last_hidden_state.numpy()


def _same_as_torch(folder, fields):
    (folder / "config.json").write_text(json.dumps(fields))
    expected = _torch_states(folder)
    found = load_variant(folder)(jnp.asarray(TOKENS))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("model_type", [*PLAIN, *MORE, "gemma3"])
def test_what_transformers_writes_is_known_and_taken(model_type):
    """Every field of its class of this type, at its default."""
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(model_type)
    fields = json.loads(config.to_json_string(use_diff=False))
    family = FAMILIES[model_type]
    family.read_config(fields)
    assert unknown_fields(
        family.stem, {name: value or 7 for name, value in fields.items()}, {**family.fields}
    ).keys() <= {"architectures"}


# Of no account, by what families they occur in; each is set to what is not its default.
OF_NO_ACCOUNT = {
    "initializer_range": 0.5,
    "use_cache": False,
    "output_hidden_states": True,
    "chunk_size_feed_forward": 3,
    "id2label": {"0": "good"},
    "label2id": {"good": 0},
    "problem_type": "regression",
    "classifier_dropout": 0.5,
    "torch_dtype": "float32",
    "bos_token_id": 3,
    "sep_token_id": 4,
    "temperature": 0.3,
    "max_length": 9,
    "gradient_checkpointing": True,
    "sentence_transformers": {"version": "5.0"},
    "unsloth_version": "2026.1",
    "_name_or_path": "somewhere/else",
}
OF_NO_ACCOUNT_IN = {
    "gpt2": {
        "reorder_and_upcast_attn": True,
        "resid_pdrop": 0.5,
        "summary_type": "mean",
        "n_ctx": 16,
        "is_decoder": True,
    },
    "llama": {"pretraining_tp": 2, "attention_dropout": 0.5, "is_decoder": True},
    "qwen2": {"attention_bias": False},
    "bert": {"pooler_type": "first_token", "directionality": "bidi", "hidden_dropout_prob": 0.5},
}


@pytest.mark.parametrize(
    "model_type", [*PLAIN, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]
)
def test_what_changes_nothing_in_torch_changes_nothing_here(tmp_path, model_type):
    plain = {**PLAIN, **MORE}[model_type]
    folder = write_variant(tmp_path, plain)
    before = np.asarray(load_variant(folder)(jnp.asarray(TOKENS)))
    more = OF_NO_ACCOUNT | OF_NO_ACCOUNT_IN.get(model_type, {})
    family = FAMILIES[model_type]
    assert unknown_fields(family.stem, {**plain, **more}, family.fields) == {}
    _same_as_torch(folder, {**plain, **more})
    np.testing.assert_array_equal(load_variant(folder)(jnp.asarray(TOKENS)), before)


# What published checkpoints say beside the fields of transformers' classes.
PUBLISHED = {
    "gpt2": {
        "architectures": ["GPT2LMHeadModel"],
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        "_num_labels": 1,
        "predict_special_tokens": True,
        "output_past": True,
        "summary_first_dropout": 0.1,
    },
    "llama": {
        "architectures": ["LlamaForSequenceClassification"],
        "is_llama_config": True,
        "rope_interleaved": False,
        "max_sequence_length": 2048,
        "transformers.js_config": {"dtype": "q4"},
        "unsloth_fixed": True,
        "rope_scaling": {"rope_type": "dynamic", "factor": 2.0},
        "eos_token_id": [2, 7, 9],
        "_attn_implementation_autoset": True,
        "num_labels": 1,
    },
    "mistral": {"architectures": ["MistralForCausalLM"], "use_cache": False, "torch_dtype": "half"},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "use_mrope": False, "rope_scaling": None},
    "qwen3": {"architectures": ["Qwen3Model"], "attention_dropout": 0.0, "max_window_layers": 36},
    "bert": {
        "architectures": ["BertForMaskedLM"],
        "pooler_fc_size": 768,
        "pooler_num_attention_heads": 12,
        "directionality": "bidi",
        "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity",
    },
    "xlm-roberta": {"architectures": ["XLMRobertaModel"], "output_past": True},
    "roberta": {"architectures": ["RobertaForMaskedLM"], "gradient_checkpointing": False},
}


@families
def test_what_published_checkpoints_say_is_taken_without_a_word(model_type):
    _read(model_type, **PUBLISHED[model_type])
    assert _unknown(model_type, **PUBLISHED[model_type]) == {}


# The same of the hub's config.json of Gemma 2 9B, Phi-4 mini, SmolLM3 3B and GPT-NeoX 20B.
PUBLISHED_LATER = {
    "gemma2": {"hidden_act": "gelu_pytorch_tanh", "sliding_window_size": 4096},
    "phi3": {
        "auto_map": {"AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"},
        "full_attn_mod": 1,
        "interpolate_factor": 1,
        "lm_head_bias": False,
        "mlp_bias": False,
    },
    "smollm3": {"max_window_layers": 28, "layer_types": ["full_attention"] * 3},
    "gpt_neox": {"hidden_act": "gelu_fast", "attention_probs_dropout_prob": 0},
}


@pytest.mark.parametrize("model_type", list(PUBLISHED_LATER))
def test_what_published_checkpoints_of_the_later_families_say_is_taken(model_type):
    family = FAMILIES[model_type]
    fields = {**MORE[model_type], **PUBLISHED_LATER[model_type]}
    family.read_config(fields)
    assert unknown_fields(family.stem, fields, family.fields) == {}


def test_gelu_fast_is_that_of_transformers():
    x = jnp.linspace(-4, 4, 41)
    inner = 0.7978845608 * x * (1 + 0.044715 * x * x)
    np.testing.assert_allclose(
        ACTIVATIONS["gelu_fast"](x), 0.5 * x * (1 + jnp.tanh(inner)), atol=1e-6
    )


@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_a_part_of_a_head_that_is_null_is_not_set(key):
    scaled = {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}
    said = _read("llama", **{key: {**scaled, "partial_rotary_factor": None}})
    assert said == _read("llama", **{key: scaled})


@pytest.mark.parametrize(
    ("model_types", "name", "value"),
    [
        (("gpt2", *DECODERS), "is_causal", False),
        (("gpt2", *DECODERS), "is_causal", None),
        (("bert", "roberta"), "is_causal", True),
        (("bert", "roberta"), "is_decoder", True),
        (("gpt2", *DECODERS), "use_bidirectional_attention", True),
        (list(PLAIN), "is_encoder_decoder", True),
        (list(PLAIN), "add_cross_attention", True),
        (list(PLAIN), "pruned_heads", {"0": [1]}),
        (list(PLAIN), "per_layer_config", {"1": {"intermediate_size": 8}}),
        (list(PLAIN), "quantization_config", {"bits": 4}),
        (list(PLAIN), "auto_map", {"AutoModel": "modeling_other.OtherModel"}),
        (list(PLAIN), "attn_logit_softcapping", 50.0),
        (list(PLAIN), "logit_scale", 0.0625),
        (list(PLAIN), "embedding_multiplier", 12.0),
        (list(PLAIN), "num_experts", 8),
        (list(PLAIN), "alibi", True),
        (("gpt2", "bert"), "position_embedding_type", "rotary"),
        (("llama", "mistral", "qwen2", "bert"), "use_qk_norm", True),
        (DECODERS, "no_rope_layers", [1, 0, 1]),
        (DECODERS, "partial_rotary_factor", 0.25),
        (("mistral",), "attention_bias", True),
        (("mistral", "qwen2", "qwen3"), "mlp_bias", True),
        (("llama",), "layer_types", ["sliding_attention"] * 3),
        (("mistral",), "layer_types", ["full_attention", "sliding_attention", "sliding_attention"]),
        (("qwen3",), "layer_types", ["sliding_attention"] * 3),
    ],
)
def test_what_is_computed_otherwise_is_refused_by_name(model_types, name, value):
    for model_type in model_types:
        with pytest.raises(ValueError, match=rf"{name}\b") as caught:
            _read(model_type, **{name: value})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model_types", "fields"),
    [
        (("gpt2", *DECODERS), {"is_causal": True, "use_bidirectional_attention": None}),
        (("bert", "roberta"), {"is_causal": False, "is_decoder": False}),
        (("bert", "roberta"), {"is_causal": None}),
        (list(PLAIN), {"pruned_heads": {}, "num_experts": 0, "alibi": False, "logit_scale": 1.0}),
        (list(PLAIN), {"add_cross_attention": False, "quantization_config": None}),
        (list(PLAIN), {"auto_map": {"AutoTokenizer": ["tokens.OtherTokenizer", None]}}),
        (("qwen3",), {"use_qk_norm": True}),
        (DECODERS, {"no_rope_layers": [1, 1, 1], "partial_rotary_factor": 1.0}),
        (("llama",), {"layer_types": ["full_attention"] * 3}),
        (("mistral",), {"layer_types": ["sliding_attention"] * 3}),
        (DECODERS, {"rope_scaling": None, "head_dim": None, "num_key_value_heads": None}),
    ],
)
def test_values_that_are_computed_are_taken(model_types, fields):
    for model_type in model_types:
        assert isinstance(_read(model_type, **fields), type(_read(model_type)))
        assert _unknown(model_type, **fields) == {}


# Fields by type, one of each for every family.
TYPED = {
    "gpt2": {
        "size": ("n_embd", "n_layer", "n_head", "vocab_size"),
        "number": ("layer_norm_epsilon",),
        "text": ("activation_function",),
        "flag": ("scale_attn_weights", "scale_attn_by_inverse_layer_idx", "tie_word_embeddings"),
    },
    "llama": {
        "size": ("hidden_size", "num_hidden_layers", "intermediate_size"),
        "number": ("rms_norm_eps",),
        "text": ("hidden_act",),
        "flag": ("attention_bias", "mlp_bias", "tie_word_embeddings"),
    },
    "qwen2": {
        "size": ("max_position_embeddings", "num_attention_heads"),
        "number": ("rms_norm_eps",),
        "text": ("hidden_act",),
        "flag": ("use_sliding_window",),
    },
    "bert": {
        "size": ("hidden_size", "type_vocab_size", "max_position_embeddings"),
        "number": ("layer_norm_eps",),
        "text": ("hidden_act",),
        "flag": (),
    },
}
WRONG = {
    "size": ["12", True, 12.0, None, 0, -3, [12], {"a": 1}, 10**400],
    "number": ["1e-5", True, None, -1e-5, float("nan"), float("inf"), [1e-5], 10**400],
    "text": [None, 3, True, ["gelu"], {"gelu": 1}],
    "flag": [None, 0, 1, "true", "false", [True]],
}


@pytest.mark.parametrize("model_type", list(TYPED))
@pytest.mark.parametrize("kind", list(WRONG))
def test_a_value_of_another_type_is_named(model_type, kind):
    for name in TYPED[model_type][kind]:
        for value in WRONG[kind]:
            with pytest.raises(ValueError, match=rf"config: {name} must be .*, got "):
                _read(model_type, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_key_value_heads", "2"),
        ("head_dim", 4.0),
        ("sliding_window", 0),
        ("sliding_window", "4096"),
        ("max_window_layers", None),
        ("layer_types", "full_attention"),
        ("eos_token_id", "2"),
        ("eos_token_id", [True]),
        ("rope_theta", "10000"),
        ("rope_theta", True),
        ("rope_theta", 0),
        ("rope_scaling", "linear"),
        ("rope_scaling", [1]),
        ("rope_parameters", 4.0),
        ("original_max_position_embeddings", "16"),
    ],
)
def test_a_value_of_another_type_of_a_field_that_may_be_null_is_named(name, value):
    with pytest.raises(ValueError, match=rf"config: {name} must be .*, got "):
        _read("qwen2", **{name: value})


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rope_type": ["yarn"]}, "rope_scaling: rope_type=.* is not supported"),
        ({"rope_type": None}, "rope_scaling: rope_type=None is not supported"),
        ({"type": "linear", "factor": "2"}, "rope_scaling: factor must be a positive number"),
        ({"type": "linear", "factor": None}, "rope_scaling: factor must be a positive number"),
        ({"type": "linear", "factor": float("nan")}, "factor must be a positive number, got nan"),
        ({**YARN, "attention_factor": "1"}, "attention_factor must be a finite number"),
        ({**YARN, "beta_fast": "32"}, "beta_fast must be a positive number"),
        ({**YARN, "mscale": True}, "mscale must be a finite number"),
        ({**YARN, "truncate": "no"}, "truncate must be true or false"),
        (
            {**YARN, "original_max_position_embeddings": 16.0},
            "must be a positive integer, got 16.0",
        ),
        ({**YARN, "partial_rotary_factor": 0.5}, r"partial_rotary_factor=0\.5 is not supported; 1"),
        ({**YARN, "rope_theta": None}, "rope_theta must be a positive number, got null"),
    ],
)
def test_rotary_settings_that_cannot_be_used_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        _read("llama", rope_scaling=settings)


@pytest.mark.parametrize(
    "settings",
    [
        {**YARN, "original_max_position_embeddings": 10_000},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ],
)
def test_the_trained_length_beside_rotary_settings_counts_first_as_in_torch(tmp_path, settings):
    fields = {**PLAIN["llama"], "num_key_value_heads": 2, "head_dim": 16, "rope_scaling": settings}
    folder = write_variant(tmp_path, fields)
    plain = np.asarray(load_variant(folder)(jnp.asarray(TOKENS)))
    _same_as_torch(folder, {**fields, "original_max_position_embeddings": 4})
    assert np.abs(load_variant(folder)(jnp.asarray(TOKENS)) - plain).max() > 1e-3


def test_sizes_of_a_gpt2_may_go_by_the_names_of_other_models(tmp_path):
    folder = write_variant(tmp_path, PLAIN["gpt2"])
    names = {
        "n_embd": "hidden_size",
        "n_layer": "num_hidden_layers",
        "n_head": "num_attention_heads",
        "n_positions": "max_position_embeddings",
    }
    fields = {names.get(name, name): value for name, value in GPT2_SIZES.items()}
    _same_as_torch(folder, {"model_type": "gpt2", **fields})
    with pytest.raises(ValueError, match="n_head=4 and num_attention_heads=2 are two names"):
        _read("gpt2", num_attention_heads=2)


@families
def test_fields_of_which_nothing_is_known_are_listed(model_type):
    more = {"some_new_gate": True, "other_scale": 2.5, "off": False, "empty": {}, "none": None}
    assert _unknown(model_type, **more) == {"some_new_gate": True, "other_scale": 2.5}


@pytest.mark.parametrize(
    ("classes", "unknown"),
    [
        (["LlamaForCausalLM"], []),
        (["LLaMAForCausalLM", "LlamaModel"], []),
        (["LlamaForSequenceClassification"], []),
        (["LlamaEncoderModel"], ["LlamaEncoderModel"]),
        (["MistralForCausalLM"], ["MistralForCausalLM"]),
        (None, []),
        ("LlamaModel", []),
        ([3], [3]),
    ],
)
def test_classes_that_are_not_the_familys_are_listed(classes, unknown):
    assert _unknown("llama", architectures=classes).get("architectures", []) == unknown


def test_keys_of_rotary_settings_of_which_nothing_is_known_are_listed():
    scaling = {"type": "yarn", "factor": 4.0, "finetuned": True, "other": None}
    assert _unknown("llama", rope_scaling=scaling) == {"rope_scaling.finetuned": True}


@pytest.fixture
def folder(checkpoint, tmp_path):
    """A copy of the tiny GPT-2 whose config.json sets a field that nobody knows."""
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    _set(folder, some_new_gate=True)
    return folder


def _set(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_an_unknown_field_is_a_warning_and_the_plain_model_is_computed(checkpoint, folder):
    with pytest.warns(UserWarning, match=r"some_new_gate=true; a plain gpt2 is computed") as caught:
        found = load_backbone(folder)
    assert str(folder) in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = load_backbone(checkpoint)
    np.testing.assert_array_equal(
        found.module(jnp.asarray(TOKENS)), expected.module(jnp.asarray(TOKENS))
    )
    assert found.identity.config_sha256 == expected.identity.config_sha256


def test_all_of_it_is_in_the_report_on_a_checkpoint(folder, capsys):
    assert check_support(folder).unknown == {"some_new_gate": True}
    assert main(["backbones", str(folder)]) == 0
    assert "some_new_gate=true in config.json: a plain gpt2 is computed" in capsys.readouterr().out
    _set(folder, n_layer="2", is_causal=False, layer_norm_epsilon=None)
    _set(folder, architectures=3, rope_scaling="linear")
    faults = check_support(folder).faults
    assert len(faults) == 3
    for part in ("n_layer must be", "is_causal=false", "layer_norm_epsilon must be"):
        assert sum(part in fault for fault in faults) == 1


@pytest.mark.filterwarnings("default:.*not known in config.json")
def test_a_command_says_a_warning_in_one_line(folder, tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "chosen": "the tutor", "rejected": "the student"}\n')
    assert main(["extract", f"--model={folder}", f"--data={rows}", f"--out={tmp_path / 'o'}"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "some_new_gate" in line]
    assert len(lines) == 1 and lines[0].startswith(f"coala-jax: warning: {folder}: not known in")


def test_a_field_of_another_type_is_no_traceback_of_the_torch_engine(folder):
    pytest.importorskip("torch")
    _set(folder, n_inner="64")
    with pytest.raises(CheckpointError, match="transformers cannot load it") as caught:
        load_backbone(folder, engine="torch")
    assert "\n" not in str(caught.value)
