"""Sliding windows of layers, as a ``config.json`` says them."""

from collections.abc import Mapping, Sequence
from typing import Any

from coala_jax._errors import CoalaError
from coala_jax.backbones._config_fields import shown
from coala_jax.backbones._rope import FULL, SLIDING

# Sliding window of every layer in tokens, None where it sees all; empty where none slides.
Windows = tuple[int | None, ...]


def no_windows(fields: Mapping[str, Any]) -> Windows:
    """No layer slides.

    Raises:
        ValueError: ``layer_types`` that say so.
    """
    if SLIDING in layer_kinds(fields, ()):
        raise CoalaError(f"layer_types: {SLIDING} is not supported; {FULL} alone is")
    return ()


def same_window(fields: Mapping[str, Any]) -> Windows:
    """``sliding_window`` is that of every layer.

    Raises:
        ValueError: ``layer_types`` that differ from it.
    """
    window = fields.get("sliding_window")
    kinds = layer_kinds(fields, ())
    if window is None:
        if SLIDING in kinds:
            raise _no_window(fields)
        return ()
    if FULL in kinds:
        raise CoalaError(
            f"layer_types={shown(list(kinds))} is not supported; with sliding_window={window} "
            f"{SLIDING} in every layer is"
        )
    return (window,) * int(fields["num_hidden_layers"])


def layered_windows(fields: Mapping[str, Any], slides: Sequence[bool]) -> Windows:
    """Layers slide by ``sliding_window`` as ``layer_types`` say.

    Args:
        fields: of a ``config.json``.
        slides: which layers slide where there are none.

    Raises:
        ValueError: layers that slide without a window; kinds that are not known.
    """
    kinds = layer_kinds(fields, [SLIDING if one else FULL for one in slides])
    window = fields.get("sliding_window")
    if SLIDING not in kinds:
        return ()
    if window is None or not fields.get("use_sliding_window", True):
        raise _no_window(fields)
    return tuple(window if kind == SLIDING else None for kind in kinds)


def _no_window(fields: Mapping[str, Any]) -> CoalaError:
    """The error of layers that are to slide and have no window."""
    flag = "use_sliding_window and " if "use_sliding_window" in fields else ""
    return CoalaError(f"layer_types: {SLIDING} needs a window: set {flag}sliding_window")


def layer_kinds(fields: Mapping[str, Any], default: Sequence[str]) -> Sequence[str]:
    """``layer_types``, or what stands for them.

    Raises:
        ValueError: kinds that are not known, or not one a layer.
    """
    kinds: Sequence[str] | None = fields.get("layer_types")
    if kinds is None:
        return default
    if unknown := sorted({str(kind) for kind in kinds} - {SLIDING, FULL}):
        raise CoalaError(f"layer_types: {', '.join(unknown)} not supported; {SLIDING}, {FULL} are")
    if len(kinds) != (layers := fields["num_hidden_layers"]):
        raise CoalaError(f"{len(kinds)} layer_types for {layers} layers (num_hidden_layers)")
    return kinds


def written_windows(fields: Mapping[str, Any], windows: Windows, *, same: bool) -> dict[str, Any]:
    """How a ``config.json`` says the windows of layers.

    Args:
        fields: of a ``config.json`` with the same, defaults filled in.
        windows: of the layers.
        same: whether one window is that of all of them.
    """
    widths = [window for window in windows if window is not None]
    written: dict[str, Any] = {"sliding_window": widths[0] if widths else None}
    if same:
        return written
    kinds = [FULL if window is None else SLIDING for window in windows]
    written["layer_types"] = kinds or [FULL] * fields["num_hidden_layers"]
    if "use_sliding_window" in fields:
        written["use_sliding_window"] = bool(widths)
    return written
