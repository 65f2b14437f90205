r"""RewardBench 1 and 2: how often a reward model prefers the right answer.

The rows are read from the benchmark's own files; no text of it is in this package. Names are found
when they are asked for: those that run a model need flax and transformers, the others neither.

Example:
    >>> import json
    >>> from pathlib import Path
    >>> from coala_jax.evaluation.reward_bench import read_reward_bench, read_scores, reward_bench
    >>> rows = [{"id": n, "subset": "alpacaeval-easy", "prompt": f"{n} + 1?", "chosen": f"{n + 1}",
    ...     "rejected": "0"} for n in range(4)]
    >>> _ = Path("rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    >>> bench = read_reward_bench("rows.jsonl")
    >>> scores = [{"id": str(n), "scores": [1.0, 0.5 * n]} for n in range(4)]
    >>> _ = Path("scores.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in scores))
    >>> result = reward_bench(bench, read_scores("scores.jsonl", bench))
    >>> result.subsets["alpacaeval-easy"].score.mean  # a tie is wrong
    0.5
"""

from typing import TYPE_CHECKING

from coala_jax._lazy import lazy_names

if TYPE_CHECKING:
    from coala_jax.evaluation.reward_bench._published import (
        REWARD_BENCH,
        REWARD_BENCH_2,
        Published,
        section_scores,
    )
    from coala_jax.evaluation.reward_bench._report import eval_set
    from coala_jax.evaluation.reward_bench._result import RewardBenchResult, Scored, reward_bench
    from coala_jax.evaluation.reward_bench._rewards import ModelRewards, model_rewards
    from coala_jax.evaluation.reward_bench._rows import BenchRow, RewardBench, read_reward_bench
    from coala_jax.evaluation.reward_bench._scores import read_scores

__all__ = [
    "REWARD_BENCH",
    "REWARD_BENCH_2",
    "BenchRow",
    "ModelRewards",
    "Published",
    "RewardBench",
    "RewardBenchResult",
    "Scored",
    "eval_set",
    "model_rewards",
    "read_reward_bench",
    "read_scores",
    "reward_bench",
    "section_scores",
]

__getattr__ = lazy_names(
    __name__,
    {
        "_published": ["REWARD_BENCH", "REWARD_BENCH_2", "Published", "section_scores"],
        "_report": ["eval_set"],
        "_result": ["RewardBenchResult", "Scored", "reward_bench"],
        "_rewards": ["ModelRewards", "model_rewards"],
        "_rows": ["BenchRow", "RewardBench", "read_reward_bench"],
        "_scores": ["read_scores"],
    },
)
