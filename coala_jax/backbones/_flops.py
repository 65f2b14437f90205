"""Floating-point operations of a pass, by formula.

The matrix products of every layer, two operations a multiply-add. With W weights in the matrices
of a layer and heads H of width h, a row of L slots takes

    2 L W + 4 L^2 H h

a layer: every matrix meets every token once, and scores and mixing are a product each over all
pairs of slots, those that are masked included: a CPU skips up to half of them in long rows. Norms,
softmax, activations, rotary embeddings and pooling are left out: none is a product of the width,
and together they are a few per cent.
"""

from collections.abc import Sequence

from coala_jax.backbones._family import BackboneConfig
from coala_jax.backbones._stack import LAST, layer_indices

MULTIPLY_ADD = 2


def layer_flops(config: BackboneConfig, rows: int, length: int) -> int:
    """Operations of one layer on a batch of ``rows`` rows of ``length`` slots."""
    projections = length * config.matrix_weights
    scores_and_mixing = 2 * length**2 * config.attention_width
    return MULTIPLY_ADD * rows * (projections + scores_and_mixing)


def pass_flops(config: BackboneConfig, rows: int, length: int, layers: Sequence[int] = LAST) -> int:
    """Operations of a pass as far as the deepest of the layers asked for.

    Args:
        config: of the model.
        rows: of the batch.
        length: slots of every row, padding included.
        layers: which hidden states are asked for, numbered as in ``run_layers``.

    Returns:
        The operations, without the output head, which features do not need.
    """
    return max(layer_indices(layers, config.depth)) * layer_flops(config, rows, length)
