"""Rotary position embeddings (Su et al. 2021) and the ways checkpoints stretch them."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax._errors import CoalaError
from coala_jax.backbones._config_fields import (
    FLAG,
    MAPPING,
    NUMBER,
    POSITIVE,
    SIZE,
    TEXT,
    Kind,
    only,
    or_null,
)

DEFAULT_THETA = 10_000.0
# What rotary settings may hold.
ROPE_KEYS: Mapping[str, Kind] = {
    "rope_type": TEXT,
    "type": TEXT,
    "partial_rotary_factor": only(1),
    "truncate": FLAG,
    **dict.fromkeys(
        ("rope_theta", "factor", "low_freq_factor", "high_freq_factor"),
        POSITIVE,
    ),
    "original_max_position_embeddings": SIZE,
    **dict.fromkeys(("beta_fast", "beta_slow"), or_null(POSITIVE)),
    **dict.fromkeys(("attention_factor", "mscale", "mscale_all_dim"), or_null(NUMBER)),
}
# The fields of a config.json that say them, in the spelling of any version of transformers.
ROPE_FIELDS: Mapping[str, Kind] = {
    "rope_theta": or_null(POSITIVE),
    "partial_rotary_factor": ROPE_KEYS["partial_rotary_factor"],
    "original_max_position_embeddings": or_null(SIZE),
    **dict.fromkeys(
        ("rope_scaling", "rope_parameters"), or_null(MAPPING)._replace(keys=frozenset(ROPE_KEYS))
    ),
}
# Types for which the trained length beside the settings counts before the one in them.
TRAINED_LENGTH_FIRST = ("llama3", "yarn")


class Rope(NamedTuple):
    """Angles a position turns by.

    Attributes:
        frequencies: (head_dim / 2,) radians a position, float32.
        attention_factor: multiplies cosines and sines (YaRN); 1 otherwise.
    """

    frequencies: np.ndarray
    attention_factor: float = 1.0


def rope_parameters(fields: Mapping[str, Any], positions: int) -> dict[str, Any]:
    """The rotary settings of a ``config.json``, whichever way it spells them.

    Args:
        fields: with ``rope_parameters`` (transformers 5), or ``rope_theta`` and ``rope_scaling``.
        positions: ``max_position_embeddings``, the length trained on where none is given.

    Returns:
        ``rope_type``, ``rope_theta``, ``original_max_position_embeddings`` and what belongs to the
        type.

    Raises:
        ValueError: settings of another form, a type that is not in ``ROPE_TYPES``, or one that
            lacks a number it needs.
    """
    name = "rope_scaling" if fields.get("rope_scaling") else "rope_parameters"
    given = fields.get(name) or {}
    if any(isinstance(value, Mapping) for value in given.values()):
        raise CoalaError(f"{name}={given!r} is not supported: one set of numbers for all layers is")
    theta = fields.get("rope_theta", DEFAULT_THETA)
    parameters = {"rope_theta": theta, "original_max_position_embeddings": positions, **given}
    kind = parameters.setdefault("rope_type", parameters.pop("type", "default"))
    parameters.pop("type", None)
    if not isinstance(kind, str) or kind not in ROPE_TYPES:
        raise CoalaError(
            f"{name}: rope_type={kind!r} is not supported; supported: {', '.join(ROPE_TYPES)}"
        )
    trained = fields.get("original_max_position_embeddings")
    if kind in TRAINED_LENGTH_FIRST and trained is not None:
        parameters["original_max_position_embeddings"] = trained
    for key, allowed in ROPE_KEYS.items():
        if key in parameters and not allowed.fits(parameters[key]):
            raise CoalaError(f"{name}: {allowed.fault(key, parameters[key])}")
    for key in REQUIRED.get(kind, ()):
        if key not in parameters:
            raise CoalaError(f"{name}: rope_type={kind!r} needs {key} as a positive number")
    if kind == "llama3" and not parameters["high_freq_factor"] > parameters["low_freq_factor"]:
        raise CoalaError(
            f"rope_type='llama3' needs high_freq_factor={parameters['high_freq_factor']} above "
            f"low_freq_factor={parameters['low_freq_factor']}"
        )
    return parameters


def make_rope(parameters: Mapping[str, Any], head_dim: int) -> Rope:
    """Frequencies of checked settings.

    Args:
        parameters: from `rope_parameters`.
        head_dim: width of a head, even.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    plain = (1.0 / np.float32(parameters["rope_theta"]) ** exponents).astype(np.float32)
    return ROPE_TYPES[parameters["rope_type"]](parameters, plain)


def rotate(x: jax.Array, rope: Rope, positions: jax.Array) -> jax.Array:
    """Turn every pair (k, k + head_dim / 2) of a head by its position's angle.

    Args:
        x: (batch, length, heads, head_dim) queries or keys.
        rope: the frequencies.
        positions: (batch, length) integers.

    Returns:
        As ``x``.
    """
    angles = positions[..., None].astype(jnp.float32) * rope.frequencies
    # In the type of x, as Hugging Face has them.
    cosine = (jnp.cos(angles) * rope.attention_factor).astype(x.dtype)[:, :, None]
    sine = (jnp.sin(angles) * rope.attention_factor).astype(x.dtype)[:, :, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate(
        [first * cosine - second * sine, second * cosine + first * sine], axis=-1
    )


def _default(_: Mapping[str, Any], plain: np.ndarray) -> Rope:
    return Rope(plain)


def _linear(parameters: Mapping[str, Any], plain: np.ndarray) -> Rope:
    return Rope((plain / np.float32(parameters["factor"])).astype(np.float32))


def _llama3(parameters: Mapping[str, Any], plain: np.ndarray) -> Rope:
    """Llama 3.1: long waves are stretched, short ones kept, a ramp between."""
    factor, low, high = (
        parameters[name] for name in ("factor", "low_freq_factor", "high_freq_factor")
    )
    turns = parameters["original_max_position_embeddings"] * plain / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return Rope((kept * plain + (1 - kept) * plain / factor).astype(np.float32))


def _yarn(parameters: Mapping[str, Any], plain: np.ndarray) -> Rope:
    """YaRN (Peng et al. 2023): as above with the ramp over dimensions, and warmer attention."""
    factor, theta = parameters["factor"], parameters["rope_theta"]
    trained = parameters["original_max_position_embeddings"]
    width = 2 * len(plain)

    def dimension(turns: float) -> float:
        """The dimension that makes so many turns over the trained length."""
        return width * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = dimension(parameters.get("beta_fast") or 32)
    high = dimension(parameters.get("beta_slow") or 1)
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    if low == high:
        high += 0.001
    stretched = np.clip((np.arange(len(plain), dtype=np.float32) - low) / (high - low), 0, 1)
    frequencies = stretched * plain / factor + (1 - stretched) * plain
    return Rope(frequencies.astype(np.float32), _yarn_attention_factor(parameters))


def _yarn_attention_factor(parameters: Mapping[str, Any]) -> float:
    if parameters.get("attention_factor") is not None:
        return float(parameters["attention_factor"])

    def scale(weight: float) -> float:
        factor = parameters["factor"]
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    own, every = parameters.get("mscale"), parameters.get("mscale_all_dim")
    return scale(own) / scale(every) if own and every else scale(1.0)


ROPE_TYPES: Mapping[str, Callable[[Mapping[str, Any], np.ndarray], Rope]] = {
    "default": _default,
    "linear": _linear,
    # Beyond the trained length only; no longer text is accepted.
    "dynamic": _default,
    "llama3": _llama3,
    "yarn": _yarn,
}
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "llama3": (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
    "yarn": ("factor", "original_max_position_embeddings"),
}
