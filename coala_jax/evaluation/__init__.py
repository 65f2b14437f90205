"""Evaluation as the field does it: judges, AlpacaEval 2, Arena-Hard, MT-Bench, RewardBench, people.

Questions, references, judge prompts and published scores are read from the benchmarks' own files;
no text of any of them is in this package.
"""

from coala_jax.evaluation._errors import EvaluationError

__all__ = ["EvaluationError"]
