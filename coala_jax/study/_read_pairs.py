"""Features and their rows are read into pairs, and it is found out which belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coala_jax._errors import CoalaError
from coala_jax._group_inputs import require_enough_groups, require_telling_groups, scored_groups
from coala_jax._processes import (
    gathered,
    gathered_texts,
    in_all,
    in_any,
    own_part,
    rows_before,
    together,
)
from coala_jax._relative_weights import over_their_mean
from coala_jax._stored_rows import FeatureRows, row_blocks, stored
from coala_jax._types import float_dtype
from coala_jax.data import PreferenceRow, RowOptions, read_groups, read_rows
from coala_jax.data._answer_groups import holds_groups
from coala_jax.data._split import groups_of, joint_keys, text_sha256
from coala_jax.features import FeatureError, FeatureTable, Part, prefix_pairs
from coala_jax.features._groups import group_table
from coala_jax.features._own_rows import own_rows, parts_here
from coala_jax.features._table import rows_not_finite
from coala_jax.selection._judged_pairs import ordered_pairs, shared_weight
from coala_jax.study._agreed_table import agreed_table, require_unique_ids, summed
from coala_jax.study._hold_out import FEWEST_PAIRS
from coala_jax.study._pair_set import BY_GROUP, BY_PROMPT, BY_ROW, PairSet

SAME_FEATURES = "chosen and rejected have the same features"
SAME_BEGINNINGS = "beginnings of chosen and rejected have the same features"
SAME_SCORES = "groups whose responses have the same score"


def read_pairs(
    path: str,
    groups_path: str | None = None,
    data_path: str | None = None,
    row_options: RowOptions = RowOptions(),
    *,
    prefixes: bool = False,
) -> PairSet:
    """Read features and find out which rows belong together.

    Of several processes each reads rows of its own (`features._own_rows`), and all call this
    together: keys are those of all rows.

    Args:
        path: a feature store, an ``.npz``, Parquet, a folder that ``datasets`` saved, or the name
            of a store whose parts lie beside it.
        groups_path: row id to group, as `coala_jax.data.read_groups` takes it.
        data_path: the preference rows that the features were made of; gives prompts, which an
            ``.npz`` may lack, and the lengths of the responses.
        row_options: how they are read, as for the features.
        prefixes: take the cuts of the pairs, and not the whole responses.

    Returns:
        The pairs. They are keyed by group and prompt, by whichever there is, or by row.

    Raises:
        FeatureError, DataError: a file that is missing, unreadable, or does not fit the others;
            an id that names two rows, of whatever processes, where rows are matched by it.
    """
    part = Part.of_this_process()
    all_here = in_all(together(lambda: parts_here(path) is not None))

    own = together(lambda: own_rows(path, part, all_here=all_here))
    if groups_path is not None or data_path is not None:
        require_unique_ids(path, own.table.ids)

    def matched(table: FeatureTable) -> FeatureTable:
        if groups_path is not None:
            groups = groups_of(table.ids, read_groups(groups_path))
            table = table._replace(groups=tuple(groups))
        if data_path is not None:
            row_set = read_rows(data_path, row_options)
            rows = _rows_by_id(row_set.rows, data_path, path, table.ids)
            table = _with_rows(path, table, rows, row_set.chat_template)
        return table

    table = agreed_table(path, together(lambda: matched(own.table)))
    total = int(gathered(np.array([len(table.ids)], np.int64)).sum())
    keys, split_by = _keys(table)
    pairs = together(lambda: _pairs(path, table, keys, split_by, prefixes=prefixes, total=total))
    pairs = _telling(_weighed(pairs))
    counts = summed(pairs.set_aside_counts)
    if own.refused is not None:
        counts = {**own.refused, **(counts or {})}
    return pairs._replace(set_aside_counts=counts, cut=summed(own.cut))


def pairs_of_table(
    source: str,
    table: FeatureTable,
    rows: Sequence[PreferenceRow] | None = None,
    chat_template: str = "",
    *,
    prefixes: bool = False,
) -> PairSet:
    """Pairs of a feature table.

    Args:
        source: what to call the table in messages.
        table: features and columns.
        rows: (n,) the rows the features were made of, in the table's order; None where unknown.
        chat_template: by what their conversations became text, as a ``RowSet`` records it.
        prefixes: take the cuts of the pairs, keyed as these are, and not the whole responses.

    Raises:
        FeatureError: fewer than two pairs, values that are not finite in float32, prompts of
            ``rows`` that are not those of the table, a table without the cuts that were asked for,
            groups of which cuts are asked for or that say nothing.
    """
    if rows is not None:
        table = _with_rows(source, table, rows, chat_template)
    keys, split_by = _keys(table)
    total = len(table.chosen)
    pairs = _pairs(source, table, keys, split_by, prefixes=prefixes, total=total)
    return _telling(_weighed(pairs))


def _pairs(
    source: str,
    table: FeatureTable,
    keys: tuple[str, ...],
    split_by: str,
    *,
    prefixes: bool,
    total: int,
) -> PairSet:
    """Pairs of a table with the keys of its rows, of so many that all processes have."""
    if total < FEWEST_PAIRS:
        raise FeatureError(
            f"{source}: chosen and rejected hold {total} pair of "
            f"{table.chosen.shape[1]} columns; at least {FEWEST_PAIRS} pairs are needed"
        )
    if holds_groups(table.ids):
        if prefixes:
            raise FeatureError(
                f"{source}: beginnings are of pairs, and its rows are groups (--pairs groups): "
                "leave --prefixes out, or extract them again with --pairs one or all"
            )
        return _pairs_of_groups(source, table, keys, split_by)
    prefix_of, lengths = None, table.lengths
    if prefixes:
        table, cuts = prefix_pairs(table), table.prefixes
        assert cuts is not None  # `prefix_pairs` raises
        prefix_of, lengths = cuts.pair, None  # both sides of a cut are as long
        keys = tuple(keys[pair] for pair in prefix_of)
    return PairSet(
        source=source,
        chosen=_finite(source, "chosen", table.chosen),
        rejected=_finite(source, "rejected", table.rejected),
        keys=keys,
        split_by=split_by,
        lengths=lengths,
        weight=table.weight,
        margin=table.margin,
        identity=table.identity,
        prompt_hashes=table.prompt_hashes,
        prefix_of=prefix_of,
    )


def _pairs_of_groups(
    source: str, table: FeatureTable, keys: tuple[str, ...], split_by: str
) -> PairSet:
    """All pairs of members with different scores, yet without weights (`_weighed`)."""
    found = group_table(table)
    try:
        scored = scored_groups(found.features, source)
    except CoalaError as error:
        raise FeatureError(str(error)) from None
    row, above, below = ordered_pairs(np.asarray(scored.level), np.asarray(scored.member))

    def sides(of_members: Any) -> tuple[np.ndarray, np.ndarray]:
        values = np.asarray(of_members)
        return values[row, above], values[row, below]

    # Of every pair of members: named, not copied.
    _, members, width = found.features.responses.shape
    responses = stored(np.asarray(found.features.responses).reshape(-1, width))
    chosen, rejected = (responses[row * members + member] for member in (above, below))
    better, worse = sides(found.features.scores)
    first = found.rows[row]
    hashes = table.prompt_hashes
    silent = len(found.ids) - len(np.unique(row))
    return PairSet(
        source,
        _finite(source, "chosen", chosen),
        _finite(source, "rejected", rejected),
        keys=tuple(keys[place] for place in first),
        split_by=split_by,
        lengths=None if found.lengths is None else np.stack(sides(found.lengths), axis=1),
        margin=better - worse,
        identity=table.identity,
        prompt_hashes=None if hashes is None else tuple(hashes[place] for place in first),
        set_aside_counts={SAME_SCORES: silent} if silent else None,
        groups=found.features,
        group_of=row,
    )


def _weighed(pairs: PairSet) -> PairSet:
    """Pairs of groups with weights: those of a group share its weight.

    Weights of groups are over the mean of those of all processes, silent ones among them.

    Raises:
        FeatureError: too few groups in all, or none that says anything; the same in all processes.
    """
    groups, row = pairs.groups, pairs.group_of
    if groups is None or row is None:
        return pairs
    count, members, width = np.shape(groups.responses)
    says = np.bincount(row, minlength=count) > 0
    alone = 0 if groups.mask is None else int((np.asarray(groups.mask).sum(axis=1) < 2).sum())
    told = gathered(np.array([[count, members, alone, says.sum()]], np.int64))
    total, (_, most, _, _) = told.sum(axis=0), told.max(axis=0)
    try:
        require_enough_groups(pairs.source, int(total[0]), int(most), width)
        require_telling_groups(pairs.source, int(total[0]), int(total[2]), bool(total[3]))
    except CoalaError as error:
        raise FeatureError(str(error)) from None
    weight = np.ones(count) if groups.weight is None else np.asarray(groups.weight, np.float64)
    of_all = over_their_mean(gathered(np.where(says, weight, 0)), float_dtype())
    own = own_part(np.asarray(of_all, np.float64), count)
    return pairs._replace(weight=shared_weight(own, row).astype(np.float32))


def _telling(pairs: PairSet) -> PairSet:
    """The pairs whose two sides differ; the others say nothing of any reward.

    Where none differ, in no process, all are kept: what becomes of them is the solver's to say.
    """
    blocks = zip(row_blocks(pairs.chosen), row_blocks(pairs.rejected), strict=True)
    differ = np.concatenate([(one != other).any(1) for (_, one), (_, other) in blocks])
    if not in_any(bool(differ.any())) or differ.all():
        return pairs
    same = int((~differ).sum())
    reason = SAME_FEATURES if pairs.prefix_of is None else SAME_BEGINNINGS
    return pairs.take(differ)._replace(
        set_aside_counts={**(pairs.set_aside_counts or {}), reason: same}
    )


def _keys(table: FeatureTable) -> tuple[tuple[str, ...], str]:
    """Keys of the rows of this process, by the groups and prompts of all, and what they are."""
    if table.groups is not None:
        prompts = table.prompt_hashes
        if prompts is None:
            return table.groups, BY_GROUP
        joint = joint_keys(gathered_texts(table.groups), gathered_texts(prompts))
        before = rows_before(len(table.ids))
        return tuple(joint[before : before + len(table.ids)]), BY_GROUP
    if table.prompt_hashes is not None:
        return table.prompt_hashes, BY_PROMPT
    before = rows_before(len(table.ids))
    return tuple(map(str, range(before, before + len(table.ids)))), BY_ROW


def _with_rows(
    source: str, table: FeatureTable, rows: Sequence[PreferenceRow], chat_template: str
) -> FeatureTable:
    """The table with the prompts and lengths of the rows that it was made of."""
    found = _with_prompts(source, table, rows, chat_template)
    return found._replace(lengths=_lengths(rows))


def _finite(source: str, name: str, rows: FeatureRows) -> FeatureRows:
    """Rows that are finite, in their own dtype, of which float32 is the widest."""
    if rows.dtype.itemsize > np.dtype(np.float32).itemsize:
        with np.errstate(over="ignore"):  # an overflow is reported by its row
            rows = np.asarray(rows, np.float32)
    bad = rows_not_finite(rows)
    if bad.size:
        raise FeatureError(
            f"{source}: {name} {rows.shape} is not finite in {rows.dtype} in {bad.size} rows, the "
            f"first is row {bad[0]}"
        )
    return rows


def _rows_by_id(
    rows: Sequence[PreferenceRow], data_path: str, source: str, ids: Sequence[str]
) -> list[PreferenceRow]:
    # Of rows of one id the first alone is read, here as in an extraction.
    by_id = {row.id: row for row in rows}
    lost = [name for name in ids if name not in by_id]
    if lost:
        raise FeatureError(
            f"{data_path}: {len(lost)} of the {len(ids)} rows of {source} are not in it, the first "
            f"is {lost[0]!r}; give the file that the features were made of"
        )
    return [by_id[name] for name in ids]


def _with_prompts(
    source: str, table: FeatureTable, rows: Sequence[PreferenceRow], chat_template: str
) -> FeatureTable:
    """The table with the prompts of its rows; those must be its own where it has any."""
    made_by = "" if table.identity is None else table.identity.chat_template
    if table.prompt_hashes is not None and made_by and chat_template not in ("", made_by):
        return table  # written by its model's template, which cannot be had here
    prompts = tuple(text_sha256(row.prompt) for row in rows)
    if table.prompt_hashes not in (None, prompts):
        raise FeatureError(f"{source}: its prompts are not those of the rows of the same id")
    return table._replace(prompt_hashes=prompts)


def _lengths(rows: Sequence[PreferenceRow]) -> np.ndarray:
    return np.array([(len(row.chosen), len(row.rejected)) for row in rows], np.int64)
