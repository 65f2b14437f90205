"""A JSON file: one array of objects, read object by object; or JSON lines under another suffix."""

import io
import json
import os
from collections.abc import Iterator
from typing import Any

from coala_jax.data.errors import DataError
from coala_jax.data.sources.files import (
    COMPRESSIONS,
    MAX_LINE_BYTES,
    MAX_UNPACKED_BYTES,
    READ_ERRORS,
    checked_file,
    numbered_lines,
    open_bytes,
)
from coala_jax.data.sources.json_lines import parse_line
from coala_jax.data.sources.row import BROKEN_JSON, CUT_SHORT, NOT_AN_OBJECT, SourceRow

SUFFIXES = (".json", *(f".json{packed}" for packed in COMPRESSIONS))
READ_CHARACTERS = 2**20
SHOWN_CHARACTERS = 1000
NO_MORE_ROWS = f"{BROKEN_JSON}, the rest of the array is lost"
_decode = json.JSONDecoder().raw_decode


class _Broken(Exception):
    """What follows is no JSON; holds the beginning of it."""


def read_json_array(
    path: str | os.PathLike[str], *, max_unpacked_bytes: int = MAX_UNPACKED_BYTES
) -> Iterator[SourceRow]:
    """Read a ``.json`` file.

    Args:
        path: the file, UTF-8; an array of objects, or an object a line.
        max_unpacked_bytes: most that a compressed file may unpack to.

    Yields:
        One row an element, numbered from 1, or a line. JSON that is broken within an array ends it:
        the last row says so.

    Raises:
        DataError: as `read_json_lines` does.
    """
    file = checked_file(path, SUFFIXES)
    name, number = str(file), 0
    try:
        with open_bytes(file, max_unpacked_bytes) as stream:
            if stream.peek(1).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"[":
                for number, line, too_long in numbered_lines(stream):
                    if not line.isspace():
                        yield parse_line(number, line, too_long, name)
                return
            # Bytes that are no UTF-8 become lone surrogates, which the checks of a row refuse.
            text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape")
            for number, element in enumerate(_elements(text), start=1):
                if isinstance(element, dict):
                    yield SourceRow(number, element, "", None, name)
                else:
                    yield SourceRow(number, None, NOT_AN_OBJECT, element, name)
    except _Broken as broken:
        yield SourceRow(number + 1, None, NO_MORE_ROWS, str(broken), name)
    except READ_ERRORS as error:
        if number == 0:
            raise DataError(f"{file}: cannot be read ({error})") from error
        yield SourceRow(number + 1, None, CUT_SHORT, str(error), name)


def _elements(text: io.TextIOWrapper) -> Iterator[Any]:
    """The elements of an array, one in memory at a time."""
    buffer = text.read(READ_CHARACTERS).lstrip()[1:]
    separator = ""
    while True:
        buffer = buffer.lstrip()
        while not buffer:
            buffer = text.read(READ_CHARACTERS)
            if not buffer:
                raise _Broken("the file ends within the array")
            buffer = buffer.lstrip()
        if buffer[0] == "]":
            return
        if separator:
            if buffer[0] != separator:
                raise _Broken(buffer[:SHOWN_CHARACTERS])
            separator, buffer = "", buffer[1:]
            continue
        element, buffer = _next_element(buffer, text)
        yield element
        separator = ","


def _next_element(buffer: str, text: io.TextIOWrapper) -> tuple[Any, str]:
    """The element at the start of the buffer, and what follows; reads on as long as it must."""
    while True:
        try:
            element, end = _decode(buffer)
        except (ValueError, RecursionError) as error:
            more = text.read(max(len(buffer), READ_CHARACTERS))  # doubled: each character few times
            if not more or len(buffer) > MAX_LINE_BYTES:
                raise _Broken(buffer[:SHOWN_CHARACTERS]) from error
            buffer += more
        else:
            return element, buffer[end:]
