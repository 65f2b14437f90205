"""Preference rows to a feature store: the work behind ``coala-jax extract``."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from flax import nnx

from coala_jax.backbones import Backbone
from coala_jax.data import PreferenceRow, RowSet, fingerprint_rows, prompt_sha256
from coala_jax.features.errors import FeatureError
from coala_jax.features.extract import (
    ExtractSettings,
    feature_identity,
    pooled_features,
    progress_bar,
    require_finite,
)
from coala_jax.features.store import FeatureStore, RowRecord, Shard, write_store
from coala_jax.features.tokens import TokenSequence, encode_texts

# A pair has two responses.
SIDES = 2


def extract_store(
    row_set: RowSet,
    backbone: Backbone,
    out: str | os.PathLike[str],
    *,
    settings: ExtractSettings | None = None,
) -> FeatureStore:
    """Run preference rows through a backbone and write the features, resumably.

    Args:
        row_set: usable rows, and those set aside, whose counts the manifest keeps.
        backbone: the frozen model.
        out: the folder to make; a run that was killed goes on where it stopped.
        settings: pooling, template, type, batching; None means the defaults.

    Returns:
        The finished store. A progress bar runs on stderr where that is a terminal.

    Raises:
        FeatureError: no rows, a feature that is not finite, or ``out`` holds something else.
    """
    settings = settings or ExtractSettings()
    rows = row_set.rows
    if not rows:
        raise FeatureError("rows: none to extract features of")
    size = settings.shard_rows
    with progress_bar(SIDES * len(rows), "extract") as bar:

        def make_shard(number: int, before: Mapping[str, Any] | None) -> Shard:
            start = number * size
            bar.n = SIDES * start  # shards of an earlier run count as done
            # A budget that was lowered for want of memory stays lowered, in a later run too.
            lowered = settings.token_budget if before is None else before["token_budget"]
            budget = min(settings.token_budget, lowered)
            part = rows[start : start + size]
            return _shard(part, backbone, replace(settings, token_budget=budget), bar.update)

        description = _describe(row_set, backbone, settings)
        return write_store(out, description, make_shard, -(-len(rows) // size))


def _describe(row_set: RowSet, backbone: Backbone, settings: ExtractSettings) -> dict[str, object]:
    """All that decides the bytes of the store, for its manifest."""
    return {
        "identity": feature_identity(backbone, settings)._asdict(),
        "dtype": settings.dtype,
        "compute_dtype": str(jax.tree.leaves(nnx.state(backbone.module))[0].dtype),
        "share_prefixes": settings.share_prefixes,
        "shard_rows": settings.shard_rows,
        "width": settings.width(backbone.config.hidden_size),
        "data_sha256": fingerprint_rows(row_set.rows),
        "rows": len(row_set.rows),
        "refused": row_set.refused_counts,
    }


def _shard(
    rows: Sequence[PreferenceRow],
    backbone: Backbone,
    settings: ExtractSettings,
    advance: Callable[[int], object],
) -> Shard:
    """Features of consecutive rows; chosen and rejected run together."""
    prompts = [row.prompt for row in rows]
    responses = [*(row.chosen for row in rows), *(row.rejected for row in rows)]
    sequences = encode_texts(
        backbone.tokenizer,
        prompts * SIDES,
        responses,
        settings.template,
        backbone.config.max_length,
    )
    pooled = pooled_features(backbone, sequences, settings, advance)
    with np.errstate(over="ignore"):  # an overflow is reported by its row
        features = pooled.features.astype(settings.dtype)
    names = [f"{row.id} ({side})" for side in ("chosen", "rejected") for row in rows]
    require_finite(features, names)
    return Shard(
        chosen=features[: len(rows)],
        rejected=features[len(rows) :],
        records=[
            RowRecord(row.id, prompt_sha256(row.prompt), row.margin, row.weight, row.group)
            for row in rows
        ],
        cut=_rows_cut(sequences[: len(rows)], sequences[len(rows) :]),
        tokens=pooled.counts._asdict(),
        flops=pooled.flops,
        shapes=sorted(pooled.shapes),
        token_budget=pooled.token_budget,
    )


def _rows_cut(chosen: Sequence[TokenSequence], rejected: Sequence[TokenSequence]) -> dict[str, int]:
    """How many pairs lost prompt or response tokens on at least one side."""
    pairs = list(zip(chosen, rejected, strict=True))
    return {
        "prompt": sum(left.prompt_cut or right.prompt_cut for left, right in pairs),
        "response": sum(left.response_cut or right.response_cut for left, right in pairs),
    }
