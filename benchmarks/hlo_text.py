"""What a compiled program launches, moves and exchanges, read from the text of its HLO.

`jax.stages.Compiled.as_text()` gives the program as the device runs it: fused, scheduled and split
over devices. Counts are of that text. A runtime may put a row of launches into one graph, and bytes
are those of the arrays that a launch reads and writes, whether or not a cache holds them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
# A fusion may be a product: where what is around it is fused into it no `dot` is left.
LAUNCHES = ("fusion", "custom-call", "copy", "dot", "convolution")
OTHER = "other"
# Instructions that launch nothing: they name what is there, or run what is counted for itself.
_NAMING = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all")
_SILENT = {*_NAMING, "partition-id", "replica-id", "while", "conditional", "call", "opt-barrier"}
_BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64, "c64": 64, "c128": 128}
_BITS |= {f"{sign}{bits}": bits for sign in "su" for bits in (2, 4, 8, 16, 32, 64)}
_SLICES = ("dynamic-slice", "slice", "gather")
# Which operand is put into a part of the first one.
_UPDATES = {"dynamic-update-slice": 1, "scatter": 2}

_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_HEAD = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_LINE = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"\s*([\w\-]+)\(")
_OPERAND = re.compile(r"%([\w.\-]+)")
_TRIPS = re.compile(r'known_trip_count"?\s*:\s*\{"n":"(\d+)"')
_FRAME = re.compile(r"stack_frame_id=(\d+)")
# Computations that a line names: what it calls, the body of a loop, the branches of a conditional.
_CALLED = re.compile(r"\b(?:calls|to_apply)=%?([\w.\-]+)")
_BODY = re.compile(r"\bbody=%?([\w.\-]+)")
_BRANCHES = re.compile(
    r"\b(?:true_computation|false_computation)=%?([\w.\-]+)|\bbranch_computations=\{([^}]*)\}"
)


class Instruction(NamedTuple):
    """A line of a computation: its result's shape as text, its operands by name, what follows."""

    name: str
    root: bool
    shape: str
    opcode: str
    operands: tuple[str, ...]
    rest: str


Computations = Mapping[str, tuple[Instruction, ...]]


class Exchange(NamedTuple):
    """Collectives of a kind: how many, and bytes of what a device has after them."""

    count: int
    bytes: int
    largest: int


class Launches(NamedTuple):
    """What a computation launches, by kind of `LAUNCHES` or `OTHER`, and the bytes it moves."""

    counts: dict[str, int]
    bytes: int

    @property
    def total(self) -> int:
        """Of all kinds."""
        return sum(self.counts.values())


class Loop(NamedTuple):
    """A loop of a program, and one pass through its body; what loops inside do is their own.

    Attributes:
        name: of its body.
        function: of the source that it stands in; empty where the text does not say.
        inside: name of the loop that it runs in; empty for one of its own.
        trips: how often it runs, where that is known.
        launches: of the body, without branches of conditionals.
        exchanges: collectives of the body by kind, likewise.
    """

    name: str
    function: str
    inside: str
    trips: int | None
    launches: Launches
    exchanges: dict[str, Exchange]


def shape_bytes(shape: str) -> int:
    """Bytes of an array, or of all arrays of a tuple: ``(f32[2,3]{1,0}, pred[])`` takes 25."""
    return sum(
        math.ceil(
            math.prod(int(size) for size in sizes.split(",") if size) * _BITS.get(kind, 0) / 8
        )
        for kind, sizes in _ARRAY.findall(shape)
    )


def computations_of(text: str) -> Computations:
    """The program's computations by name."""
    found: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = found.setdefault(head.group(1), [])
        elif match := _LINE.match(line):
            root, name, rest = match.groups()
            shape, rest = _shape_and_rest(rest)
            if opcode := _OPCODE.match(rest):
                end = _closing(rest, opcode.end() - 1)
                operands = tuple(_OPERAND.findall(rest[opcode.end() : end]))
                parts = name, bool(root), shape, opcode.group(1), operands
                current.append(Instruction(*parts, rest[opcode.end() :]))
    return {name: tuple(lines) for name, lines in found.items()}


def exchanges_of(instructions: Iterable[Instruction]) -> dict[str, Exchange]:
    """Collectives by kind; of one that is started and awaited by two instructions the latter."""
    sizes: dict[str, list[int]] = {}
    for one in instructions:
        kind = one.opcode.removesuffix("-done")
        if kind in COLLECTIVES:
            sizes.setdefault(kind, []).append(shape_bytes(one.shape))
    return {kind: Exchange(len(of), sum(of), max(of)) for kind, of in sizes.items()}


def all_exchanges(text: str) -> dict[str, Exchange]:
    """Collectives of a whole program, each as often as it is written down."""
    return exchanges_of(one for lines in computations_of(text).values() for one in lines)


def launches_of(computations: Computations, name: str) -> Launches:
    """What a computation launches, and what it calls with it.

    Loops and branches of conditionals inside are not counted.
    """
    counts, moved = dict.fromkeys((*LAUNCHES, OTHER), 0), 0
    own = {one.name: one for one in computations[name]}
    for one in own.values():
        if one.opcode == "call":
            inner = launches_of(computations, _CALLED.findall(one.rest)[0])
            counts = {kind: count + inner.counts[kind] for kind, count in counts.items()}
            moved += inner.bytes
        kind = one.opcode.removesuffix("-done")
        if one.opcode.endswith("-start") or kind in _SILENT or kind in COLLECTIVES:
            continue
        counts[kind if kind in counts else OTHER] += 1
        moved += _bytes_moved(computations, own, one)
    return Launches(counts, moved)


def loops_of(text: str) -> list[Loop]:
    """All loops of a program, in the order in which their bodies are written."""
    computations, functions = computations_of(text), _functions(text)
    holders = {
        named: (name, one)
        for name, lines in computations.items()
        for one in lines
        for named in _named_by(one)
    }
    found = []
    for name in computations:
        holder, one = holders.get(name, (name, None))
        if one is None or one.opcode != "while" or name not in _BODY.findall(one.rest):
            continue
        trips, frame = _TRIPS.search(one.rest), _FRAME.search(one.rest)
        found.append(
            Loop(
                name=name,
                function=functions.get(frame.group(1), "") if frame else "",
                inside=_loop_around(holder, holders),
                trips=int(trips.group(1)) if trips else None,
                launches=launches_of(computations, name),
                exchanges=exchanges_of(_with_called(computations, name)),
            )
        )
    return found


def _shape_and_rest(text: str) -> tuple[str, str]:
    """The shape before an opcode, of a tuple up to its closing parenthesis."""
    if text.startswith("("):
        end = _closing(text, 0) + 1
        return text[:end], text[end:]
    shape, _, rest = text.partition(" ")
    return shape, rest


def _closing(text: str, start: int) -> int:
    """Place of the parenthesis that closes the one at ``start``."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if not depth:
            return place
    return len(text)


def _named_by(one: Instruction) -> list[str]:
    branches = (single or several for single, several in _BRANCHES.findall(one.rest))
    names = [name.strip(" %") for several in branches for name in several.split(",")]
    return [*_CALLED.findall(one.rest), *_BODY.findall(one.rest), *names]


def _loop_around(name: str, holders: Mapping[str, tuple[str, Instruction]]) -> str:
    """The body of a loop that a computation is, or runs in; empty where it runs in none."""
    while name in holders:
        holder, one = holders[name]
        if one.opcode == "while":
            return name
        name = holder
    return ""


def _with_called(computations: Computations, name: str) -> Iterator[Instruction]:
    for one in computations[name]:
        yield one
        for called in _CALLED.findall(one.rest):
            yield from _with_called(computations, called)


def _bytes_moved(
    computations: Computations, own: Mapping[str, Instruction], one: Instruction
) -> int:
    """What a launch reads and writes; of an operand that is only sliced the slices count."""
    read = [shape_bytes(own[name].shape) if name in own else 0 for name in one.operands]
    written = shape_bytes(one.shape)
    if one.opcode in _SLICES:
        read[0] = written
    called = _CALLED.findall(one.rest) if one.opcode == "fusion" else []
    if called and called[0] in computations:
        lines = computations[called[0]]
        parameters = {line.name: line for line in lines if line.opcode == "parameter"}
        for name, line in parameters.items():
            users = [user for user in lines if name in user.operands]
            if users and all(_touches_a_part(user, name) for user in users):
                touched = sum(_part(lines, user) for user in users)
                read[int(line.rest.partition(")")[0])] = touched
        written -= sum(
            shape_bytes(line.shape) - _part(lines, line)
            for line in lines
            if _is_result(lines, line)
        )
    return sum(read) + written


def _touches_a_part(user: Instruction, name: str) -> bool:
    return user.opcode in (*_SLICES, *_UPDATES) and user.operands[0] == name


def _part(lines: Iterable[Instruction], user: Instruction) -> int:
    """Bytes of a slice, or of what is put into a larger array."""
    if user.opcode not in _UPDATES:
        return shape_bytes(user.shape)
    put = user.operands[_UPDATES[user.opcode]]
    return sum(shape_bytes(line.shape) for line in lines if line.name == put)


def _is_result(lines: Iterable[Instruction], line: Instruction) -> bool:
    """Whether a line updates a part of an array that is a result of its fusion, in place."""
    root = next(one for one in lines if one.root)
    return line.opcode in _UPDATES and (line is root or line.name in root.operands)


def _functions(text: str) -> dict[str, str]:
    """Functions of the source by the number of the stack frame that metadata refer to."""
    names, places, frames = (
        _table(text, title) for title in ("FunctionNames", "FileLocations", "StackFrames")
    )
    found = {}
    for number, frame in frames.items():
        place = re.search(r"file_location_id=(\d+)", frame)
        function = re.search(
            r"function_name_id=(\d+)", places.get(place.group(1), "") if place else ""
        )
        if function:
            found[number] = names.get(function.group(1), "").strip('"')
    return found


def _table(text: str, title: str) -> dict[str, str]:
    """Numbered lines under a title, up to an empty one."""
    match = re.search(rf"^{title}\n((?:\d+ .*\n)*)", text, re.MULTILINE)
    lines = match.group(1).splitlines() if match else []
    return dict(line.split(" ", 1) for line in lines)
