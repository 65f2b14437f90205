"""Rotary position embeddings (Su et al. 2021) and the ways checkpoints stretch them."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from coala_jax._errors import CoalaError
from coala_jax.backbones._config_fields import (
    FACTORS,
    FLAG,
    FRACTION,
    MAPPING,
    NUMBER,
    POSITIVE,
    SIZE,
    TEXT,
    Kind,
    only,
    or_null,
)

# Checked settings, as sorted pairs.
Settings = tuple[tuple[str, Any], ...]
DEFAULT_THETA = 10_000.0
# Types by other names.
SYNONYMS = {"su": "longrope"}
PARTIAL = "partial_rotary_factor"
# What rotary settings may hold.
ROPE_KEYS: Mapping[str, Kind] = {
    "rope_type": TEXT,
    "type": TEXT,
    PARTIAL: FRACTION,
    "truncate": FLAG,
    **dict.fromkeys(
        ("rope_theta", "factor", "low_freq_factor", "high_freq_factor"),
        POSITIVE,
    ),
    "original_max_position_embeddings": SIZE,
    **dict.fromkeys(("beta_fast", "beta_slow"), or_null(POSITIVE)),
    **dict.fromkeys(("attention_factor", "mscale", "mscale_all_dim"), or_null(NUMBER)),
    **dict.fromkeys(("short_factor", "long_factor"), FACTORS),
}
# Most families turn whole heads.
WHOLE = only(1)
# The fields of a config.json that say them, in the spelling of any version of transformers.
ROPE_FIELDS: Mapping[str, Kind] = {
    "rope_theta": or_null(POSITIVE),
    PARTIAL: WHOLE,
    "original_max_position_embeddings": or_null(SIZE),
    **dict.fromkeys(
        ("rope_scaling", "rope_parameters"), or_null(MAPPING)._replace(keys=frozenset(ROPE_KEYS))
    ),
}
# Types for which the trained length beside the settings counts before the one in them.
TRAINED_LENGTH_FIRST = ("llama3", "yarn", "longrope")
# What a layer with a window and one without call their settings.
SLIDING, FULL = "sliding_attention", "full_attention"


class Rope(NamedTuple):
    """Angles a position turns by.

    Attributes:
        frequencies: (turned width / 2,) radians a position, float32.
        attention_factor: multiplies cosines and sines (YaRN, LongRoPE); 1 otherwise.
    """

    frequencies: np.ndarray
    attention_factor: float = 1.0


class Turn(NamedTuple):
    """The angles of a batch.

    Attributes:
        cosine: (batch, length, 1, turned width / 2).
        sine: same shape.
    """

    cosine: jax.Array
    sine: jax.Array


def rope_parameters(
    fields: Mapping[str, Any], positions: int, *, partial: bool = False
) -> dict[str, Any]:
    """The rotary settings of a ``config.json``, whichever way it spells them.

    Args:
        fields: with ``rope_parameters`` (transformers 5), or ``rope_theta`` and ``rope_scaling``.
        positions: ``max_position_embeddings``, the length trained on where none is given.
        partial: a part of every head may turn, and the rest stay.

    Returns:
        ``rope_type``, ``rope_theta``, ``original_max_position_embeddings`` and what belongs to the
        type.

    Raises:
        ValueError: settings of another form, a type that is not in ``ROPE_TYPES``, or one that
            lacks a number it needs.
    """
    name = "rope_scaling" if fields.get("rope_scaling") else "rope_parameters"
    given = fields.get(name) or {}
    if not isinstance(given, Mapping):
        raise CoalaError(f"{name}: {MAPPING.fault('one set of numbers', given)}")
    if any(isinstance(value, Mapping) for value in given.values()):
        raise CoalaError(f"{name}={given!r} is not supported: one set of numbers for all layers is")
    theta = fields.get("rope_theta", DEFAULT_THETA)
    parameters = {"rope_theta": theta, "original_max_position_embeddings": positions, **given}
    kind = parameters.setdefault("rope_type", parameters.pop("type", "default"))
    parameters.pop("type", None)
    if isinstance(kind, str):
        # What Phi-3 said first.
        kind = "longrope" if kind == "yarn" and "short_factor" in given else kind
        kind = parameters["rope_type"] = SYNONYMS.get(kind, kind)
    if parameters.get(PARTIAL, 1.0) is None:  # not set
        del parameters[PARTIAL]
    if partial:
        parameters.setdefault(PARTIAL, fields.get(PARTIAL, 1.0))
    if not isinstance(kind, str) or kind not in ROPE_TYPES:
        raise CoalaError(
            f"{name}: rope_type={kind!r} is not supported; supported: {', '.join(ROPE_TYPES)}"
        )
    trained = fields.get("original_max_position_embeddings")
    if kind in TRAINED_LENGTH_FIRST and trained is not None:
        parameters["original_max_position_embeddings"] = trained
    for key, allowed in {**ROPE_KEYS, **({} if partial else {PARTIAL: WHOLE})}.items():
        if key in parameters and not allowed.fits(parameters[key]):
            raise CoalaError(f"{name}: {allowed.fault(key, parameters[key])}")
    for key in REQUIRED.get(kind, ()):
        if key not in parameters:
            what = ROPE_KEYS[key].expected
            raise CoalaError(f"{name}: rope_type={kind!r} needs {key} as {what}")
    trained = parameters["original_max_position_embeddings"]
    # Whose logarithms divide.
    for key in LOGARITHMS.get(kind, ()):
        if parameters[key] == 1:
            raise CoalaError(f"{name}: rope_type={kind!r} needs another {key} than 1")
    if kind == "longrope":
        # Phi-3's own: the ratio of the lengths, whatever else it says.
        parameters.setdefault("factor", positions / trained)
    if kind == "llama3" and not parameters["high_freq_factor"] > parameters["low_freq_factor"]:
        raise CoalaError(
            f"rope_type='llama3' needs high_freq_factor={parameters['high_freq_factor']} above "
            f"low_freq_factor={parameters['low_freq_factor']}"
        )
    return parameters


def rope_parameters_by_layer(
    fields: Mapping[str, Any], positions: int, local_theta: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of layers that see all, and those of layers with a window.

    Args:
        fields: with ``rope_parameters`` by kind of layer (transformers 5), or ``rope_theta`` and
            ``rope_scaling`` of the layers that see all, and ``rope_local_base_freq``.
        positions: ``max_position_embeddings``.
        local_theta: base of layers with a window where none is given.

    Returns:
        Two of `rope_parameters`.

    Raises:
        ValueError: as `rope_parameters`.
    """
    theta = fields.get("rope_theta", DEFAULT_THETA)
    given = fields.get("rope_parameters") or {}
    whole = {"rope_theta": theta, "rope_parameters": given.get(FULL)}
    local_theta = fields.get("rope_local_base_freq", local_theta)
    local = {"rope_theta": local_theta, "rope_parameters": given.get(SLIDING)}
    scaling = fields.get("rope_scaling")
    if given and not {FULL, SLIDING} >= set(given):  # one for all, as before transformers 5
        whole["rope_parameters"] = given
    if scaling:
        whole["rope_scaling"] = scaling
    return rope_parameters(whole, positions), rope_parameters(local, positions)


def turned_width(parameters: Mapping[str, Any], head_dim: int) -> int:
    """Dimensions of a head that turn, the first ones."""
    return int(head_dim * parameters.get(PARTIAL, 1.0))


def longest_text(parameters: Mapping[str, Any], positions: int) -> int:
    """Tokens of the longest text; with LongRoPE no more than the trained length.

    Beyond it, all of a text would turn otherwise, and its features depend on what is behind it:
    the factors of short texts serve throughout, and longer ones are not taken.
    """
    if parameters["rope_type"] != "longrope":
        return positions
    return min(positions, parameters["original_max_position_embeddings"])


def make_rope(parameters: Mapping[str, Any], head_dim: int) -> Rope:
    """Frequencies of checked settings.

    Args:
        parameters: from `rope_parameters`.
        head_dim: width of a head, even.
    """
    width = turned_width(parameters, head_dim)
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    plain = (1.0 / np.float32(parameters["rope_theta"]) ** exponents).astype(np.float32)
    return ROPE_TYPES[parameters["rope_type"]](parameters, plain)


def turn_of(rope: Rope, positions: jax.Array, dtype: DTypeLike) -> Turn:
    """The angles of (batch, length) positions, in the type of what turns, as in Hugging Face."""
    angles = positions[..., None, None].astype(jnp.float32) * rope.frequencies
    factor = rope.attention_factor
    return Turn((jnp.cos(angles) * factor).astype(dtype), (jnp.sin(angles) * factor).astype(dtype))


def rotate(x: jax.Array, turn: Turn) -> jax.Array:
    """Turn every pair (k, k + turned width / 2) of a head by its position's angle.

    Args:
        x: (batch, length, heads, head_dim) queries or keys.
        turn: the angles.

    Returns:
        As ``x``; what lies behind the turned width stays.
    """
    half = turn.cosine.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    turned = [
        first * turn.cosine - second * turn.sine,
        second * turn.cosine + first * turn.sine,
    ]
    return jnp.concatenate([*turned, rest] if rest.shape[-1] else turned, axis=-1)


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


def _longrope(parameters: Mapping[str, Any], plain: np.ndarray) -> Rope:
    """LongRoPE (Ding et al. 2024): every dimension has a factor; those of short texts."""
    trained = parameters["original_max_position_embeddings"]
    scale, factor = parameters.get("factor", 1.0), parameters.get("attention_factor")
    if factor is None:
        factor = 1.0 if scale <= 1 else math.sqrt(1 + math.log(scale) / math.log(trained))
    short = np.asarray(parameters["short_factor"], np.float32)
    return Rope((plain / short).astype(np.float32), float(factor))


ROPE_TYPES: Mapping[str, Callable[[Mapping[str, Any], np.ndarray], Rope]] = {
    "default": _default,
    "linear": _linear,
    # Beyond the trained length only; no longer text is accepted.
    "dynamic": _default,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
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
    "longrope": ("short_factor", "long_factor"),
}
LOGARITHMS: Mapping[str, tuple[str, ...]] = {
    "yarn": ("rope_theta",),
    "longrope": ("original_max_position_embeddings",),
}
