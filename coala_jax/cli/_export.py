"""`coala-jax export`: features to an .npz or to a data set in Arrow."""

from __future__ import annotations

import argparse
from pathlib import Path

from coala_jax._files import require_writable
from coala_jax.cli._output import report
from coala_jax.cli._parser import UsageError

EXAMPLE = """  coala-jax export store --out features.npz
  coala-jax export store --out features_arrow --format datasets"""
NPZ, DATASETS = "npz", "datasets"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("features", help="feature store, .npz or folder of a data set")
    parser.add_argument(
        "--out", required=True, help="FILE.npz, or the folder of a data set to make"
    )
    parser.add_argument(
        "--format",
        choices=(NPZ, DATASETS),
        help="default: npz where --out ends in .npz, else datasets",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.features._export import write_dataset_folder, write_npz
    from coala_jax.features._load import load_features

    out = Path(arguments.out)
    kind = arguments.format or (NPZ if out.suffix == ".npz" else DATASETS)
    if kind == NPZ and out.suffix != ".npz":
        raise UsageError(f"--out: {out} must end in .npz for --format npz")
    require_writable(out, folder=kind == DATASETS)
    table = load_features(arguments.features)
    written = (write_npz if kind == NPZ else write_dataset_folder)(out, table)
    n, width = table.chosen.shape
    result = {
        "out": written,
        "format": kind,
        "pairs": {"total": n},
        "features": {"width": width, "dtype": str(table.chosen.dtype)},
        "identity": None if table.identity is None else table.identity._asdict(),
    }
    lines = [f"features of {n} pairs, {width} columns each side", f"written: {written}"]
    return report(arguments, result, lines)
