"""What several processes agree on of the features that each has read: columns, and counts."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from coala_jax._processes import gathered, gathered_texts, told_by_all
from coala_jax._shard_rows import NEUTRAL
from coala_jax.data._answer_groups import holds_groups, members_of
from coala_jax.features import FeatureError, FeatureTable
from coala_jax.features._table import identity_text

# Columns of which the rows of all processes have to be known, or none.
_KNOWN_OF_ALL = ("groups", "prompt_hashes", "lengths")


def agreed_table(source: str, table: FeatureTable) -> FeatureTable:
    """The rows of this process with the columns that all processes have.

    Weights are 1 and margins 0 where another process has some; groups, prompts and lengths are left
    out where any process has none.

    Raises:
        FeatureError: features of another width, type or identity in another process; pairs in one
            and groups of responses in another; such a group that lies in two. The same in all.
    """
    if jax.process_count() == 1:
        return table
    is_groups = holds_groups(table.ids)
    own = {
        "columns": [name for name, column in table._asdict().items() if column is not None],
        "rows": f"{table.chosen.dtype} of {table.chosen.shape[1]} columns",
        "identity": None if table.identity is None else identity_text(table.identity),
        "kind": "groups of responses" if is_groups else "pairs",
    }
    told: list[dict[str, Any]] = told_by_all(own)
    for what, name in (
        ("features", "rows"),
        ("rows", "kind"),
        ("features made as", "identity"),
    ):
        for number, other in enumerate(told):
            if other[name] != told[0][name]:
                raise FeatureError(
                    f"{source}: process 0 has {what} {told[0][name]}, process {number} "
                    f"{other[name]}: give all processes rows of one extraction"
                )
    changed: dict[str, Any] = {}
    for name, neutral in NEUTRAL.items():
        if getattr(table, name) is None and any(name in each["columns"] for each in told):
            changed[name] = np.full(len(table.ids), neutral, np.float32)
    for name in _KNOWN_OF_ALL:
        if not all(name in each["columns"] for each in told):
            changed[name] = None
    if is_groups:
        _require_whole_groups(source, table)
    return table._replace(**changed)


def _require_whole_groups(source: str, table: FeatureTable) -> None:
    members = filter(None, map(members_of, table.ids))
    names = gathered_texts(sorted({json.dumps(each[:2]) for each in members}))
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise FeatureError(
            f"{source}: {len(twice)} groups have responses in two processes, the first is "
            f"{json.loads(min(twice))[0]!r}: put the parts where every process sees all of them, "
            "or join them, and groups are dealt out whole"
        )


def require_unique_ids(source: str, ids: Sequence[str]) -> None:
    """Raise where an id names two rows, of one process or of two: nothing can be matched to them.

    Raises:
        FeatureError: how many there are, and the first; the same in all processes.
    """
    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids]
    hashes = np.frombuffer(b"".join(digests), np.uint64)
    values, counts = np.unique(gathered(hashes), return_counts=True)
    # What has one hash need not be one text.
    alike = np.isin(hashes, values[counts > 1])
    named = Counter(gathered_texts(list(itertools.compress(ids, alike))))
    if repeated := [name for name, count in named.items() if count > 1]:
        raise FeatureError(
            f"{source}: {len(repeated)} ids name more than one row, the first is {repeated[0]!r}; "
            "groups and preference rows are matched by id: give every row its own"
        )


def summed(counts: Mapping[str, int] | None) -> dict[str, int] | None:
    """Counts by reason over all processes; None where none counts."""
    told = told_by_all(counts)
    if all(each is None for each in told):
        return None
    total: Counter[str] = Counter()
    for each in told:
        total.update(each or {})
    return dict(total)
