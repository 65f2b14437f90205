"""Plain and guided responses side by side as one HTML page that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from coala_jax._version import __version__
from coala_jax.decoding._comparison import Comparison
from coala_jax.decoding._config import GenerationConfig, GenerationError
from coala_jax.decoding._moved_steps import moved_steps
from coala_jax.decoding._page_example import (
    Example,
    Setting,
    Side,
    article,
    counted,
    escaped,
    figure,
    moves_of,
    reward_of,
    steps_of,
    turn,
)
from coala_jax.decoding._page_style import STYLE
from coala_jax.decoding._prompts import Prompt, encode_prompts, prompt_text, template_of
from coala_jax.decoding._reward_colours import LEVELS, RewardColours, colours_for, signed
from coala_jax.decoding._reward_model import TextRewardModel
from coala_jax.decoding._token_rewards import token_rewards

# A page of 200 prompts with 128 tokens a response takes about 10 MB, which a browser still shows
# at once; what is beyond is left out, and the page says so.
MOST_PROMPTS = 200
# Tables of candidates on a page, shared evenly by its prompts, and candidates of a table.
MOST_TABLES = 2000
SHOWN_CANDIDATES = 8
# Characters of a prompt in the index.
INDEX_CHARACTERS = 80
SIDES = ("plain", "guided")


def comparison_page(
    model: TextRewardModel,
    prompts: Sequence[Prompt],
    pairs: Sequence[Comparison],
    config: GenerationConfig,
    *,
    names: Sequence[str] | None = None,
    seed: int | None = None,
    command: str | None = None,
) -> str:
    """The page: what the head changed, prompt by prompt, token by token.

    Args:
        model: that made the responses.
        prompts: (n,) as they were answered; messages are shown by role.
        pairs: (n,) of ``compare_plain_and_guided`` with ``trace=True``.
        config: of the guided responses.
        names: (n,) of the prompts; None numbers them.
        seed: of the draws, for the page's account of itself.
        command: the command line that made the page.

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
    shown = slice(0, MOST_PROMPTS)
    examples = _examples(model, prompts[shown], pairs[shown], names[shown], config)
    sides = [side for one in examples for side in (one.plain, one.guided)]
    colours = colours_for(np.concatenate([np.diff(side.rewards) for side in sides]))
    setting = Setting(model.backbone.tokenizer, colours, config)
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    articles = "".join(article(number, one, setting) for number, one in enumerate(examples, 1))
    facts = _facts(model, config, seed, command)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="generator" content="coala-jax {__version__}">
<title>Plain and guided: {counted(len(pairs), "prompt")}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Plain and guided responses</h1>
{_headline(pairs)}
<details><summary>Model, head and options</summary>{_definitions(facts)}</details>
{_index(examples) if len(examples) > 1 else ""}
{_legend(colours)}
<main>
{articles}
</main>
</body>
</html>
"""


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
) -> list[Example]:
    texts = [prompt_text(model, one, f"prompt {n}") for n, one in enumerate(prompts)]
    ids = encode_prompts(model.backbone.tokenizer, texts, template_of(model))
    responses = [getattr(pair, side).tokens for side in SIDES for pair in pairs]
    rewards = token_rewards(model, ids * len(SIDES), responses)
    most = max(MOST_TABLES // len(prompts), 1)
    steps = [moves_of(pair.guided)[:most] for pair in pairs]
    # One computation for the steps of all.
    moved = iter(moved_steps([one for own in steps for one in own], config, SHOWN_CANDIDATES))
    return [
        Example(
            name=name,
            prompt=prompt,
            last=ids[number][-1],
            plain=Side(pair.plain, rewards[number]),
            guided=Side(pair.guided, rewards[len(pairs) + number]),
            moved=[next(moved) for _ in steps[number]],
        )
        for number, (name, prompt, pair) in enumerate(zip(names, prompts, pairs, strict=True))
    ]


def _headline(pairs: Sequence[Comparison]) -> str:
    plain, guided = (
        sum(reward_of(getattr(pair, side)) for pair in pairs) / len(pairs) for side in SIDES
    )
    asked = sum(len(steps_of(pair.guided)) for pair in pairs)
    moved = sum(len(moves_of(pair.guided)) for pair in pairs)
    changed = sum(pair.plain.tokens != pair.guided.tokens for pair in pairs)
    reward = "Reward" if len(pairs) == 1 else "Mean reward"
    lines = [
        f'<p class="headline">{reward} {figure(plain)} plain, {figure(guided)} guided: '
        f"{figure(guided - plain)} by guidance.</p>",
        f'<p class="note">{counted(len(pairs), "prompt")}; {changed:,} of the guided responses '
        f"differ. The head was asked at {counted(asked, 'step')} and changed the choice at "
        f"{moved:,}.</p>",
    ]
    if len(pairs) > MOST_PROMPTS:
        lines.append(
            f'<p class="note">Figures are of all prompts; the first {MOST_PROMPTS} are shown.</p>'
        )
    return "".join(lines)


def _facts(
    model: TextRewardModel,
    config: GenerationConfig,
    seed: int | None,
    command: str | None,
) -> dict[str, str]:
    """What made the page, in the order it is shown."""
    backbone, settings = model.backbone, model.settings
    options = {**vars(config.sampling), **vars(config.guidance)}
    return {
        "model": f"{backbone.identity.name} ({backbone.identity.model_type}, "
        f"{backbone.module.dtype.name})",
        "model weights": f"sha256 {model.identity.weights_sha256}",
        "head": counted(model.head.theta2.shape[0], "neuron"),
        "pooling": settings.pooling,
        "layers": ", ".join(map(str, settings.layers)),
        "template": f"{settings.template.prompt!r}, {settings.template.response!r}",
        "chat template": settings.chat_template or "none: prompts are taken as text",
        **{name: _value(value) for name, value in options.items()},
        "seed": "not known" if seed is None else str(seed),
        "coala-jax": __version__,
        **({} if command is None else {"command": command}),
    }


def _value(value: object) -> str:
    if value is None:
        return "all of the pool"
    if isinstance(value, tuple):
        return ", ".join(map(repr, value)) or "none"
    return str(value)


def _definitions(facts: Mapping[str, str]) -> str:
    items = "".join(
        f"<dt>{escaped(name)}</dt><dd><code>{escaped(value)}</code></dd>"
        for name, value in facts.items()
    )
    return f'<dl class="facts">{items}</dl>'


def _index(examples: Sequence[Example]) -> str:
    rows = "".join(
        f'<tr><td><a href="#p{number}">{escaped(_beginning(one))}</a></td>'
        f"<td>{signed(one.plain.reward)}</td><td>{signed(one.guided.reward)}</td>"
        f"<td>{len(moves_of(one.guided.made))}</td></tr>"
        for number, one in enumerate(examples, 1)
    )
    return (
        "<details><summary>All prompts</summary>"
        '<div class="scroll"><table class="index"><tr><th scope="col">prompt</th>'
        '<th scope="col">plain</th><th scope="col">guided</th><th scope="col">changed</th>'
        f"</tr>{rows}</table></div></details>"
    )


def _beginning(example: Example) -> str:
    """The first words of what is asked: of a conversation, of its last message."""
    prompt = example.prompt
    text = prompt if isinstance(prompt, str) else turn(prompt[-1])[1]
    line = f"{example.name}: {' '.join(text.split())}"
    if len(line) <= INDEX_CHARACTERS:
        return line
    return line[:INDEX_CHARACTERS].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _legend(colours: RewardColours) -> str:
    """The scale with its numbers, and the switch that shows all numbers."""
    steps = [(number, bound * colours.unit) for number, bound in enumerate(LEVELS, 1)]
    lower = [f'<span class="swatch d{n}">\u2264 {colours.number(-b)}</span>' for n, b in steps]
    upper = [f'<span class="swatch u{n}">\u2265 {colours.number(b)}</span>' for n, b in steps]
    swatches = "".join([*lower[::-1], '<span class="swatch">between</span>', *upper])
    return (
        f'<div class="legend"><span>A token changes the reward by</span>{swatches}'
        '<span><span class="moved">boxed<sup>1</sup></span> the head changed the choice</span>'
        '<label><input type="checkbox" id="numbers"> numbers at every token</label></div>'
    )
