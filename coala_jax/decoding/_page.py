"""Plain and guided responses side by side as one HTML page that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from importlib import resources

import numpy as np
from markupsafe import Markup

from coala_jax._templates import templates_of
from coala_jax._version import __version__
from coala_jax.decoding._comparison import Comparison
from coala_jax.decoding._config import GenerationConfig, GenerationError
from coala_jax.decoding._moved_steps import moved_steps
from coala_jax.decoding._page_example import (
    Example,
    candidate_texts,
    counted,
    moves_of,
    reward_of,
    shown_answer,
    shown_prompt,
    steps_of,
)
from coala_jax.decoding._plan import as_guided
from coala_jax.decoding._prompts import Prompt, prompt_text, template_of
from coala_jax.decoding._reward_colours import LEVELS, RewardColours, colours_for, signed
from coala_jax.decoding._reward_model import TextRewardModel
from coala_jax.decoding._token_rewards import token_rewards
from coala_jax.features._tokens import encode_prompts

# A page of 200 prompts with 128 tokens a response takes about 10 MB, which a browser still shows
# at once; what is beyond is left out, and the page says so.
MOST_PROMPTS = 200
# Tables of candidates on a page, shared evenly by its prompts, and candidates of a table.
MOST_TABLES = 2000
SHOWN_CANDIDATES = 8
SIDES = ("plain", "guided")
STYLE = (resources.files(__package__) / "templates/comparison.css").read_text("utf-8")


def comparison_page(
    model: TextRewardModel,
    prompts: Sequence[Prompt],
    pairs: Sequence[Comparison],
    config: GenerationConfig,
    *,
    names: Sequence[str] | None = None,
    facts: Mapping[str, object] | None = None,
) -> str:
    """The page: what the head changed, prompt by prompt, token by token.

    Args:
        model: that made the responses.
        prompts: (n,) as they were answered; messages are shown by role.
        pairs: (n,) of ``compare_plain_and_guided`` with ``trace=True``.
        config: of the guided responses.
        names: (n,) of the prompts; None numbers them.
        facts: what else the page says of how it was made, such as seed and command line.

    Returns:
        HTML without references to anything outside it; all text escaped, no script. Means are of
        all prompts, of which the first ``MOST_PROMPTS`` are shown.

    Raises:
        GenerationError: no prompts, another number of pairs or names, or guided responses whose
            steps were not traced.
        FeatureError: as ``token_rewards`` does.
    """
    names = [str(number) for number in range(1, len(prompts) + 1)] if names is None else names
    _check(prompts, pairs, names)
    shown = slice(MOST_PROMPTS)
    examples, colours = _examples(model, prompts[shown], pairs[shown], names[shown], config)
    templates = templates_of(
        "coala_jax.decoding", signed=signed, counted=counted, percent="{:.1%}".format
    )
    return templates.get_template("comparison.html.j2").render(
        style=Markup(STYLE),
        style_sha256=base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode(),
        version=__version__,
        total=_total(pairs),
        facts={**_facts(model, config), **(facts or {})},
        blocks=config.guidance.continuations > 0,
        levels=[(level, bound * colours.unit) for level, bound in enumerate(LEVELS, 1)],
        colours=colours,
        examples=examples,
    )


def _check(prompts: Sequence[Prompt], pairs: Sequence[Comparison], names: Sequence[str]) -> None:
    if not prompts:
        raise GenerationError("prompts: none of them; a page needs at least one")
    if not len(prompts) == len(pairs) == len(names):
        raise GenerationError(
            f"pairs: {len(pairs)} of them and {len(names)} names for {len(prompts)} prompts; give "
            "one each"
        )
    for number, pair in enumerate(pairs):
        # A stop text cuts steps off, but never the first.
        if pair.guided.guided_steps and not pair.guided.steps and pair.guided.tokens:
            raise GenerationError(
                f"pairs: {pair.guided.guided_steps} guided steps of pair {number} and none traced; "
                "compare with trace=True"
            )


def _examples(
    model: TextRewardModel,
    prompts: Sequence[Prompt],
    pairs: Sequence[Comparison],
    names: Sequence[str],
    config: GenerationConfig,
) -> tuple[list[Example], RewardColours]:
    """The prompts that are shown, and the colours of what their tokens add to the reward."""
    tokenizer = model.backbone.tokenizer
    texts = [prompt_text(model, one, f"prompt {n}") for n, one in enumerate(prompts)]
    ids = encode_prompts(tokenizer, texts, template_of(model))
    responses = [getattr(pair, side).tokens for side in SIDES for pair in pairs]
    rewards = token_rewards(model, ids * len(SIDES), responses)
    colours = colours_for(np.concatenate([np.diff(own) for own in rewards]))
    most = max(MOST_TABLES // len(pairs), 1)
    listed = [moves_of(pair.guided)[:most] for pair in pairs]
    # One computation for the steps of all.
    moved = iter(moved_steps(list(itertools.chain(*listed)), config, SHOWN_CANDIDATES))
    examples = [
        Example(
            name=names[n],
            prompt=shown_prompt(prompts[n]),
            plain=shown_answer(pair.plain, rewards[n], tokenizer, colours),
            guided=shown_answer(pair.guided, rewards[len(pairs) + n], tokenizer, colours),
            asked=len(steps_of(pair.guided)),
            moved=len(moves_of(pair.guided)),
            changes=[
                (step, candidate_texts(step, pair.guided, tokenizer, ids[n][-1]))
                for step in itertools.islice(moved, len(listed[n]))
            ],
        )
        for n, pair in enumerate(pairs)
    ]
    return examples, colours


def _total(pairs: Sequence[Comparison]) -> dict[str, float]:
    """The figures of all pairs, shown or not."""
    return {
        "prompts": len(pairs),
        "plain": sum(reward_of(pair.plain) for pair in pairs) / len(pairs),
        "guided": sum(reward_of(pair.guided) for pair in pairs) / len(pairs),
        "changed": sum(pair.plain.tokens != pair.guided.tokens for pair in pairs),
        "asked": sum(len(steps_of(pair.guided)) for pair in pairs),
        "moved": sum(len(moves_of(pair.guided)) for pair in pairs),
    }


def _facts(model: TextRewardModel, config: GenerationConfig) -> dict[str, str]:
    """What made the responses, in the order it is shown."""
    backbone, settings = model.backbone, model.settings
    options = {**vars(config.sampling), **vars(as_guided(config.guidance, model))}
    return {
        "model": f"{backbone.identity.name} ({backbone.identity.model_type}, "
        f"{backbone.module.dtype.name})",
        "model weights": f"sha256 {model.identity.weights_sha256}",
        "head": counted(model.head.theta2.shape[0], "neuron"),
        **_value_facts(model),
        "pooling": settings.pooling,
        "layers": ", ".join(map(str, settings.layers)),
        "template": f"{settings.template.prompt!r}, {settings.template.response!r}",
        "chat template": settings.chat_template or "none: prompts are taken as text",
        **{name: _value(value) for name, value in options.items()},
        "coala-jax": __version__,
    }


def _value_facts(model: TextRewardModel) -> dict[str, str]:
    """Of the head that guides in place of the other."""
    if model.value_head is None:
        return {}
    head, settings = model.value_head
    neurons = counted(head.theta2.shape[0], "neuron")
    layers = ", ".join(map(str, settings.layers))
    return {"value head": f"{neurons}, {settings.pooling} of layers {layers}"}


def _value(value: object) -> str:
    if value is None:
        return "all of the pool"
    if isinstance(value, tuple):
        return ", ".join(map(repr, value)) or "none"
    return str(value)
