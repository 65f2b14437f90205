"""The guided steps at which a head changed the choice, and what it moved there."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax.decoding._config import GenerationConfig
from coala_jax.decoding._generate import GuidedStep
from coala_jax.decoding._guidance import log_reweight


class Candidate(NamedTuple):
    """One of the tokens that a step chose from.

    Attributes:
        token: its id; of a continuation its first token.
        before: its probability before the head had its say, over the pool.
        score: its reward.
        after: its weight after that, over the candidates.
        chosen: it was taken.
        plain: it would have been, without the head.
    """

    token: int
    before: float
    score: float
    after: float
    chosen: bool
    plain: bool


class MovedStep(NamedTuple):
    """A step where the head changed the choice.

    Attributes:
        place: index of the token in the response.
        candidates: those to show, the largest weight first; the chosen one and the plain one are
            always among them.
        others: how many are not.
        plain: id of the token that would have been taken; None where it is no candidate, but one
            of the pool that ``num_candidates`` left out.
    """

    place: int
    candidates: tuple[Candidate, ...]
    others: int
    plain: int | None


def is_moved(step: GuidedStep) -> bool:
    """Whether the head changed the choice of a step."""
    return step.chosen != step.plain


def moved_steps(
    steps: Sequence[GuidedStep], config: GenerationConfig, shown: int
) -> list[MovedStep]:
    """Those of some guided steps where the head changed the choice.

    Args:
        steps: of any number of responses, traced under ``config``.
        config: of the responses.
        shown: candidates of a step to show, at least.
    """
    moved = [step for step in steps if is_moved(step)]
    if not moved:
        return []
    return [
        _moved_step(step, after[: len(step.tokens)], shown)
        for step, after in zip(moved, _weights_after(moved, config), strict=True)
    ]


def _weights_after(steps: Sequence[GuidedStep], config: GenerationConfig) -> np.ndarray:
    """(steps, most candidates) weights by which candidates were drawn; 0 at what is none."""
    widest = max(len(step.tokens) for step in steps)
    log_probs = np.full((len(steps), widest), -np.inf, np.float32)
    scores = np.zeros((len(steps), widest), np.float32)
    for row, step in enumerate(steps):
        log_probs[row, : len(step.tokens)] = step.log_probs
        scores[row, : len(step.tokens)] = step.scores
    guidance = config.guidance
    if guidance.choice == "best" or guidance.continuations:  # no draw: the chosen one alone counts
        chosen = np.array([step.chosen for step in steps], np.int64)
        return (np.arange(widest) == chosen[:, None]).astype(np.float32)
    scale = jnp.full(len(steps), config.sampling.scale, jnp.float32)
    added = log_reweight(jnp.asarray(scores), jnp.asarray(log_probs > -np.inf), scale)
    return np.asarray(jax.nn.softmax(log_probs + added, axis=-1))


def _moved_step(step: GuidedStep, after: np.ndarray, shown: int) -> MovedStep:
    candidates = [
        Candidate(
            token=token,
            before=float(np.exp(log_prob)),
            score=score,
            after=float(weight),
            chosen=number == step.chosen,
            plain=number == step.plain,
        )
        for number, (token, log_prob, score, weight) in enumerate(
            zip(step.tokens, step.log_probs, step.scores, after, strict=True)
        )
    ]
    ordered = sorted(candidates, key=lambda one: (-one.after, -one.score))
    kept = [one for rank, one in enumerate(ordered) if rank < shown or one.chosen or one.plain]
    # The plain draw is from the whole pool, of which the first num_candidates are scored.
    plain = step.tokens[step.plain] if step.plain < len(step.tokens) else None
    return MovedStep(step.place, tuple(kept), len(ordered) - len(kept), plain)
