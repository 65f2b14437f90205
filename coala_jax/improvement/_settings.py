"""How rounds of improvement go, checked."""

from __future__ import annotations

import dataclasses
from typing import Literal

from coala_jax._choices import require_fields
from coala_jax._errors import CoalaError
from coala_jax._types import Config
from coala_jax.decoding import GenerationConfig
from coala_jax.features import ExtractSettings
from coala_jax.selection import SELECTED

Way = Literal["plain", "guided", "best_of_n"]
PLAIN: Way = "plain"
GUIDED: Way = "guided"
BEST_OF_N: Way = "best_of_n"
# Rewards of a prompt's answers over their spread, as GRPO has them, and the policy they aim at.
SOLVED_WITH = dataclasses.replace(SELECTED, phase1_loss="listwise", advantage="standardized")

_COUNTS = ("samples", "rounds", "best_of", "patience", "batch_size", "prompts_at_once")


class ImproveError(CoalaError):
    """Rounds that cannot go on: a prompt, a setting or a reward function that is not usable."""


@dataclasses.dataclass(frozen=True)
class ImproveSettings:
    """How rounds go.

    Attributes:
        samples: answers to a prompt in every round, at least 2.
        rounds: the most rounds.
        policy: how answers are sampled from the second round on, by the head of the last round:
            `"guided"`, `"best_of_n"`, each the best of `best_of`, or `"plain"`, as in the first.
        evaluated: how answers to held-out prompts are made after every round; where `policy` is
            among them it decides when to stop, else the first.
        best_of: samples of which `"best_of_n"` takes the best.
        keep_rounds: rounds whose answers a head is fitted to, the last ones; None means all.
        patience: rounds without a higher held-out reward than the best before, after which no more
            are begun.
        generation: how answers are sampled and guided.
        extraction: how answers become features.
        solving: of the head, with a loss of groups; its strengths are chosen on left-out prompts.
        seed: of all draws, gates and folds.
        batch_size: answers that are generated together.
        prompts_at_once: prompts whose answers are made, then rewarded, in one piece, which is what
            a run that dies loses at most.

    Raises:
        ImproveError: a field has a value that it may not have; named, with those that it may.
    """

    samples: int = 8
    rounds: int = 4
    policy: Way = GUIDED
    evaluated: tuple[Way, ...] = (GUIDED,)
    best_of: int = 4
    keep_rounds: int | None = None
    patience: int = 1
    generation: GenerationConfig = GenerationConfig()
    extraction: ExtractSettings = ExtractSettings()
    solving: Config = SOLVED_WITH
    seed: int = 0
    batch_size: int = 32
    prompts_at_once: int = 16

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ImproveError: names the field, its value and what it may be.
        """
        require_fields(self, ImproveError)
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ImproveError(f"{name}={getattr(self, name)!r} must be at least 1")
        if self.samples < 2:
            raise ImproveError(
                f"samples={self.samples!r} must be at least 2: a head is fitted to what is better "
                "among the answers to one prompt"
            )
        if self.keep_rounds is not None and self.keep_rounds < 1:
            raise ImproveError(f"keep_rounds={self.keep_rounds!r} must be at least 1, or None")
        if not self.evaluated or len(set(self.evaluated)) < len(self.evaluated):
            raise ImproveError(f"evaluated={self.evaluated!r} must name ways, each once")
        if not self.solving.loss.grouped:
            raise ImproveError(
                f"solving.phase1_loss={self.solving.phase1_loss!r} must be a loss of groups, such "
                "as 'listwise'"
            )
        sampling = self.generation.sampling
        for name, value in (("temperature", 0), ("top_k", 1)):
            if getattr(sampling, name) == value:
                raise ImproveError(
                    f"generation: {name}={value} gives {self.samples} answers that are the same; "
                    "raise it"
                )

    @property
    def decisive(self) -> Way:
        """Of the ways that are evaluated the one whose reward decides when to stop."""
        return self.policy if self.policy in self.evaluated else self.evaluated[0]
