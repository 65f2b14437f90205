"""How many tokens run together, by what the device has free."""

import jax
from jax.typing import DTypeLike
from numpy import dtype as numpy_dtype

from coala_jax.backbones._family import BackboneConfig

# Where a device does not say what it has, as a CPU: keeps GPT-2 small, in rows of 1024, under half
# a gigabyte, and is as fast as more.
DEFAULT_BUDGET = 8192
# Beyond this a batch fills any accelerator, and a lone last batch pads more.
LARGEST_BUDGET = 131_072
# Of the free memory; the rest is for what XLA keeps besides. Where it is too much all the same, the
# budget is halved.
FREE_SHARE = 0.5
# Scores, masked scores and shares, in float32.
SCORE_BYTES = 3 * 4
# The narrowest usual head: narrower ones are more, and their scores take more.
HEAD_WIDTH = 64


def slot_bytes(config: BackboneConfig, row_length: int, dtype: DTypeLike) -> int:
    """Bytes that a slot takes while a layer runs: its scores, and the products of the layer twice.

    Args:
        config: of the model.
        row_length: slots of a row.
        dtype: of the computation.
    """
    scores = SCORE_BYTES * -(-config.attention_width // HEAD_WIDTH) * row_length
    products = 2 * numpy_dtype(dtype).itemsize * (config.matrix_weights // config.hidden_size)
    return scores + products


def free_token_budget(config: BackboneConfig, row_length: int, dtype: DTypeLike) -> int:
    """The largest power of two of slots that half of the device's free memory holds.

    Args:
        config: of the model, whose weights are on the device already.
        row_length: slots of the longest rows.
        dtype: of the computation.

    Returns:
        At least one row and at most ``LARGEST_BUDGET``; ``DEFAULT_BUDGET`` where the device does
        not say how much it has.
    """
    stats = jax.local_devices()[0].memory_stats()
    if not stats or "bytes_limit" not in stats:
        return DEFAULT_BUDGET
    free = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    slots = int(FREE_SHARE * free) // slot_bytes(config, row_length, dtype)
    return min(max(1 << max(slots, 1).bit_length() - 1, row_length), LARGEST_BUDGET)
