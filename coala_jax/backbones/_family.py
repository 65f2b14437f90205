"""What a model family tells the checkpoint reader about itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from coala_jax._errors import CoalaError
from coala_jax.backbones._attention import (
    KeyValueCache,
    States,
    TokenBatch,
    empty_cache,
    plain_batch,
)
from coala_jax.backbones._config_fields import SIZE, Kind
from coala_jax.backbones._ops import linear

# Sizes that configurations of most families have by these names.
STACK_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)


class BackboneConfig(Protocol):
    """What every family's configuration has."""

    @property
    def vocab_size(self) -> int:
        """Rows of the token embedding."""
        ...

    @property
    def max_length(self) -> int:
        """Longest sequence the model takes."""
        ...

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""
        ...

    @property
    def depth(self) -> int:
        """Number of layers."""
        ...

    @property
    def matrix_weights(self) -> int:
        """Weights in the matrices of a layer, each of which meets every token once."""
        ...

    @property
    def attention_width(self) -> int:
        """Query heads times the width of a head."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The Hugging Face ``config.json`` as a dictionary."""
        ...


@dataclass(frozen=True)
class StackConfig:
    """Sizes of a stack of layers, by Hugging Face's names; a family's configuration adds to them.

    Attributes:
        model_type: as in ``config.json``.
        vocab_size: rows of the token embedding.
        hidden_size: width of the hidden states.
        intermediate_size: width inside the feed-forward block.
        num_hidden_layers: number of layers.
        num_attention_heads: query heads.
        max_position_embeddings: longest sequence, or rows of the position embedding.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            ValueError: names the field and its value.
        """
        require_sizes(self.model_type, self, STACK_SIZES)

    @property
    def depth(self) -> int:
        """Number of layers."""
        return self.num_hidden_layers


class BackboneModule(nnx.Module):
    """What every family's module does.

    Attributes:
        config: the family's configuration.
        causal: whether a token sees earlier ones alone, so that prefixes can be shared.
    """

    config: Any
    causal: bool

    @property
    def generates(self) -> bool:
        """Whether it scores next tokens and keeps keys and values."""
        return False

    @property
    def dtype(self) -> np.dtype:
        """The floating type of weights and computation."""
        return jax.tree.leaves(nnx.state(self, nnx.Param))[0].dtype

    def __call__(self, tokens: jax.Array, attention_mask: jax.Array | None = None) -> jax.Array:
        """Hidden states after the last layer and the norm behind it.

        Args:
            tokens: (batch, length) integers below ``vocab_size``.
            attention_mask: (batch, length), true or 1 at real tokens, padding on either side. None
                means that every token is real. Hidden states at padding mean nothing.

        Returns:
            (batch, length, hidden_size) in the dtype of the weights.

        Raises:
            ValueError: a length beyond the model's positions, or a mask of another shape.
        """
        batch = plain_batch(tokens, attention_mask, self.config.max_length)
        return self.states(batch).hidden[0]

    def states(
        self,
        batch: TokenBatch,
        cache: KeyValueCache | None = None,
        layers: Sequence[int] = (-1,),
        *,
        keep: bool = False,
    ) -> States:
        """Hidden states of token trees at the layers asked for, and keys and values to keep.

        Args:
            batch: (batch, length) tokens, each with its position and who sees it.
            cache: of the tokens before; None where there are none.
            layers: which hidden states, numbered as Hugging Face's ``hidden_states``.
            keep: give the keys and values too.

        Returns:
            (batch, length, hidden_size) in the dtype of the weights for every layer asked for;
            keys and values (depth, batch, length, key heads, head width), or None.

        Raises:
            ValueError: layers that the model does not have; a cache where it keeps none.
        """
        raise NotImplementedError

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Scores of the next token, of a model that `generates`.

        Args:
            hidden: (..., hidden_size) last hidden states.

        Returns:
            (..., vocab_size) in the dtype of ``hidden``.

        Raises:
            ValueError: nothing scores them.
        """
        raise NotImplementedError

    def new_cache(self, rows: int, capacity: int) -> KeyValueCache:
        """An empty key-value cache for a model that `generates`, in its dtype.

        Args:
            rows: of the batches to come.
            capacity: slots a row, a token each.
        """
        token = jnp.zeros((rows, 1), jnp.int32)
        batch = TokenBatch(token, token, token + 1)
        kept = jax.eval_shape(lambda module: module.states(batch, keep=True).keys, self)
        layers, _, _, heads, head_dim = kept.shape  # (layers, rows, length, heads, head_dim)
        return empty_cache(layers, rows, capacity, heads, head_dim, kept.dtype)


class CausalModule(BackboneModule):
    """A module whose tokens see earlier ones alone, and that scores the next one."""

    causal = True

    @property
    def generates(self) -> bool:
        """Whether anything scores next tokens."""
        return bool(self.config.has_head)

    @property
    def output_embedding(self) -> nnx.Param[jax.Array]:
        """(vocab_size, hidden_size) rows that score next tokens."""
        raise NotImplementedError

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Scores of the next token.

        Args:
            hidden: (..., hidden_size), as ``__call__`` gives them.

        Returns:
            (..., vocab_size) in the dtype of ``hidden``.

        Raises:
            ValueError: nothing scores them.
        """
        require_head(self.config.has_head)
        return linear(hidden, self.output_embedding[...])


class Slot(NamedTuple):
    """Where a tensor of a checkpoint lives in the module.

    Attributes:
        path: attribute names from the module down to the parameter.
        layer: index on the parameter's leading axis, or None where the tensor is all of it.
    """

    path: tuple[str, ...]
    layer: int | None = None


class Split(NamedTuple):
    """How a parameter is split over devices that hold a model together.

    Attributes:
        axis: counted from the end, so that a leading axis of layers changes nothing.
        parts: what lies on that axis and must not be cut, such as heads; the devices must divide
            it.
    """

    axis: int
    parts: int


@dataclass(frozen=True)
class Family:
    """A model type that ``load_backbone`` can read.

    Attributes:
        read_config: parsed ``config.json`` to the family's configuration; raises ValueError.
        fields: of ``config.json``, those that are read or have one value that is computed.
        stem: how transformers' classes of the family begin.
        make: random module of a configuration: ``make(config, rngs, dtype)``; a `BackboneModule`.
        layout: tensor name in the checkpoint, without prefix, to its slot.
        prefix: what a checkpoint may put before the names.
        more_prefixes: what it may put there instead, for some heads.
        ignored: a regular expression of tensors that carry no weight of their own; a name of the
            layout is never ignored.
        covers: the models of this type, for people.
        splits: a configuration's parameters that several devices may hold by parts, by their paths;
            those not named are whole on each.
        unprefixed: names that never take the prefix.
        renamed: how names ended in old checkpoints, and how they end now.
        embedding: name of the token embedding, in families that may score next tokens with it.
        head: name of the matrix that scores next tokens where the embedding does not; the
            configuration says which by ``tie_word_embeddings`` and ``has_head``.
        turned: a regular expression of the matrices that lie as (in, out).
    """

    read_config: Callable[[Mapping[str, Any]], Any]
    fields: Mapping[str, Kind]
    stem: str
    make: Callable[[Any, nnx.Rngs, DTypeLike], BackboneModule]
    layout: Callable[[Any], dict[str, Slot]]
    prefix: str
    ignored: str
    covers: str
    splits: Callable[[Any], Mapping[tuple[str, ...], Split]]
    unprefixed: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    embedding: str = ""
    head: str = ""
    turned: str = ""
    more_prefixes: tuple[str, ...] = ()

    def stored_name(self, name: str) -> str:
        """A name of the layout as a checkpoint of a model with its head has it."""
        return name if name in self.unprefixed else self.prefix + name

    def layout_name(self, stored: str) -> str:
        """A name in a checkpoint, with or without the prefix, as the layout has it."""
        prefixes = (self.prefix, *self.more_prefixes)
        name = stored.removeprefix(max(filter(stored.startswith, prefixes), key=len, default=""))
        for old, new in self.renamed:
            if name.endswith(old):
                return name.removesuffix(old) + new
        return name


def require_sizes(owner: str, config: Any, names: Sequence[str]) -> None:
    """Raise where a size is no positive integer.

    Args:
        owner: the family, for the message.
        config: that has the sizes.
        names: of the sizes.

    Raises:
        ValueError: names the first one and its value.
    """
    for name in names:
        value = getattr(config, name)
        if not SIZE.fits(value):
            raise CoalaError(f"{owner} config: {SIZE.fault(name, value)}")


def require_head(has_head: bool) -> None:
    """Raise where nothing scores next tokens.

    Raises:
        ValueError: names the tensor that would.
    """
    if not has_head:
        raise CoalaError(
            "the checkpoint has no lm_head.weight, which scores next tokens; to generate, use the "
            "checkpoint of the model for causal language modelling"
        )
