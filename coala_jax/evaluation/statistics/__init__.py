"""Statistics of choices that people, or judges, make between answers."""

from coala_jax.evaluation.statistics._agreement import (
    PairwiseAgreement,
    alpha_interval,
    krippendorff_alpha,
    pairwise_agreement,
)
from coala_jax.evaluation.statistics._davidson import Davidson, davidson
from coala_jax.evaluation.statistics._sample_size import (
    Effect,
    Precision,
    Protocol,
    choice_effect,
    pair_effect,
    people_needed,
    precision_of,
    wald_margin,
)
from coala_jax.evaluation.statistics._sign_flip import holm, sign_flip_p
from coala_jax.evaluation.statistics._two_way import (
    two_way_interval,
    two_way_p,
    two_way_share,
)
from coala_jax.evaluation.statistics._variance_shares import VarianceShares, variance_shares

__all__ = [
    "Davidson",
    "Effect",
    "PairwiseAgreement",
    "Precision",
    "Protocol",
    "VarianceShares",
    "alpha_interval",
    "choice_effect",
    "davidson",
    "holm",
    "krippendorff_alpha",
    "pair_effect",
    "pairwise_agreement",
    "people_needed",
    "precision_of",
    "sign_flip_p",
    "two_way_interval",
    "two_way_p",
    "two_way_share",
    "variance_shares",
    "wald_margin",
]
