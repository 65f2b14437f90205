"""Which tokens run, and where: shared prefixes once, in rows of few lengths with little padding.

Sequences that begin alike are laid out as one tree, depth first, in the form of
`coala_jax.backbones._attention`: a prompt runs once for both of its responses, for every other row
that asks it, and for longer prompts that go on from it. Trees are packed into rows, rows into
batches of few shapes. A text is what its last token sees: a beginning of a response that is pooled
too is one more leaf of the same tokens.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from coala_jax.backbones import TokenBatch
from coala_jax.features._errors import FeatureError
from coala_jax.features._tokens import TokenSequence

# Shorter rows would cost compilations and save nothing.
SHORTEST_ROW = 64
# Rows longer than this come in twice as many lengths: measured on shared preference pairs, padding
# falls from 6 - 12 % to 5 - 9 %.
FINER_ABOVE = 512
# A prefix is shared where it is at least this part of the sequence that joins a tree. A common
# first token or a short system prompt would otherwise tie a whole data set to one tree, which has
# to be cut anyway; what is left unshared adds at most a fifteenth.
SHARED_AT_LEAST = 1 / 16
# A row has room for one sequence, with its beginnings, in so many tokens: as many in all rows of a
# length, and so one compilation, unless they are shorter.
TOKENS_PER_LEAF = 32
# A row holds at least so many sequences of the longest kind: a pair and its prompt stay together.
LONGEST_PER_ROW = 2


class Leaf(NamedTuple):
    """Where a sequence, or a beginning of one, ends in a tree or a row.

    Attributes:
        sequence: its number; beginnings are numbered behind all sequences, in the order of these.
        last: slot of its last token.
        start: position of its first response token.
    """

    sequence: int
    last: int
    start: int


class Tree(NamedTuple):
    """Sequences with their shared tokens run once; slots count from 0.

    Attributes:
        tokens: (size,) int32, depth first.
        positions: (size,) int32 depth of every token.
        ends: (size,) int32 slot after the last one below it.
        leaves: one a sequence, and one for each of its beginnings.
    """

    tokens: np.ndarray
    positions: np.ndarray
    ends: np.ndarray
    leaves: tuple[Leaf, ...]

    @property
    def size(self) -> int:
        """How many tokens run."""
        return len(self.tokens)


class Batch(NamedTuple):
    """Rows that run together, padded to one of few shapes.

    Attributes:
        tokens: (rows, length) int32.
        positions: (rows, length) int32.
        ends: (rows, length) int32; slot + 1 at padding.
        last: (rows, leaves) int32 slot of the last token of every sequence; 0 where there is none.
        start: (rows, leaves) int32 position of its first response token.
        sequence: (rows, leaves) int32 its number, as `Leaf` has it, -1 where there is none.
    """

    tokens: np.ndarray
    positions: np.ndarray
    ends: np.ndarray
    last: np.ndarray
    start: np.ndarray
    sequence: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """What a compilation depends on: rows, length, leaves."""
        return (*self.tokens.shape, self.sequence.shape[1])


def token_batch(batch: Batch) -> TokenBatch:
    """What the backbone takes of a batch."""
    return TokenBatch(*map(jnp.asarray, (batch.tokens, batch.positions, batch.ends)))


class TokenCounts(NamedTuple):
    """How much ran.

    Attributes:
        given: tokens of all sequences.
        distinct: what is left of them with every shared prefix counted once.
        run: slots of all batches, padding included.
    """

    given: int
    distinct: int
    run: int


class PackedBatches(NamedTuple):
    """All batches of some sequences, the longest rows first, and their counts."""

    batches: tuple[Batch, ...]
    counts: TokenCounts


class _Row(NamedTuple):
    """Trees that lie one after the other in a row of this length."""

    length: int
    trees: list[Tree]

    @property
    def free(self) -> int:
        return self.length - sum(tree.size for tree in self.trees)

    @property
    def leaves(self) -> int:
        return sum(len(tree.leaves) for tree in self.trees)


def row_length(size: int) -> int:
    """The smallest of 64, 80, 96, 112, 128, 160, ... that holds ``size`` tokens.

    Four lengths an octave up to 512 and eight above, where most tokens are: fewer would pad more,
    more would compile more. Small trees fill part of the gaps.
    """
    step = SHORTEST_ROW // 4
    while 8 * step < size:
        step *= 2
    if size > FINER_ABOVE:
        step //= 2
    return max(-(-size // step) * step, SHORTEST_ROW)


def longest_row(longest: int) -> int:
    """The longest row of a plan whose longest sequence has so many tokens."""
    return row_length(LONGEST_PER_ROW * row_length(longest))


def _rounded_up(count: int) -> int:
    """The smallest of 1, 2, 3, 4, 6, 8, 12, 16, ... that is not below ``count``."""
    power = 1 << max(count - 1, 0).bit_length()
    return 3 * power // 4 if power >= 4 and 3 * power // 4 >= count else power


def pack_batches(
    sequences: Sequence[TokenSequence],
    token_budget: int,
    pad_id: int,
    *,
    share: bool = True,
    multiple_of: int = 1,
) -> PackedBatches:
    """Lay out sequences so that few tokens run, in few shapes.

    Args:
        sequences: each at least one token long.
        token_budget: slots of a batch, for each device; one row even where that is more.
        pad_id: what stands at padding.
        share: run shared prefixes once, which needs a causal model; without, equal sequences alone.
        multiple_of: of which every batch's number of rows is a multiple: how many devices share
            them.

    Returns:
        Batches that hold every sequence and every beginning once. A budget too large for the memory
        fails at once, since the longest rows come first.

    Raises:
        FeatureError: a budget below 1.
    """
    if token_budget < 1:
        raise FeatureError(f"token_budget must be at least 1, got {token_budget}")
    longest = max((len(sequence.tokens) for sequence in sequences), default=1)
    room = longest_row(longest)
    trees, distinct = grow_trees(sequences, room, share=share)
    leaves_each = 1 + max((len(sequence.prefixes) for sequence in sequences), default=0)
    batches = tuple(
        _batch(rows, height, pad_id, leaves_each)
        for rows, height in _batches(_pack(trees), token_budget, multiple_of)
    )
    return PackedBatches(
        batches,
        TokenCounts(
            given=sum(len(sequence.tokens) for sequence in sequences),
            distinct=distinct,
            run=sum(batch.tokens.size for batch in batches),
        ),
    )


def grow_trees(
    sequences: Sequence[TokenSequence], room: int, *, share: bool
) -> tuple[list[Tree], int]:
    """Sequences in trees of at most ``room`` tokens, and the number of distinct tokens.

    In lexicographic order a sequence shares most with the one before it: what is new of each is
    laid out behind what there is, depth first.
    """
    arrays = [np.array(sequence.tokens, np.int32) for sequence in sequences]
    order = sorted(range(len(sequences)), key=lambda index: sequences[index].tokens)
    groups: list[list[tuple[int, int]]] = []
    previous, distinct, size = np.empty(0, np.int32), 0, 0
    for index in order:
        length = len(arrays[index])
        common = _common_prefix(previous, arrays[index])
        distinct += length - common
        joins = common >= SHARED_AT_LEAST * length if share else common == length == len(previous)
        if groups and joins and size + length - common <= room:
            groups[-1].append((index, common))
            size += length - common
        else:
            groups.append([(index, 0)])
            size = length
        previous = arrays[index]
    counts = [len(sequence.prefixes) for sequence in sequences]
    behind = list(accumulate(counts, initial=len(sequences)))
    return [_grow(sequences, arrays, group, behind) for group in groups], distinct


def _common_prefix(left: np.ndarray, right: np.ndarray) -> int:
    shorter = min(len(left), len(right))
    differing = np.flatnonzero(left[:shorter] != right[:shorter])
    return int(differing[0]) if differing.size else shorter


def _grow(
    sequences: Sequence[TokenSequence],
    arrays: Sequence[np.ndarray],
    members: Sequence[tuple[int, int]],
    behind: Sequence[int],
) -> Tree:
    """One tree of sequences in order, each with how many tokens it shares with the one before.

    The beginnings of sequence k are numbered from ``behind[k]``.
    """
    size = sum(len(arrays[index]) - common for index, common in members)
    tokens, positions = np.empty(size, np.int32), np.empty(size, np.int32)
    ends = np.full(size, size, np.int32)
    path = np.empty(max(len(arrays[index]) for index, _ in members), np.int32)
    used = depth = 0
    leaves = []
    for index, common in members:
        ends[path[common:depth]] = used  # what does not lead to this sequence ends here
        depth = len(arrays[index])
        new = slice(used, used + depth - common)
        tokens[new] = arrays[index][common:]
        positions[new] = np.arange(common, depth)
        path[common:depth] = np.arange(new.start, new.stop)
        used = new.stop
        start = sequences[index].response_start
        leaves.append(Leaf(index, int(path[depth - 1]), start))
        for number, kept in enumerate(sequences[index].prefixes, start=behind[index]):
            leaves.append(Leaf(number, int(path[start + kept - 1]), start))
    return Tree(tokens, positions, ends, tuple(leaves))


def _pack(trees: Sequence[Tree]) -> dict[int, list[_Row]]:
    """Rows by length; small trees fill the gaps behind large ones (best fit, decreasing)."""
    rows = _place(trees, [], lambda tree: row_length(tree.size))
    by_length: dict[int, list[_Row]] = {}
    for row in rows:
        by_length.setdefault(row.length, []).append(row)
    return by_length


def _place(
    trees: Sequence[Tree], rows: Sequence[_Row], new_length: Callable[[Tree], int]
) -> list[_Row]:
    """The rows with the trees in them, each where least is left free, new rows behind them."""
    filled = [_Row(row.length, list(row.trees)) for row in rows]
    free = sorted((row.free, number) for number, row in enumerate(filled))
    for tree in sorted(trees, key=lambda tree: -tree.size):
        at = bisect_left(free, (tree.size, -1))
        if at < len(free):
            space, number = free.pop(at)
            filled[number].trees.append(tree)
        else:
            space, number = new_length(tree), len(filled)
            filled.append(_Row(space, [tree]))
        insort(free, (space - tree.size, number))
    return filled


def _batches(
    by_length: Mapping[int, Sequence[_Row]], token_budget: int, multiple_of: int
) -> list[tuple[list[_Row], int]]:
    """Rows that run together, and how many rows their batch is padded to; the longest first.

    What is left of a length and fills less than half a batch moves up to the next length.
    """
    batches: list[tuple[list[_Row], int]] = []
    waiting: list[Tree] = []
    for length in sorted(by_length):
        rows = _place(waiting, by_length[length], lambda _, length=length: length)  # type: ignore[misc]
        height = max(token_budget // length, 1) * multiple_of
        rest = len(rows) % height
        if length < max(by_length) and 2 * rest < height:
            waiting = [tree for row in rows[len(rows) - rest :] for tree in row.trees]
            rows = rows[: len(rows) - rest]
        else:
            waiting = []
        for start in range(0, len(rows), height):
            part = rows[start : start + height]
            each = -(-len(part) // multiple_of)
            batches.append((part, min(_rounded_up(each) * multiple_of, height)))
    return batches[::-1]


def _batch(rows: Sequence[_Row], height: int, pad_id: int, leaves_each: int) -> Batch:
    length = rows[0].length
    usual = length // TOKENS_PER_LEAF * leaves_each
    width = max(usual, _rounded_up(max(row.leaves for row in rows)))
    batch = Batch(
        tokens=np.full((height, length), pad_id, np.int32),
        positions=np.zeros((height, length), np.int32),
        ends=np.tile(np.arange(1, length + 1, dtype=np.int32), (height, 1)),
        last=np.zeros((height, width), np.int32),
        start=np.zeros((height, width), np.int32),
        sequence=np.full((height, width), -1, np.int32),
    )
    for number, row in enumerate(rows):
        begin = leaf = 0
        for tree in row.trees:
            slots = slice(begin, begin + tree.size)
            batch.tokens[number, slots] = tree.tokens
            batch.positions[number, slots] = tree.positions
            batch.ends[number, slots] = tree.ends + begin
            own = slice(leaf, leaf + len(tree.leaves))
            which, last, start = np.array(tree.leaves, np.int32).T
            batch.sequence[number, own], batch.start[number, own] = which, start
            batch.last[number, own] = last + begin
            begin, leaf = slots.stop, own.stop
    return batch
