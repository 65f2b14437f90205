"""Rows to be scored: a prompt and a response each, read from either kind of file."""

import os
from typing import NamedTuple

from coala_jax.data.rows import (
    RefusedLine,
    count_reasons,
    require_usable,
    row_name,
    text_fault,
)
from coala_jax.data.sources import open_source


class ResponseRow(NamedTuple):
    """A response to be scored.

    Attributes:
        id: name of the row it came from.
        side: ``response``, or ``chosen`` or ``rejected`` for the two sides of a preference row.
        prompt: what the response answers.
        response: the text to score.
    """

    id: str
    side: str
    prompt: str
    response: str


class ResponseSet(NamedTuple):
    """The usable responses of a file, and the lines that were set aside."""

    rows: tuple[ResponseRow, ...]
    refused: tuple[RefusedLine, ...] = ()

    @property
    def refused_counts(self) -> dict[str, int]:
        """How many lines were set aside for each reason, sorted by reason."""
        return count_reasons(self.refused)


def read_responses(path: str | os.PathLike[str]) -> ResponseSet:
    """Read responses to score.

    A line with ``response`` gives one row; a preference line (``chosen``, ``rejected``) gives two,
    the chosen one first.

    Args:
        path: a file or folder that `coala_jax.data.read_rows` can read.

    Returns:
        Usable rows in the order of the file, and the lines set aside.

    Raises:
        DataError: a missing, empty or unreadable file, or one with no usable row.
    """
    rows: list[ResponseRow] = []
    refused: list[RefusedLine] = []
    source = open_source(path)
    for row in source.rows:
        number, fields = row.number, row.fields
        if fields is None:
            refused.append(RefusedLine(number, row.reason, row.file, row.content))
            continue
        is_pair = "response" not in fields and ("chosen" in fields or "rejected" in fields)
        sides = ("chosen", "rejected") if is_pair else ("response",)
        if reason := text_fault(fields, ("prompt", *sides)):
            refused.append(RefusedLine(number, reason, row.file, row.kept()))
            continue
        name = row_name(fields, number)
        rows.extend(ResponseRow(name, side, fields["prompt"], fields[side]) for side in sides)
    require_usable(source.name, rows, refused)
    return ResponseSet(tuple(rows), tuple(refused))
