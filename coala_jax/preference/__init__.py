"""Phase II: the COALA preference loss, its optimum and reward metrics."""

from coala_jax.preference._evaluate import accuracy, evaluate
from coala_jax.preference._finetune import finetune
from coala_jax.preference._newton import NewtonResult, newton_optimum
from coala_jax.preference._objective import (
    GroupProblem,
    LogisticProblem,
    objective,
    objective_change,
    preference_loss,
    preference_problem,
)
from coala_jax.preference._rewards import reward_metrics

__all__ = [
    "GroupProblem",
    "LogisticProblem",
    "NewtonResult",
    "accuracy",
    "evaluate",
    "finetune",
    "newton_optimum",
    "objective",
    "objective_change",
    "preference_loss",
    "preference_problem",
    "reward_metrics",
]
