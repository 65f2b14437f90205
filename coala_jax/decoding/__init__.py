"""Use a head: guided decoding, best-of-n, rewards of texts. Needs flax and transformers.

Names are found when they are asked for: the commands read options and their defaults from
`coala_jax.decoding._config`, which needs neither.

Example:
    >>> from importlib import resources
    >>> import jax
    >>> import numpy as np
    >>> from coala_jax import ConvexHead, decoding, save_head
    >>> from coala_jax.backbones import load_backbone
    >>> from coala_jax.data import ResponseRow, read_rows, write_rows
    >>> from coala_jax.features import ExtractSettings, extract_store
    >>> from coala_jax.quickstart import tutoring_rows
    >>> backbone = load_backbone(resources.files("coala_jax.quickstart") / "backbone")
    >>> triplets = tutoring_rows(0, train_pairs=4, eval_pairs=1).train
    >>> rows = read_rows(write_rows("pairs.jsonl", triplets))
    >>> settings = ExtractSettings(pooling="mean", shard_rows=2)
    >>> table = extract_store(rows, backbone, "store", settings=settings).table
    >>> linear = np.mean(table.chosen - table.rejected, axis=0)  # by hand; `select` finds better
    >>> d = len(linear)
    >>> head = ConvexHead(np.zeros((d, 1)), np.zeros(1), np.zeros(1), np.zeros(d), linear)
    >>> save_head("head", head, {"identity": table.identity._asdict()})
    >>> model = decoding.TextRewardModel.load("head", backbone)  # or the folder of a checkpoint
    >>> pair = triplets[0]
    >>> sides = [ResponseRow("a", "chosen", pair.prompt, pair.chosen),
    ...     ResponseRow("a", "rejected", pair.prompt, pair.rejected)]
    >>> rewards = decoding.score(model, sides).rewards
    >>> rewards.shape
    (2,)
    >>> ranking = decoding.rank(model, pair.prompt, [pair.rejected, pair.chosen])
    >>> ranking.probabilities.shape
    (2, 2)
    >>> reward_func = decoding.reward_function(model)  # as TRL calls it
    >>> len(reward_func(prompts=[pair.prompt], completions=[pair.chosen]))
    1
    >>> decoding.explain(model, sides).responses
    2
    >>> encode = backbone.tokenizer.encode
    >>> decoding.token_rewards(model, [encode(pair.prompt)], [encode(" A cell")])[0].ndim
    1
    >>> config, key = decoding.GenerationConfig.from_options(max_new_tokens=4), jax.random.key(0)
    >>> guided, = decoding.guided_generate(model, [pair.prompt], config, key, trace=True)
    >>> len(guided.tokens), guided.finish_reason, guided.reward == guided.reward
    (4, 'length', True)
    >>> plain = config.with_options(scale=0.0)
    >>> samples, = decoding.best_of_n(model, [pair.prompt], 2, plain, key, batch_size=1)
    >>> samples[0].reward >= samples[1].reward
    True
    >>> compared = decoding.compare_plain_and_guided(model, [pair.prompt], config, 0, trace=True)
    >>> page = decoding.comparison_page(model, [pair.prompt], compared, config)
    >>> "</html>" in page
    True
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
