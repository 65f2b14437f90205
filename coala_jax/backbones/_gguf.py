"""GGUF files, the format of llama.cpp: metadata, and tensors that are dequantised one at a time.

Headers are read here: the reader of the package ``gguf`` takes nine seconds and 700 MB for a
vocabulary of 262 144. Types, their sizes and their dequantisation are the package's.
"""

import math
import mmap
import re
import struct
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coala_jax._extras import how_to_install
from coala_jax.backbones._config_fields import COUNT
from coala_jax.backbones._errors import CheckpointError, some_of
from coala_jax.backbones._stored_tensor import StoredTensor

GGUF_SUFFIX = ".gguf"
MAGIC = b"GGUF"
# Version 1 counts in 32 bits; nothing has written it since August 2023.
VERSIONS = (2, 3)
MOST_AXES = 4
# Of metadata that does not say `general.alignment`.
ALIGNMENT = 32
# Numbers of metadata by the type that stands before them, as `struct` spells them.
NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
TEXT, ARRAY = 8, 9
# One of several files: the number of this one, and how many there are.
SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
# What is dequantised at once: the package holds what it makes of it three times over.
VALUES_AT_ONCE = 2**20


class GgufTensor(NamedTuple):
    """Where a tensor lies.

    Attributes:
        file: that holds it.
        shape: as a torch checkpoint has it.
        type_number: of its quantisation.
        start: its first byte in the file.
    """

    file: Path
    shape: tuple[int, ...]
    type_number: int
    start: int


class GgufFile(NamedTuple):
    """What is known of a GGUF file, or of all parts of one, whose tensors are not read.

    Attributes:
        metadata: by key, of the first part; arrays of numbers are of numpy, arrays of texts lists.
        tensors: by llama.cpp's names.
    """

    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]


def is_gguf(path: Path) -> bool:
    """Whether a path is that of a GGUF file, by its name."""
    return path.suffix.lower() == GGUF_SUFFIX and not path.is_dir()


def shard_names(name: str) -> tuple[str, ...]:
    """All files of the one that is named, whose first part is named where there are several.

    Raises:
        CheckpointError: another part than the first.
    """
    match = SHARD.fullmatch(name)
    if match is None:
        return (name,)
    count = int(match["count"])
    names = tuple(
        f"{match['stem']}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)
    )
    if int(match["number"]) != 1:
        raise CheckpointError(f"{name}: a part of several; give the first, {names[0]}")
    return names


def gguf_parts(path: Path) -> tuple[Path, ...]:
    """The files of a GGUF model, of which the first is given.

    Raises:
        CheckpointError: one is missing, or another than the first is given.
    """
    parts = tuple(path.with_name(name) for name in shard_names(path.name))
    lost = [part.name for part in parts if not part.is_file()]
    if lost and not path.is_file():
        raise CheckpointError(f"{path}: no such file; of a hub id, give ORG/NAME:FILE.gguf")
    if lost:
        raise CheckpointError(
            f"{path}: parts of it are missing: {some_of(lost)}; fetch them beside it"
        )
    return parts


def read_gguf(path: Path) -> GgufFile:
    """Read the headers of a GGUF model, and check that the tensors lie in its files.

    Args:
        path: the file, or the first of several.

    Raises:
        CheckpointError: no GGUF file, one that is cut short or of another version, a tensor of no
            length or that is there twice, parts of different models.
    """
    parts = gguf_parts(path)
    stamps = ((part, part.stat().st_mtime_ns, part.stat().st_size) for part in parts)
    return _read_parts(tuple(stamps))


@lru_cache(maxsize=1)  # configuration, tokenizer and weights are asked for one after the other
def _read_parts(stamps: tuple[tuple[Path, int, int], ...]) -> GgufFile:
    parts = [path for path, _, _ in stamps]
    metadata, tensors = _read_header(parts[0])
    count = _count(parts[0], metadata, "split.count", 0) or 1
    if count != len(parts):
        raise CheckpointError(
            f"{parts[0]}: split.count={count}, but {len(parts)} of its parts by the name; name "
            f"them NAME-00001-of-{count:05}.gguf and so on, as they were"
        )
    for path in parts[1:]:
        own = _read_header(path)[1]
        if twice := sorted(set(own) & set(tensors)):
            raise CheckpointError(f"{path}: tensors of other parts again: {some_of(twice)}")
        tensors |= own
    expected = _count(parts[0], metadata, "split.tensors.count", len(tensors))
    if expected != len(tensors):
        raise CheckpointError(
            f"{parts[0]}: split.tensors.count={expected}, but {len(tensors)} tensors in its parts; "
            "they belong to different models"
        )
    return GgufFile(metadata, tensors)


def _count(path: Path, metadata: dict[str, Any], key: str, default: int) -> int:
    """A number of files or tensors.

    Raises:
        CheckpointError: it is none.
    """
    value = metadata.get(key, default)
    if not COUNT.fits(value):
        raise CheckpointError(f"{path}: {COUNT.fault(key, value)}; split the model again")
    return int(value)


def gguf_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a GGUF model, of which the first of several files is enough.

    Raises:
        CheckpointError: as `read_gguf`.
    """
    if SHARD.fullmatch(shard_names(path.name)[0]):
        return _read_header(path)[0]
    return read_gguf(path).metadata


def stored_gguf_tensor(tensor: GgufTensor) -> StoredTensor:
    """A tensor of a readable type, dequantised to float32 when it is read."""
    name = _type_of(tensor).name
    return StoredTensor(tensor.shape, name, True, partial(_read_values, tensor))


def require_readable(path: Path, tensors: dict[str, GgufTensor]) -> None:
    """Raise one error that names every type which the package ``gguf`` cannot dequantise.

    Raises:
        CheckpointError: names the types, a tensor of each, and the package's version.
    """
    first: dict[int, str] = {}
    for name, tensor in tensors.items():
        first.setdefault(tensor.type_number, name)
    faults = [
        f"{fault} ({name})"
        for number, name in sorted(first.items())
        if (fault := _unreadable(number))
    ]
    if faults:
        raise CheckpointError(
            f"{path}: tensors of types that the package gguf {_version()} cannot read: "
            f"{some_of(faults)}; take a file of another quantisation, such as Q4_K_M or Q8_0, or a "
            "newer gguf"
        )


class _Cursor:
    """Values of a header, one behind the other."""

    def __init__(self, data: mmap.mmap):
        self.data, self.at = data, 0

    def numbers(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def number(self, form: str) -> Any:
        return self.numbers(form)[0]

    def bytes(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) < count:
            raise EOFError
        self.at += count
        return piece

    def text(self) -> str:
        return self.bytes(self.number("Q")).decode()

    def value(self, kind: int) -> Any:
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == TEXT:
            return self.text()
        if kind != ARRAY:
            raise CheckpointError(f"metadata of type {kind}, which no version of GGUF has")
        kind, count = self.numbers("IQ")
        if kind in NUMBERS:
            form = np.dtype(NUMBERS[kind]).newbyteorder("<")
            return np.frombuffer(self.bytes(count * form.itemsize), form)
        return [self.value(kind) for _ in range(count)]


def _read_header(path: Path) -> tuple[dict[str, Any], dict[str, GgufTensor]]:
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _parse(path, _Cursor(data))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (EOFError, struct.error) as error:
        raise CheckpointError(f"{path}: cut short within its header; fetch it again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as GGUF ({error}); fetch it again"
        ) from error


def _parse(path: Path, cursor: _Cursor) -> tuple[dict[str, Any], dict[str, GgufTensor]]:
    if cursor.data[: len(MAGIC)] != MAGIC:
        raise CheckpointError("no GGUF file, it does not begin as one; give a model's .gguf")
    cursor.at = len(MAGIC)
    version = cursor.number("I")
    if version not in VERSIONS:
        raise CheckpointError(
            f"GGUF version {version} is not supported; little-endian files of versions 2 and 3 are"
        )
    tensor_count, field_count = cursor.numbers("QQ")
    metadata: dict[str, Any] = {}
    for _ in range(field_count):
        key = cursor.text()
        if key in metadata:
            raise CheckpointError(f"metadata {key} is there twice; convert the model again")
        metadata[key] = cursor.value(cursor.number("I"))
    entries = [_entry(cursor) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise CheckpointError(f"general.alignment={alignment!r} must be a positive integer")
    start = -(-cursor.at // alignment) * alignment
    tensors: dict[str, GgufTensor] = {}
    for name, shape, number, offset in entries:
        if name in tensors:
            raise CheckpointError(f"tensor {name} is there twice; convert the model again")
        tensors[name] = GgufTensor(path, shape, number, start + offset)
        _check_place(name, tensors[name], len(cursor.data))
    return metadata, tensors


def _entry(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape, type and offset of a tensor."""
    name, axes = cursor.text(), cursor.number("I")
    if not 0 < axes <= MOST_AXES:
        raise CheckpointError(f"tensor {name} has {axes} axes, expected 1 to {MOST_AXES}")
    shape = tuple(reversed(cursor.numbers(f"{axes}Q")))
    if 0 in shape:
        raise CheckpointError(
            f"tensor {name} is {shape}: it holds nothing; convert the model again"
        )
    number, offset = cursor.numbers("IQ")
    return name, shape, number, offset


def _check_place(name: str, tensor: GgufTensor, end: int) -> None:
    """Raise where a tensor of a known type is not whole."""
    if _unreadable(tensor.type_number):
        return  # of a length that is not known, and named later
    block, _ = _block(tensor.type_number)
    if tensor.shape[-1] % block:
        raise CheckpointError(
            f"tensor {name} is {tensor.shape}, whose rows are no blocks of {block} values, as type "
            f"{_type_of(tensor).name} has them; convert the model again"
        )
    if tensor.start + math.prod(tensor.shape[:-1]) * _row_bytes(tensor) > end:
        raise CheckpointError(f"cut short, tensor {name} is not whole; fetch it again")


def _package() -> Any:
    """The package that knows the types; imported where a file is read, not before."""
    try:
        import gguf
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f"GGUF files need the package {error.name}; install it: {how_to_install('gguf')}"
        ) from None
    return gguf


def _version() -> str:
    from importlib.metadata import version

    return version("gguf")


def _type_of(tensor: GgufTensor) -> Any:
    return _package().GGMLQuantizationType(tensor.type_number)


def _block(type_number: int) -> tuple[int, int]:
    """Values and bytes of a block."""
    package = _package()
    block: tuple[int, int] = package.GGML_QUANT_SIZES[package.GGMLQuantizationType(type_number)]
    return block


def _row_bytes(tensor: GgufTensor) -> int:
    values, size = _block(tensor.type_number)
    return tensor.shape[-1] // values * size


@lru_cache
def _unreadable(type_number: int) -> str:
    """A type that is not known, or that the package does not dequantise; empty where it does."""
    package = _package()
    try:
        kind = package.GGMLQuantizationType(type_number)
    except ValueError:
        return f"number {type_number}"
    try:
        package.dequantize(np.zeros((1, _block(type_number)[1]), np.uint8), kind)
    except NotImplementedError:
        return str(kind.name)
    return ""


def _read_values(tensor: GgufTensor) -> np.ndarray:
    """Dequantise rows into their place; on return the mapping of the file is gone."""
    package, kind = _package(), _type_of(tensor)
    rows, width = math.prod(tensor.shape[:-1]), tensor.shape[-1]
    stored = np.memmap(tensor.file, np.uint8, "r", tensor.start, (rows, _row_bytes(tensor)))
    values = np.empty((rows, width), np.float32)
    step = max(1, VALUES_AT_ONCE // width)
    for first in range(0, rows, step):
        part = slice(first, first + step)
        values[part] = package.dequantize(np.array(stored[part]), kind)
    return values.reshape(tensor.shape)
