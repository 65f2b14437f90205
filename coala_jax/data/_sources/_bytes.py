"""A file's bytes as UTF-8, unpacked where it is packed, and their lines."""

import codecs
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from coala_jax.data._errors import DataError
from coala_jax.data._sources._file_kinds import HEAD_BYTES, encoding_of, other_kind
from coala_jax.data._sources._row import AfterEnd
from coala_jax.data._sources._unpacking import COMPRESSIONS, Limited, members_of

# What a line may hold before it is taken for one without an end: far above any usable row.
MAX_LINE_BYTES = 64 * 2**20
READ_BYTES = 2**20
BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line of a file.

    Attributes:
        number: from 1.
        content: its bytes.
        is_cut: whether it was too long, and only begins so.
    """

    number: int
    content: bytes
    is_cut: bool


class _AsUtf8(io.RawIOBase):
    """Text of another encoding as UTF-8; half a character at its end is left out."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self.stream = stream
        # Half a pair of surrogates becomes what is no UTF-8, which its line is then set aside for.
        self.decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        text, most = "", max(1, len(buffer) // 4)  # two bytes may become three
        while not text and (piece := self.stream.read(most)):
            try:
                text = self.decoder.decode(piece)
            except UnicodeDecodeError as error:
                raise OSError(str(error)) from error
        encoded = text.encode(errors="surrogatepass")
        buffer[: len(encoded)] = encoded
        return len(encoded)


def checked_file(path: str | os.PathLike[str], suffixes: Sequence[str]) -> Path:
    """The file, where it can be one.

    Raises:
        DataError: missing, empty, a folder, or of another suffix.
    """
    file, known = Path(path), " or ".join(suffixes)
    if not file.name.endswith(tuple(suffixes)):
        raise DataError(f"{file}: expected a file that ends in {known}")
    if not file.is_file():
        raise DataError(f"{file}: no such file; give an existing {known}")
    if file.stat().st_size == 0:
        raise DataError(f"{file}: the file is empty")
    return file


@contextmanager
def open_bytes(file: Path, max_unpacked_bytes: int) -> Iterator[io.BufferedReader]:
    """Open a file for reading, unpack it by its suffix and give UTF-16 as UTF-8.

    Raises:
        DataError: it unpacks to more than ``max_unpacked_bytes`` (raised while reading), or
            zstandard is not installed.
        OSError, EOFError: while reading; `AfterEnd` at the end of ``with``.
    """
    members = None
    with open(file, "rb") as stream:
        if file.suffix in COMPRESSIONS:
            members = members_of(stream, file)
            stream = io.BufferedReader(Limited(members, file, max_unpacked_bytes), READ_BYTES)
        head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
        if kind := other_kind(head):
            raise OSError(f"{'it is' if members is None else 'unpacked it is'} {kind}")
        if encoding := encoding_of(head):
            stream = io.BufferedReader(_AsUtf8(stream, encoding), READ_BYTES)
        yield stream
        if members is not None and members.fault:
            raise AfterEnd(members.fault)


def numbered_lines(stream: BinaryIO) -> Iterator[Line]:
    """The lines of a stream, without a byte-order mark."""
    number = 0
    while content := stream.readline(MAX_LINE_BYTES):
        number += 1
        is_cut = len(content) >= MAX_LINE_BYTES and not content.endswith(b"\n")
        rest = content if is_cut else b""
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES)
        yield Line(number, content.removeprefix(BOM) if number == 1 else content, is_cut)
