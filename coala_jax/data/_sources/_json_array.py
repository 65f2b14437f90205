"""A JSON file: one array of objects, read object by object; or JSON lines under another suffix."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coala_jax.data._sources._bytes import COMPRESSIONS, MAX_LINE_BYTES, open_bytes
from coala_jax.data._sources._json_lines import parse_lines
from coala_jax.data._sources._row import BROKEN_JSON, NOT_AN_OBJECT, SourceRow

SUFFIXES = (".json", *(f".json{packed}" for packed in COMPRESSIONS))
READ_CHARACTERS = 2**20
SHOWN_CHARACTERS = 1000
NO_MORE_ROWS = f"{BROKEN_JSON}, the rest of the array is lost"
_decode = json.JSONDecoder().raw_decode
_MARK = re.compile(r"\S")


class _Broken(Exception):
    """What follows is no JSON; holds the beginning of it."""


def read_json_array(file: Path, max_unpacked_bytes: int) -> Iterator[SourceRow]:
    """A row of every element, or of every line where the file holds no array.

    JSON that is broken within an array ends it: the last row says so.
    """
    name, number = str(file), 0
    with open_bytes(file, max_unpacked_bytes) as stream:
        if stream.peek(1).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"[":
            yield from parse_lines(stream, name)
            return
        # Bytes that are no UTF-8 become lone surrogates, which the checks of a row name.
        text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape")
        try:
            for number, element in enumerate(_elements(text), start=1):
                if isinstance(element, dict):
                    yield SourceRow(number, element, "", None, name)
                else:
                    yield SourceRow(number, None, NOT_AN_OBJECT, element, name)
        except _Broken as broken:
            yield SourceRow(number + 1, None, NO_MORE_ROWS, str(broken), name)


class _Characters:
    """The text that is being parsed: a buffer and the place in it."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.text, self.buffer, self.at = text, "", 0

    def more(self) -> bool:
        """Drop what is parsed and read on, as much again as is left; false at the end."""
        left = self.buffer[self.at :]
        read = self.text.read(max(len(left), READ_CHARACTERS))
        self.buffer, self.at = left + read, 0
        return bool(read)

    def next_mark(self) -> str:
        """The next character that is no space.

        Raises:
            _Broken: there is none.
        """
        while True:
            found = _MARK.search(self.buffer, self.at)
            if found:
                self.at = found.start()
                return found.group()
            self.at = len(self.buffer)
            if not self.more():
                raise _Broken("the file ends within the array")

    def element(self) -> Any:
        """The JSON value that begins here.

        Raises:
            _Broken: there is none, or it has no end.
        """
        while True:
            try:
                element, self.at = _decode(self.buffer, self.at)
            except (ValueError, RecursionError) as error:
                if len(self.buffer) - self.at > MAX_LINE_BYTES or not self.more():
                    shown = self.buffer[self.at : self.at + SHOWN_CHARACTERS]
                    raise _Broken(shown) from error
            else:
                return element


def _elements(text: io.TextIOWrapper) -> Iterator[Any]:
    """The elements of an array, a piece of the file in memory at a time."""
    characters = _Characters(text)
    characters.next_mark()
    characters.at += 1  # the opening bracket
    if characters.next_mark() == "]":
        return
    while True:
        yield characters.element()
        mark = characters.next_mark()
        if mark == "]":
            return
        if mark != ",":
            raise _Broken(characters.buffer[characters.at : characters.at + SHOWN_CHARACTERS])
        characters.at += 1
        characters.next_mark()
