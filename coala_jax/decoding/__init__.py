"""Use a head: guided decoding, best-of-n, rewards of texts. Needs flax and transformers.

Names are found when they are asked for: the commands read options and their defaults from
`coala_jax.decoding.config`, which needs neither.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coala_jax.decoding._best_of import best_of_n
    from coala_jax.decoding._config import GenerationConfig, GenerationError
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
    "TextHead",
    "best_of_n",
    "guided_generate",
    "load_text_head",
    "open_text_head",
    "rewards_of_responses",
]
_HOMES = {
    "best_of_n": "best_of",
    "GenerationConfig": "config",
    "GenerationError": "config",
    "Generation": "generate",
    "guided_generate": "generate",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}._{_HOMES.get(name, 'text_head')}"), name)
