"""Floating-point operations of LoRA training with TRL 1.16.0, by formula.

The matrix products alone, two operations a multiply-add, as in `coala_jax.backbones._flops`. A
micro-batch has R rows of L slots, padding included, for that is run; P of its positions meet the
output head. A layer has W weights in its matrices, heads H of width h, and adapters of rank r on
matrices of m by n; hidden states are d wide, the vocabulary has V tokens. A layer takes

    forward     2 R L (W + r sum(m + n))   +  4 R L^2 H h
    backward    2 R L (W + 2 r sum(m + n)) + 10 R L^2 H h

Frozen matrices have gradients of what they read alone, adapters of their weights too. Fused
attention makes its scores again on the way back: five products for two. Nothing flows back into the
embedding: in the first layer, what the first adapted matrices read has no gradient, and nor has
what comes before them. The output head takes

    sft, dpo, grpo    6 P d V    the logits are made again, tile by tile, on the way back
    orpo              4 P d V
    reward            6 P d      a head of one row, which is trained

and the reference of dpo, and of grpo with a KL term, is one more forward pass, with the output head
and without adapters:

    2 R L W + 4 R L^2 H h a layer, and 2 P d V

P is R L in orpo and for rewards. In sft, dpo and grpo it is R (L - 1) on a CPU and the tokens of
responses alone on a GPU; `contenders/trl_trainer.py` writes it with every micro-batch.

Before a step of grpo R rows are answered behind prompts of L slots, by adapters that are not
merged, in T passes: the first over the prompts, each of the others over one slot a row behind the
kept keys and values of those before, ended rows and padding included, until the longest answer has
ended. A layer takes

    2 R (L + T - 1) (W + r sum(m + n)) + 4 R H h (L^2 + (L + 1) + ... + (L + T - 1))

and the output head, of the last slot of each pass, 2 R T d V. Answers are trained on once, as TRL
has it by default, so that no log probabilities of an old policy are made.

Gradient checkpointing is off. Where attention is not fused it keeps its scores, and its backward
pass takes 8 R L^2 H h, which the formula does not tell apart: in Gemma 2, and on a CPU with dropout
of attention (GPT-2 as published, in sft). Masked pairs of slots count, as torch counts them, though
kernels that know the mask skip up to half. Norms, softmax, activations, rotary embeddings and the
optimizer are left out: none is a product of the width.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx

from coala_jax.backbones._families import FAMILIES
from coala_jax.backbones._family import BackboneConfig, Family
from coala_jax.backbones._flops import MULTIPLY_ADD, pass_flops

# Products of the output head in a training step: forward, the gradient of the hidden states, and
# the logits again or the gradient of the head.
HEAD_PRODUCTS = {"sft": 3, "dpo": 3, "grpo": 3, "orpo": 2, "reward": 3}
# Scores and mixing; scores again, and the gradients of shares, values, queries and keys.
ATTENTION_FORWARD, ATTENTION_BACKWARD = 2, 5
# The matrices of a layer in the order in which a token meets them, by their names in the modules.
STAGES = (
    ("q", "k", "v", "qkv", "attn_c_attn"),
    ("o", "attn_c_proj"),
    ("gate", "up", "gate_up", "mlp_c_fc"),
    ("down", "mlp_c_proj"),
)


class Matrix(NamedTuple):
    """A matrix of a layer.

    Attributes:
        name: of its module in a checkpoint.
        stage: its place in ``STAGES``.
        inputs: width of what it reads.
        outputs: width of what it gives.
    """

    name: str
    stage: int
    inputs: int
    outputs: int


def training_flops(
    config: BackboneConfig,
    method: str,
    shapes: Iterable[Sequence[int]],
    lora_rank: int,
    lora_targets: Sequence[str],
) -> int:
    """Operations of training on micro-batches.

    Args:
        config: of the backbone, a causal one.
        method: a key of ``HEAD_PRODUCTS``.
        shapes: (rows, slots, real tokens, projected positions) of every micro-batch, as
            ``trl_trainer.py`` writes them; the real tokens decide nothing.
        lora_rank: of every adapter.
        lora_targets: names of the adapted modules, or ends of them, as PEFT has them; at least one.

    Returns:
        Their sum: forward, backward, and the reference's pass of dpo. What grpo takes beside it is
        in `grpo_flops`.

    Raises:
        ValueError: another method, or a target that names no matrix of a layer.
    """
    if method not in HEAD_PRODUCTS:
        raise ValueError(f"method={method!r} must be one of {', '.join(HEAD_PRODUCTS)}")
    matrices = layer_matrices(config)
    adapted = _adapted(matrices, lora_targets)
    adapters = lora_rank * sum(each.inputs + each.outputs for each in adapted)
    spared, no_attention = _spared(config, matrices, adapted, lora_rank)
    depth = config.depth
    a_slot = depth * (2 * config.matrix_weights + 3 * adapters) - spared
    a_pair = depth * (ATTENTION_FORWARD + ATTENTION_BACKWARD) - no_attention * ATTENTION_BACKWARD
    outputs = 1 if method == "reward" else config.vocab_size
    a_position = HEAD_PRODUCTS[method] * config.hidden_size * outputs
    total = 0
    for rows, slots, _, projected in shapes:
        pairs = rows * slots**2 * config.attention_width
        products = rows * slots * a_slot + pairs * a_pair + projected * a_position
        total += MULTIPLY_ADD * products
        if method == "dpo":
            total += scoring_flops(config, rows, slots, projected)
    return total


def grpo_flops(
    config: BackboneConfig,
    generations: Iterable[Sequence[int]],
    shapes: Sequence[Sequence[int]],
    lora_rank: int,
    lora_targets: Sequence[str],
    *,
    reference: bool = False,
) -> dict[str, int]:
    """Operations of GRPO: answers, training on them, and the reference's log probabilities.

    Args:
        config: of the backbone.
        generations: (rows, slots of the prompts, passes) of every generation, as ``trl_grpo.py``
            writes them.
        shapes: of the micro-batches, as in `training_flops`.
        lora_rank: of every adapter.
        lora_targets: as in `training_flops`.
        reference: whether the loss has a KL term.

    Returns:
        Those of ``generation``, ``training`` and ``reference``.
    """
    adapters = _adapter_weights(config, lora_rank, lora_targets)
    scored = ((rows, slots, projected) for rows, slots, _, projected in shapes)
    return {
        "generation": sum(generation_flops(config, *each, adapters) for each in generations),
        "training": training_flops(config, "grpo", shapes, lora_rank, lora_targets),
        "reference": sum(scoring_flops(config, *each) for each in scored) if reference else 0,
    }


def generation_flops(
    config: BackboneConfig, rows: int, length: int, passes: int, adapters: int = 0
) -> int:
    """Operations of answering a batch of prompts with kept keys and values, as torch runs it.

    Args:
        config: of the backbone.
        rows: of the batch.
        length: slots of every prompt, padding included.
        passes: one over the prompts, the others over one slot a row.
        adapters: weights of a layer's adapters that are not merged.
    """
    last = length + passes - 1
    pairs = length**2 + (last * (last + 1) - length * (length + 1)) // 2
    products = last * (config.matrix_weights + adapters)
    products += ATTENTION_FORWARD * pairs * config.attention_width
    head = passes * config.hidden_size * config.vocab_size
    return MULTIPLY_ADD * rows * (config.depth * products + head)


def scoring_flops(config: BackboneConfig, rows: int, length: int, projected: int) -> int:
    """Operations of a forward pass with logits.

    Args:
        config: of the backbone, without adapters or with merged ones.
        rows: of the batch.
        length: slots of every row, padding included.
        projected: positions of all rows that have logits.

    Returns:
        The operations.
    """
    head = MULTIPLY_ADD * projected * config.hidden_size * config.vocab_size
    return pass_flops(config, rows, length) + head


def layer_matrices(config: BackboneConfig) -> tuple[Matrix, ...]:
    """The matrices of a layer of a causal backbone."""
    family: Family = FAMILIES[config.to_dict()["model_type"]]
    module = nnx.eval_shape(lambda: family.make(config, nnx.Rngs(0), jnp.float32))
    shapes = {path: leaf.shape for path, leaf in nnx.to_flat_state(nnx.state(module, nnx.Param))}
    matrices = []
    for name, slot in family.layout(config).items():
        shape = shapes[slot.path][1:]
        if slot.layer != 0 or len(shape) == 1:
            continue
        kind = slot.path[-1].removesuffix("_weight")
        stage = next(place for place, kinds in enumerate(STAGES) if kind in kinds)
        sizes = shape if re.fullmatch(family.turned, name) else shape[::-1]
        matrices.append(Matrix(name.removesuffix(".weight"), stage, *sizes))
    return tuple(matrices)


def _adapter_weights(config: BackboneConfig, rank: int, targets: Sequence[str]) -> int:
    """Of a layer."""
    adapted = _adapted(layer_matrices(config), targets)
    return rank * sum(each.inputs + each.outputs for each in adapted)


def _adapted(matrices: Sequence[Matrix], targets: Sequence[str]) -> list[Matrix]:
    """Those that the targets name, by the end of their names."""
    for target in targets:
        if not any(_named(each, target) for each in matrices):
            known = ", ".join(each.name for each in matrices)
            raise ValueError(f"lora_targets: {target!r} names no matrix of a layer: {known}")
    return [each for each in matrices if any(_named(each, target) for target in targets)]


def _named(matrix: Matrix, target: str) -> bool:
    return f".{matrix.name}".endswith(f".{target}")


def _spared(
    config: BackboneConfig, matrices: Sequence[Matrix], adapted: Sequence[Matrix], rank: int
) -> tuple[int, bool]:
    """What the first layer's backward pass need not meet: so many weights, and attention or not."""
    apart = getattr(config, "parallel", False)
    branches = ((0, 1), (2, 3)) if apart else ((0, 1, 2, 3),)
    weights, firsts = 0, []
    for branch in branches:
        first = min((each.stage for each in adapted if each.stage in branch), default=len(STAGES))
        frozen = (each for each in matrices if each.stage in branch and each.stage <= first)
        weights += sum(each.inputs * each.outputs for each in frozen)
        weights += rank * sum(each.inputs for each in adapted if each.stage == first)
        firsts.append(first)
    return weights, firsts[0] > 0
