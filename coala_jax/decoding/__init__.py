"""Use a head: guided decoding, best-of-n, rewards of texts. Needs flax and transformers.

Names are found when they are asked for: the commands read options and their defaults from
`coala_jax.decoding._config`, which needs neither.
"""

from typing import TYPE_CHECKING

from coala_jax._lazy import lazy_names

if TYPE_CHECKING:
    from coala_jax.decoding._best_of import best_of_n
    from coala_jax.decoding._comparison import Comparison, compare_plain_and_guided
    from coala_jax.decoding._config import (
        PAPER,
        GenerationConfig,
        GenerationError,
        Guidance,
        Sampling,
    )
    from coala_jax.decoding._explanation import (
        Explained,
        Explanation,
        Moved,
        NeuronAccount,
        explain,
        neuron_shares,
    )
    from coala_jax.decoding._export_stablehlo import export_stablehlo, load_stablehlo
    from coala_jax.decoding._export_torch import export_torch
    from coala_jax.decoding._generate import Generation, GuidedStep, guided_generate
    from coala_jax.decoding._page import comparison_page
    from coala_jax.decoding._ranking import (
        RankedResponse,
        Ranking,
        preference_probabilities,
        rank,
        rank_rewards,
    )
    from coala_jax.decoding._reward_function import reward_function
    from coala_jax.decoding._reward_model import TextRewardModel
    from coala_jax.decoding._rewards import Rewards, score
    from coala_jax.decoding._token_rewards import token_rewards
    from coala_jax.decoding._value_head import ValueHead

__all__ = [
    "PAPER",
    "Comparison",
    "Explained",
    "Explanation",
    "Generation",
    "GenerationConfig",
    "GenerationError",
    "Guidance",
    "GuidedStep",
    "Moved",
    "NeuronAccount",
    "RankedResponse",
    "Ranking",
    "Rewards",
    "Sampling",
    "TextRewardModel",
    "ValueHead",
    "best_of_n",
    "compare_plain_and_guided",
    "comparison_page",
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
    "token_rewards",
]
__getattr__ = lazy_names(
    __name__,
    {
        "_best_of": ["best_of_n"],
        "_comparison": ["Comparison", "compare_plain_and_guided"],
        "_config": ["PAPER", "GenerationConfig", "GenerationError", "Guidance", "Sampling"],
        "_explanation": [
            "Explained",
            "Explanation",
            "Moved",
            "NeuronAccount",
            "explain",
            "neuron_shares",
        ],
        "_export_stablehlo": ["export_stablehlo", "load_stablehlo"],
        "_export_torch": ["export_torch"],
        "_generate": ["Generation", "GuidedStep", "guided_generate"],
        "_page": ["comparison_page"],
        "_ranking": [
            "RankedResponse",
            "Ranking",
            "preference_probabilities",
            "rank",
            "rank_rewards",
        ],
        "_reward_function": ["reward_function"],
        "_reward_model": ["TextRewardModel"],
        "_rewards": ["Rewards", "score"],
        "_token_rewards": ["token_rewards"],
        "_value_head": ["ValueHead"],
    },
)
