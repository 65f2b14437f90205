"""Layers that are scanned: compile time does not grow with depth, and any layer can be read."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from coala_jax.backbones.attention import KeyValueCache, States

# One layer: its number from 0, the hidden states and its cached keys and values; gives the hidden
# states after it and the keys and values of its own.
Layer = Callable[
    [jax.Array, jax.Array, tuple[jax.Array, jax.Array] | None],
    tuple[jax.Array, tuple[jax.Array, jax.Array]],
]
LAST = (-1,)


def layer_indices(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Layers counted from 0, the embedding, to ``depth``; negative ones count from the end.

    Raises:
        ValueError: none asked for, or one that the model does not have.
    """
    bad = [layer for layer in layers if not -depth - 1 <= layer <= depth]
    if bad or not layers:
        raise ValueError(
            f"layers={tuple(layers)}: the model has layers 0 (the embedding) to {depth}, or "
            f"-1 (the last) to {-depth - 1}"
        )
    return tuple(layer % (depth + 1) for layer in layers)


def run_layers(
    layer: Layer,
    finish: Callable[[jax.Array], jax.Array],
    hidden: jax.Array,
    depth: int,
    layers: Sequence[int] = LAST,
    cache: KeyValueCache | None = None,
    *,
    keep: bool = False,
) -> States:
    """Run a stack as far as it is asked for.

    Args:
        layer: one layer of the stack.
        finish: the norm after the last layer.
        hidden: (batch, length, width) embeddings.
        depth: layers in the stack.
        layers: which hidden states to give, numbered as Hugging Face's ``hidden_states``: k is the
            output of k layers, and the last has passed the final norm.
        cache: keys and values of earlier tokens.
        keep: give the keys and values too, for `append`; all layers run then.

    Returns:
        The hidden states asked for, and keys and values where they are kept.

    Raises:
        ValueError: layers that the model does not have.
    """
    wanted = layer_indices(layers, depth)

    def step(hidden: jax.Array, number: jax.Array) -> tuple[jax.Array, Any]:
        cached = None if cache is None else (cache.keys[number], cache.values[number])
        hidden, own = layer(number, hidden, cached)
        return hidden, own if keep else None

    found, kept, start = {0: hidden}, [], 0
    # One scan from each layer asked for to the next; the weights are indexed, never sliced apart.
    for stop in sorted({*wanted, depth} if keep else set(wanted)):
        if stop > start:
            hidden, own = jax.lax.scan(step, hidden, jnp.arange(start, stop))
            kept.append(own)
            start = stop
        found[stop] = hidden
    if depth in found:
        found[depth] = finish(found[depth])
    states = tuple(found[index] for index in wanted)
    if not keep:
        return States(states)
    keys, values = (jnp.concatenate(parts) for parts in zip(*kept, strict=True))
    return States(states, keys, values)
