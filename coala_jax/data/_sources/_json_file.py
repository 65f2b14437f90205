"""A JSON file by what it holds: lines, an array, objects over several lines, or one of all rows."""

import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax.data._errors import DataError
from coala_jax.data._reasons import ARRAY_LOST, FILE_LOST
from coala_jax.data._sources._bytes import BOM, MAX_LINE_BYTES, Line, numbered_lines, open_bytes
from coala_jax.data._sources._json_lines import SUFFIXES as LINES_SUFFIXES
from coala_jax.data._sources._json_lines import json_row, json_value, rows_of_lines
from coala_jax.data._sources._json_table import rows_within
from coala_jax.data._sources._row import SourceRow
from coala_jax.data._sources._unpacking import COMPRESSIONS

SUFFIXES = (*LINES_SUFFIXES, ".json", *(f".json{packed}" for packed in COMPRESSIONS))
READ_CHARACTERS = 2**20
SHOWN_CHARACTERS = 1000
HEAD_BYTES = 64
_MARK = re.compile(r"\S")
# An array of objects, or one that is written over several lines: no line of rows.
_ARRAY_OF_ROWS = re.compile(rb"\[\s*(\{|\r?\n|$)")


class _Broken(Exception):
    """What follows is no JSON; holds what to show a person of it."""


class _Beginning(NamedTuple):
    """What a file begins with.

    Attributes:
        lines: the first ones.
        text: theirs, where they are one object over several lines; else empty.
        has_end: whether that object ends in the last of them; if not, they are the whole file.
    """

    lines: list[Line]
    text: str = ""
    has_end: bool = True


def read_json(file: Path, max_unpacked_bytes: int) -> Iterator[SourceRow]:
    """A row of every object of a file, numbered by its line, or by its place in an array.

    One object around all rows, as ``{"data": [...]}`` or as tables are written, gives its rows.
    JSON that is broken within an array ends it: the last row says so.

    Raises:
        DataError: one object over the whole file that holds several lists of rows, or is too large.
    """
    name = str(file)
    with open_bytes(file, max_unpacked_bytes) as stream:
        head = stream.peek(HEAD_BYTES)[:HEAD_BYTES].removeprefix(BOM).lstrip()
        of_lines = file.name.endswith(LINES_SUFFIXES)
        if _ARRAY_OF_ROWS.match(head) if of_lines else head.startswith(b"["):
            # Bytes that are no UTF-8 become lone surrogates, which the checks of a row name.
            text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape")
            yield from _rows(_elements(_Characters(text)), name, ARRAY_LOST)
            return
        lines = (line for line in numbered_lines(stream) if not line.content.isspace())
        first = _first_object(lines, name)
        if not first.text:
            rows = rows_of_lines(itertools.chain(first.lines, lines), name)
            yield from _lines_or_table(rows, name)
        elif first.has_end:
            text = io.TextIOWrapper(stream, "utf-8", "surrogateescape")
            yield from _objects(_Characters(text, first.text), name)
        else:
            shown = first.lines[0].content.decode(errors="backslashreplace")
            yield SourceRow(1, None, FILE_LOST, shown, name)


def _first_object(lines: Iterator[Line], file: str) -> _Beginning:
    """The first lines, up to the end of the object that they are if they are one.

    Raises:
        DataError: it takes more lines than can be held.
    """
    seen: list[Line] = []
    size = tried = 0
    while True:
        line = next(lines, None)
        if line is not None:
            seen.append(line)
            size += len(line.content)
            if line.is_cut or not seen[0].content.lstrip().startswith(b"{"):
                return _Beginning(seen)
            if size < 2 * tried:
                continue  # parsed again as it doubles, and at the end
        tried = size
        text = b"".join(each.content for each in seen).decode(errors="surrogateescape")
        several = text if len(seen) > 1 else ""
        try:
            json_value(text, len(text) - len(text.lstrip()))
        except (ValueError, RecursionError) as error:
            cut = line is None and str(error).startswith("Unterminated string")
            if getattr(error, "pos", 0) < len(text.rstrip()) and not cut:
                return _Beginning(seen)  # broken, not only unfinished
            if line is None:
                return _Beginning(seen, several, has_end=False)
            if size > MAX_LINE_BYTES:
                raise DataError(
                    f"{file}: one JSON object of more than {MAX_LINE_BYTES:,} bytes; write its "
                    "rows as JSON lines (.jsonl)"
                ) from error
        else:
            return _Beginning(seen, several)


def _lines_or_table(rows: Iterator[SourceRow], file: str) -> Iterator[SourceRow]:
    """Rows of lines; where there is one line alone, it may hold them all."""
    first = list(itertools.islice(rows, 2))
    if len(first) == 1 and first[0].fields is not None:
        within = rows_within(first[0].fields, file)
        if within is not None:
            yield from _rows(((row, "") for row in within), file, FILE_LOST)
            return
    yield from itertools.chain(first, rows)


class _Characters:
    """The text that is being parsed: a buffer and the place in it."""

    def __init__(self, text: io.TextIOWrapper, buffer: str = "") -> None:
        self.text, self.buffer, self.at = text, buffer, 0

    def more(self) -> bool:
        """Drop what is parsed and read on, as much again as is left; false at the end."""
        left = self.buffer[self.at :]
        read = self.text.read(max(len(left), READ_CHARACTERS))
        self.buffer, self.at = left + read, 0
        return bool(read)

    def mark(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            found = _MARK.search(self.buffer, self.at)
            if found:
                self.at = found.start()
                return found.group()
            self.at = len(self.buffer)
            if not self.more():
                return ""

    def next_mark(self) -> str:
        """The same.

        Raises:
            _Broken: there is none.
        """
        if mark := self.mark():
            return mark
        raise _Broken("the file ends within the array")

    def shown(self) -> str:
        """What follows, for a person to look at."""
        return self.buffer[self.at : self.at + SHOWN_CHARACTERS]

    def value(self) -> tuple[Any, str]:
        """The JSON value that begins here, and what is wrong with it if anything.

        Raises:
            _Broken: there is none, or it has no end.
        """
        while True:
            try:
                value, self.at, reason = json_value(self.buffer, self.at)
            except (ValueError, RecursionError) as error:
                if len(self.buffer) - self.at > MAX_LINE_BYTES or not self.more():
                    raise _Broken(self.shown()) from error
            else:
                return value, reason


def _rows(values: Iterator[tuple[Any, str]], file: str, lost: str) -> Iterator[SourceRow]:
    """Rows of values, up to what is broken: the last row then says what is lost."""
    number = 0
    try:
        for number, (value, reason) in enumerate(values, start=1):
            yield json_row(number, value, file, reason)
    except _Broken as broken:
        yield SourceRow(number + 1, None, lost, str(broken), file)


def _elements(characters: _Characters) -> Iterator[tuple[Any, str]]:
    """The elements of an array, a piece of the file in memory at a time."""
    characters.next_mark()
    characters.at += 1  # the opening bracket
    while characters.next_mark() != "]":  # a comma may stand before it too
        yield characters.value()
        mark = characters.next_mark()
        if mark not in "],":
            raise _Broken(characters.shown())
        characters.at += mark == ","
    characters.at += 1
    if characters.mark():
        raise _Broken(characters.shown())


def _objects(characters: _Characters, file: str) -> Iterator[SourceRow]:
    """Rows of objects that follow one another, or of the one that holds them all."""
    characters.mark()
    first = characters.value()
    if not characters.mark() and not first[1] and (rows := rows_within(first[0], file)) is not None:
        yield from _rows(((row, "") for row in rows), file, FILE_LOST)
        return

    def values() -> Iterator[tuple[Any, str]]:
        yield first
        while mark := characters.mark():
            if mark == ",":
                characters.at += 1
            else:
                yield characters.value()

    yield from _rows(values(), file, FILE_LOST)
