"""One prompt of the page with its two responses, token by token, and what the head moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from coala_jax.backbones import Tokenizer
from coala_jax.data import Message
from coala_jax.decoding._config import GenerationConfig
from coala_jax.decoding._generate import STOPPED, Generation, GuidedStep
from coala_jax.decoding._moved_steps import Candidate, MovedStep, is_moved
from coala_jax.decoding._prompts import Prompt
from coala_jax.decoding._reward_colours import RewardColours, signed
from coala_jax.decoding._token_text import token_pieces, visible_token


class Side(NamedTuple):
    """A response to show.

    Attributes:
        made: the response.
        rewards: (tokens + 1,) of its prefixes.
    """

    made: Generation
    rewards: np.ndarray

    @property
    def reward(self) -> float:
        """Of the whole response."""
        return reward_of(self.made)


class Example(NamedTuple):
    """A prompt with its two responses.

    Attributes:
        name: of the row.
        prompt: as it was given.
        last: id of the prompt's last token.
        plain: the response without the head.
        guided: the one with it.
        moved: the first of the steps of the guided one where the head changed the choice.
    """

    name: str
    prompt: Prompt
    last: int
    plain: Side
    guided: Side
    moved: list[MovedStep]


class Setting(NamedTuple):
    """What all examples of a page are shown with.

    Attributes:
        tokenizer: of the responses.
        colours: scale of the page.
        config: of the guided responses.
    """

    tokenizer: Tokenizer
    colours: RewardColours
    config: GenerationConfig


def reward_of(made: Generation) -> float:
    """The reward of a response under the head that there is."""
    assert made.reward is not None
    return made.reward


def steps_of(made: Generation) -> list[GuidedStep]:
    """Its guided steps, without those that a stop text cut off."""
    return [step for step in made.steps if step.place < len(made.tokens)]


def moves_of(made: Generation) -> list[GuidedStep]:
    """Those of its guided steps where the head changed the choice."""
    return [step for step in steps_of(made) if is_moved(step)]


def turn(message: Message | Mapping[str, str]) -> tuple[str, str]:
    """Role and content of a message."""
    if isinstance(message, Message):
        return message.role, message.content
    return message["role"], message["content"]


def escaped(text: str) -> str:
    """Text for HTML; what would not be seen, or would turn what is beside it around, is named."""
    return escape(text.translate(_UNSEEN))


def figure(value: float) -> str:
    """A reward with its sign."""
    return f'<span class="figure">{signed(value)}</span>'


def counted(number: int, thing: str) -> str:
    """A number of things, for example ``1 token``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def article(number: int, example: Example, setting: Setting) -> str:
    """The element of a prompt.

    Args:
        number: of the example on its page, for the targets of links.
        example: the prompt.
        setting: of the page.
    """
    plain, guided = example.plain, example.guided
    labels = {step.place: label for label, step in enumerate(moves_of(guided.made), 1)}
    return (
        f'<article id="p{number}"><header><h2>{escaped(example.name)}</h2>'
        f'{_prompt(example.prompt)}</header><div class="sides">'
        f"<section><h3>Plain {figure(plain.reward)}</h3>"
        f"{_answer(number, plain, {}, 0, setting)}</section>"
        f"<section><h3>Guided {figure(guided.reward)} "
        f"<span>({figure(guided.reward - plain.reward)} against plain)</span></h3>"
        f"{_answer(number, guided, labels, len(example.moved), setting)}"
        f"{_moves(number, example, setting)}</section></div></article>\n"
    )


def _prompt(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return f'<p class="prompt" dir="auto">{escaped(prompt)}</p>'
    turns = "".join(
        f'<dt>{escaped(role)}</dt><dd dir="auto">{escaped(content)}</dd>'
        for role, content in map(turn, prompt)
    )
    return f'<dl class="turns">{turns}</dl>'


def _answer(
    number: int, side: Side, labels: Mapping[int, int], listed: int, setting: Setting
) -> str:
    """The text of a response and its account; the first ``listed`` labels are links."""
    pieces = token_pieces(setting.tokenizer, side.made.tokens)
    cut = _cut_at(side.made, pieces, setting.tokenizer.end_id)
    tokens = []
    for place, piece in enumerate(pieces):
        classes, title, amount = _look(side, place, piece, setting)
        if place >= cut:
            classes.append("cut")
            title += "; cut off by a stop text"
        shown = "end" if "end" in classes else escaped(piece)
        label = labels.get(place)
        name, link = "span", ""
        if label is not None:
            classes.append("moved")
            mark = f"<sup>{label}</sup>"
            shown = mark + shown if "break" in classes else shown + mark  # on the line it ends
            if label <= listed:
                name, link = "a", f' id="p{number}t{place}" href="#p{number}s{label}"'
        kind = f' class="{" ".join(classes)}"' if classes else ""
        tokens.append(f'<{name}{kind}{link} title="{title}" data-n="{amount}">{shown}</{name}>')
    return (
        f'<p class="answer" dir="auto">{"".join(tokens)}</p>'
        f'<p class="meta">{_account(side, setting.tokenizer.end_id)}</p>'
    )


def _look(side: Side, place: int, piece: str, setting: Setting) -> tuple[list[str], str, str]:
    """Classes of a token, its title, and the number that it may show."""
    colours = setting.colours
    after = float(side.rewards[place + 1])
    change = after - float(side.rewards[place])
    amount, level = colours.number(change), colours.level(change)
    title = f"{amount}, reward {signed(after, colours.decimals)}"
    if side.made.tokens[place] == setting.tokenizer.end_id:
        return ["end"], f"end token, reward {signed(after, colours.decimals)}", amount
    classes = [f"{'u' if level > 0 else 'd'}{abs(level)}"] if level else []
    if not piece:
        classes.append("inner")
        title += "; begins a character that a later token completes"
    elif piece.strip(" ").startswith(("\n", "\r")):
        classes.append("break")
    return classes, title, amount


def _stopped_by_text(made: Generation, end_id: int) -> bool:
    return made.finish_reason == STOPPED and made.tokens[-1:] != (end_id,)


def _cut_at(made: Generation, pieces: Sequence[str], end_id: int) -> int:
    """The place of the first token that a stop text took away."""
    if not _stopped_by_text(made, end_id):
        return len(pieces)
    # A template may put a space before the response, which is none of its text.
    end = "".join(pieces).find(made.text) + len(made.text)
    starts = np.cumsum([0, *map(len, pieces)])[:-1]
    return int(np.searchsorted(starts, end))


def _account(side: Side, end_id: int) -> str:
    made = side.made
    if _stopped_by_text(made, end_id):
        how = "ended by a stop text: the reward is of what stands before it"
    else:
        how = "ended by itself" if made.finish_reason == STOPPED else "cut where its tokens ran out"
    lines = [
        f"{counted(len(made.tokens), 'token')}, {how}.",
        f"Before the first: {signed(float(side.rewards[0]))}.",
    ]
    if made.near_ties:
        lines.append(f"{counted(made.near_ties, 'decision')} that rounding may turn.")
    return " ".join(lines)


def _moves(number: int, example: Example, setting: Setting) -> str:
    """What the head moved, where it was asked."""
    made = example.guided.made
    asked, moved = len(steps_of(made)), len(moves_of(made))
    if not asked:
        return '<p class="meta">The head was not asked.</p>'
    summary = f"The head changed {moved} of {counted(asked, 'choice')}"
    if not moved:
        return f'<p class="meta">{summary}.</p>'
    blocks = setting.config.guidance.continuations > 0
    note = (
        "Continuations by their first tokens. Score: the reward of the whole."
        if blocks
        else "Before: the model's probability. Score: the reward with this token. After: the "
        "weight that it was drawn by."
    )
    if len(example.moved) < moved:
        note += f" The first {len(example.moved)} changes are listed."
    tables = "".join(
        _step(number, label, step, example, setting) for label, step in enumerate(example.moved, 1)
    )
    return f'<details><summary>{summary}</summary><p class="note">{note}</p>{tables}</details>'


def _step(number: int, label: int, step: MovedStep, example: Example, setting: Setting) -> str:
    tokens = example.guided.made.tokens
    before = tokens[step.place - 1] if step.place else example.last

    def name(token: int) -> str:
        if token == setting.tokenizer.end_id:
            return "(end)"
        return f"<code>{escaped(visible_token(setting.tokenizer, before, token))}</code>"

    chosen = next(one for one in step.candidates if one.chosen)
    plain = "a token beyond the candidates" if step.plain is None else name(step.plain)
    told = f"{name(chosen.token)}, plainly {plain}"
    blocks = setting.config.guidance.continuations > 0
    if blocks:  # which may begin alike
        first = next(one for one in step.candidates if one.plain)
        told = (
            f"{name(chosen.token)} at {signed(chosen.score)}, plainly {plain} at "
            f"{signed(first.score)}"
        )
    columns = ("score",) if blocks else ("before", "score", "after")
    titles = ("continuation" if blocks else "candidate", *columns, "taken")
    heads = "".join(f'<th scope="col">{title}</th>' for title in titles)
    rows = "".join(_row(one, name(one.token), columns) for one in step.candidates)
    others = f'<p class="note">and {step.others} more</p>' if step.others else ""
    return (
        f"<details><summary>{label}: {told}</summary>"
        f'<div class="scroll" id="p{number}s{label}"><table>'
        f'<caption><a href="#p{number}t{step.place}">Token {step.place + 1}</a> of the response'
        f"</caption><tr>{heads}</tr>{rows}</table>{others}</div></details>"
    )


def _row(one: Candidate, name: str, columns: Sequence[str]) -> str:
    cells = {
        "before": f"{one.before:.1%}",
        "score": signed(one.score),
        "after": f"{one.after:.1%}",
    }
    marks = ", ".join(mark for mark in ("chosen", "plain") if getattr(one, mark))
    kind = ' class="chosen"' if one.chosen else ""
    figures = "".join(f"<td>{cells[column]}</td>" for column in columns)
    return f"<tr{kind}><td>{name}</td>{figures}<td>{marks}</td></tr>"


# Control characters but tab and line breaks, as the pictures that Unicode has of them; marks that
# turn the direction of text, which could make it read as what it is not, by their number.
_UNSEEN: dict[int, int | str] = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"},
    0x7F: 0x2421,
    **{
        code: f"\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}U+{code:04X}"
        "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"
        for code in (*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    },
}
