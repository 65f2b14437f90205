"""Features of preference pairs with the columns that go with them, and their checks."""

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from coala_jax._stored_rows import FeatureRows, in_memory, is_float, row_blocks
from coala_jax.features._errors import FeatureError
from coala_jax.features._identity import FeatureIdentity
from coala_jax.features._prefixes import PairPrefixes

REQUIRED = ("chosen", "rejected")
LENGTHS = ("chosen_chars", "rejected_chars")
NUMBERS = ("weight", "margin", *LENGTHS)
NAMES = ("id", "group", "prompt_sha256")
# Columns of the cuts, one row a cut and not a pair.
CUT_COLUMNS = {
    "prefix_chosen": "chosen",
    "prefix_rejected": "rejected",
    "prefix_pair": "pair",
    "prefix_tokens": "tokens",
}


class FeatureTable(NamedTuple):
    """Features of n pairs, whatever file they come from.

    Attributes:
        chosen: (n, d) float32, float16 or bfloat16 (float64 in an .npz); `StoredRows` while a store
            is solved, whose features are not read before they are used.
        rejected: (n, d), same type.
        ids: (n,) names of the rows.
        prompt_hashes: (n,) hashes of the normalised prompts; None where the file has none.
        margin: (n,) float32, 0 where a row has none; None where no row has one.
        weight: (n,) float32, 1 where a row has none; None where no row has one.
        groups: (n,) group of every row; None unless every row has one.
        lengths: (n, 2) characters of the chosen and of the rejected response, int64; None unless
            every row has them.
        identity: how the features were made; None where the file does not say.
        prefixes: beginnings of the responses, for `prefix_pairs`; None where there are none.
    """

    chosen: FeatureRows
    rejected: FeatureRows
    ids: tuple[str, ...]
    prompt_hashes: tuple[str, ...] | None = None
    margin: np.ndarray | None = None
    weight: np.ndarray | None = None
    groups: tuple[str, ...] | None = None
    lengths: np.ndarray | None = None
    identity: FeatureIdentity | None = None
    prefixes: PairPrefixes | None = None


def table_rows(table: FeatureTable, start: int, stop: int) -> FeatureTable:
    """Consecutive rows of a table, with the beginnings of their responses."""
    rows, cuts = slice(start, stop), table.prefixes
    if cuts is not None:
        first, last = np.searchsorted(cuts.pair, [start, stop])
        kept = slice(first, last)
        sides, pair = (cuts.chosen[kept], cuts.rejected[kept]), cuts.pair[kept] - start
        cuts = PairPrefixes(*sides, pair, cuts.tokens[kept])
    columns = {
        name: column if column is None or name in ("identity", "prefixes") else column[rows]
        for name, column in table._asdict().items()
    }
    return FeatureTable(**{**columns, "prefixes": cuts})


def table_in_memory(table: FeatureTable) -> FeatureTable:
    """The table with its features read; those that one file holds are memory-mapped."""
    cuts = table.prefixes
    return table._replace(
        chosen=in_memory(table.chosen),
        rejected=in_memory(table.rejected),
        prefixes=None if cuts is None else cuts.in_memory(),
    )


def prefix_pairs(table: FeatureTable) -> FeatureTable:
    """The beginnings of the responses of n pairs as pairs of their own.

    Args:
        table: of a store that was extracted with prefixes.

    Returns:
        A table of c pairs, named ``<id>@<tokens>``. A pair's weight is shared out evenly among its
        cuts, so that together they count as the pair does; its margin, group and prompt are those
        of each. Where pairs have no groups, they have the group of their prompt, or their own where
        prompts are unknown: the cuts of a pair and the pairs of a prompt are never split.

    Raises:
        FeatureError: a table without beginnings, or with none of any pair.

    Example:
        >>> import numpy as np
        >>> from coala_jax.features import FeatureTable, PairPrefixes, prefix_pairs
        >>> pair, tokens = np.array([0, 0, 1]), np.array([2, 5, 3])
        >>> cuts = PairPrefixes(np.ones((3, 4)), np.zeros((3, 4)), pair, tokens)
        >>> table = FeatureTable(np.ones((2, 4)), np.zeros((2, 4)), ("a", "b"), prefixes=cuts)
        >>> prefix_pairs(table).ids, prefix_pairs(table).weight.tolist()
        (('a@2', 'a@5', 'b@3'), [0.5, 0.5, 1.0])
    """
    cuts = table.prefixes
    if cuts is None:
        raise FeatureError(
            "features: no beginnings of responses in them; extract them with "
            "`coala-jax extract --prefixes K` (ExtractSettings(prefixes=K))"
        )
    if not len(cuts.pair):
        raise FeatureError(
            "features: no pair could be cut: the shorter response of each is a beginning of the "
            "other, or a single token; give rows of longer responses"
        )
    n, pair = len(table.ids), cuts.pair
    weight = np.ones(n, np.float32) if table.weight is None else table.weight
    groups = table.groups or table.prompt_hashes or tuple(map(str, range(n)))
    hashes = table.prompt_hashes
    return FeatureTable(
        chosen=cuts.chosen,
        rejected=cuts.rejected,
        ids=tuple(
            f"{table.ids[place]}@{kept}" for place, kept in zip(pair, cuts.tokens, strict=True)
        ),
        prompt_hashes=None if hashes is None else tuple(hashes[place] for place in pair),
        margin=None if table.margin is None else table.margin[pair],
        weight=(weight[pair] / cuts.counts(n)[pair]).astype(np.float32),
        groups=tuple(groups[place] for place in pair),
        identity=table.identity,
    )


def table_of_columns(
    source: str | os.PathLike[str],
    columns: Mapping[str, np.ndarray],
    identity: FeatureIdentity | None,
) -> FeatureTable:
    """A table of named columns.

    Args:
        source: what to call them in messages.
        columns: ``chosen`` and ``rejected``, (n, d) floating point, and where known `NUMBERS`,
            (n,) numbers, and `NAMES`, (n,) texts; all of `CUT_COLUMNS`, or none.
        identity: how the features were made; None where the source does not say.

    Raises:
        FeatureError: a column that is missing, of another shape or type, empty or not finite.
    """
    _check_features(source, columns)
    n = len(columns["chosen"])
    for name in (*NAMES, *NUMBERS):
        if name in columns and columns[name].shape != (n,):
            raise FeatureError(f"{source}: {name} has shape {columns[name].shape}, expected ({n},)")
    names = {name: tuple(map(str, columns[name].tolist())) for name in NAMES if name in columns}
    numbers = {name: _numbers(source, name, columns[name]) for name in NUMBERS if name in columns}
    return FeatureTable(
        chosen=columns["chosen"],
        rejected=columns["rejected"],
        ids=names.get("id") or tuple(map(str, range(n))),
        prompt_hashes=names.get("prompt_sha256"),
        margin=numbers.get("margin"),
        weight=numbers.get("weight"),
        groups=names.get("group"),
        lengths=_lengths(numbers),
        identity=identity,
        prefixes=_cuts(source, columns),
    )


def columns_of_table(table: FeatureTable) -> dict[str, np.ndarray | tuple[str, ...]]:
    """What `table_of_columns` takes; columns that the table does not have are left out."""
    table = table_in_memory(table)
    columns: dict[str, Any] = {
        "id": table.ids,
        "prompt_sha256": table.prompt_hashes,
        "chosen": table.chosen,
        "rejected": table.rejected,
        "margin": table.margin,
        "weight": table.weight,
        "group": table.groups,
    }
    if table.lengths is not None:
        for name, column in zip(LENGTHS, table.lengths.T, strict=True):
            columns[name] = column.astype(np.float32)
    if table.prefixes is not None:
        columns |= {name: getattr(table.prefixes, field) for name, field in CUT_COLUMNS.items()}
    return {name: column for name, column in columns.items() if column is not None}


def _lengths(numbers: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """(n, 2) of both columns of lengths, None where one is missing."""
    if not all(name in numbers for name in LENGTHS):
        return None
    return np.stack([numbers[name] for name in LENGTHS], axis=1).astype(np.int64)


def _cuts(source: str | os.PathLike[str], columns: Mapping[str, np.ndarray]) -> PairPrefixes | None:
    """The cuts of columns; None where there are none of them."""
    found = {field: columns[name] for name, field in CUT_COLUMNS.items() if name in columns}
    if not found:
        return None
    if lost := [name for name in CUT_COLUMNS if name not in columns]:
        raise FeatureError(
            f"{source}: no {', '.join(lost)} beside the other arrays of beginnings; give all of "
            f"{', '.join(CUT_COLUMNS)}, or none"
        )
    cuts, (n, width) = PairPrefixes(**found), columns["chosen"].shape
    count = cuts.pair.size
    for name in CUT_COLUMNS:
        wide = name in ("prefix_chosen", "prefix_rejected")
        expected: tuple[int, ...] = (count, width) if wide else (count,)
        if columns[name].shape != expected:
            raise FeatureError(
                f"{source}: {name} has shape {columns[name].shape}, expected {expected}"
            )
    for name in ("prefix_pair", "prefix_tokens"):
        if not np.issubdtype(columns[name].dtype, np.integer):
            raise FeatureError(f"{source}: {name} has type {columns[name].dtype}, expected int64")
    if rows_not_finite(cuts.chosen).size or rows_not_finite(cuts.rejected).size:
        raise FeatureError(
            f"{source}: prefix_chosen or prefix_rejected holds NaN or infinity; extract them again"
        )
    if ((cuts.pair < 0) | (cuts.pair >= n)).any():
        raise FeatureError(f"{source}: prefix_pair must be places of the {n} pairs, from 0")
    return cuts


def identity_text(identity: FeatureIdentity) -> str:
    """An identity as JSON."""
    return json.dumps(identity._asdict(), sort_keys=True)


def parse_identity(source: str | os.PathLike[str], text: str) -> FeatureIdentity:
    """The identity of `identity_text`.

    Raises:
        FeatureError: another text.
    """
    try:
        fields = json.loads(text)
    except json.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict):
        raise FeatureError(f"{source}: identity is not a JSON object; export the features again")
    try:
        return FeatureIdentity.from_dict(fields)
    except FeatureError as error:
        raise FeatureError(f"{source}: {error}") from None


def _check_features(source: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    for name in REQUIRED:
        if name not in arrays:
            raise FeatureError(f"{source}: no array named {name!r}; both {REQUIRED} are needed")
        array = arrays[name]
        if array.ndim == 2 and not len(array):
            raise FeatureError(f"{source}: {name} holds no pairs; give one row of features a pair")
        if array.ndim != 2 or 0 in array.shape:
            raise FeatureError(f"{source}: {name} has shape {array.shape}, expected (n, d)")
        if not is_float(array.dtype):
            raise FeatureError(
                f"{source}: {name} has type {array.dtype}, expected float16, bfloat16, float32 or "
                "float64; save it with .astype('float32') if these numbers are features"
            )
    if arrays["chosen"].shape != arrays["rejected"].shape:
        raise FeatureError(
            f"{source}: chosen has shape {arrays['chosen'].shape}, rejected "
            f"{arrays['rejected'].shape}; save both with one row a pair, in the same order, from "
            "the same backbone and pooling"
        )
    for name in REQUIRED:
        if (bad := rows_not_finite(arrays[name])).size:
            raise FeatureError(
                f"{source}: {name} holds NaN or infinity in {bad.size} rows, the first is row "
                f"{bad[0]}; remove these rows or extract them again"
            )


def rows_not_finite(rows: FeatureRows) -> np.ndarray:
    """Which of (n, d) rows hold NaN or infinity, by number."""
    finite = [np.isfinite(block).all(1) for _, block in row_blocks(rows)]
    return np.flatnonzero(~np.concatenate(finite))


def _numbers(source: str | os.PathLike[str], name: str, array: np.ndarray) -> np.ndarray:
    is_number = np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)
    if not is_number or not np.isfinite(array).all():
        raise FeatureError(f"{source}: {name} must hold finite numbers")
    if name == "weight" and (array < 0).any():
        raise FeatureError(f"{source}: weight must not be negative")
    return array.astype(np.float32)
