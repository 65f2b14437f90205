"""Splits that share no prompt, the same on every machine.

A key (a prompt's hash, or a group) falls to the evaluation part by its own hash and the seed alone,
so rows that are added later never move a key that was there before.
"""

import hashlib
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from coala_jax._json import read_json_object
from coala_jax.data._column_names import named_rows
from coala_jax.data._errors import DataError
from coala_jax.data._rows import SURROGATE, PreferenceRow
from coala_jax.data._sources import open_source
from coala_jax.data._sources._json_lines import SUFFIXES

# A hash's first bytes as a share of all their values: 53 bits, what a float holds exactly.
HASH_BYTES = 8
HASH_SHIFT = 8 * HASH_BYTES - 53
HASH_SCALE = 2.0**-53
# A message shows this much of a prompt.
SHOWN_CHARACTERS = 80
# Begins the names of groups that were not given but made of what rows ask first.
QUESTION_GROUP = "first question "


class Split(NamedTuple):
    """Two parts of some rows.

    Attributes:
        train: rows for training, in their first order.
        eval: rows that are held out, likewise.
    """

    train: tuple[PreferenceRow, ...]
    eval: tuple[PreferenceRow, ...]


def normalise_text(text: str) -> str:
    """A text without what does not make it another one: case, spacing, Unicode's forms."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_sha256(text: str) -> str:
    """SHA-256 of the normalised text, as 64 hexadecimal digits."""
    return hashlib.sha256(normalise_text(text).encode()).hexdigest()


def question_group(question: str) -> str:
    """The group of rows that go on from one question, where they name none."""
    return f"{QUESTION_GROUP}{text_sha256(question)}"


def eval_mask(keys: Sequence[str], eval_fraction: float, seed: int) -> np.ndarray:
    """Which rows belong to the evaluation part; rows with the same key stay together.

    Where there are two keys or more, both parts get at least one: the key nearest to the threshold
    moves to a part that would be empty.

    Args:
        keys: one a row, such as `text_sha256` gives.
        eval_fraction: share of the keys to hold out, on average: each is drawn by itself, so that
            of few keys another share may be; strictly between 0 and 1.
        seed: another seed, another split.

    Returns:
        (len(keys),) booleans, true where the row is held out.

    Raises:
        DataError: ``eval_fraction`` out of range.
    """
    if not 0.0 < eval_fraction < 1.0:
        raise DataError(f"eval_fraction must lie between 0 and 1, got {eval_fraction!r}")
    shares = {key: _share(key, seed) for key in set(keys)}
    held_out = {key for key, share in shares.items() if share < eval_fraction}
    if len(shares) > 1 and not held_out:
        held_out = {min(shares, key=lambda key: (shares[key], key))}
    elif len(shares) > 1 and len(held_out) == len(shares):
        held_out.remove(max(shares, key=lambda key: (shares[key], key)))
    return np.array([key in held_out for key in keys], dtype=bool)


def split_by_prompt(rows: Sequence[PreferenceRow], eval_fraction: float, seed: int) -> Split:
    """Split rows so that no prompt is in both parts.

    Args:
        rows: the rows to split.
        eval_fraction: share of the prompts to hold out, on average.
        seed: another seed, another split.

    Returns:
        The two parts.

    Raises:
        DataError: ``eval_fraction`` out of range.

    Example:
        >>> from coala_jax.data import read_rows, require_no_leak, split_by_prompt
        >>> rows = [{"prompt": f"{n}?", "chosen": f"{n}", "rejected": "-1"} for n in range(20)]
        >>> split = split_by_prompt(read_rows(rows).rows, eval_fraction=0.5, seed=0)
        >>> require_no_leak(split.train, split.eval)
        >>> len(split.train) + len(split.eval)
        20
    """
    keys = [text_sha256(row.prompt) for row in rows]
    return _split(rows, eval_mask(keys, eval_fraction, seed))


def split_by_group(
    rows: Sequence[PreferenceRow], groups: Mapping[str, str], eval_fraction: float, seed: int
) -> Split:
    """Split rows so that neither a group nor a prompt is in both parts.

    Args:
        rows: the rows to split.
        groups: row id to group; every row must have one.
        eval_fraction: share of the groups to hold out, on average.
        seed: another seed, another split.

    Returns:
        The two parts.

    Raises:
        DataError: a row without a group, or ``eval_fraction`` out of range.

    Example:
        >>> from coala_jax.data import read_rows, split_by_group
        >>> rows = [{"prompt": f"{n}?", "chosen": f"{n}", "rejected": "-1"} for n in range(20)]
        >>> groups = {f"line-{n}": f"person {n % 4}" for n in range(1, 21)}
        >>> split = split_by_group(read_rows(rows).rows, groups, eval_fraction=0.5, seed=0)
        >>> train, held_out = ({groups[row.id] for row in part} for part in split)
        >>> train & held_out
        set()
    """
    chosen_groups = groups_of([row.id for row in rows], groups)
    keys = joint_keys(chosen_groups, [text_sha256(row.prompt) for row in rows])
    return _split(rows, eval_mask(keys, eval_fraction, seed))


def require_no_leak(train: Sequence[PreferenceRow], evaluation: Sequence[PreferenceRow]) -> None:
    """Raise where rows for training and rows for evaluation share a prompt or a group.

    `split_by_prompt` and `split_by_group` never make such parts; two files of someone else's may.

    Args:
        train: rows for training.
        evaluation: rows that are held out.

    Raises:
        DataError: says how many are shared and names one.

    Example:
        >>> from coala_jax.data import DataError, read_rows, require_no_leak
        >>> rows = read_rows([{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}]).rows
        >>> try:
        ...     require_no_leak(rows, rows)
        ... except DataError:
        ...     print("shared")
        shared
    """
    for what, key in (
        ("prompts", lambda row: normalise_text(row.prompt)),
        ("groups", lambda row: row.group),
    ):
        shared = {key(row) for row in train} & {key(row) for row in evaluation} - {None}
        if shared:
            raise DataError(
                f"train and eval share {len(shared)} {what}, such as {_shown(min(shared))}; split "
                "by prompt (split_by_prompt), or take the rows out of one of them"
            )


def groups_of(ids: Sequence[str], groups: Mapping[str, str]) -> list[str]:
    """The group of every row, by id.

    Raises:
        DataError: names the first rows that have none.
    """
    lost = [name for name in ids if name not in groups]
    if lost:
        raise DataError(
            f"groups: {len(lost)} of {len(ids)} rows have no group, the first is {lost[0]!r}; "
            "give one for every row id"
        )
    return [groups[name] for name in ids]


def joint_keys(groups: Sequence[str], prompts: Sequence[str]) -> list[str]:
    """One key a row, equal for rows that a chain of shared groups and prompts connects.

    Args:
        groups: (n,) group of every row.
        prompts: (n,) prompt, or its hash, of every row.

    Returns:
        (n,) the smallest group of each connected part.
    """
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for group, prompt in zip(groups, prompts, strict=True):
        # "group" sorts before "prompt": the root of a part is its smallest group.
        low, high = sorted((root(("group", group)), root(("prompt", prompt))))
        parent[high] = low
    return [root(("group", group))[1] for group in groups]


def read_groups(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a mapping of row id to group.

    Args:
        path: a ``.json`` file with one object ``{id: group}``, or ``.jsonl``/``.jsonl.gz`` with
            ``id`` and ``group`` on every line.

    Returns:
        Row id to group.

    Raises:
        DataError: a missing or unreadable file, a line without ``id`` or ``group``, or no entry.

    Example:
        >>> from pathlib import Path
        >>> from coala_jax.data import read_groups
        >>> _ = Path("groups.json").write_text('{"line-1": "person 1", "line-2": "person 2"}')
        >>> read_groups("groups.json")
        {'line-1': 'person 1', 'line-2': 'person 2'}
    """
    file = Path(path)
    groups = _lines_of_groups(file) if file.name.endswith(SUFFIXES) else _object_of_groups(file)
    if not groups:
        raise DataError(f"{file}: holds no groups")
    return groups


def _lines_of_groups(file: Path) -> dict[str, str]:
    groups: dict[str, str] = {}
    for row in named_rows(open_source(file), {}):
        fields = row.fields
        if fields is None or fields.get("id") is None or fields.get("group") is None:
            reason = row.reason or "id or group is missing"
            raise DataError(f"{file}: line {row.number}: {reason}")
        group = str(fields["group"])
        if groups.setdefault(str(fields["id"]), group) != group:
            raise DataError(f"{file}: line {row.number}: {fields['id']} has two groups")
    return groups


def _object_of_groups(file: Path) -> dict[str, str]:
    if not file.is_file():
        raise DataError(
            f"{file}: no such file; give a .json with {{id: group}}, or a .jsonl with id and group "
            "on every line"
        )
    expected = "one JSON object {id: group} is expected"
    fields = read_json_object(file, DataError, expected, unique=True)
    for name, group in fields.items():
        if group is None:
            raise DataError(f"{file}: {name}: group is missing")
        if SURROGATE.search(f"{name}{group}"):
            raise DataError(f"{file}: group of {name!r} is not valid Unicode")
    return {str(name): str(group) for name, group in fields.items()}


def _share(key: str, seed: int) -> float:
    """The key's place in [0, 1), uniform over keys and independent between seeds."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return (int.from_bytes(digest[:HASH_BYTES], "big") >> HASH_SHIFT) * HASH_SCALE


def _split(rows: Sequence[PreferenceRow], held_out: np.ndarray) -> Split:
    train = tuple(row for row, out in zip(rows, held_out, strict=True) if not out)
    return Split(train, tuple(row for row, out in zip(rows, held_out, strict=True) if out))


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "...")
