"""`guided_generate`: prompts in, responses out."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple, TypeGuard

import jax
import numpy as np

from coala_jax._progress import Progress
from coala_jax.backbones import Backbone
from coala_jax.data._chat import REASONED
from coala_jax.decoding._config import BATCH_SIZE, GenerationConfig, GenerationError
from coala_jax.decoding._plan import make_plan, require_generates
from coala_jax.decoding._prompts import Prompt, ResponseText, prompt_text, template_of
from coala_jax.decoding._reward_model import TextRewardModel, backbone_of, require_several
from coala_jax.decoding._rewards import rewards_of_texts
from coala_jax.decoding._session import Request, Session
from coala_jax.decoding._state import Trace
from coala_jax.features import FeatureError
from coala_jax.features._tokens import encode_prompts

# Steps between two looks at the text, where someone wants it as it comes or it may stop.
STEPS_A_LOOK = 8


class GuidedStep(NamedTuple):
    """What the head was asked at one place of a response.

    Attributes:
        place: index of the token in the response.
        tokens: candidates, the most probable first; of continuations their first tokens.
        log_probs: of the candidates over the pool, before the head had its say.
        scores: their rewards.
        chosen: index of the one that was taken.
        plain: index of the one that would have been, without the head; not below the number of
            candidates where that was one that ``num_candidates`` left out.
    """

    place: int
    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    scores: tuple[float, ...]
    chosen: int
    plain: int


class Generation(NamedTuple):
    """A response, and what it took.

    Attributes:
        text: without end token and stop text.
        tokens: ids as they were generated, the end token, whichever it was, among them.
        finish_reason: ``stop`` at an end token or stop text, ``length`` where the tokens ran out.
        reward: of the whole response; None without a head, or where none was asked for.
        prompt_tokens: ids of the prompt.
        evaluations: tokens that the backbone ran; docs/decoding.md has the formula.
        guided_steps: how often the head had its say: at every N-th token with more than one
            candidate.
        scored: candidates, or continuations, that were run for it. Where a stop text ended the
            response, this and the two before count what ran behind it until that was noticed.
        near_ties: decisions closer than 1e-4, which another batch shape may turn.
        steps: what the head saw, where it was traced.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: str
    reward: float | None
    prompt_tokens: int
    evaluations: int
    guided_steps: int
    scored: int
    near_ties: int
    steps: tuple[GuidedStep, ...] = ()


def guided_generate(
    model: Backbone | TextRewardModel,
    prompts: Sequence[Prompt],
    config: GenerationConfig | Sequence[GenerationConfig],
    key: jax.Array | Sequence[jax.Array],
    *,
    batch_size: int = BATCH_SIZE,
    trace: bool = False,
    on_text: Callable[[int, str], None] | None = None,
) -> list[Generation]:
    """Generate responses under the guidance of a head (COALA, appendix H.3).

    The frozen backbone proposes a pool of next tokens, the head scores the prefixes that they
    extend, and the scores move the pool's probabilities. The same key gives the same text,
    whatever the batch size and the other prompts, but for ``near_ties``. `coala_jax.decoding` has
    an example.

    Args:
        model: a head on a causal backbone that jax runs; such a backbone alone generates plainly,
            with ``scale=0``.
        prompts: texts, or conversations as messages, which the tokenizer's chat template writes.
        config: for all prompts, or one for each.
        key: typed key, of which prompt i draws with ``fold_in(key, i)``; or one for each, in a list
            or an (n,) array.
        batch_size: prompts that run together, at least 1.
        trace: keep what every guided step saw.
        on_text: called with the index of a prompt and the next piece of its response, as it comes.

    Returns:
        One generation a prompt, in their order.

    Raises:
        GenerationError: a prompt, option or model that cannot be used, named.
        FeatureError: conversations that became text otherwise than the head's, or a reward that is
            not finite.
    """
    backbone = backbone_of(model)
    require_generates(backbone)
    require_several("prompts", prompts)
    if batch_size < 1:
        raise GenerationError(f"batch_size={batch_size} must be at least 1")
    count = len(prompts)
    configs = [config] * count if isinstance(config, GenerationConfig) else config
    keys = each_key(key, count)
    _require_each("config", configs, count)
    if not prompts:
        return []
    plan = make_plan(model, configs, traced=trace)
    texts = [prompt_text(model, prompt, f"prompt {n}") for n, prompt in enumerate(prompts)]
    encoded = encode_prompts(backbone.tokenizer, texts, template_of(model))
    requests = [
        Request(ids, config, key, f"prompt {n}", text)
        for n, (ids, config, key, text) in enumerate(
            zip(encoded, configs, keys, texts, strict=True)
        )
    ]
    rows = min(batch_size, len(requests))
    longest = max(map(len, encoded)) + plan.new_tokens
    session = Session(model, plan, rows, plan.slots(longest))
    for request in requests:  # before any of them runs
        session.room(request)
    looks = on_text is not None or any(config.sampling.stop for config in configs)
    found: list[Generation] = []
    # Who is told the text as it comes wants no bar between it.
    with nullcontext() if on_text else Progress(len(requests), "generate") as progress:
        for start in range(0, len(requests), rows):
            part = requests[start : start + rows]
            session.admit(part, range(len(part)))
            while session.going:
                for row, piece in session.write(STEPS_A_LOOK if looks else plan.new_tokens).items():
                    if piece and on_text is not None:
                        on_text(start + row, piece)
            made = generations(session, part)
            found += made
            if progress is not None:
                progress.advance(len(made), sum(len(one.tokens) for one in made))
    return found


def _is_key(key: object, axes: int = 0) -> TypeGuard[jax.Array]:
    return (
        isinstance(key, jax.Array)
        and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
        and key.ndim == axes
    )


def each_key(key: jax.Array | Sequence[jax.Array], count: int) -> list[jax.Array]:
    """The keys of so many prompts, of one for all of them or as they were given.

    Raises:
        GenerationError: anything but one typed key, as `jax.random.key` makes it, or one a prompt.
    """
    if _is_key(key):
        return [jax.random.fold_in(key, number) for number in range(count)]
    keys = list(key) if isinstance(key, Sequence) or _is_key(key, 1) else [key]
    for one in keys:
        if not _is_key(one):
            raise GenerationError(
                f"key={one!r} must be a typed key, as jax.random.key(seed) makes it"
            )
    _require_each("key", keys, count)
    return keys


def _require_each(name: str, given: Sequence[object], count: int) -> None:
    if len(given) != count:
        raise GenerationError(
            f"{name}: {len(given)} of them for {count} prompts; give one, or one each"
        )


def generations(session: Session, requests: Sequence[Request]) -> list[Generation]:
    """What became of the requests in the first rows of a session.

    Raises:
        FeatureError: a reward that is not finite.
    """
    progress, model = session.progress(), session.model
    evaluations, rewards = progress.counts.evaluations, None
    if isinstance(model, TextRewardModel):
        rewards, evaluations = session.rewards()
    trace = session.trace() if session.plan.traced else None
    found = []
    cut = [row for row in range(len(requests)) if is_cut(session.texts[row], model)]
    anew = {}
    if isinstance(model, TextRewardModel) and cut:
        texts = [(requests[row].text, session.texts[row].text) for row in cut]
        anew = dict(zip(cut, rewards_of_texts(model, texts), strict=True))
    for row, request in enumerate(requests):
        text, guided = session.texts[row], int(progress.counts.guided[row])
        reward = None if rewards is None else anew.get(row, float(rewards[row]))
        sound = reward is None or math.isfinite(reward)
        if progress.unsound[row] or not sound:
            valued = isinstance(model, TextRewardModel) and model.value_head is not None
            head = "value head" if valued and sound else "head"
            raise FeatureError(
                f"{request.name}: the {head}'s reward is not finite; its weights overflow on this "
                "text: solve it again with a larger ridge"
            )
        assert text.finish_reason is not None
        found.append(
            Generation(
                text=text.text,
                tokens=tuple(text.tokens),
                finish_reason=text.finish_reason,
                reward=reward,
                prompt_tokens=len(request.prompt),
                evaluations=int(evaluations[row]),
                guided_steps=guided,
                scored=int(progress.counts.scored[row]),
                near_ties=int(progress.counts.near_ties[row]),
                steps=guided_steps(trace, row, guided, len(text.tokens)) if trace else (),
            )
        )
    return found


def is_cut(text: ResponseText, model: Backbone | TextRewardModel) -> bool:
    """Whether a row holds another text than what counts of its response.

    That is more, which a stop text cut off; white space at the edges, of which rewards know
    nothing; or another end than the chat template writes behind an answer, or before one.
    """
    if text.stopped or text.text != text.text.strip():
        return True
    if not isinstance(model, TextRewardModel):
        return False
    return not model.closes_by_one_token or (REASONED in text.text and model.settings.written)


def guided_steps(trace: Trace, row: int, count: int, length: int) -> tuple[GuidedStep, ...]:
    """The first ``count`` guided steps of a row, candidates alone.

    Those behind the response of ``length`` tokens are left out: a stop text cut them off.
    """
    steps = []
    for number in range(count):
        step = Trace(*(part[row, number] for part in trace))
        if step.step >= length:
            break
        inside = slice(int(np.isfinite(step.log_probs).sum()))
        steps.append(
            GuidedStep(
                place=int(step.step),
                tokens=tuple(step.tokens[inside].tolist()),
                log_probs=tuple(step.log_probs[inside].tolist()),
                scores=tuple(step.scores[inside].tolist()),
                chosen=int(step.chosen),
                plain=int(step.plain),
            )
        )
    return tuple(steps)
