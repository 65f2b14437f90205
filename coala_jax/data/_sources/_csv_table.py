"""Rows of a CSV or TSV file with a header; every value is text."""

import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from coala_jax.data._errors import DataError
from coala_jax.data._reasons import FIELD_COUNT, NOT_UTF8, STRAY_QUOTE
from coala_jax.data._sources._bytes import MAX_LINE_BYTES, open_bytes
from coala_jax.data._sources._row import SourceRow
from coala_jax.data._sources._unpacking import COMPRESSIONS

TAB = "\t"
DELIMITERS = {".csv": ",", ".tsv": TAB}
# What tables are delimited by whatever their name: Excel writes ; where numbers have a comma.
ALL_DELIMITERS = (",", TAB, ";", "|")
SUFFIXES = tuple(f"{kind}{packed}" for packed in ("", *COMPRESSIONS) for kind in DELIMITERS)
# What pandas calls the column of an index, which it writes without a name.
INDEX_NAME = "Unnamed: 0"
# A quote that is open for longer is not meant to be: no field may hold as many characters.
MAX_RECORD_CHARACTERS = 2**25
# A field of so many lines, each of which would make a record by itself, is the work of a quote that
# was not closed. Prose has commas, but hardly a tab.
FEWEST_SWALLOWED = {TAB: 2}
FEWEST_SWALLOWED_ELSE = 4
# So many lines tell what a quote has swallowed.
LOOKED_AT = 50
# So many sound records in a row, or all up to the end, tell that the first of them is one, and not
# a line of a field; so does a quoted field.
SURE_RECORDS = 3
# And so many lines tell how quotes are written.
SAMPLED_LINES = 1000
# Excel says what the delimiter is in a line of its own.
_EXCEL_LINE = re.compile(r'"?sep=(.)"?\s*')
_ESCAPE = re.compile(r"\\.", re.DOTALL)
_BACKSLASHED = re.compile(r'\\(["\\])')


class _Record(NamedTuple):
    """A record of a table.

    Attributes:
        line: its first one, from 1.
        values: None where it cannot be told what they are.
        text: what stands there, where there are no values; else empty.
    """

    line: int
    values: list[str] | None
    text: str


def read_csv(file: Path, max_unpacked_bytes: int) -> Iterator[SourceRow]:
    """A row of every record, numbered by the line it begins at; empty fields are None.

    The file is quoted as spreadsheets do: a quoted field may hold line breaks. The delimiter is
    that of the suffix unless the header is written with another one. A record with a quote against
    the rules, which may be a backslash before every quote, is read where it can only be meant in
    one way, and set aside otherwise. The next sound record is the next that is read.

    Raises:
        DataError: its first line does not give every column a name of its own.
    """
    # The limit is one for the whole process: were it put back, another reader could miss it.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    with open_bytes(file, max_unpacked_bytes) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
        lines = _Lines(text)
        records = _Records(lines, _delimiter(file, lines))
        columns = _columns(file, records.header())
        for record in records.each(len(columns)):
            yield _row(record, columns, str(file))


class _Lines:
    """Lines of a text for the csv module, of which the last ones can be read again.

    Attributes:
        number: of the last one, from 1.
        taken: those since the last record.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text, self._again = text, deque[str]()
        self._characters = 0
        self.number, self.taken = 0, list[str]()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if self._characters > MAX_RECORD_CHARACTERS:
            raise StopIteration
        line = self._again.popleft() if self._again else self._text.readline()
        if not line:
            raise StopIteration
        self.number += 1
        self._characters += len(line)
        self.taken.append(line)
        return line

    def begin(self) -> int:
        """Begin a record; gives the number of its first line."""
        self.taken, self._characters = [], 0
        return self.number + 1

    def take(self, count: int) -> None:
        """Give the record as many lines, where there are."""
        self.keep(count)
        deque(itertools.islice(self, count - len(self.taken)), maxlen=0)

    def keep(self, count: int) -> str:
        """Leave the record the first of its lines alone, which are given."""
        again = self.taken[count:]
        self._again.extendleft(reversed(again))
        self.number -= len(again)
        del self.taken[count:]
        text = "".join(self.taken)
        self._characters = len(text)
        return text


class _Records:
    """Records of lines."""

    def __init__(self, lines: _Lines, delimiter: str) -> None:
        self._lines, self._delimiter = lines, delimiter
        self._reader = csv.reader(lines, delimiter=delimiter, strict=True)
        mark = re.escape(delimiter)
        # A quoted field ends where a delimiter or a line follows; what else has a quote is literal.
        quoted = rf'"((?:[^"\\]|\\.|"")*)"(?=[{mark}\r\n]|\Z)'
        self._field = re.compile(rf"{quoted}|([^{mark}\r\n]*)", re.DOTALL)
        escape = rf'\\([{mark}"\\])'
        self._escape = re.compile(escape)
        escaped = rf"((?:{escape.replace('(', '(?:')}|[^{mark}\r\n])*)"
        self._escaped_field = re.compile(f"{quoted}|{escaped}", re.DOTALL)
        # What is not quoted ends in a quote where it is the end of a quoted field.
        self._sound_field = rf'(?:"(?:[^"]|"")*+"|(?!")[^{mark}\r\n]*+(?<!"))'

    def header(self) -> list[str]:
        """The names of the columns: the first record that is not blank."""
        self._lines.begin()
        try:
            return next(filter(None, self._reader), [])
        except csv.Error:
            return self._literally(self._lines.keep(1), self._field)[0]

    def each(self, columns: int) -> Iterator[_Record]:
        """The records after the header, each of which should have that many values."""
        after_fault, backslashed = False, self._is_backslashed(columns)
        while True:
            first, values = self._lines.begin(), None
            try:
                values = next(self._reader)
            except StopIteration:
                return
            except csv.Error:
                pass
            if values == []:
                continue
            taken = self._lines.taken
            if backslashed and any("\\" in line for line in taken):
                yield self._escaped(first, columns)
            elif values is not None and self._is_whole(values, taken, columns):
                after_fault &= len(taken) > 1 or "".join(taken).count('"') % 2 == 1
                if after_fault:  # it may be the end of what was set aside
                    lost = self._lines_to_next(columns)
                    yield _Record(first, None, self._lines.keep(lost or 1))
                    after_fault = not lost
                else:
                    yield _Record(first, values, "")
            else:
                record, after_fault = self._mended(first, taken, columns)
                yield record

    def _is_whole(self, values: list[str], taken: list[str], columns: int) -> bool:
        """Whether values are those of a record, or no quote is to blame that they are not."""
        if len(values) != columns:
            return len(taken) == 1 and '"' not in taken[0]
        return len(taken) == 1 or not self._swallowed(taken, columns)

    def _is_backslashed(self, columns: int) -> bool:
        """Whether the first records are right where a backslash stands before every quote."""
        self._lines.begin()
        sample = list(itertools.islice(self._lines, SAMPLED_LINES))
        self._lines.keep(0)

        def fitness(escape: str | None) -> int:
            mark, found = self._delimiter, 0
            reader = csv.reader(iter(sample), delimiter=mark, escapechar=escape, strict=True)
            while True:
                try:
                    found += len(next(reader)) == columns
                except StopIteration:
                    return found
                except csv.Error:
                    continue

        return any("\\" in line for line in sample) and fitness("\\") > fitness(None)

    def _escaped(self, first: int, columns: int) -> _Record:
        """The record that begins at a line, where a backslash stands before every quote."""
        text = self._closed_text()
        values, lines = self._literally(text or self._lines.taken[0], self._escaped_field)
        if len(values) == columns:
            self._lines.keep(lines)
            return _Record(first, values, "")
        return _Record(first, None, self._lines.keep(1))

    def _closed_text(self) -> str:
        """The first lines, up to where every quote is closed; empty where none of the next does."""
        text = self._lines.keep(1)
        more = itertools.islice(self._lines, LOOKED_AT)
        texts = itertools.accumulate(more, initial=text)
        return next(filter(_is_closed, texts), "")

    def _mended(self, first: int, taken: list[str], columns: int) -> tuple[_Record, bool]:
        """The record of lines with a quote against the rules, and whether its end is unknown."""
        swallowed = taken[1 : 1 + LOOKED_AT]
        rows = sum(self._is_row(line, columns) for line in swallowed)
        stretch, text = len(taken), taken[0]
        closed = _is_closed(text) or 2 * rows > len(swallowed)
        if not closed and '\\"' in text:  # lines of a field whose quotes have a backslash
            text = self._closed_text()
            closed = bool(text)
        if closed:
            values, lines = self._literally(text, self._field)
            if len(values) == columns and sum(map(_opens_a_quote, values)) < 2:
                self._lines.keep(lines)
                return _Record(first, values, ""), False
        if lost := self._lines_to_next(columns):
            return _Record(first, None, self._lines.keep(lost)), False
        unknown = bool(swallowed) and not closed
        if unknown:
            self._lines.take(stretch)
        return _Record(first, None, self._lines.keep(stretch if unknown else 1)), unknown

    def _lines_to_next(self, columns: int) -> int:
        """How many lines there are before the next sound record; 0 where none is near."""
        # The second half is there to tell of a line in the first whether it begins a record.
        self._lines.take(1 + 2 * LOOKED_AT)
        ahead = self._lines.taken[1:]
        text, starts = "".join(ahead), itertools.accumulate(map(len, ahead), initial=0)
        mark = re.escape(self._delimiter)
        record = rf"(?:{mark.join([self._sound_field] * columns)}(?:[\r\n]++|\Z))"
        several = re.compile(rf"{record}(?:{record}{{{SURE_RECORDS - 1}}}|{record}*\Z)")
        one, quoted = re.compile(record), re.compile(rf'(?:\A|{mark})"')

        def begins(start: int) -> bool:
            if several.match(text, start):
                return True
            found = one.match(text, start)
            return found is not None and quoted.search(found[0]) is not None

        looked_at = itertools.islice(zip(range(len(ahead)), starts, strict=False), LOOKED_AT)
        return next((1 + at for at, start in looked_at if begins(start)), 0)

    def _literally(self, text: str, field: re.Pattern[str]) -> tuple[list[str], int]:
        """The fields of the record that a text begins with, and how many lines they take.

        A stray quote is a character.
        """
        values, end = list[str](), 0
        while found := field.match(text, end):
            quoted, value = found.groups()
            if quoted is not None:
                value = _BACKSLASHED.sub(r"\1", quoted.replace('""', '"'))
            elif field is self._escaped_field:
                value = self._escape.sub(r"\1", value)
            values.append(value)
            end = found.end()
            if text[end : end + 1] != self._delimiter:
                break
            end += 1
        return values, text.count("\n", 0, end) + 1

    def _is_row(self, line: str, columns: int) -> bool:
        """Whether a line is a record of that many values by itself."""
        try:
            (values,) = csv.reader([line], delimiter=self._delimiter, strict=True)
        except (csv.Error, ValueError):
            return False
        return len(values) == columns

    def _swallowed(self, taken: Sequence[str], columns: int) -> bool:
        """Whether the lines of a record are all records of their own."""
        if len(taken) < FEWEST_SWALLOWED.get(self._delimiter, FEWEST_SWALLOWED_ELSE):
            return False
        if len(self._literally(taken[0], self._field)[0]) != columns:
            return False
        return all(self._is_row(line, columns) for line in taken[1 : 1 + LOOKED_AT])


def _opens_a_quote(value: str) -> bool:
    """Whether a value begins with a quote that is not closed in it."""
    return value.startswith('"') and not _is_closed(value)


def _is_closed(text: str) -> bool:
    """Whether every quote that is opened is closed, those with a backslash aside."""
    return _ESCAPE.sub("", text).count('"') % 2 == 0


def _delimiter(file: Path, lines: _Lines) -> str:
    """The delimiter of a table: what Excel's own line says, else what divides the header."""
    usual = next(mark for kind, mark in DELIMITERS.items() if kind in file.suffixes)
    lines.begin()
    header = next(filter(str.strip, lines), "")
    if said := _EXCEL_LINE.fullmatch(header):
        return said[1]
    lines.keep(0)

    def fitness(mark: str) -> tuple[bool, bool, int, bool]:
        reader = filter(None, csv.reader(lines, delimiter=mark))
        names, values = (len(next(reader, [])) for _ in range(2))
        lines.keep(0)
        return names > 1, names == values, names, mark == usual

    return max(ALL_DELIMITERS, key=fitness)


def _columns(file: Path, names: list[str]) -> list[str]:
    columns = [name.strip() for name in names]
    if len(columns) > 1 and not columns[0]:
        columns[0] = INDEX_NAME
    if not all(columns) or len(set(columns)) < len(columns) or not columns:
        raise DataError(
            f"{file}: its first line names the columns {columns}; each must have a name of its own"
        )
    return columns


def _row(record: _Record, columns: list[str], file: str) -> SourceRow:
    number, values, text = record
    try:
        "".join(values or text).encode()
    except UnicodeEncodeError:  # what is no UTF-8 was read as lone surrogates
        raw = [value.encode(errors="surrogateescape") for value in values or [text]]
        shown = [value.decode(errors="backslashreplace") for value in raw]
        return SourceRow(number, None, NOT_UTF8, shown, file)
    if values is None:
        return SourceRow(number, None, STRAY_QUOTE, text, file)
    if len(values) != len(columns):
        return SourceRow(number, None, FIELD_COUNT, values, file)
    fields = {name: value or None for name, value in zip(columns, values, strict=True)}
    return SourceRow(number, fields, "", None, file)
