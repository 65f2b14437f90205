"""Floating-point operations of a backbone, counted: what a pass, extraction or generation runs.

    counted(lambda: guided_generate(countable(model), prompts, config, key))

Flax lets a module be used where it was made alone, in the eyes of `jax`, and a count is another
place: it takes a copy of the model that is made there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import jax
from counted_flops import counted
from flax import nnx

from coala_jax.backbones import Backbone, BackboneModule
from coala_jax.backbones._attention import plain_batch
from coala_jax.backbones._stack import LAST
from coala_jax.decoding import TextRewardModel

Model = TypeVar("Model", Backbone, TextRewardModel)


def extraction_count(
    module: BackboneModule, tokens: jax.Array, layers: Sequence[int] = LAST
) -> int:
    """Operations of a pass over (rows, length) tokens as far as its layers, as `pass_flops`."""
    graph, state = nnx.split(module)

    @jax.jit
    def run(state: nnx.State, tokens: jax.Array) -> tuple[jax.Array, ...]:
        states = nnx.merge(graph, state).states(plain_batch(tokens), layers=tuple(layers))
        return tuple(states.hidden)

    return counted(run, state, tokens).flops


def countable(model: Model) -> Model:
    """A copy for the count that it is called in; weights are shared."""
    if isinstance(model, TextRewardModel):
        return dataclasses.replace(model, backbone=countable(model.backbone))
    return dataclasses.replace(model, module=nnx.clone(model.module))
