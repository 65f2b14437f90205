"""Which sequences run together: by length, under a token budget, in few shapes."""

from collections.abc import Sequence
from typing import NamedTuple

from coala_jax.features.errors import FeatureError

# Shorter sequences are padded to this: more shapes there would cost compiles and save nothing.
SHORTEST_SHAPE = 32


class Batch(NamedTuple):
    """Sequences that run together, and the padded shape they run in.

    Attributes:
        indices: which sequences; at most ``rows``.
        rows: rows of the padded batch.
        length: tokens of a padded row.
    """

    indices: tuple[int, ...]
    rows: int
    length: int


def padded_length(length: int, max_length: int) -> int:
    """The smallest of 32, 48, 64, 96, 128, ... that holds ``length``, at most ``max_length``.

    Powers of two and one and a half times those: two shapes an octave waste a third at most.
    """
    shape = SHORTEST_SHAPE
    while shape < length:
        if shape + shape // 2 >= length:
            shape += shape // 2
            break
        shape *= 2
    return min(shape, max_length)


def plan_batches(lengths: Sequence[int], token_budget: int, max_length: int) -> list[Batch]:
    """Group sequences of similar length; one shape for every padded length.

    Args:
        lengths: (n,) tokens of every sequence, at most ``max_length``.
        token_budget: padded tokens of a batch; a batch has one row even where that is more.
        max_length: the model's context.

    Returns:
        Batches that hold every index once, the longest first, so that a budget too large for the
        memory fails at once.

    Raises:
        FeatureError: a budget below 1.
    """
    if token_budget < 1:
        raise FeatureError(f"token_budget must be at least 1, got {token_budget}")
    by_shape: dict[int, list[int]] = {}
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        by_shape.setdefault(padded_length(lengths[index], max_length), []).append(index)
    batches = []
    for length, indices in by_shape.items():
        rows = max(token_budget // length, 1)
        for start in range(0, len(indices), rows):
            batches.append(Batch(tuple(indices[start : start + rows]), rows, length))
    return batches
