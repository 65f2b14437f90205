"""What a model family tells the checkpoint reader about itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from flax import nnx
from jax.typing import DTypeLike


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

    def to_dict(self) -> dict[str, Any]:
        """The Hugging Face ``config.json`` as a dictionary."""
        ...


class Slot(NamedTuple):
    """Where a tensor of a checkpoint lives in the module.

    Attributes:
        path: attribute names from the module down to the parameter.
        layer: index on the parameter's leading axis, or None where the tensor is all of it.
        transposed: the module holds the tensor with its axes in reverse order.
    """

    path: tuple[str, ...]
    layer: int | None = None
    transposed: bool = False


@dataclass(frozen=True)
class Family:
    """A model type that ``load_backbone`` can read.

    Attributes:
        read_config: parsed ``config.json`` to the family's configuration; raises ValueError.
        make: random module of a configuration: ``make(config, rngs, dtype)``. Its call takes tokens
            and an attention mask, both (batch, length), and gives (batch, length, hidden_size).
        layout: tensor name in the checkpoint, without prefix, to its slot.
        prefix: what a checkpoint may put before the names.
        ignored: a regular expression of tensors that carry no weight of their own; a name of the
            layout is never ignored.
        covers: the models of this type, for people.
        unprefixed: names that never take the prefix.
    """

    read_config: Callable[[Mapping[str, Any]], Any]
    make: Callable[[Any, nnx.Rngs, DTypeLike], nnx.Module]
    layout: Callable[[Any], dict[str, Slot]]
    prefix: str
    ignored: str
    covers: str = ""
    unprefixed: tuple[str, ...] = ()

    def stored_name(self, name: str) -> str:
        """A name of the layout as a checkpoint of the causal model has it."""
        return name if name in self.unprefixed else self.prefix + name
