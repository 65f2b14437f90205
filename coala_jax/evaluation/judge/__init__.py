"""Language models as judges: any OpenAI-compatible endpoint, every reply kept."""

from coala_jax.evaluation.judge._judge import Judge, open_judge
from coala_jax.evaluation.judge._settings import JudgeSettings, Prices

__all__ = ["Judge", "JudgeSettings", "Prices", "open_judge"]
