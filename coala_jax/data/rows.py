"""Preference rows: what they hold, how they are read, and why some are set aside."""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from coala_jax.data.errors import DataError
from coala_jax.data.jsonl import read_json_lines

EQUAL = "chosen equals rejected"
# Keys of a row with a meaning here; all others go to ``extra``.
TEXT_KEYS = ("prompt", "chosen", "rejected")
NUMBER_KEYS = ("margin", "weight")
ROW_KEYS = ("id", *TEXT_KEYS, *NUMBER_KEYS, "group")
# A message names this many lines that were set aside.
NAMED_IN_ERROR = 3


class PreferenceRow(NamedTuple):
    """A prompt with a preferred and a less preferred response.

    Attributes:
        id: name of the row.
        prompt: what both responses answer, ready for the template.
        chosen: the preferred response.
        rejected: the other one; differs from ``chosen``.
        margin: by how much ``chosen`` is better; None where unknown.
        weight: how much the row counts, not negative; None means 1.
        group: what must not be split between training and test; None where unknown.
        extra: all other fields of the source.
    """

    id: str
    prompt: str
    chosen: str
    rejected: str
    margin: float | None = None
    weight: float | None = None
    group: str | None = None
    extra: Mapping[str, Any] = MappingProxyType({})


class RefusedLine(NamedTuple):
    """A line that was set aside: its number from 1, and why."""

    number: int
    reason: str


class RowSet(NamedTuple):
    """The usable rows of a file, and the lines that were set aside."""

    rows: tuple[PreferenceRow, ...]
    refused: tuple[RefusedLine, ...] = ()

    @property
    def refused_counts(self) -> dict[str, int]:
        """How many lines were set aside for each reason, sorted by reason."""
        return count_reasons(self.refused)


def count_reasons(refused: Iterable[RefusedLine]) -> dict[str, int]:
    """How many lines were set aside for each reason, sorted by reason."""
    return dict(sorted(Counter(line.reason for line in refused).items()))


def read_rows(path: str | os.PathLike[str]) -> RowSet:
    """Read preference pairs; rows that cannot be used are set aside with their reason.

    A row needs ``prompt``, ``chosen`` and ``rejected``: strings that are not blank, the last two
    different. ``id`` (else ``line-<number>``), ``margin``, ``weight`` and ``group`` are optional.

    Args:
        path: a ``.jsonl`` or ``.jsonl.gz`` file with one object a line.

    Returns:
        Usable rows in the order of the file, and the lines set aside.

    Raises:
        DataError: a missing, empty or unreadable file, or one with no usable row.
    """
    rows: list[PreferenceRow] = []
    refused: list[RefusedLine] = []
    for number, fields, fault in read_json_lines(path):
        reason = fault if fields is None else row_fault(fields)
        if fields is None or reason:
            refused.append(RefusedLine(number, reason))
        else:
            rows.append(_row(fields, number))
    require_usable(path, rows, refused)
    return RowSet(tuple(rows), tuple(refused))


def row_fault(fields: Mapping[str, Any]) -> str:
    """Why a row cannot be used, or an empty string where it can.

    Args:
        fields: the row's fields as JSON gives them.

    Returns:
        The reason, the same text for every row with the same fault.
    """
    fault = text_fault(fields, TEXT_KEYS) or _label_fault(fields)
    if fault:
        return fault
    return EQUAL if fields["chosen"].strip() == fields["rejected"].strip() else ""


def text_fault(fields: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Why one of these keys holds no usable text, or an empty string where all do."""
    for key in keys:
        value = fields.get(key)
        if value is None:
            return f"no {key}"
        if not isinstance(value, str):
            return f"{key} is not a string"
        if not value.strip():
            return f"empty {key}"
        if any("\ud800" <= character <= "\udfff" for character in value):
            return f"{key} is not valid Unicode"
    return ""


def row_name(fields: Mapping[str, Any], number: int) -> str:
    """The row's ``id``, or ``line-<number>`` where it has none."""
    name = fields.get("id")
    return f"line-{number}" if name is None else str(name)


def require_usable(
    path: str | os.PathLike[str], rows: Sequence[Any], refused: Sequence[RefusedLine]
) -> None:
    """Raise where nothing usable was read.

    Raises:
        DataError: names the file, the counts by reason and the first lines of each.
    """
    if rows:
        return
    if not refused:
        raise DataError(f"{Path(path)}: holds no rows")
    reasons = []
    for reason, count in count_reasons(refused).items():
        numbers = [str(line.number) for line in refused if line.reason == reason]
        shown = ", ".join(numbers[:NAMED_IN_ERROR]) + (", ..." if count > NAMED_IN_ERROR else "")
        reasons.append(f"{reason}: {count} (line {shown})")
    raise DataError(f"{Path(path)}: no usable row; set aside: {'; '.join(reasons)}")


def fingerprint_rows(rows: Iterable[PreferenceRow]) -> str:
    """SHA-256 over all that features and labels depend on, in order; ``extra`` does not count."""
    digest = hashlib.sha256()
    for row in rows:
        line = json.dumps(row[: PreferenceRow._fields.index("extra")], ensure_ascii=True)
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _label_fault(fields: Mapping[str, Any]) -> str:
    """Why a number or the group of a row cannot be used."""
    for key in NUMBER_KEYS:
        value = fields.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{key} is not a number"
        if not _is_finite(value):
            return f"{key} is not finite"
    weight = fields.get("weight")
    if weight is not None and weight < 0:
        return "weight is negative"
    return ""


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False


def _row(fields: Mapping[str, Any], number: int) -> PreferenceRow:
    margin, weight, group = (fields.get(key) for key in ("margin", "weight", "group"))
    return PreferenceRow(
        id=row_name(fields, number),
        prompt=fields["prompt"],
        chosen=fields["chosen"],
        rejected=fields["rejected"],
        margin=None if margin is None else float(margin),
        weight=None if weight is None else float(weight),
        group=None if group is None else str(group),
        extra={key: value for key, value in fields.items() if key not in ROW_KEYS},
    )
