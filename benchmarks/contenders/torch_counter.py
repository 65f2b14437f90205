"""Torch's count of operations, with what its registry lacks.

FlopCounterMode of torch 2.13 counts neither fused attention on a CPU nor ``addmm_``, and fails at
``addmm`` of bfloat16 into float32; TRL's output head runs the second on a CPU, the third on a GPU.
Every product is two operations a multiply-add, masked pairs of slots among them; the backward pass
of fused attention counts the scores that it makes again.
"""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

MULTIPLY_ADD = 2
Shape = tuple[int, ...]


def torch_counter() -> FlopCounterMode:
    """A context that counts all operations in it: ``get_total_flops``."""
    aten = torch.ops.aten
    formulas = {
        aten.addmm: _sum_and_product,
        aten.addmm_: _sum_and_product,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    return FlopCounterMode(display=False, custom_mapping=formulas)


def _sum_and_product(added: Shape, left: Shape, right: Shape, *_: Any, **__: Any) -> int:
    return MULTIPLY_ADD * left[0] * left[1] * right[1]


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(
    gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any
) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))
