"""Preference rows to a feature store: the work behind ``coala-jax extract``."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from coala_jax._files import partial_path
from coala_jax._progress import Progress
from coala_jax.backbones import Backbone
from coala_jax.backbones._sharding import mesh_of
from coala_jax.data import PreferenceRow, RowSet
from coala_jax.data._rows import fingerprint_rows
from coala_jax.data._split import text_sha256
from coala_jax.features._distinct import encode_pairs, set_same_aside
from coala_jax.features._errors import FeatureError
from coala_jax.features._extract import pooled_features, require_finite, require_known_ids
from coala_jax.features._identity import layer_name
from coala_jax.features._join import Part, part_path, part_settings
from coala_jax.features._manifest import manifest_in
from coala_jax.features._prefixes import PairPrefixes, cut_places, draw_cuts
from coala_jax.features._query import QUERY_ROWS, derive_query, query_text
from coala_jax.features._settings import ExtractSettings, feature_identity
from coala_jax.features._shard import ONE_DEVICE, RowRecord, Shard
from coala_jax.features._store import FeatureStore, write_store
from coala_jax.features._tokens import TokenSequence

# A pair has two responses.
RESPONSES_A_PAIR = 2
SIDES = ("chosen", "rejected")


def extract_store(
    row_set: RowSet,
    backbone: Backbone,
    out: str | os.PathLike[str],
    *,
    settings: ExtractSettings | None = None,
    part: Part | None = None,
) -> FeatureStore:
    """Run preference rows through a backbone and write the features, resumably.

    Args:
        row_set: usable rows, and those set aside, whose counts the manifest keeps.
        backbone: the frozen model, on one device or on the mesh it was loaded on.
        out: the folder to make; a run that was killed goes on where it stopped, and of a store that
            was damaged the damaged shards are made again.
        settings: pooling, template, type, batching; None means the defaults.
        part: of several processes, this one: only its shards are made, in a folder of its own
            beside ``out``, for `join_parts`. Parts need no word of each other.

    Returns:
        The finished store, or part of one. A progress bar runs on stderr where that is a terminal.

    Raises:
        FeatureError: no rows, more parts than shards, a feature that is not finite, a token id that
            the model does not know, a full disk; the folder holds something else or another process
            is writing it; beginnings of responses of a model that reads ahead.
    """
    settings = (settings or ExtractSettings()).for_rows(row_set.chat_template)
    _require_beginnings(backbone, settings)
    row_set = set_same_aside(row_set, backbone, settings.template)
    rows = row_set.rows
    if not rows:
        counts = ", ".join(f"{key} {count}" for key, count in row_set.set_aside_counts.items())
        raise FeatureError(f"rows: none to extract features of; set aside: {counts or 'none'}")
    if settings.needs_query:
        query = _recorded_query(out, part, settings) or _default_query(rows, backbone, settings)
        settings = replace(settings, query=query)
    size = settings.shard_rows
    shards = [rows[start : start + size] for start in range(0, len(rows), size)]
    description = _describe(row_set, backbone, settings)
    if part is not None:
        shards = part.own(shards)
        out, description = part_path(out, part), part_settings(description, part, shards)
    with Progress(RESPONSES_A_PAIR * sum(map(len, shards)), "extract") as progress:

        def make_shard(number: int, recorded_budget: int | None) -> Shard:
            progress.go_to(
                RESPONSES_A_PAIR * number * size
            )  # shards of an earlier run count as done
            # A budget that was lowered for want of memory stays lowered, in a later run too.
            budgets = [x for x in (settings.token_budget, recorded_budget) if x is not None]
            lowest = replace(settings, token_budget=min(budgets, default=None))
            return _shard(shards[number], backbone, lowest, progress)

        return write_store(out, description, make_shard, len(shards), report=progress.say)


def _require_beginnings(backbone: Backbone, settings: ExtractSettings) -> None:
    """Raise where beginnings are asked for whose states the whole response does not have."""
    if settings.prefixes and not backbone.module.causal:
        raise FeatureError(
            f"prefixes={settings.prefixes}: {backbone.identity.name} is an encoder or is run by "
            "torch, and beginnings of responses come from the whole ones; use a causal model that "
            "jax runs, or leave prefixes out"
        )


def recorded_chat(out: str | os.PathLike[str], part: Part | None = None) -> str:
    """By what conversations became text in an earlier run of the same store; empty without one.

    A template that writes the date writes that of then when the run is gone on with.
    """
    recorded = _recorded_identity(out, part)
    return str(recorded.get("chat_template", "")) if recorded else ""


def _recorded_query(
    out: str | os.PathLike[str], part: Part | None, settings: ExtractSettings
) -> str:
    """The query that an earlier run of the same store derived; empty where there was none.

    Derived anew on another device it would differ in its last digits, and the store with it.
    """
    recorded = _recorded_identity(out, part)
    own = (settings.pooling, layer_name(settings.layers))
    if recorded is None or (recorded["pooling"], recorded["layer"]) != own:
        return ""
    return str(recorded.get("query", ""))


def _recorded_identity(out: str | os.PathLike[str], part: Part | None) -> dict[str, Any] | None:
    """The identity in the manifest of an earlier run of the same store, finished or not."""
    final = Path(out) if part is None else part_path(out, part)
    for folder in (final, partial_path(final)):
        with suppress(FeatureError):
            identity: dict[str, Any] = manifest_in(folder)["identity"]
            return identity
    return None


def _default_query(
    rows: Sequence[PreferenceRow], backbone: Backbone, settings: ExtractSettings
) -> str:
    sequences = encode_pairs(rows[:QUERY_ROWS], backbone, settings.template)
    return query_text(derive_query(backbone, sequences, settings.layers))


def _describe(row_set: RowSet, backbone: Backbone, settings: ExtractSettings) -> dict[str, object]:
    """All that decides the bytes of the store, for its manifest."""
    # Stores without prefixes say nothing of them, as those of before there were any.
    prefixes = {"prefixes": settings.prefixes, "prefix_seed": settings.prefix_seed}
    return {
        **(prefixes if settings.prefixes else {}),
        "identity": feature_identity(backbone, settings)._asdict(),
        "dtype": settings.dtype,
        "share_prefixes": settings.share_prefixes,
        "shard_rows": settings.shard_rows,
        "width": settings.width(backbone.config.hidden_size),
        "data_sha256": fingerprint_rows(row_set.rows),
        "rows": len(row_set.rows),
        "refused": row_set.set_aside_counts,  # its name in every store there is
    }


def _shard(
    rows: Sequence[PreferenceRow],
    backbone: Backbone,
    settings: ExtractSettings,
    progress: Progress,
) -> Shard:
    """Features of consecutive rows; chosen and rejected run together."""
    whole = encode_pairs(rows, backbone, settings.template)
    sequences = _with_prefixes(rows, whole, backbone, settings)
    names = [f"{row.id} ({side})" for side in SIDES for row in rows]
    require_known_ids(sequences, names, backbone.config.vocab_size)
    pooled = pooled_features(backbone, sequences, settings, progress)
    with np.errstate(over="ignore"):  # an overflow is reported by its row
        features = pooled.features.astype(jnp.dtype(settings.dtype))
    mesh = mesh_of(backbone.module)
    require_finite(features, names)
    cuts = _cuts(rows, sequences, pooled.prefixes, settings) if settings.prefixes else None
    return Shard(
        chosen=features[: len(rows)],
        rejected=features[len(rows) :],
        records=[
            RowRecord(
                row.id,
                text_sha256(row.prompt),
                row.margin,
                row.weight,
                row.group,
                len(row.chosen),
                len(row.rejected),
            )
            for row in rows
        ],
        cut=_rows_cut(sequences[: len(rows)], sequences[len(rows) :]),
        tokens=pooled.counts._asdict(),
        flops=pooled.flops,
        shapes=sorted(pooled.shapes),
        token_budget=pooled.token_budget,
        devices=ONE_DEVICE if mesh is None else mesh.shape,
        prefixes=cuts,
    )


def _with_prefixes(
    rows: Sequence[PreferenceRow],
    sequences: list[TokenSequence],
    backbone: Backbone,
    settings: ExtractSettings,
) -> list[TokenSequence]:
    """The sequences of rows, with the beginnings that are asked for."""
    if not settings.prefixes:
        return sequences
    chosen, rejected = sequences[: len(rows)], sequences[len(rows) :]
    ends = frozenset(backbone.tokenizer.end_ids)
    cuts = [
        draw_cuts(cut_places(one, other, ends), settings.prefixes, settings.prefix_seed, row)
        for row, one, other in zip(rows, chosen, rejected, strict=True)
    ]
    return [
        sequence._replace(prefixes=kept)
        for side in (chosen, rejected)
        for sequence, kept in zip(side, cuts, strict=True)
    ]


def _cuts(
    rows: Sequence[PreferenceRow],
    sequences: Sequence[TokenSequence],
    pooled: np.ndarray,
    settings: ExtractSettings,
) -> PairPrefixes:
    """The cuts of rows, of the features of all beginnings."""
    places = [(pair, kept) for pair in range(len(rows)) for kept in sequences[pair].prefixes]
    names = [f"{rows[pair].id}@{kept} ({side})" for side in SIDES for pair, kept in places]
    with np.errstate(over="ignore"):
        features = pooled.astype(jnp.dtype(settings.dtype))
    require_finite(features, names)
    pairs, tokens = np.array(places, np.int64).reshape(-1, 2).T
    return PairPrefixes(features[: len(places)], features[len(places) :], pairs, tokens)


def _rows_cut(chosen: Sequence[TokenSequence], rejected: Sequence[TokenSequence]) -> dict[str, int]:
    """How many pairs lost prompt or response tokens on at least one side."""
    pairs = list(zip(chosen, rejected, strict=True))
    return {
        "prompt": sum(left.prompt_cut or right.prompt_cut for left, right in pairs),
        "response": sum(left.response_cut or right.response_cut for left, right in pairs),
    }
