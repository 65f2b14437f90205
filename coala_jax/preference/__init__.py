"""Phase II: the COALA preference loss, its optimum and reward metrics."""

from coala_jax.preference.finetune import Phase2Solution, Phase2Stats, balance_neurons, finetune
from coala_jax.preference.newton import NewtonResult, newton_optimum
from coala_jax.preference.objective import (
    LogisticProblem,
    logistic_problem,
    objective,
    objective_change,
    preference_loss,
)
from coala_jax.preference.rewards import reward_metrics

__all__ = [
    "LogisticProblem",
    "NewtonResult",
    "Phase2Solution",
    "Phase2Stats",
    "balance_neurons",
    "finetune",
    "logistic_problem",
    "newton_optimum",
    "objective",
    "objective_change",
    "preference_loss",
    "reward_metrics",
]
