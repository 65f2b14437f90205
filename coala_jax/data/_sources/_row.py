"""What every source gives: numbered entries, each with fields or with the reason it has none."""

import csv
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax.data._errors import DataError
from coala_jax.data._message import PairMessages
from coala_jax.data._reasons import CUT_SHORT
from coala_jax.data._rows import RowFault, SetAsideRow

# By these rows it is decided what the columns are; a column may be missing in some.
SEEN_ROWS = 100
# What reading raises where the file, not the program, is at fault.
READ_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, csv.Error)


class AfterEnd(OSError):
    """Something else follows the end of what was compressed; nothing of that is lost."""


class SourceRow(NamedTuple):
    """An entry of a source.

    Attributes:
        number: its line in a text file, its row in a table; from 1.
        fields: its columns; None where it has none.
        reason: why it has none.
        content: what stands there, for a person to look at; None means the fields themselves.
        file: the file it stands in, or the name of what is no file.
        messages: of a pair whose texts were messages, these.
    """

    number: int
    fields: Mapping[str, Any] | None
    reason: str = ""
    content: Any = None
    file: str = ""
    messages: PairMessages | None = None

    def set_aside(self, reason: str) -> "SourceRow":
        """The same entry without fields, for a reason."""
        return self._replace(fields=None, reason=reason, content=self.kept())

    def kept(self) -> Any:
        """What to keep of the entry where it is set aside."""
        return self.fields if self.content is None else self.content

    def as_set_aside(self) -> SetAsideRow:
        """What is told of an entry without fields."""
        return SetAsideRow(self.number, self.reason, self.file, self.kept())


def first_rows(rows: Iterable[SourceRow]) -> tuple[list[Mapping[str, Any]], Iterator[SourceRow]]:
    """The fields of the first rows, and all rows from the first one on."""
    rows = iter(rows)
    seen = list(itertools.islice(rows, SEEN_ROWS))
    return [row.fields for row in seen if row.fields is not None], itertools.chain(seen, rows)


def columns_of(rows: Iterable[Mapping[str, Any]]) -> Collection[str]:
    """The names of all columns of the rows, each once, in the order in which they come."""
    return dict.fromkeys(itertools.chain.from_iterable(rows))


def each_row(
    rows: Iterable[SourceRow],
    make: Callable[[SourceRow, Mapping[str, Any]], Iterable[SourceRow]],
) -> Iterator[SourceRow]:
    """What is made of every row with fields; where that raises `RowFault`, the row is set aside."""
    for row in rows:
        if row.fields is None:
            yield row
            continue
        try:
            yield from make(row, row.fields)
        except RowFault as fault:
            yield row.set_aside(str(fault))


def until_cut(file: Path, rows: Iterator[SourceRow]) -> Iterator[SourceRow]:
    """Rows of a file; one that breaks off, such as a gzip cut short, ends with one that says so.

    Raises:
        DataError: nothing of it can be read.
    """
    number = 0
    try:
        for row in rows:
            number = row.number
            yield row
    except READ_ERRORS as error:
        fault = " ".join(str(error).split())
        if not number:
            raise DataError(f"{file}: cannot be read ({fault})") from error
        reason = fault if isinstance(error, AfterEnd) else CUT_SHORT
        yield SourceRow(number + 1, None, reason, fault, str(file))
