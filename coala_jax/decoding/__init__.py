"""Use a head: guided decoding, best-of-n, rewards of texts. Needs flax and transformers.

Names are found when they are asked for: the commands read options and their defaults from
`coala_jax.decoding._config`, which needs neither.
"""

from typing import TYPE_CHECKING

from coala_jax._lazy import lazy_names

if TYPE_CHECKING:
    from coala_jax.decoding._best_of import best_of_n
    from coala_jax.decoding._config import GenerationConfig, GenerationError, Guidance, Sampling
    from coala_jax.decoding._explanation import (
        Explained,
        Explanation,
        NeuronAccount,
        explain,
        neuron_shares,
    )
    from coala_jax.decoding._export_stablehlo import export_stablehlo, load_stablehlo
    from coala_jax.decoding._export_torch import export_torch
    from coala_jax.decoding._generate import Generation, guided_generate
    from coala_jax.decoding._ranking import (
        RankedResponse,
        Ranking,
        preference_probabilities,
        rank,
        rank_rewards,
    )
    from coala_jax.decoding._reward_function import reward_function
    from coala_jax.decoding._reward_model import Rewards, TextRewardModel, score

__all__ = [
    "Explained",
    "Explanation",
    "Generation",
    "GenerationConfig",
    "GenerationError",
    "Guidance",
    "NeuronAccount",
    "RankedResponse",
    "Ranking",
    "Rewards",
    "Sampling",
    "TextRewardModel",
    "best_of_n",
    "explain",
    "export_stablehlo",
    "export_torch",
    "guided_generate",
    "load_stablehlo",
    "neuron_shares",
    "preference_probabilities",
    "rank",
    "rank_rewards",
    "reward_function",
    "score",
]
__getattr__ = lazy_names(
    __name__,
    {
        "Explained": "_explanation",
        "Explanation": "_explanation",
        "Generation": "_generate",
        "GenerationConfig": "_config",
        "GenerationError": "_config",
        "Guidance": "_config",
        "NeuronAccount": "_explanation",
        "RankedResponse": "_ranking",
        "Ranking": "_ranking",
        "Rewards": "_reward_model",
        "Sampling": "_config",
        "TextRewardModel": "_reward_model",
        "best_of_n": "_best_of",
        "explain": "_explanation",
        "export_stablehlo": "_export_stablehlo",
        "export_torch": "_export_torch",
        "guided_generate": "_generate",
        "load_stablehlo": "_export_stablehlo",
        "neuron_shares": "_explanation",
        "preference_probabilities": "_ranking",
        "rank": "_ranking",
        "rank_rewards": "_ranking",
        "reward_function": "_reward_function",
        "score": "_reward_model",
    },
)
