"""Use a head: guided decoding, best-of-n, rewards of texts. Needs flax and transformers.

Names are found when they are asked for: the commands read options and their defaults from
`coala_jax.decoding._config`, which needs neither.
"""

from typing import TYPE_CHECKING

from coala_jax._lazy import lazy_names

if TYPE_CHECKING:
    from coala_jax.decoding._best_of import best_of_n
    from coala_jax.decoding._config import GenerationConfig, GenerationError, Guidance, Sampling
    from coala_jax.decoding._generate import Generation, guided_generate
    from coala_jax.decoding._text_head import (
        TextHead,
        load_text_head,
        open_text_head,
        rewards_of_responses,
    )

__all__ = [
    "Generation",
    "GenerationConfig",
    "GenerationError",
    "Guidance",
    "Sampling",
    "TextHead",
    "best_of_n",
    "guided_generate",
    "load_text_head",
    "open_text_head",
    "rewards_of_responses",
]
__getattr__ = lazy_names(
    __name__,
    {
        "Generation": "_generate",
        "GenerationConfig": "_config",
        "GenerationError": "_config",
        "Guidance": "_config",
        "Sampling": "_config",
        "TextHead": "_text_head",
        "best_of_n": "_best_of",
        "guided_generate": "_generate",
        "load_text_head": "_text_head",
        "open_text_head": "_text_head",
        "rewards_of_responses": "_text_head",
    },
)
