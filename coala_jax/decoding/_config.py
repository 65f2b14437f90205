"""How to generate: what a caller may ask for, checked."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeGuard

from coala_jax._errors import CoalaError

CHOICES = ("sample", "best")
# What the head sees of a candidate: the prefix it extends, closed by the end token as the texts
# that the head was trained on are; the extended prefix as it stands.
SCORED = ("closed", "prefix")
# Prompts that run together unless said otherwise: the cache of more would not fit beside a model of
# some billion weights.
BATCH_SIZE = 32
# Beyond these, products with logits and rewards leave float32.
LARGEST, COLDEST = 1e6, 1e-6
PENALTIES = 1e-3, 1e3


class GenerationError(CoalaError):
    """A prompt, option or model that cannot be used for generation."""


def _require_integers(part: object, least: int, *names: str) -> None:
    for name in names:
        value = getattr(part, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise GenerationError(f"{name}={value!r} must be an integer of at least {least}")


def _require_number(name: str, value: object, least: float, most: float) -> None:
    if not (_is_number(value) and least <= value <= most):
        raise GenerationError(f"{name}={value!r} must be a number from {least:g} to {most:g}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class Sampling:
    """How tokens are proposed, and how strongly they are guided: every prompt may have its own.

    Attributes:
        max_new_tokens: the most tokens of a response, its end token among them.
        temperature: divides the logits; 0 takes the most probable token, without noise.
        top_p: nucleus: the fewest tokens whose probability reaches this, of the ``top_k`` ones
            (Holtzman et al. 2020).
        top_k: the most tokens a pool holds.
        repetition_penalty: divides positive and multiplies negative logits of tokens that the
            prompt or the response has already (Keskar et al. 2019); 1 changes nothing.
        stop: texts that end a response; they are not part of it.
        scale: guidance scale, lambda (COALA, appendix H.3); 0 is plain sampling.

    Raises:
        GenerationError: names the field, its value and what it may be.
    """

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 0.9
    top_k: int = 50
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    scale: float = 8.0

    def __post_init__(self) -> None:
        """Check every field."""
        _require_integers(self, 1, "max_new_tokens", "top_k")
        _require_number("temperature", self.temperature, 0, LARGEST)
        _require_number("scale", self.scale, 0, LARGEST)
        _require_number("repetition_penalty", self.repetition_penalty, *PENALTIES)
        if 0 < self.temperature < COLDEST:
            raise GenerationError(
                f"temperature={self.temperature!r} must be at least {COLDEST:g}; 0 takes the most "
                "probable token"
            )
        if not (_is_number(self.top_p) and 0 < self.top_p <= 1):
            raise GenerationError(f"top_p={self.top_p!r} must be above 0 and at most 1")
        stop: object = self.stop
        if not isinstance(stop, tuple) or not all(isinstance(s, str) and s for s in stop):
            raise GenerationError(
                f"stop={self.stop!r} must be a tuple of texts, none of them empty"
            )


@dataclass(frozen=True)
class Guidance:
    """How a head guides: the guided prompts of a batch have one, since it decides what is compiled.

    The defaults are what raised sentiment most at less than twice the cost of plain sampling
    (docs/decoding.md); `PAPER` has the paper's.

    Attributes:
        guide_every: N, guidance acts on every N-th token, the first among them; 1 is the paper's
            token-by-token mode.
        num_candidates: the most probable of the pool that are scored and chosen from where
            guidance acts; None means the whole pool.
        choice: ``sample`` one candidate by the reweighted probabilities, or take the ``best`` by
            the head's score.
        scored: the extended prefix ``closed`` by the end token, or as it stands, ``prefix``.
        lookahead: tokens by which a candidate is continued, greedily, before it is scored.
        continuations: k of blockwise best-of-k (Mudgal et al. 2024): where guidance acts, k whole
            continuations of ``guide_every`` tokens are sampled and the one with the highest score
            is kept; 0 guides single tokens.

    Raises:
        GenerationError: names the field, its value and what it may be.
    """

    guide_every: int = 1
    num_candidates: int | None = 2
    choice: str = "sample"
    scored: str = "prefix"
    lookahead: int = 0
    continuations: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        _require_integers(self, 1, "guide_every")
        _require_integers(self, 0, "lookahead", "continuations")
        if self.num_candidates is not None:
            _require_integers(self, 1, "num_candidates")
        known = {"choice": CHOICES, "scored": SCORED}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise GenerationError(
                    f"{name}={getattr(self, name)!r} must be one of {', '.join(values)}"
                )
        if self.continuations and self.guide_every == 1:
            raise GenerationError(
                f"continuations={self.continuations}: blocks of guide_every=1 tokens; give the "
                "tokens of a block, such as guide_every=8"
            )
        if self.continuations and self.lookahead:
            raise GenerationError(
                f"lookahead={self.lookahead} and continuations={self.continuations}: a block is "
                "looked at whole already; leave one of them at 0"
            )


@dataclass(frozen=True)
class GenerationConfig:
    """How to generate.

    Attributes:
        sampling: how tokens are proposed, and how strongly they are guided.
        guidance: how a head guides.

    Raises:
        GenerationError: a part that is something else; it names the part, and what it may be.

    Example:
        >>> from coala_jax.decoding import GenerationConfig, Guidance, Sampling
        >>> config = GenerationConfig(Sampling(scale=8.0), Guidance(guide_every=1))
        >>> config == GenerationConfig.from_options(scale=8.0, guide_every=1)
        True
    """

    sampling: Sampling = Sampling()
    guidance: Guidance = Guidance()

    def __post_init__(self) -> None:
        """Check that the parts are what they should be; they have checked their fields."""
        for name, kind in (("sampling", Sampling), ("guidance", Guidance)):
            if not isinstance(part := getattr(self, name), kind):
                raise GenerationError(
                    f"{name}={part!r} must be a {kind.__name__}; from_options takes fields by name"
                )

    @classmethod
    def from_options(cls, **options: Any) -> "GenerationConfig":
        """One from fields of both parts by name; the others have their defaults.

        Raises:
            GenerationError: no such field, or a value that it may not have.
        """
        return cls().with_options(**options)

    def with_options(self, **options: Any) -> "GenerationConfig":
        """This one with other values of some fields of its parts; errors as `from_options`."""
        known = option_names()
        for name, value in options.items():
            if name not in known:
                raise GenerationError(
                    f"{name}={value!r}: no such option; known are {', '.join(known)}"
                )
        sampling, guidance = (
            {name: options[name] for name in vars(part) if name in options}
            for part in (self.sampling, self.guidance)
        )
        return GenerationConfig(
            replace(self.sampling, **sampling), replace(self.guidance, **guidance)
        )

    @property
    def guides(self) -> bool:
        """Whether the head has a say."""
        return self.sampling.scale > 0


PAPER = GenerationConfig(
    Sampling(scale=1.0), Guidance(guide_every=5, num_candidates=None, scored="closed")
)
"""The paper's own form (appendix H.3): a `GenerationConfig` that at every fifth token looks at the
whole pool, each candidate closed by the end token."""


def option_names() -> tuple[str, ...]:
    """Names of the fields of both parts, those of ``Sampling`` first."""
    return tuple(field.name for part in (Sampling, Guidance) for field in fields(part))


def shared_guidance(configs: Sequence[GenerationConfig]) -> Guidance | None:
    """The guidance of a batch; None where nothing is guided.

    Raises:
        GenerationError: two guided prompts differ in it.
    """
    guided = [config.guidance for config in configs if config.guides]
    for guidance in guided:
        for name, value in vars(guided[0]).items():
            if getattr(guidance, name) != value:
                raise GenerationError(
                    f"{name}: {value!r} and {getattr(guidance, name)!r} in one batch; prompts of a "
                    "batch may differ in sampling, not in guidance"
                )
    return guided[0] if guided else None
