"""Beginnings of responses: where the two of a pair are cut, and what is kept of the cuts.

Both responses are cut after as many tokens, t. The first t takes in the first token in which they
differ: before it both are the same text. The last is that of the shorter one's last token; no end
token is kept, and no whole response. Of these places K are drawn, one uniformly in each of K
strata of equal width (to a token); where there are no more than K, all are taken. The draws depend
on the recorded seed and on the texts of the row alone: not on its number, the other rows or the
shards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from coala_jax._common_start import common_length
from coala_jax._stored_rows import FeatureRows, StoredRows, in_memory, stored

if TYPE_CHECKING:
    from coala_jax.data import PreferenceRow
    from coala_jax.features._tokens import TokenSequence


class PairPrefixes(NamedTuple):
    """Features of c cuts: beginnings of both responses of a pair, of as many tokens.

    Attributes:
        chosen: (c, d) features, in the type of those of the whole responses; `StoredRows` where
            they are not read yet.
        rejected: (c, d), same type.
        pair: (c,) int64 place of the pair among the pairs, rising.
        tokens: (c,) int64 tokens of the response that are kept, rising within a pair.
    """

    chosen: FeatureRows
    rejected: FeatureRows
    pair: np.ndarray
    tokens: np.ndarray

    def counts(self, pairs: int) -> np.ndarray:
        """(pairs,) int64 number of cuts of every pair, of so many pairs."""
        return np.bincount(self.pair, minlength=pairs)

    def in_memory(self) -> PairPrefixes:
        """The cuts with their features read."""
        sides = in_memory(self.chosen), in_memory(self.rejected)
        return self._replace(chosen=sides[0], rejected=sides[1])


def join_prefixes(parts: Sequence[PairPrefixes], sizes: Sequence[int]) -> PairPrefixes:
    """The cuts of shards of so many pairs, numbered throughout; no features are read."""
    first = accumulate(sizes, initial=0)
    pairs = [part.pair + before for part, before in zip(parts, first, strict=False)]
    return PairPrefixes(
        StoredRows.joined([stored(part.chosen) for part in parts]),
        StoredRows.joined([stored(part.rejected) for part in parts]),
        np.concatenate(pairs),
        np.concatenate([part.tokens for part in parts]),
    )


def cut_places(chosen: TokenSequence, rejected: TokenSequence, end_ids: Collection[int]) -> range:
    """All numbers of response tokens after which a pair can be cut.

    There are none where one response goes on from the end of the other.

    Args:
        chosen: tokens of the pair's one side.
        rejected: those of the other.
        end_ids: of end tokens.
    """
    sides = [sequence.tokens[sequence.response_start :] for sequence in (chosen, rejected)]
    shorter = min(_open_length(side, end_ids) for side in sides)
    return range(common_length(*sides) + 1, shorter + 1)


def draw_cuts(places: range, most: int, seed: int, row: PreferenceRow) -> tuple[int, ...]:
    """At most so many of the places, rising, by the rule of this module.

    Args:
        places: from `cut_places`.
        most: K.
        seed: recorded with the features.
        row: whose texts decide the draws.
    """
    if len(places) <= most:
        return tuple(places)
    texts = hashlib.sha256(json.dumps([seed, row.prompt, row.chosen, row.rejected]).encode())
    edges = [stratum * len(places) // most for stratum in range(most + 1)]
    return tuple(
        places[edge + _drawn(texts.digest(), edge) % (after - edge)]
        for edge, after in pairwise(edges)
    )


def _drawn(seed: bytes, number: int) -> int:
    """A number of 256 random bits: by a hash, since numpy's generators may change."""
    return int.from_bytes(hashlib.sha256(seed + number.to_bytes(8, "big")).digest(), "big")


def _open_length(response: tuple[int, ...], end_ids: Collection[int]) -> int:
    """Tokens before the end token, or all but the last of a response that has none."""
    backwards = enumerate(reversed(response), start=1)
    return len(response) - next((back for back, token in backwards if token in end_ids), 1)
