"""Bytes of a file, plain, gzipped or in Zstandard; what is unpacked has a limit."""

import codecs
import csv
import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from coala_jax._extras import how_to_install
from coala_jax.data._errors import DataError
from coala_jax.data._sources._file_kinds import HEAD_BYTES, encoding_of, other_kind
from coala_jax.data._sources._row import CUT_SHORT, SourceRow

# What a line may hold before it is taken for one without an end: far above any usable row.
MAX_LINE_BYTES = 64 * 2**20
COMPRESSIONS = (".gz", ".zst")
READ_BYTES = 2**20
# Zstandard unpacks 4 bytes to 128 KiB at most: one piece stays under 160 MiB.
PACKED_READ_BYTES = 2**12
# What reading raises where the file, not the program, is at fault.
READ_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, csv.Error)
INSTALL = f"install it: {how_to_install('data')}"


class AfterEnd(OSError):
    """Something else follows the end of what was compressed; nothing of that is lost."""


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


class _Packing(NamedTuple):
    """A compression.

    Attributes:
        name: for messages.
        begins: first bytes of a member, or frame.
        member: gives a new one, with ``decompress``, ``eof`` and ``unused_data``.
        fault: what it raises.
    """

    name: str
    begins: tuple[bytes, ...]
    member: Callable[[], Any]
    fault: type[Exception]


class _Members(io.RawIOBase):
    """Unpacked bytes of all members of a compressed file.

    The readers of the libraries lose sound bytes before a fault, or do not notice a file that was
    cut short. Here all of the members before it are given.

    Attributes:
        fault: what stands behind the last member, where it is none; empty before it is met.
    """

    def __init__(self, stream: BinaryIO, file: Path, packing: _Packing) -> None:
        self.stream, self.file, self.packing = stream, file, packing
        self.member, self.begun = packing.member(), False
        self.pending, self.fault = b"", ""

    def read(self, size: int = -1) -> bytes:
        while not self.pending and not self.fault:
            packed = self.member.unused_data if self.member.eof else b""
            if self.member.eof or not self.begun:
                packed = self._next_member(packed)
                if not packed:
                    return b""
            else:
                packed = self.stream.read(PACKED_READ_BYTES)
                if not packed:
                    raise EOFError("compressed data ends before its end marker")
            try:
                self.pending = self.member.decompress(packed)
            except self.packing.fault as error:
                raise OSError(_fault_text(str(error), self.file)) from error
        piece, self.pending = self.pending[:size], self.pending[size:]
        return piece

    def _next_member(self, packed: bytes) -> bytes:
        """The first bytes of another member, which is then the one; empty where there is none."""
        packed = (packed + self.stream.read(PACKED_READ_BYTES)).lstrip(b"\0" if self.begun else b"")
        while self.begun and not packed and (more := self.stream.read(PACKED_READ_BYTES)):
            packed = more.lstrip(b"\0")  # gzip pads with zeros
        if packed and not packed.startswith(self.packing.begins):
            name, suffix = self.packing.name, self.file.suffix
            if not self.begun:
                no_kind = f"no {name}; if it is not compressed, take {suffix} off its name"
                raise OSError(f"it is {other_kind(packed) or no_kind}")
            self.fault = f"bytes that are no {name} follow its end"
            return b""
        if packed and self.begun:
            self.member = self.packing.member()
        self.begun = True
        return packed


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
        OSError, EOFError: while reading, as `READ_ERRORS` says; `AfterEnd` at the end of ``with``.
    """
    members = None
    with open(file, "rb") as stream:
        if file.suffix in COMPRESSIONS:
            packing = _gzip() if file.suffix == ".gz" else _zstandard(file)
            members = _Members(stream, file, packing)
            limited = _Limited(members, file, max_unpacked_bytes)  # type: ignore[arg-type]
            stream = io.BufferedReader(limited, READ_BYTES)
        head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
        if kind := other_kind(head):
            raise OSError(f"{'it is' if members is None else 'unpacked it is'} {kind}")
        if encoding := encoding_of(head):
            stream = io.BufferedReader(_AsUtf8(stream, encoding), READ_BYTES)
        yield stream
        if members is not None and members.fault:
            raise AfterEnd(members.fault)


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


def _gzip() -> _Packing:
    window_of_gzip = 31
    return _Packing(
        "gzip", (b"\x1f\x8b",), lambda: zlib.decompressobj(wbits=window_of_gzip), zlib.error
    )


def _zstandard(file: Path) -> _Packing:
    frames = (b"\x28\xb5\x2f\xfd", *(bytes([mark]) + b"\x2a\x4d\x18" for mark in range(0x50, 0x60)))
    if sys.version_info >= (3, 14):
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]

        return _Packing("Zstandard", frames, zstd.ZstdDecompressor, zstd.ZstdError)
    try:
        import zstandard
    except ModuleNotFoundError:
        raise DataError(f"{file}: reading .zst needs zstandard; {INSTALL}") from None
    new_frame = zstandard.ZstdDecompressor().decompressobj
    return _Packing("Zstandard", frames, new_frame, zstandard.ZstdError)


def _fault_text(error: str, file: Path) -> str:
    """What zlib or Zstandard found, and what to do about it."""
    if "too much memory" in error:
        return f"it is packed with a long window; unpack it first: zstd -d --long=31 {file}"
    if "check" in error:  # a checksum: "incorrect data check", "doesn't match checksum"
        return f"its checksum is not that of its bytes; fetch it again ({error})"
    return f"its compressed bytes are damaged; fetch it again ({error})"
