"""`coala-jax backbones`: which models are supported, and what of a checkpoint is not."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from coala_jax.cli._options import add_checkpoint_options
from coala_jax.cli._output import BAD_INPUT, report

if TYPE_CHECKING:
    from coala_jax.backbones._support import Support

EXAMPLE = "  coala-jax backbones models/gpt2"
MEBIBYTE = 2**20


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "model",
        nargs="?",
        help="checkpoint folder or GGUF file, or a hub id of either (ORG/NAME:FILE.gguf)",
    )
    add_checkpoint_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code: 0 where the checkpoint can be loaded."""
    from coala_jax.backbones._hub import find_checkpoint
    from coala_jax.backbones._support import check_support, supported_families

    if arguments.model is None:
        families = supported_families()
        width = max(map(len, families))
        lines = [f"{name:<{width}}  {covers}".rstrip() for name, covers in families.items()]
        return report(arguments, {"families": families}, lines)
    folder = find_checkpoint(
        arguments.model, revision=arguments.revision, download=arguments.download
    ).folder
    support = check_support(folder, None if arguments.adapter is None else Path(arguments.adapter))
    result = {"folder": folder, **support._asdict(), "supported": not support.faults}
    report(arguments, result, _lines(folder, support))
    return BAD_INPUT if support.faults else 0


def _lines(folder: Path, support: Support) -> list[str]:
    from coala_jax.backbones._checkpoint import config_name
    from coala_jax.backbones._config_fields import shown

    sizes = ", ".join(f"{count:,} {what}" for what, count in support.sizes.items())
    weights = ", ".join(
        f"{name} ({size / MEBIBYTE:,.1f} MiB)" for name, size in support.weights.items()
    )
    return [
        f"model type  {support.model_type}",
        *([f"sizes       {sizes}"] if sizes else []),
        *([f"weights     {weights}"] if weights else []),
        *(f"not supported: {fault}" for fault in support.faults),
        *(
            f"not known   {name}={shown(value)} in {config_name(folder)}: a plain "
            f"{support.model_type} is computed"
            for name, value in support.unknown.items()
        ),
        *([] if support.faults else ["supported"]),
    ]
