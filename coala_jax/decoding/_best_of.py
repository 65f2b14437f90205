"""Best-of-n: sample several responses, keep the one that the head rewards most."""

from collections.abc import Sequence

import jax

from coala_jax.decoding._config import BATCH_SIZE, GenerationConfig, GenerationError
from coala_jax.decoding._generate import Generation, each_key, guided_generate
from coala_jax.decoding._prompts import Prompt
from coala_jax.decoding._reward_model import TextRewardModel, require_reward_model


def best_of_n(
    model: TextRewardModel,
    prompts: Sequence[Prompt],
    n: int,
    config: GenerationConfig,
    key: jax.Array | Sequence[jax.Array],
    *,
    batch_size: int = BATCH_SIZE,
) -> list[list[Generation]]:
    """Sample n responses to every prompt and order them by reward (Stiennon et al. 2020).

    A prompt runs once for all samples of it in a batch. `coala_jax.decoding` has an example.

    Args:
        model: on a causal backbone that jax runs.
        prompts: as ``guided_generate`` takes them.
        n: samples a prompt, at least 1.
        config: of the samples; plain sampling with ``scale=0``, which is what best-of-n means
            elsewhere.
        key: typed key, or one a prompt, as ``guided_generate`` takes them; sample j of a prompt
            draws with ``fold_in`` of its key and j, so the first n of more samples are the same.
        batch_size: responses that run together.

    Returns:
        For every prompt its n generations, the best first; the earlier sample of equals.

    Raises:
        GenerationError, FeatureError: as ``guided_generate`` does; a backbone without a head, ``n``
            below 1, or samples that cannot differ.
    """
    require_reward_model(model, GenerationError)
    if n < 1:
        raise GenerationError(f"n={n} must be at least 1")
    for name, value in (("temperature", 0), ("top_k", 1)):
        if n > 1 and getattr(config.sampling, name) == value:
            raise GenerationError(f"{name}={value}: all {n} samples would be the same; raise it")
    keys = [
        jax.random.fold_in(own, sample)
        for own in each_key(key, len(prompts))
        for sample in range(n)
    ]
    repeated = [prompt for prompt in prompts for _ in range(n)]
    made = guided_generate(model, repeated, config, keys, batch_size=batch_size)
    return [
        sorted(made[start : start + n], key=lambda one: -_reward(one))
        for start in range(0, len(made), n)
    ]


def _reward(generation: Generation) -> float:
    assert generation.reward is not None  # there is a head
    return generation.reward
