"""The demonstration run: tutoring rows through the embedded backbone to a measured head."""

from __future__ import annotations

import tempfile
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from coala_jax.backbones import load_backbone
from coala_jax.data import PreferenceRow, RowSet
from coala_jax.features._build import extract_store
from coala_jax.features._settings import ExtractSettings
from coala_jax.quickstart._tutoring import TutoringSplit
from coala_jax.study._pair_set import PairSet
from coala_jax.study._read_pairs import pairs_of_table

SOURCE = "tutoring rows"


class DemoPairs(NamedTuple):
    """Features of the demonstration, and which pairs are held out, (n,)."""

    pairs: PairSet
    held_out: np.ndarray


def embedded_backbone() -> Path:
    """The folder of the backbone that the package brings."""
    return Path(str(resources.files("coala_jax.quickstart"))) / "backbone"


def demo_pairs(rows: TutoringSplit, model: Path, pooling: str) -> DemoPairs:
    """Features of the demonstration's rows, training rows first.

    Args:
        rows: both parts; they share no group.
        model: a checkpoint folder.
        pooling: ``mean``, ``last`` or ``mean+last``.

    Returns:
        Pairs keyed by group, with lengths, and the mask of the held-out ones.

    Raises:
        CheckpointError: no usable model.
    """
    joint: tuple[PreferenceRow, ...] = (*rows.train, *rows.eval)
    backbone = load_backbone(model)
    # The way of every other data set, store included, so that nothing here is special.
    with tempfile.TemporaryDirectory(prefix="coala-jax-") as folder:
        settings = ExtractSettings(pooling=pooling)
        store = extract_store(RowSet(joint), backbone, Path(folder) / "store", settings=settings)
        pairs = pairs_of_table(SOURCE, store.table, joint)
        cut, counts = store.manifest["cut"], store.manifest["refused"]
    held_out = np.arange(len(joint)) >= len(rows.train)
    return DemoPairs(pairs._replace(cut=cut, set_aside_counts=counts), held_out)
