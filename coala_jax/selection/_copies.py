"""Which pairs or groups are copies of each other, by hashes taken where their rows lie."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._group_inputs import Arrays
from coala_jax._row_mesh import on_host

# Of a hash, of 32 bits each: two of 1e6 pairs that differ count as copies once in 4e7 data sets.
_WORDS = 2


def with_copies(arrays: Arrays, names: tuple[str, ...]) -> tuple[str, ...]:
    """Groups of (n,) pairs that nobody has grouped: copies of a pair belong together."""
    first: dict[bytes, str] = {}
    hashes = on_host(_row_hashes(arrays.responses_by_side))
    return tuple(
        first.setdefault(row.tobytes(), name) for row, name in zip(hashes, names, strict=True)
    )


@jax.jit
def _row_hashes(sides: tuple[jax.Array, ...]) -> jax.Array:
    """(n, 2) unsigned integers, the same where all bits of a row are: sides are (n, ...)."""
    hashes = [
        _hash(side.reshape(len(side), -1), jax.random.key(number))
        for number, side in enumerate(sides)
    ]
    return sum(hashes[1:], start=hashes[0])


def _hash(rows: jax.Array, key: jax.Array) -> jax.Array:
    """Sums of the columns' numbers, each mixed with one of its own: (n, k) -> (n, 2)."""
    integer = jnp.dtype(f"uint{min(jnp.finfo(rows.dtype).bits, 32)}")
    bits = lax.bitcast_convert_type(rows, integer).astype(jnp.uint32).reshape(len(rows), -1)
    of_columns = jax.random.bits(key, (_WORDS, bits.shape[1]), jnp.uint32)
    words = [jnp.sum(_mixed(bits ^ each), axis=1, dtype=jnp.uint32) for each in of_columns]
    return jnp.stack(words, axis=1)


def _mixed(bits: jax.Array) -> jax.Array:
    """The finaliser of MurmurHash3, a bijection of 32 bits (Appleby 2011)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
    return bits ^ (bits >> 16)
