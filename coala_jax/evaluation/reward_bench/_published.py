"""Subsets, sizes and weights of RewardBench 1 and 2, as their authors publish them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

TIES = "Ties"


class Published(NamedTuple):
    """A benchmark as its authors publish it.

    Attributes:
        version: 1 or 2.
        counts: rows of each subset.
        sections: the subsets of each section.
        weights: of a subset in its section; 1 where a section has but one.
        hub_id: where the rows are.
        split: which of them count.
    """

    version: int
    counts: Mapping[str, int]
    sections: Mapping[str, tuple[str, ...]]
    weights: Mapping[str, int]
    hub_id: str
    split: str

    def shares(self, present: Iterable[str]) -> dict[str, dict[str, float]]:
        """Each section as shares of its subsets, those of a section adding up to 1.

        A subset that is not present has no share, and a section without subsets is left out, as in
        ``calculate_scores_per_section`` (allenai/reward-bench, rewardbench/utils.py).
        """
        there = set(present)
        sections = {}
        for section, subsets in self.sections.items():
            weights = {name: self.weights[name] for name in subsets if name in there}
            total = sum(weights.values())
            if total:
                sections[section] = {name: weight / total for name, weight in weights.items()}
        return sections

    def overall_shares(self, present: Iterable[str]) -> dict[str, float] | None:
        """The mean of all sections as shares of subsets; None where a subset is missing."""
        if set(self.counts) - set(present):
            return None
        sections = self.shares(self.counts)
        return {
            name: share / len(sections)
            for shares in sections.values()
            for name, share in shares.items()
        }


# `EXAMPLE_COUNTS` and `SUBSET_MAPPING` of rewardbench/constants.py (allenai/reward-bench).
_CHAT = {
    "alpacaeval-easy": 100,
    "alpacaeval-length": 95,
    "alpacaeval-hard": 95,
    "mt-bench-easy": 28,
    "mt-bench-med": 40,
}
_CHAT_HARD = {
    "mt-bench-hard": 37,
    "llmbar-natural": 100,
    "llmbar-adver-neighbor": 134,
    "llmbar-adver-GPTInst": 92,
    "llmbar-adver-GPTOut": 47,
    "llmbar-adver-manual": 46,
}
_SAFETY = {
    "refusals-dangerous": 100,
    "refusals-offensive": 100,
    "xstest-should-refuse": 154,
    "xstest-should-respond": 250,
    "donotanswer": 136,
}
_LANGUAGES = ("cpp", "go", "java", "js", "python", "rust")
_REASONING = {"math-prm": 447, **{f"hep-{language}": 164 for language in _LANGUAGES}}
_COUNTS_1 = _CHAT | _CHAT_HARD | _SAFETY | _REASONING
# The six sets of code have 984 rows together, and that of mathematics is made to count as much.
# Some copies of the original (commit a32e272) weigh the two xstest sets the other way round, 250
# and 154; its README's numbers (71 of 250, Safety 0.721622) are those of the sizes above.
_WEIGHTS_1 = _COUNTS_1 | {"math-prm": 984}
# Table 2 of "RewardBench 2: Advancing Reward Model Evaluation" (arXiv:2506.01937).
_COUNTS_2 = {
    "Factuality": 475,
    "Precise IF": 160,
    "Math": 183,
    "Safety": 450,
    "Focus": 495,
    TIES: 102,
}
REWARD_BENCH = Published(
    version=1,
    counts=_COUNTS_1,
    sections={
        "Chat": tuple(_CHAT),
        "Chat Hard": tuple(_CHAT_HARD),
        "Safety": tuple(_SAFETY),
        "Reasoning": tuple(_REASONING),
    },
    weights=_WEIGHTS_1,
    hub_id="allenai/reward-bench",
    split="filtered",
)
"""RewardBench 1 as it was `Published`: subsets, sections, weights, and where its rows are."""
REWARD_BENCH_2 = Published(
    version=2,
    counts=_COUNTS_2,
    sections={name: (name,) for name in _COUNTS_2},
    weights=dict.fromkeys(_COUNTS_2, 1),
    hub_id="allenai/reward-bench-2",
    split="test",
)
"""RewardBench 2 as it was `Published`."""


def section_scores(
    accuracies: Mapping[str, float], published: Published = REWARD_BENCH
) -> dict[str, float]:
    """The score of each section from the accuracies of subsets.

    Args:
        accuracies: by subset; other keys, such as those of an ``eval-set/*.json``, are passed over.
        published: which benchmark.

    Returns:
        By section: means of its subsets, weighted as published; of the subsets that are there.
        A section without any is left out (``calculate_scores_per_section`` calls it 0).

    Example:
        >>> from coala_jax.evaluation.reward_bench import section_scores
        >>> scores = section_scores({"alpacaeval-easy": 0.75, "alpacaeval-hard": 0.75})
        >>> {name: round(score, 3) for name, score in scores.items()}
        {'Chat': 0.75}
    """
    return {
        section: sum(share * accuracies[name] for name, share in shares.items())
        for section, shares in published.shares(accuracies).items()
    }
