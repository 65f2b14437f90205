"""Plain and guided responses to the same prompts, from the same draws."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from coala_jax.decoding._config import BATCH_SIZE, GenerationConfig, GenerationError
from coala_jax.decoding._generate import Generation, guided_generate
from coala_jax.decoding._prompts import Prompt
from coala_jax.decoding._reward_model import TextRewardModel, require_reward_model


class Comparison(NamedTuple):
    """Two responses to one prompt.

    Attributes:
        plain: without the head.
        guided: with it; where the head moves nothing, the same.
    """

    plain: Generation
    guided: Generation

    def account(self) -> dict[str, Any]:
        """Both responses as JSON."""
        return {side: account_of(getattr(self, side)) for side in self._fields}


def account_of(generation: Generation) -> dict[str, Any]:
    """What a person wants to know of a response, as JSON."""
    names = (
        "text",
        "reward",
        "finish_reason",
        "prompt_tokens",
        "evaluations",
        "guided_steps",
        "near_ties",
    )
    fields = {name: getattr(generation, name) for name in names}
    return {**fields, "tokens": len(generation.tokens)}


def compare_plain_and_guided(
    model: TextRewardModel,
    prompts: Sequence[Prompt],
    config: GenerationConfig,
    seed: int,
    *,
    batch_size: int = BATCH_SIZE,
    trace: bool = False,
) -> list[Comparison]:
    """Answer prompts plainly and guided, with equal noise.

    Args:
        model: on a causal backbone that jax runs.
        prompts: as `guided_generate` takes them.
        config: of the guided responses; the plain ones differ in ``scale=0`` alone.
        seed: of the draws.
        batch_size: prompts that run together.
        trace: keep what the guided steps saw.

    Returns:
        Both responses to each prompt, in their order.

    Raises:
        GenerationError, FeatureError: as `guided_generate` does.
    """
    require_reward_model(model, GenerationError)
    key = jax.random.key(seed)
    plain, guided = (
        guided_generate(model, prompts, one, key, batch_size=batch_size, trace=traced)
        for one, traced in ((config.with_options(scale=0.0), False), (config, trace))
    )
    return [Comparison(*pair) for pair in zip(plain, guided, strict=True)]
