"""Double-blind studies: a page that asks people, and the analysis of what they answer."""

from coala_jax.evaluation.blind._analyse import Analysis, analyse
from coala_jax.evaluation.blind._checks import Check
from coala_jax.evaluation.blind._design import Design
from coala_jax.evaluation.blind._make import plan_study, write_study
from coala_jax.evaluation.blind._plan import Exclusions, Plan
from coala_jax.evaluation.blind._study import Study, make_study
from coala_jax.evaluation.blind._wording import Wording

__all__ = [
    "Analysis",
    "Check",
    "Design",
    "Exclusions",
    "Plan",
    "Study",
    "Wording",
    "analyse",
    "make_study",
    "plan_study",
    "write_study",
]
