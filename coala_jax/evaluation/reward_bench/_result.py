"""Scores of a reward model on RewardBench 1 or 2, beside chance and the rule of length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from coala_jax._intervals import Interval
from coala_jax.evaluation.reward_bench._credit import TiesTerms, is_tied, ties_terms
from coala_jax.evaluation.reward_bench._estimates import (
    difference,
    estimates,
    interval,
    weighted_sum,
)
from coala_jax.evaluation.reward_bench._published import TIES
from coala_jax.evaluation.reward_bench._rows import BenchRow, RewardBench
from coala_jax.evaluation.reward_bench._scores import require_scores

# Of random rewards for the chance level of Ties: its standard error is then about 0.001.
CHANCE_DRAWS = 200


class Scored(NamedTuple):
    """A score and what it is to be seen beside.

    Attributes:
        score: with its 95 % interval, clustered by prompt.
        rows: how many it is of.
        tied: in how many of them the best right and the best wrong answer have the same reward.
        chance: what random rewards score in the mean.
        longer: what preferring the longer answer scores, in characters.
        shorter: what preferring the shorter one does.
        above_length: the score minus that of the better rule, with its interval, by the same rows.
    """

    score: Interval
    rows: int
    tied: int
    chance: float
    longer: float
    shorter: float
    above_length: Interval


class RewardBenchResult(NamedTuple):
    """What a reward model scores.

    Attributes:
        version: 1 or 2.
        subsets: by name, those that are there.
        sections: by name, of the subsets that are there; none of RewardBench 2.
        overall: the mean of the sections; None where a subset is missing.
        ties: the terms of the score of Ties; None without that subset.
        differences: subsets of which there are more or fewer rows than published: with any, no
            figure compares with published ones.
    """

    version: int
    subsets: Mapping[str, Scored]
    sections: Mapping[str, Scored]
    overall: Scored | None
    ties: TiesTerms | None
    differences: tuple[str, ...]


def reward_bench(bench: RewardBench, scores: Sequence[Sequence[float]]) -> RewardBenchResult:
    """The scores of a reward model from its rewards.

    RewardBench 1 (Lambert et al. 2024, arXiv:2403.13787): the share of pairs whose chosen answer
    has the higher reward, a tie counting as wrong; sections are means of subsets by published
    weights, the overall score is the mean of four sections. RewardBench 2 (Malik et al. 2025,
    arXiv:2506.01937): the share of prompts whose right answer has the highest reward of four,
    divided by the number of highest ones, and the score of Ties; the overall score is the mean of
    six subsets.

    Args:
        bench: the rows.
        scores: a reward of each answer of each row.

    Raises:
        EvaluationError: rewards that are missing or not finite; Ties of which no question has both
            its rows.
    """
    require_scores(bench, scores)
    published, present, scored = bench.published, bench.counts, _scorer(bench, scores)
    sections = published.shares(present) if published.version == 1 else {}
    overall = published.overall_shares(present)
    ties = [place for place, row in enumerate(bench.rows) if row.subset == TIES]
    return RewardBenchResult(
        published.version,
        {name: scored({name: 1.0}) for name in present},
        {name: scored(shares) for name, shares in sections.items()},
        None if overall is None else scored(overall),
        ties_terms([bench.rows[place] for place in ties], [scores[place] for place in ties])
        if ties
        else None,
        bench.differences,
    )


def _scorer(
    bench: RewardBench, scores: Sequence[Sequence[float]]
) -> Callable[[Mapping[str, float]], Scored]:
    """What gives a weighted sum of subsets, and what it is to be seen beside."""
    clusters = [row.cluster for row in bench.rows]
    lengths = [[float(len(answer)) for answer in row.answers] for row in bench.rows]
    found = estimates(bench, scores)
    longer = estimates(bench, lengths)
    shorter = estimates(bench, [[-length for length in own] for own in lengths])
    chance = {name: _chance(name, bench) for name in found}
    tied = np.array([is_tied(row, own) for row, own in zip(bench.rows, scores, strict=True)])

    def scored(shares: Mapping[str, float]) -> Scored:
        own, long, short = (weighted_sum(each, shares) for each in (found, longer, shorter))
        rule = long if long.value >= short.value else short
        return Scored(
            # The weights of Ties sum to 1.01, so that its score may be above 1 itself.
            interval(own, clusters, is_share=TIES not in shares).within(
                min(own.value, 0.0), max(own.value, 1.0)
            ),
            int(own.concerned.sum()),
            int(tied[own.concerned].sum()),
            sum(share * chance[name] for name, share in shares.items()),
            long.value,
            short.value,
            interval(difference(own, rule), clusters, is_share=False),
        )

    return scored


def _chance(subset: str, bench: RewardBench) -> float:
    """What independent rewards of one continuous distribution score in the mean.

    Exact but for Ties, whose margins depend on the distribution: there a normal one is drawn.
    """
    rows = [row for row in bench.rows if row.subset == subset]
    if subset != TIES:
        return float(np.mean([1 / len(row.answers) for row in rows]))
    rng = np.random.default_rng(0)
    return float(np.mean([_random_ties(rows, rng) for _ in range(CHANCE_DRAWS)]))


def _random_ties(rows: Sequence[BenchRow], rng: np.random.Generator) -> float:
    return ties_terms(rows, [rng.standard_normal(len(row.answers)).tolist() for row in rows]).score
