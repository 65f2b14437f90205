"""What layers of every family are made of: products, norms, activations, at a stated precision."""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from coala_jax._errors import CoalaError

# Up to so many rows the product of a CPU takes .3 to .9 of its time where it is turned round
# (benchmarks/few_rows.py); of more it gains nothing, and a large vocabulary loses.
FEW_ROWS = 64


def _gelu_tanh(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=True)


def _gelu_exact(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=False)


# By Hugging Face's names.
ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "gelu_new": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "gelu": _gelu_exact,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "tanh": jnp.tanh,
}


def require_activation(owner: str, field: str, name: str) -> None:
    """Raise where an activation is not in ``ACTIVATIONS``.

    Raises:
        ValueError: names the configuration's owner, the field and what it may be.
    """
    if name not in ACTIVATIONS:
        raise CoalaError(
            f"{owner} config: {field}={name!r} is not supported; choose one of "
            f"{', '.join(ACTIVATIONS)}"
        )


def matmul_precision(dtype: DTypeLike) -> jax.lax.Precision | None:
    """Float32 means float32: no TF32 on a GPU, no bfloat16 passes on a TPU."""
    return jax.lax.Precision.HIGHEST if jnp.dtype(dtype) == jnp.float32 else None


def wide(dtype: DTypeLike) -> jnp.dtype:
    """The type of statistics and softmax: float32 at least."""
    return jnp.promote_types(dtype, jnp.float32)


def matmul(left: jax.Array, right: jax.Array) -> jax.Array:
    """(..., n) times (n, k)."""
    return jnp.matmul(left, right, precision=matmul_precision(left.dtype))


def linear(x: jax.Array, weight: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """A layer as torch stores it, weight (out, in): (..., in) -> (..., out)."""
    if 1 < math.prod(x.shape[:-1]) <= FEW_ROWS:
        product = jax.lax.platform_dependent(x, weight, cpu=_of_few_rows, default=_of_rows)
    else:
        product = _of_rows(x, weight)
    return product if bias is None else product + bias


def _of_rows(x: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.einsum("...i,oi->...o", x, weight, precision=matmul_precision(x.dtype))


def _of_few_rows(x: jax.Array, weight: jax.Array) -> jax.Array:
    """The same as the turned product of weights and rows, which the barrier keeps from XLA."""
    rows = x.reshape(-1, x.shape[-1])
    turned = jnp.einsum("oi,bi->ob", weight, rows, precision=matmul_precision(x.dtype))
    return jax.lax.optimization_barrier(turned).T.reshape(*x.shape[:-1], len(weight))


def layer_norm(x: jax.Array, weight: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """Layer norm over the last axis."""
    whole = x.astype(wide(x.dtype))
    centred = whole - whole.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype) * weight + bias


def rms_norm(x: jax.Array, weight: jax.Array, epsilon: float) -> jax.Array:
    """Root-mean-square norm over the last axis (Zhang & Sennrich 2019)."""
    return weight * _unit_square(x, epsilon).astype(x.dtype)


def offset_rms_norm(x: jax.Array, weight: jax.Array, epsilon: float) -> jax.Array:
    """`rms_norm` whose weights are differences from 1, its products in float32 (Gemma)."""
    unit = _unit_square(x, epsilon)
    return (unit * (1 + weight.astype(unit.dtype))).astype(x.dtype)


def _unit_square(x: jax.Array, epsilon: float) -> jax.Array:
    """Values over the root of their mean square, in float32 at least."""
    whole = x.astype(wide(x.dtype))
    return whole * jax.lax.rsqrt(jnp.square(whole).mean(-1, keepdims=True) + epsilon)


def bent(x: jax.Array, cap: float | None) -> jax.Array:
    """Cap times tanh(x / cap), within (-cap, cap); x where there is no cap."""
    return x if cap is None else cap * jnp.tanh(x / cap)


def random_normal(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """Standard normal weights, drawn flat: XLA compiles that several times faster on a CPU."""
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)
