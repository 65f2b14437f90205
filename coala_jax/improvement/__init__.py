"""Learning from verifiable rewards: answers sampled and rewarded in rounds, a head a round."""

from coala_jax.improvement._improve import Improvement, Round, improve
from coala_jax.improvement._settings import ImproveError, ImproveSettings

__all__ = [
    "ImproveError",
    "ImproveSettings",
    "Improvement",
    "Round",
    "improve",
]
