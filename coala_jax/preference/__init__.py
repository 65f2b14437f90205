"""Phase II: the COALA preference loss, its optimum and reward metrics."""

from coala_jax.preference._finetune import accuracy, balance_neurons, evaluate, finetune
from coala_jax.preference._newton import NewtonResult, newton_optimum
from coala_jax.preference._objective import (
    LogisticProblem,
    logistic_problem,
    objective,
    objective_change,
    preference_loss,
)
from coala_jax.preference._rewards import reward_metrics

__all__ = [
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
    "reward_metrics",
]
