"""The formula of training: by hand, against XLA's count of a layer's backward pass, its errors."""

import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from coala_jax.backbones._attention import plain_batch
from coala_jax.backbones._families import FAMILIES

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# Norms, softmax, activations and rotary embeddings, which the formula leaves out; and the scores,
# which JAX keeps for the way back and fused attention makes again.
APART = 0.05

# Two layers of q (4, 4), k and v (4, 2), o (4, 4), gate and up (4, 6), down (6, 4): 120 weights.
# Two rows of three slots: 6 slots, 18 pairs, attention as wide as 4. LoRA of rank 1.
TINY = {
    "vocab_size": 10,
    "hidden_size": 4,
    "intermediate_size": 6,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 8,
}
FORWARD = 2 * (2 * 6 * 120 + 4 * 18 * 4)
# On q alone: forward in both layers, all gradients in the second; in the first neither q, k and v
# nor the adapter have a gradient of what they read.
ON_Q = FORWARD + 2 * 2 * 6 * 8
ON_Q += 2 * 6 * (120 + 2 * 8) + 10 * 18 * 4
ON_Q += 2 * 6 * (120 - 32 + 2 * 8 - 4) + 10 * 18 * 4
# On down alone: the first layer has the gradients of the adapter's weights and of its middle alone.
ON_DOWN = FORWARD + 2 * 2 * 6 * 10
ON_DOWN += 2 * 6 * (120 + 2 * 10) + 10 * 18 * 4
ON_DOWN += 2 * 6 * (10 + 4)

# Wide enough that what the formula leaves out is small.
LENGTH = 64
WIDE = {
    "vocab_size": 31,
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
FIELDS = {
    "gpt2": {"vocab_size": 31, "n_embd": 256, "n_inner": 384, "n_layer": 3, "n_head": 4},
    "llama": {**WIDE, "num_key_value_heads": 2},
    "gpt_neox": WIDE,
}
DEPTHS = {"gpt2": "n_layer"}
FIRST = {"gpt2": "c_attn", "llama": "q_proj", "gpt_neox": "query_key_value"}


@pytest.fixture
def flops(monkeypatch):
    """The module, which benchmarks import from beside them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import training_flops

    yield training_flops
    del sys.modules["training_flops"]


def config_of(name, fields):
    return FAMILIES[name].read_config({"model_type": name, **fields})


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("sft", 6 * 5 * 4 * 10),
        ("dpo", 6 * 5 * 4 * 10 + FORWARD + 2 * 5 * 4 * 10),
        ("orpo", 4 * 5 * 4 * 10),
        ("grpo", 6 * 5 * 4 * 10),
        ("reward", 6 * 5 * 4),
    ],
)
@pytest.mark.parametrize(("target", "layers"), [("q_proj", ON_Q), ("mlp.down_proj", ON_DOWN)])
def test_a_tiny_model_takes_what_a_hand_counts(flops, method, head, target, layers):
    config = config_of("llama", TINY)
    one = flops.training_flops(config, method, [(2, 3, 5, 5)], 1, [target])
    assert one == layers + head
    assert flops.training_flops(config, method, [(2, 3, 5, 5)] * 7, 1, [target]) == 7 * one
    assert flops.training_flops(config, method, [], 1, [target]) == 0


def test_branches_side_by_side_have_gradients_of_their_own(flops):
    """Of GPT-NeoX: with adapters in attention, none flow through the first feed-forward block."""
    parallel = config_of("gpt_neox", WIDE)
    branch = 2 * LENGTH * 2 * 256 * 384
    given = [(1, LENGTH, LENGTH, 0)], 4, ["query_key_value"]
    sequential = flops.training_flops(replace(parallel, parallel=False), "sft", *given)
    assert sequential - flops.training_flops(parallel, "sft", *given) == branch


@pytest.mark.parametrize("name", list(FIELDS))
def test_a_frozen_layer_takes_what_the_compiler_counts(flops, name):
    fields, depth = FIELDS[name], DEPTHS.get(name, "num_hidden_layers")
    config = config_of(name, fields)
    counted = compiler_flops(name, config, 1) - compiler_flops(name, config, 0)
    deep, shallow = (
        flops.training_flops(
            config_of(name, {**fields, depth: layers}), "sft", [(1, LENGTH, 0, 0)], 0, [FIRST[name]]
        )
        for layers in (2, 1)
    )
    assert counted == pytest.approx(deep - shallow, rel=APART)


def compiler_flops(name, config, layer):
    """XLA's count of a forward and a backward pass through a frozen layer, or none."""
    family = FAMILIES[name]
    module = nnx.eval_shape(lambda: family.make(config, nnx.Rngs(0), jnp.float32))
    path = family.layout(config)[family.embedding].path
    graph, embedding, frozen = nnx.split(module, lambda at, _: tuple(at) == path, ...)

    def run(embedding, frozen, tokens, gradient):
        def states(embedding):
            whole = nnx.merge(graph, embedding, frozen)
            return whole.states(plain_batch(tokens), layers=(layer,)).hidden[0]

        hidden, back = jax.vjp(states, embedding)
        return hidden, back(gradient)

    tokens = jax.ShapeDtypeStruct((1, LENGTH), jnp.int32)
    gradient = jax.ShapeDtypeStruct((1, LENGTH, config.hidden_size), jnp.float32)
    compiled = jax.jit(run).lower(embedding, frozen, tokens, gradient).compile()
    return compiled.cost_analysis()["flops"]


@pytest.mark.parametrize("name", list(FIELDS))
def test_the_matrices_are_those_of_the_configuration(flops, name):
    config = config_of(name, FIELDS[name])
    matrices = flops.layer_matrices(config)
    assert sum(each.inputs * each.outputs for each in matrices) == config.matrix_weights
    assert {each.stage for each in matrices} == {0, 1, 2, 3}
    assert {each.inputs for each in matrices if each.stage == 3} == {384}


def test_scoring_is_a_pass_and_a_head(flops):
    assert flops.scoring_flops(config_of("llama", TINY), 2, 3, 5) == FORWARD + 2 * 5 * 4 * 10


def test_an_answer_is_a_pass_over_the_prompt_and_one_a_slot(flops):
    """Two rows, prompts of three slots, three passes: over 3, 1 and 1 slots, of 9, 4 and 5 pairs.

    An adapter of q, (4, 4) of rank 1, has 8 weights.
    """
    config = config_of("llama", TINY)
    answered = 2 * (2 * 2 * 5 * (120 + 8) + 4 * 2 * (9 + 4 + 5) * 4) + 2 * 2 * 3 * 4 * 10
    assert flops.generation_flops(config, 2, 3, 3, 8) == answered
    assert flops.generation_flops(config, 2, 3, 1) == FORWARD + 2 * 2 * 4 * 10
    shapes = [(2, 3, 5, 5)] * 2
    given = config, [(2, 3, 3)], shapes, 1, ["q_proj"]
    training = flops.training_flops(config, "grpo", shapes, 1, ["q_proj"])
    parts = {"generation": answered, "training": training, "reference": 0}
    assert flops.grpo_flops(*given) == parts
    reference = 2 * flops.scoring_flops(config, 2, 3, 5)
    assert flops.grpo_flops(*given, reference=True) == {**parts, "reference": reference}


def test_a_wrong_target_or_method_is_named(flops):
    config = config_of("llama", TINY)
    with pytest.raises(ValueError, match=r"'c_attn' names no matrix .*self_attn\.q_proj"):
        flops.training_flops(config, "sft", [], 1, ["q_proj", "c_attn"])
    with pytest.raises(ValueError, match="method='ppo'.*sft, dpo"):
        flops.training_flops(config, "ppo", [], 1, ["q_proj"])
