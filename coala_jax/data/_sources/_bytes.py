"""Bytes of a file, plain, gzipped or in Zstandard; what is unpacked has a limit."""

import csv
import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from coala_jax._extras import how_to_install
from coala_jax.data._errors import DataError
from coala_jax.data._sources._row import CUT_SHORT, SourceRow

# What a line may hold before it is taken for one without an end: far above any usable row.
MAX_LINE_BYTES = 64 * 2**20
COMPRESSIONS = (".gz", ".zst")
READ_BYTES = 2**20
# Zstandard unpacks 4 bytes to 128 KiB at most: one piece stays under 160 MiB.
ZST_READ_BYTES = 2**12
# What reading raises where the file, not the program, is at fault.
READ_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, csv.Error)
INSTALL = f"install it: {how_to_install('data')}"


class _Limited(io.RawIOBase):
    """Another stream's bytes, up to a limit."""

    def __init__(self, stream: BinaryIO, path: Path, most: int) -> None:
        self.stream, self.path, self.most, self.seen = stream, path, most, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self.stream.read(len(buffer))
        self.seen += len(piece)
        if self.seen > self.most:
            raise DataError(
                f"{self.path}: unpacks to more than {self.most:,} bytes; if that is right, unpack "
                "it first or raise max_unpacked_bytes"
            )
        buffer[: len(piece)] = piece
        return len(piece)


class _ZstdFrames(io.RawIOBase):
    """Unpacked bytes of a .zst; zstandard's own reader does not notice one that was cut short."""

    def __init__(self, stream: BinaryIO) -> None:
        import zstandard

        self.stream, self.new_frame = stream, zstandard.ZstdDecompressor().decompressobj
        self.frame, self.started, self.pending = self.new_frame(), False, b""

    def read(self, size: int = -1) -> bytes:
        while not self.pending:
            packed = self.frame.unused_data if self.frame.eof else b""
            packed = packed or self.stream.read(ZST_READ_BYTES)
            if not packed:
                if self.started and not self.frame.eof:
                    raise EOFError("compressed data ends before its end marker")
                return b""
            if self.frame.eof:
                self.frame = self.new_frame()
            self.started, self.pending = True, self.frame.decompress(packed)
        piece, self.pending = self.pending[:size], self.pending[size:]
        return piece


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
    """Open a file for reading and unpack it by its suffix.

    Raises:
        DataError: it unpacks to more than ``max_unpacked_bytes`` (raised while reading), or
            zstandard is not installed.
        OSError, EOFError, zlib.error: while reading, as `READ_ERRORS` says.
    """
    with open(file, "rb") as packed:
        if file.suffix not in COMPRESSIONS:
            yield packed
            return
        unpacked = (
            gzip.GzipFile(fileobj=packed) if file.suffix == ".gz" else _open_zst(file, packed)
        )
        limited = _Limited(unpacked, file, max_unpacked_bytes)  # type: ignore[arg-type]
        yield io.BufferedReader(limited, READ_BYTES)


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
        if not number:
            raise DataError(f"{file}: cannot be read ({error})") from error
        yield SourceRow(number + 1, None, CUT_SHORT, str(error), str(file))


def numbered_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes, bool]]:
    """Lines from 1: number, bytes without a byte-order mark, whether it was too long and is cut."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        whole = len(line) < MAX_LINE_BYTES or line.endswith(b"\n")
        rest = b"" if whole else line
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES)
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        yield number, line, not whole


def _open_zst(file: Path, packed: BinaryIO) -> BinaryIO:
    if sys.version_info >= (3, 14):
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]

        return zstd.open(packed)  # type: ignore[no-any-return, unused-ignore]
    try:
        return _ZstdFrames(packed)  # type: ignore[return-value, unused-ignore]
    except ModuleNotFoundError:
        raise DataError(f"{file}: reading .zst needs zstandard; {INSTALL}") from None
