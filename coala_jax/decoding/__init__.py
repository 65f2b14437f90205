"""Use a head: guided decoding, best-of-n, rewards of texts. Needs flax and transformers."""

from coala_jax.decoding.best_of import best_of_n
from coala_jax.decoding.config import GenerationConfig, GenerationError
from coala_jax.decoding.generate import Generation, guided_generate
from coala_jax.decoding.text_head import (
    TextHead,
    load_text_head,
    open_text_head,
    rewards_of_responses,
)

__all__ = [
    "Generation",
    "GenerationConfig",
    "GenerationError",
    "TextHead",
    "best_of_n",
    "guided_generate",
    "load_text_head",
    "open_text_head",
    "rewards_of_responses",
]
