"""How to generate: what a caller may ask for, checked."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from coala_jax._errors import CoalaError

# How scores reweight the candidates: `coala_jax.decoding._guidance`.
REWEIGHTINGS = ("linear", "exponential", "raw")
CHOICES = ("sample", "best")
# What the head sees of a candidate: the prefix it extends, closed by the end token as the texts
# that the head was trained on are; the extended prefix as it stands; the candidate token alone.
SCORED = ("closed", "prefix", "token")
# Prompts that run together unless said otherwise: the cache of more would not fit beside a model of
# some billion weights.
BATCH_SIZE = 32
# Beyond these, products with logits and rewards leave float32.
LARGEST, COLDEST = 1e6, 1e-6
PENALTIES = 1e-3, 1e3


class GenerationError(CoalaError):
    """A prompt, option or model that cannot be used for generation."""


@dataclass(frozen=True)
class GenerationConfig:
    """How tokens are proposed, guided and chosen; the defaults are the paper's (appendix H.3).

    The fields down to ``scale`` may differ from prompt to prompt of a batch.

    Attributes:
        max_new_tokens: the most tokens of a response, its end token among them.
        temperature: divides the logits; 0 takes the most probable token, without noise.
        top_p: nucleus: the fewest tokens whose probability reaches this, of the ``top_k`` ones.
        top_k: the most tokens a pool holds.
        repetition_penalty: divides positive and multiplies negative logits of tokens that the
            prompt or the response has already (Keskar et al. 2019); 1 changes nothing.
        stop: texts that end a response; they are not part of it.
        scale: guidance scale, lambda; 0 is plain sampling.
        guide_every: N, guidance acts on every N-th token, the first among them; 1 is the paper's
            token-by-token mode.
        num_candidates: the most probable of the pool that are scored and chosen from where
            guidance acts; None means the whole pool.
        reweighting: one of ``REWEIGHTINGS``.
        choice: ``sample`` one candidate by the reweighted probabilities, or take the ``best`` by
            the head's score.
        scored: one of ``SCORED``.
        lookahead: tokens by which a candidate is continued, greedily, before it is scored.
        continuations: k of blockwise best-of-k: where guidance acts, k whole continuations of
            ``guide_every`` tokens are sampled and the one with the highest score is kept; 0 guides
            single tokens.
    """

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 0.9
    top_k: int = 50
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    scale: float = 1.0
    guide_every: int = 5
    num_candidates: int | None = None
    reweighting: str = "linear"
    choice: str = "sample"
    scored: str = "closed"
    lookahead: int = 0
    continuations: int = 0

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            GenerationError: names the field, its value and what it may be.
        """
        for name, least in _LEAST_INTEGERS.items():
            value = getattr(self, name)
            if name == "num_candidates" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise GenerationError(f"{name}={value!r} must be an integer of at least {least}")
        for name in ("temperature", "scale"):
            amount = getattr(self, name)
            if not (_is_number(amount) and 0 <= amount <= LARGEST):
                raise GenerationError(f"{name}={amount!r} must be a number from 0 to {LARGEST:g}")
        if 0 < self.temperature < COLDEST:
            raise GenerationError(
                f"temperature={self.temperature!r} must be at least {COLDEST:g}; 0 takes the most "
                "probable token"
            )
        if not (_is_number(self.top_p) and 0 < self.top_p <= 1):
            raise GenerationError(f"top_p={self.top_p!r} must be above 0 and at most 1")
        penalty = self.repetition_penalty
        if not (_is_number(penalty) and PENALTIES[0] <= penalty <= PENALTIES[1]):
            raise GenerationError(
                f"repetition_penalty={penalty!r} must be a number from {PENALTIES[0]:g} to "
                f"{PENALTIES[1]:g}"
            )
        for name, known in _NAMES.items():
            if getattr(self, name) not in known:
                raise GenerationError(
                    f"{name}={getattr(self, name)!r} must be one of {', '.join(known)}"
                )
        stop: object = self.stop
        if not isinstance(stop, tuple) or not all(isinstance(s, str) and s for s in stop):
            raise GenerationError(
                f"stop={self.stop!r} must be a tuple of texts, none of them empty"
            )
        if self.continuations and self.lookahead:
            raise GenerationError(
                f"lookahead={self.lookahead} and continuations={self.continuations}: a block is "
                "looked at whole already; leave one of them at 0"
            )

    @property
    def guides(self) -> bool:
        """Whether the head has a say."""
        return self.scale > 0


_LEAST_INTEGERS = {
    "max_new_tokens": 1,
    "top_k": 1,
    "guide_every": 1,
    "num_candidates": 1,
    "lookahead": 0,
    "continuations": 0,
}
_NAMES = {"reweighting": REWEIGHTINGS, "choice": CHOICES, "scored": SCORED}
# What must agree in a batch, since it decides what is compiled.
SHARED_FIELDS = (
    "guide_every",
    "num_candidates",
    "reweighting",
    "choice",
    "scored",
    "lookahead",
    "continuations",
)


def shared_config(configs: Sequence[GenerationConfig]) -> GenerationConfig:
    """One configuration that has the shared fields of all.

    Args:
        configs: of the prompts of a batch, at least one.

    Returns:
        The first guided one, or the first.

    Raises:
        GenerationError: two guided ones differ in a field that is not a prompt's own.
    """
    guided = [config for config in configs if config.guides] or list(configs)
    for config in guided:
        for name in SHARED_FIELDS:
            if getattr(config, name) != getattr(guided[0], name):
                raise GenerationError(
                    f"{name}: {getattr(guided[0], name)!r} and {getattr(config, name)!r} in one "
                    "batch; only fields down to scale may differ from prompt to prompt"
                )
    return guided[0]


def config_fields() -> tuple[str, ...]:
    """Names of all options."""
    return tuple(field.name for field in fields(GenerationConfig))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
