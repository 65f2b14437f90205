"""`guided_generate`: prompts in, responses out."""

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import jax
import numpy as np

from coala_jax._progress import Progress
from coala_jax.backbones import Backbone
from coala_jax.decoding._config import BATCH_SIZE, GenerationConfig, GenerationError
from coala_jax.decoding._plan import (
    make_plan,
    require_generates,
    room_for_response,
    slots_needed,
)
from coala_jax.decoding._prompts import (
    Prompt,
    ResponseText,
    encode_prompts,
    prompt_text,
    template_of,
)
from coala_jax.decoding._reward_model import TextRewardModel, backbone_of, reward_of_text
from coala_jax.decoding._session import Request, Session, require_sound, response_of

# Steps between two looks at the text, where someone wants it as it comes or it may stop.
STEPS_A_LOOK = 8
STOPPED, FULL = "stop", "length"


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
        tokens: ids as they were generated, the end token among them.
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
    key: jax.Array,
    *,
    batch_size: int = BATCH_SIZE,
    rewards: bool = True,
    trace: bool = False,
    on_text: Callable[[int, str], None] | None = None,
) -> list[Generation]:
    """Generate responses under the guidance of a head (COALA, appendix H.3).

    The frozen backbone proposes a pool of next tokens, the head scores the prefixes that they
    extend, and the scores move the pool's probabilities. The same key gives the same text,
    whatever the batch size and the other prompts, but for ``near_ties``.

    Args:
        model: a head on a causal backbone that jax runs; such a backbone alone generates plainly,
            with ``scale=0``.
        prompts: texts, or conversations as messages, which the tokenizer's chat template writes.
        config: for all prompts, or one for each.
        key: typed key; prompt i draws with ``fold_in(key, i)``.
        batch_size: prompts that run together.
        rewards: score every response as a whole.
        trace: keep what every guided step saw.
        on_text: called with the index of a prompt and the next piece of its response, as it comes.

    Returns:
        One generation a prompt, in their order.

    Raises:
        GenerationError: a prompt, option or model that cannot be used, named.
        FeatureError: conversations that became text otherwise than the head's, or a reward that is
            not finite.

    Example:
        >>> model = TextRewardModel.load("runs/head", "models/gpt2")
        >>> config = GenerationConfig(Sampling(scale=2.0, max_new_tokens=64))
        >>> guided_generate(model, ["What is a cell?"], config, jax.random.key(0))[0].text
    """
    configs = _configs(config, len(prompts))
    keys = [jax.random.fold_in(key, number) for number in range(len(prompts))]
    return answer_prompts(
        model,
        prompts,
        configs,
        keys,
        batch_size=batch_size,
        rewards=rewards,
        trace=trace,
        on_text=on_text,
    )


def answer_prompts(
    model: Backbone | TextRewardModel,
    prompts: Sequence[Prompt],
    configs: Sequence[GenerationConfig],
    keys: Sequence[jax.Array],
    *,
    batch_size: int = BATCH_SIZE,
    rewards: bool = True,
    trace: bool = False,
    on_text: Callable[[int, str], None] | None = None,
) -> list[Generation]:
    """`guided_generate` with a key for each prompt; a prompt may be there several times.

    Args:
        model: as there.
        prompts: (n,) as there.
        configs: (n,) one a prompt.
        keys: (n,) typed keys, one a prompt.
        batch_size: as there.
        rewards: as there.
        trace: as there.
        on_text: as there.

    Raises:
        GenerationError, FeatureError: as `guided_generate` does.
    """
    backbone = backbone_of(model)
    require_generates(backbone)
    if batch_size < 1:
        raise GenerationError(f"batch_size={batch_size} must be at least 1")
    if not prompts:
        return []
    plan = make_plan(model, configs, traced=trace)
    texts = [prompt_text(model, prompt, f"prompt {n}") for n, prompt in enumerate(prompts)]
    encoded = encode_prompts(backbone.tokenizer, texts, template_of(model))
    requests = [
        Request(ids, config, key, f"prompt {n}")
        for n, (ids, config, key) in enumerate(zip(encoded, configs, keys, strict=True))
    ]
    rows = min(batch_size, len(requests))
    session = Session(model, plan, rows, slots_needed(plan, max(map(len, encoded))))
    for request in requests:  # before any of them runs
        room_for_response(backbone, plan, request.prompt, request.config, request.name)
    rewarded = rewards and isinstance(model, TextRewardModel)
    found: list[Generation] = []
    # Who is told the text as it comes wants no bar between it.
    with nullcontext() if on_text else Progress(len(requests), "generate") as progress:
        for start in range(0, len(requests), rows):
            part = requests[start : start + rows]
            tell = None if on_text is None else functools.partial(_tell, on_text, start)
            written = _run_batch(session, model, part, tell)
            made = _generations(session, part, written, rewarded=rewarded)
            for row, text in enumerate(written):
                # Rows hold what a stop text cut off, too.
                if text.stopped and rewards and isinstance(model, TextRewardModel):
                    reward = reward_of_text(model, texts[start + row], text.text)
                    made[row] = made[row]._replace(reward=reward)
            found += made
            if progress is not None:
                progress.advance(len(made), sum(len(one.tokens) for one in made))
    return found


def _tell(on_text: Callable[[int, str], None], start: int, row: int, piece: str) -> None:
    on_text(start + row, piece)


def _configs(
    config: GenerationConfig | Sequence[GenerationConfig], count: int
) -> list[GenerationConfig]:
    if isinstance(config, GenerationConfig):
        return [config] * count
    if len(config) != count:
        raise GenerationError(
            f"config: {len(config)} of them for {count} prompts; give one, or one each"
        )
    return list(config)


def _run_batch(
    session: Session,
    model: Backbone | TextRewardModel,
    requests: Sequence[Request],
    on_text: Callable[[int, str], None] | None,
) -> list[ResponseText]:
    """Answer as many requests as the session has rows, or fewer; gives their texts."""
    tokenizer, template = backbone_of(model).tokenizer, template_of(model)
    stops = [one.config.sampling.stop for one in requests]
    written = [ResponseText(tokenizer, template, stop) for stop in stops]
    session.admit(requests, range(len(requests)))
    looks = on_text is not None or any(stops)
    while True:
        progress = session.advance(STEPS_A_LOOK if looks else session.plan.new_tokens)
        for row, text in enumerate(written):
            fresh = response_of(progress, row, session.plan)[len(text.tokens) :]
            piece = text.extend(fresh, last=bool(progress.done[row]))
            if piece and on_text is not None:
                on_text(row, piece)
        going = [row for row in range(len(written)) if not progress.done[row]]
        stopped = [row for row in going if written[row].stopped]
        if stopped:
            session.drop(stopped)
        if len(stopped) == len(going):
            return written


def _generations(
    session: Session,
    requests: Sequence[Request],
    written: Sequence[ResponseText],
    *,
    rewarded: bool,
) -> list[Generation]:
    """What became of the requests in the session's rows."""
    progress, plan = session.progress(), session.plan
    evaluations, rewards = progress.evaluations, None
    if rewarded:
        rewards, evaluations = session.rewards()
    traced = session.trace() if plan.traced else None
    found = []
    for row, (request, text) in enumerate(zip(requests, written, strict=True)):
        reward = None if rewards is None else float(rewards[row])
        require_sound(progress, row, request.name, reward)
        ended = plan.end_id in progress.tokens[row, : progress.length[row]] and not text.stopped
        tokens = (*text.tokens, plan.end_id) if ended else tuple(text.tokens)
        guided = int(progress.guided[row])
        found.append(
            Generation(
                text=text.text,
                tokens=tokens,
                finish_reason=STOPPED if ended or text.stopped else FULL,
                reward=reward,
                prompt_tokens=len(request.prompt),
                evaluations=int(evaluations[row]),
                guided_steps=guided,
                scored=int(progress.scored[row]),
                near_ties=int(progress.near_ties[row]),
                steps=() if traced is None else guided_steps(traced, row, guided, len(tokens)),
            )
        )
    return found


def guided_steps(
    trace: dict[str, np.ndarray], row: int, count: int, length: int
) -> tuple[GuidedStep, ...]:
    """The first ``count`` guided steps of a row, candidates alone.

    Those behind the response of ``length`` tokens are left out: a stop text cut them off.
    """
    steps = []
    for number in range(count):
        if trace["step"][row, number] >= length:
            break
        log_probs = trace["log_probs"][row, number]
        inside = int(np.isfinite(log_probs).sum())
        steps.append(
            GuidedStep(
                place=int(trace["step"][row, number]),
                tokens=tuple(trace["tokens"][row, number, :inside].tolist()),
                log_probs=tuple(log_probs[:inside].tolist()),
                scores=tuple(trace["scores"][row, number, :inside].tolist()),
                chosen=int(trace["chosen"][row, number]),
                plain=int(trace["plain"][row, number]),
            )
        )
    return tuple(steps)
