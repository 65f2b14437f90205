"""Unpacking gzip and Zstandard, all that is sound of it and up to a limit."""

import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from coala_jax._extras import how_to_install
from coala_jax.data._errors import DataError
from coala_jax.data._sources._file_kinds import other_kind

COMPRESSIONS = (".gz", ".zst")
# Zstandard unpacks 4 bytes to 128 KiB at most: one piece stays under 160 MiB.
PACKED_READ_BYTES = 2**12
# By so many bytes it is told what a member is packed with.
MAGIC_BYTES = 4
INSTALL = f"install it: {how_to_install('data')}"


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


class Members:
    """Unpacked bytes of all members of a compressed file.

    The readers of the libraries lose sound bytes before a fault, or do not notice a file that was
    cut short. Here all of the members before it are given.

    Attributes:
        fault: what stands behind the last member, where it is none; empty before it is met.
    """

    def __init__(self, stream: BinaryIO, file: Path, packing: _Packing) -> None:
        self.stream, self.file, self.packing = stream, file, packing
        self.member, self.begun = packing.member(), False
        # A view, so that what is left is not copied with every piece.
        self.pending, self.fault = memoryview(b""), ""

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end.

        Raises:
            OSError, EOFError: they are damaged, or cut short.
        """
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
                self.pending = memoryview(self.member.decompress(packed))
            except self.packing.fault as error:
                raise OSError(_fault_text(str(error), self.file)) from error
        piece, self.pending = self.pending[:size], self.pending[size:]
        return bytes(piece)

    def _next_member(self, packed: bytes) -> bytes:
        """The first bytes of another member, which is then the one; empty where there is none."""
        padding = b"\0" if self.begun else b""  # gzip pads with zeros
        packed = packed.lstrip(padding)
        # No more than that is read: what is left would grow with every small member.
        while len(packed) < MAGIC_BYTES and (more := self.stream.read(PACKED_READ_BYTES)):
            packed = (packed + more).lstrip(padding)
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


class Limited(io.RawIOBase):
    """Unpacked bytes, up to a limit."""

    def __init__(self, stream: Members, path: Path, most: int) -> None:
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


def members_of(stream: BinaryIO, file: Path) -> Members:
    """The members of a file that is packed as its suffix, one of `COMPRESSIONS`, says.

    Raises:
        DataError: zstandard is not installed.
    """
    return Members(stream, file, _gzip() if file.suffix == ".gz" else _zstandard(file))


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
