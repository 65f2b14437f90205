"""The formula of a pass's operations against XLA's own count, and against the modules' weights."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from coala_jax.backbones._attention import plain_batch
from coala_jax.backbones._families import FAMILIES
from coala_jax.backbones._flops import layer_flops, pass_flops

# Wide enough that what the formula leaves out is small.
WIDTH, INNER, DEPTH, LENGTH = 256, 384, 3, 64
SIZES = {
    "vocab_size": 31,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
FIELDS = {
    "gpt2": {"vocab_size": 31, "n_embd": WIDTH, "n_inner": INNER, "n_layer": DEPTH, "n_head": 4},
    "llama": {**SIZES, "num_key_value_heads": 2},
    "mistral": {**SIZES, "num_key_value_heads": 1, "sliding_window": 8},
    "qwen3": {**SIZES, "num_key_value_heads": 2, "head_dim": 32},
    "bert": SIZES,
}
# Norms, softmax, activations and rotary embeddings, which the formula leaves out.
LEFT_OUT = 0.05


@pytest.fixture(params=list(FIELDS))
def model(request):
    family = FAMILIES[request.param]
    config = family.read_config({"model_type": request.param, **FIELDS[request.param]})
    return config, nnx.eval_shape(lambda: family.make(config, nnx.Rngs(0), jnp.float32))


def compiler_flops(module, layer):
    """XLA's count. One row, as loops over rows and over layers are counted as a single turn."""
    graph, state = nnx.split(module)

    def run(state, tokens):
        return nnx.merge(graph, state).states(plain_batch(tokens), layers=(layer,)).hidden

    tokens = jax.ShapeDtypeStruct((1, LENGTH), jnp.int32)
    return jax.jit(run).lower(state, tokens).compile().cost_analysis()["flops"]


def test_a_layer_takes_what_the_compiler_counts(model):
    config, module = model
    counted = compiler_flops(module, 1) - compiler_flops(module, 0)
    formula = layer_flops(config, 1, LENGTH)
    assert formula <= counted <= (1 + LEFT_OUT) * formula


def test_the_weights_of_a_layer_are_those_of_the_module(model):
    config, module = model
    stacks = [leaf for leaf in jax.tree.leaves(nnx.state(module.layers)) if leaf.ndim == 3]
    assert DEPTH * config.matrix_weights == sum(leaf.size for leaf in stacks)


def test_a_pass_runs_as_far_as_its_deepest_layer(model):
    config, _ = model
    layer = layer_flops(config, 5, LENGTH)
    assert pass_flops(config, 5, LENGTH) == DEPTH * layer
    assert pass_flops(config, 5, LENGTH, (0, 2)) == 2 * layer
    assert pass_flops(config, 5, LENGTH, (0,)) == 0
    assert layer_flops(config, 10, LENGTH) == 2 * layer
