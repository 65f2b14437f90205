"""GPT-2: the same hidden states as torch's, whatever stands at the padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from coala_jax.backbones._families._gpt2 import GPT2, LAYER_TENSORS, GPT2Config

TINY = {"vocab_size": 11, "n_positions": 8, "n_embd": 4, "n_layer": 2, "n_head": 2}
TOKENS = jnp.array([[3, 1, 4, 1, 5]])
# Without jit every call compiles its scan anew.
run = jax.jit(lambda module, *arguments: module(*arguments))
# Hidden states of tokens 0 and 4 from transformers 5.23 with torch 2.13, weights as ``_filled``.
VARIANTS = [
    pytest.param(
        {},
        [
            [0.1381148, -0.1853512, -0.1898555, 0.4245734],
            [0.1436541, 0.163538, -0.0781731, 0.6584291],
        ],
        id="plain",
    ),
    pytest.param(
        {
            "scale_attn_by_inverse_layer_idx": True,
            "scale_attn_weights": False,
            "activation_function": "relu",
        },
        [
            [0.13837, -0.1239997, -0.1828638, 0.4711877],
            [0.1444274, 0.1691662, -0.0643385, 0.6569772],
        ],
        id="relu-scaled-by-layer",
    ),
]


def _filled(name, shape):
    """Weights that any machine and any version makes alike."""
    n = int(np.prod(shape))
    return (0.3 * np.sin(sum(name.encode()) + 1.7 * np.arange(n))).reshape(shape)


def _golden_module(**variant):
    config = GPT2Config(**TINY, **variant)
    module = nnx.eval_shape(lambda: GPT2(config, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(module)
    filled = []
    for path, leaf in nnx.to_flat_state(state):
        if path[0] == "layers":
            names = [f"h.{i}.{LAYER_TENSORS[path[1]]}" for i in range(config.n_layer)]
            value = np.stack([_filled(name, leaf.shape[1:]) for name in names])
        else:
            value = _filled(".".join(path[0].rsplit("_", 1)), leaf.shape)
        filled.append((path, leaf.replace(jnp.asarray(value, jnp.float32))))
    return nnx.merge(graph, nnx.from_flat_state(filled))


@pytest.fixture(scope="module")
def module():
    config = GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=3, n_head=2)
    return GPT2(config, rngs=nnx.Rngs(1))


@pytest.mark.parametrize(("variant", "expected"), VARIANTS)
def test_hidden_states_are_those_recorded_from_torch(variant, expected):
    module = _golden_module(**variant)
    for hidden in (module(TOKENS), run(module, TOKENS)):
        np.testing.assert_allclose(hidden[0, jnp.array([0, 4])], expected, atol=1e-6)


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {
            "activation_function": "gelu",
            "n_inner": 20,
            "scale_attn_by_inverse_layer_idx": True,
        },
    ],
)
def test_hidden_states_and_logits_equal_torch(variant, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from coala_jax.backbones import save_checkpoint

    config = GPT2Config(vocab_size=97, n_positions=32, n_embd=24, n_layer=3, n_head=3, **variant)
    module = GPT2(config, rngs=nnx.Rngs(2))
    # Wider than at the start, so that attention is far from uniform.
    state = nnx.state(module)
    nnx.update(module, jax.tree.map(lambda leaf: 8 * leaf, state))
    save_checkpoint(tmp_path, module, config, jnp.float32)
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()

    tokens = np.random.default_rng(0).integers(0, 97, (3, 32))
    with torch.no_grad():
        output = reference(torch.tensor(tokens), output_hidden_states=True)
    expected = output.hidden_states[-1].numpy()
    hidden = run(module, jnp.asarray(tokens))
    assert np.abs(hidden - expected).max() <= 1e-4 * np.abs(expected).max()
    logits = output.logits.numpy()
    assert np.abs(module.logits(hidden) - logits).max() <= 1e-4 * np.abs(logits).max()


def test_right_padding_leaves_real_positions_unchanged(module):
    tokens = jax.random.randint(jax.random.key(0), (2, 16), 0, 50)
    mask = jnp.broadcast_to(jnp.arange(16) < 5, (2, 16))
    padded = run(module, jnp.where(mask, tokens, 7), mask)
    np.testing.assert_allclose(padded[:, :5], run(module, tokens[:, :5]), atol=1e-5)


def test_later_tokens_do_not_reach_earlier_ones(module):
    tokens = jax.random.randint(jax.random.key(1), (1, 12), 0, 50)
    changed = tokens.at[0, 8:].add(1) % 50
    before, after = run(module, tokens), run(module, changed)
    np.testing.assert_array_equal(before[0, :8], after[0, :8])
    assert np.abs(before[0, 8:] - after[0, 8:]).max() > 1e-3


def test_a_row_of_padding_alone_stays_finite(module):
    tokens = jnp.zeros((1, 4), int)
    assert jnp.isfinite(run(module, tokens, jnp.zeros((1, 4), bool))).all()


def test_depth_does_not_grow_the_program():
    def size(layers):
        config = GPT2Config(**{**TINY, "n_layer": layers})
        graph, state = nnx.split(nnx.eval_shape(lambda: GPT2(config, rngs=nnx.Rngs(0))))
        jaxpr = jax.make_jaxpr(lambda state: nnx.merge(graph, state)(TOKENS))(state)
        return len(str(jaxpr.jaxpr).splitlines())

    assert size(2) == size(12)


def test_float32_asks_for_the_highest_precision_and_bfloat16_does_not():
    def program(dtype):
        config = GPT2Config(**TINY)
        module = nnx.eval_shape(lambda: GPT2(config, rngs=nnx.Rngs(0), dtype=dtype))
        graph, state = nnx.split(module)
        return str(jax.make_jaxpr(lambda state: nnx.merge(graph, state)(TOKENS))(state))

    assert program(jnp.float32).count("HIGHEST") >= 6
    assert "HIGHEST" not in program(jnp.bfloat16)


def test_bfloat16_weights_give_bfloat16_hidden_states_near_those_of_float32():
    full = _golden_module()
    graph, state = nnx.split(full)
    half = nnx.merge(graph, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), state))
    hidden = run(half, TOKENS)
    assert hidden.dtype == jnp.bfloat16
    assert np.abs(hidden.astype(jnp.float32) - run(full, TOKENS)).max() < 0.1


def test_initial_weights_are_as_hugging_face_makes_them():
    module = GPT2(GPT2Config(500, 64, 64, 8, 4), rngs=nnx.Rngs(0))
    assert np.std(module.wte_weight[...]) == pytest.approx(0.02, rel=0.05)
    assert np.std(module.layers.attn_c_attn_weight[...]) == pytest.approx(0.02, rel=0.05)
    assert np.std(module.layers.mlp_c_proj_weight[...]) == pytest.approx(0.02 / 4, rel=0.05)
    assert np.all(module.layers.ln_1_weight[...] == 1)
    assert np.all(module.layers.mlp_c_fc_bias[...] == 0)


def test_a_gradient_step_lowers_the_loss():
    graph, state = nnx.split(_golden_module())

    @jax.jit
    def loss_and_gradient(state):
        def loss(state):
            module = nnx.merge(graph, state)
            logged = jax.nn.log_softmax(module.logits(module(TOKENS[:, :-1])))
            return -jnp.take_along_axis(logged, TOKENS[:, 1:, None], -1).mean()

        return jax.value_and_grad(loss)(state)

    before, gradient = loss_and_gradient(state)
    stepped = jax.tree.map(lambda leaf, slope: leaf - 0.01 * slope, state, gradient)
    assert loss_and_gradient(stepped)[0] < before
    assert all(np.abs(slope).max() > 0 for slope in jax.tree.leaves(gradient.layers))


def test_too_long_a_sequence_and_a_mask_of_another_shape_are_refused(module):
    with pytest.raises(ValueError, match="length 17 exceeds the model's 16 positions"):
        module(jnp.zeros((1, 17), int))
    with pytest.raises(ValueError, match=r"attention_mask: shape \(1, 3\)"):
        module(jnp.zeros((1, 4), int), jnp.ones((1, 3)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_head": 5}, "n_head=5 must divide n_embd=768"),
        ({"n_layer": 0}, "n_layer must be a positive integer, got 0"),
        ({"n_embd": "wide"}, "n_embd must be a positive integer, got 'wide'"),
        ({"activation_function": "mish"}, "activation_function='mish' is not supported"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_a_config_that_cannot_be_honoured_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        GPT2Config.from_dict(fields)


def test_config_ignores_what_an_evaluation_does_not_need_and_survives_a_round_trip():
    config = GPT2Config.from_dict({"n_embd": 32, "n_head": 4, "resid_pdrop": 0.1, "n_inner": None})
    assert (config.n_embd, config.inner_width, config.max_length) == (32, 128, 1024)
    assert GPT2Config.from_dict(config.to_dict()) == config
