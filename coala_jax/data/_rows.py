"""Preference rows: what they hold, and why some are set aside."""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from coala_jax.data._errors import DataError
from coala_jax.data._message import PairMessages
from coala_jax.data._reasons import EQUAL, REST_LOST, is_fault, mend_of

# Keys of a row with a meaning here; all others go to ``extra``.
TEXT_KEYS = ("prompt", "chosen", "rejected")
NUMBER_KEYS = ("margin", "weight")
ROW_KEYS = ("id", *TEXT_KEYS, *NUMBER_KEYS, "group")
# A message names this many lines that were set aside.
NAMED_IN_ERROR = 3
# Half a million tokens, beyond any context there is: such a field is a whole file by mistake.
MAX_CHARACTERS = 2_000_000
NO_EXTRA: Mapping[str, Any] = MappingProxyType({})
# Half a character, which no encoding can say.
SURROGATE = re.compile("[\ud800-\udfff]")


class RowFault(Exception):
    """A row that cannot be used; the text is the reason, the same for every such row."""


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
        messages: what the texts were made of, where it was messages and was to be kept.
    """

    id: str
    prompt: str
    chosen: str
    rejected: str
    margin: float | None = None
    weight: float | None = None
    group: str | None = None
    extra: Mapping[str, Any] = NO_EXTRA
    messages: PairMessages | None = None


class SetAsideRow(NamedTuple):
    """A line or row that was set aside.

    Attributes:
        number: from 1.
        reason: why.
        file: where it stands.
        content: what stands there.
    """

    number: int
    reason: str
    file: str = ""
    content: Any = None


class RowSet(NamedTuple):
    """The usable rows of a source, and the lines that were set aside.

    Attributes:
        rows: in the order of the source.
        set_aside: what is not among them.
        chat_template: by what conversations became text (`coala_jax.data._chat.ChatFormat.name`);
            empty where there were none.
        notes: what must be known of the rows, a sentence each: of parts of the source that are
            missing, and of most of its rows where they are set aside.
    """

    rows: tuple[PreferenceRow, ...]
    set_aside: tuple[SetAsideRow, ...] = ()
    chat_template: str = ""
    notes: tuple[str, ...] = ()

    @property
    def set_aside_counts(self) -> dict[str, int]:
        """How many lines were set aside for each reason, sorted by reason."""
        return count_reasons(self.set_aside)


def count_reasons(set_aside: Iterable[SetAsideRow]) -> dict[str, int]:
    """How many lines were set aside for each reason, sorted by reason."""
    return dict(sorted(Counter(line.reason for line in set_aside).items()))


def lost_note(source: str, usable: int, counts: Mapping[str, int]) -> tuple[str, ...]:
    """A note where more rows are set aside for a fault than are usable, or where some were lost.

    Args:
        source: its name.
        usable: how many rows are.
        counts: of rows set aside, by reason; pairs that are tied and responses without a partner
            are no faults.
    """
    faults = {reason: count for reason, count in counts.items() if is_fault(reason)}
    lost = sum(faults.values())
    if lost > usable:
        counted = ", ".join(f"{reason} {count}" for reason, count in faults.items())
        mend = mend_of(faults)
        return (f"{source}: {lost} of {lost + usable} rows cannot be used: {counted}{mend}",)
    ends = {reason: faults[reason] for reason in faults if reason in REST_LOST}
    return (f"{source}: its end is lost: {', '.join(ends)}{mend_of(ends)}",) if ends else ()


def require_sound(row: SetAsideRow, source: str) -> None:
    """Raise where a row is set aside for a fault, not for want of a partner.

    Raises:
        DataError: names the file, the line and the reason.
    """
    if is_fault(row.reason):
        raise DataError(
            f"{row.file or source}: line {row.number}: {row.reason}; mend the row, or leave out "
            "--strict (strict=True) to set such rows aside"
        )


def preference_row(fields: Mapping[str, Any], number: int) -> PreferenceRow:
    """The row of fields as JSON gives them.

    Raises:
        RowFault: they make none.
    """
    require_texts(fields, TEXT_KEYS)
    for key in NUMBER_KEYS:
        if fields.get(key) is not None:
            require_number(key, fields[key])
    margin, weight, group = fields.get("margin"), fields.get("weight"), fields.get("group")
    if weight is not None and weight < 0:
        raise RowFault("weight is negative")
    if fields["chosen"].strip() == fields["rejected"].strip():
        raise RowFault(EQUAL)
    return PreferenceRow(
        id=row_name(fields, number),
        prompt=fields["prompt"],
        chosen=fields["chosen"],
        rejected=fields["rejected"],
        margin=None if margin is None else float(margin),
        weight=None if weight is None else float(weight),
        group=None if group is None else str(group),
        extra={key: value for key, value in fields.items() if key not in ROW_KEYS} or NO_EXTRA,
    )


def require_texts(fields: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Raise `RowFault` where one of these keys holds no usable text."""
    for key in keys:
        value = fields.get(key)
        if value is None:
            raise RowFault(f"no {key}")
        if isinstance(value, bytes):
            raise RowFault(f"{key} is not valid UTF-8")
        if not isinstance(value, str):
            raise RowFault(f"{key} is not a string{_found(value)}")
        if not value.strip():
            raise RowFault(f"empty {key}")
        if not value.isascii() and SURROGATE.search(value):
            raise RowFault(f"{key} is not valid Unicode")
        if len(value) > MAX_CHARACTERS:
            raise RowFault(f"{key} is longer than {MAX_CHARACTERS:,} characters")


def _found(value: Any) -> str:
    """What stands where a text should, as the end of a reason; empty where it is a number."""
    if isinstance(value, Mapping):
        return f" but an object of {', '.join(sorted(map(str, value)))}"
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return " but a list of texts (several responses go into completions, with scores)"
    return " but a list" if isinstance(value, list | tuple) else ""


def require_number(key: str, value: Any) -> None:
    """Raise `RowFault` where a value is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowFault(f"{key} is not a number")
    try:
        finite = math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        finite = False
    if not finite:
        raise RowFault(f"{key} is not finite")


def row_name(fields: Mapping[str, Any], number: int) -> str:
    """The row's ``id``, or ``line-<number>`` where it has none."""
    name = fields.get("id")
    return f"line-{number}" if name is None else str(name)


def require_usable(source: str, rows: Sequence[Any], set_aside: Sequence[SetAsideRow]) -> None:
    """Raise where nothing usable was read.

    Raises:
        DataError: names the source, the counts by reason and the first lines of each.
    """
    if rows:
        return
    if not set_aside:
        raise DataError(f"{source}: holds no rows")
    reasons, counts = [], count_reasons(set_aside)
    for reason, count in counts.items():
        numbers = [str(line.number) for line in set_aside if line.reason == reason]
        shown = ", ".join(numbers[:NAMED_IN_ERROR]) + (", ..." if count > NAMED_IN_ERROR else "")
        reasons.append(f"{reason}: {count} (line {shown})")
    raise DataError(f"{source}: no usable row; set aside: {'; '.join(reasons)}{mend_of(counts)}")


def fingerprint_rows(rows: Iterable[PreferenceRow]) -> str:
    """SHA-256 over what features and labels depend on, in order; not ``extra`` nor ``messages``."""
    digest = hashlib.sha256()
    for row in rows:
        line = json.dumps(row[: PreferenceRow._fields.index("extra")], ensure_ascii=True)
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()
