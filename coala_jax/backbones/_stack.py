"""Layers that are scanned: compile time does not grow with depth, and any layer can be read."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from coala_jax._errors import CoalaError
from coala_jax.backbones._attention import KeyValueCache, States
from coala_jax.backbones._family import Slot, Split
from coala_jax.backbones._ops import random_normal

# One layer: its number from 0, the hidden states and its cached keys and values; gives the hidden
# states after it and the keys and values of its own.
Layer = Callable[
    [jax.Array, jax.Array, tuple[jax.Array, jax.Array] | None],
    tuple[jax.Array, tuple[jax.Array, jax.Array]],
]
# Parameter of a layer to its tensor's name, behind that of the layer, and the shape of one layer's.
LayerTensors = Mapping[str, tuple[str, tuple[int, ...]]]
LAST = (-1,)


class StackedLayers(nnx.Module):
    """The parameters of all layers, each an array whose leading axis is the layer."""

    def __init__(
        self,
        tensors: LayerTensors,
        depth: int,
        std: float,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
        unit: float = 1.0,
    ):
        """Initialise as Hugging Face does: normal weights, zero biases, unit norms.

        Args:
            tensors: names and shapes; a name that ends in ``_norm`` is a norm's weight, one in
                ``_bias`` a bias.
            depth: number of layers.
            std: standard deviation of the weights.
            rngs: the stream ``params`` (or ``default``) gives them.
            dtype: floating type.
            unit: a norm's weight that changes nothing.
        """
        for name, (_, shape) in tensors.items():
            whole = (depth, *shape)
            if name.endswith("_norm"):
                value = jnp.full(whole, unit, dtype)
            elif name.endswith("_bias"):
                value = jnp.zeros(whole, dtype)
            else:
                value = std * random_normal(rngs.params(), whole, dtype)
            setattr(self, name, nnx.Param(value))
        self.names = tuple(tensors)

    def of(self, number: jax.Array) -> dict[str, jax.Array]:
        """The weights of one layer."""
        return {name: getattr(self, name)[...][number] for name in self.names}


def count_matrix_weights(tensors: LayerTensors) -> int:
    """Weights in the matrices of a layer."""
    return sum(math.prod(shape) for _, shape in tensors.values() if len(shape) > 1)


def layer_slots(owner: str, path: str, tensors: LayerTensors, depth: int) -> dict[str, Slot]:
    """Where a module keeps the tensors of its layers, in its `StackedLayers`.

    Args:
        owner: name of the list of layers in a checkpoint.
        path: the module's attribute.
        tensors: of a layer.
        depth: number of layers.

    Returns:
        Name of every layer's tensors in a checkpoint, to its slot.
    """
    return {
        f"{owner}.{layer}.{tensor}": Slot((path, name), layer)
        for layer in range(depth)
        for name, (tensor, _) in tensors.items()
    }


def layer_splits(path: str, heads: int, key_heads: int, inner: int) -> dict[tuple[str, ...], Split]:
    """How devices share the layers of a `StackedLayers` (Shoeybi et al. 2019, section 3).

    Attention is split by heads and feed-forward by its inner width: a device computes its heads
    from the whole hidden states, and what the devices give is summed after ``o`` and ``down``.

    Args:
        path: the module's attribute.
        heads: query heads.
        key_heads: key and value heads.
        inner: width inside the feed-forward block.

    Returns:
        Path of a parameter to its split; names that a family does not have do no harm.
    """
    from_whole = {"q": heads, "k": key_heads, "v": key_heads, "gate": inner, "up": inner}
    to_whole = {"o": heads, "down": inner}
    return {
        **{(path, f"{name}_weight"): Split(-2, parts) for name, parts in from_whole.items()},
        **{(path, f"{name}_bias"): Split(-1, parts) for name, parts in from_whole.items()},
        **{(path, f"{name}_weight"): Split(-1, parts) for name, parts in to_whole.items()},
    }


def layer_indices(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Layers counted from 0, the embedding, to ``depth``; negative ones count from the end.

    Raises:
        ValueError: none asked for, or one that the model does not have.
    """
    bad = [layer for layer in layers if not -depth - 1 <= layer <= depth]
    if bad or not layers:
        raise CoalaError(
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
