"""What a feature store holds, printed for people or as JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from coala_jax.cli._output import counts_line, print_result
from coala_jax.features import FeatureStore


def print_store(
    store: FeatureStore, arguments: argparse.Namespace, set_aside: Path | None = None
) -> None:
    """Print what a store holds, as one JSON object or for people."""
    manifest = store.manifest
    result = {
        "out": str(store.path),
        "pairs": {"total": manifest["rows"]},
        "features": {"width": manifest["width"], "dtype": manifest["dtype"]},
        "rows": {
            "set_aside": manifest["refused"],
            "cut": manifest["cut"],
            "rejected": None if set_aside is None else str(set_aside),
        },
        "tokens": manifest["tokens"],
        "flops": manifest["flops"],
        "shapes": manifest["shapes"],
        "repaired": store.repaired,
        "identity": manifest["identity"],
        "command": arguments.command_line,
    }
    lines = [
        f"features of {manifest['rows']} pairs, {manifest['width']} columns each side",
        *counts_line("rows set aside", manifest["refused"]),
        *([] if set_aside is None else [f"set aside: {set_aside}"]),
        *counts_line("pairs cut to the context", manifest["cut"]),
        "tokens: {given} given, {distinct} distinct, {run} run".format(**manifest["tokens"])
        + f" in {manifest['shapes']} shapes, {manifest['flops']:.3g} operations",
        *(f"repaired: {fault}" for fault in store.repaired),
        f"written: {store.path}",
    ]
    print_result(result, lines, as_json=arguments.json)
