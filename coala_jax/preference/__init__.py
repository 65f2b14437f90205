"""Phase II: the COALA preference loss, its optimum and reward metrics."""

from coala_jax.preference._finetune import accuracy, evaluate, finetune
from coala_jax.preference._newton import NewtonResult, newton_optimum
from coala_jax.preference._objective import (
    GroupProblem,
    LogisticProblem,
    logistic_problem,
    objective,
    objective_change,
    preference_loss,
    preference_problem,
)
from coala_jax.preference._rewards import reward_metrics
from coala_jax.preference._terms import balance_neurons

__all__ = [
    "GroupProblem",
    "LogisticProblem",
    "NewtonResult",
    "accuracy",
    "balance_neurons",
    "evaluate",
    "finetune",
    "logistic_problem",
    "newton_optimum",
    "objective",
    "objective_change",
    "preference_loss",
    "preference_problem",
    "reward_metrics",
]
