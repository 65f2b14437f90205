"""Preference pairs as an experiment sees them: arrays, and which rows belong together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from coala_jax._stored_rows import FeatureRows, in_memory
from coala_jax._types import Config, GroupFeatures, PreferenceFeatures
from coala_jax.data import DataError, PromptFingerprint
from coala_jax.features import FeatureIdentity

BY_GROUP, BY_PROMPT, BY_ROW = "group", "prompt", "row"


class PairSet(NamedTuple):
    """Features of n pairs, or of n cuts of pairs, with what honest splits and baselines need.

    Attributes:
        source: where they come from, for messages.
        chosen: (n, d) float32 or narrower, finite; `StoredRows` where they are not read yet.
        rejected: (n, d) likewise.
        keys: (n,) rows with the same key are never split.
        split_by: what the keys are: ``group``, ``prompt`` or ``row``.
        lengths: (n, 2) characters of the chosen and the rejected response; None where neither the
            features nor rows say them.
        weight: (n,) weights, or None.
        margin: (n,) margins, or None.
        identity: how the features were made; None where the source does not say.
        set_aside_counts: unusable rows, by reason; None where the source does not say.
        cut: pairs that lost tokens to the context, by part; None where the source does not say.
        prompt_hashes: (n,) hashes of the normalised prompts; None where they are unknown.
        prefix_of: (n,) number of the pair that each is a cut of; None of whole pairs.
        groups: g groups of responses, of whose members the pairs are all those with different
            scores; None where pairs are all that is known.
        group_of: (n,) number of the group that each is of.
    """

    source: str
    chosen: FeatureRows
    rejected: FeatureRows
    keys: tuple[str, ...]
    split_by: str
    lengths: np.ndarray | None = None
    weight: np.ndarray | None = None
    margin: np.ndarray | None = None
    identity: FeatureIdentity | None = None
    set_aside_counts: Mapping[str, int] | None = None
    cut: Mapping[str, int] | None = None
    prompt_hashes: tuple[str, ...] | None = None
    prefix_of: np.ndarray | None = None
    groups: GroupFeatures | None = None
    group_of: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> PairSet:
        """The pairs that a (n,) boolean mask selects, and the groups that they are of."""
        groups, group_of = self.groups, self.group_of
        if groups is not None and group_of is not None:
            kept, group_of = np.unique(group_of[rows], return_inverse=True)
            groups = jax.tree.map(lambda array: array[kept], groups)
        return self._replace(
            groups=groups,
            group_of=group_of,
            chosen=self.chosen[rows],
            rejected=self.rejected[rows],
            keys=tuple(itertools.compress(self.keys, rows)),
            prompt_hashes=None
            if self.prompt_hashes is None
            else tuple(itertools.compress(self.prompt_hashes, rows)),
            lengths=_taken(self.lengths, rows),
            weight=_taken(self.weight, rows),
            margin=_taken(self.margin, rows),
            prefix_of=_taken(self.prefix_of, rows),
        )

    def pair_count(self, rows: np.ndarray | slice = slice(None)) -> int:
        """How many pairs there are, in all rows or in those of a mask; the cuts of one are one."""
        numbers = np.arange(len(self.chosen)) if self.prefix_of is None else self.prefix_of
        return len(np.unique(numbers[rows]))

    @property
    def prompts(self) -> PromptFingerprint | None:
        """What a head that is trained on them keeps of their prompts; None where unknown.

        Arrays may bring names of their prompts in place of hashes: what cannot be found again is
        not kept.
        """
        try:
            return PromptFingerprint.of_hashes(self.prompt_hashes) if self.prompt_hashes else None
        except DataError:
            return None

    def as_pairs(self) -> PreferenceFeatures:
        """The pairs for a loss of pairs, those of the members of groups too."""
        sides = in_memory(self.chosen), in_memory(self.rejected)
        return PreferenceFeatures(*sides, self.weight, self.margin)

    def responses(self, config: Config) -> int:
        """How many responses a solve sees, members that are missing among them."""
        if self.groups is not None and config.loss.grouped:
            return math.prod(np.shape(self.groups.responses)[:2])
        return 2 * len(self.chosen)

    def feature_keys(self, config: Config) -> tuple[str, ...]:
        """Key of each pair, or group, that a solve sees."""
        if self.group_of is None or not config.loss.grouped:
            return self.keys
        first = np.unique(self.group_of, return_index=True)[1]
        return tuple(self.keys[row] for row in first)


def _taken(array: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if array is None else array[rows]
