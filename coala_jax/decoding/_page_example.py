"""One prompt of the page: its two responses token by token, and what the head moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coala_jax.backbones import Tokenizer
from coala_jax.data import Message
from coala_jax.decoding._generate import Generation, GuidedStep
from coala_jax.decoding._moved_steps import MovedStep, is_moved
from coala_jax.decoding._prompts import STOPPED, Prompt
from coala_jax.decoding._reward_colours import RewardColours, signed
from coala_jax.decoding._token_text import token_pieces, visible_token

# Characters of a prompt in the index.
INDEX_CHARACTERS = 80


class ShownToken(NamedTuple):
    """A token of a response.

    Attributes:
        place: its index.
        text: what it adds to the response.
        kinds: classes of its look.
        title: the reward after it, and what is peculiar about it.
        number: what it adds to the reward.
        label: counts from 1 the choices that the head changed; 0 where it did not.
    """

    place: int
    text: str
    kinds: list[str]
    title: str
    number: str
    label: int


class Answer(NamedTuple):
    """A response as it is shown: its reward, its tokens, and how it came to its end."""

    reward: float
    tokens: list[ShownToken]
    account: str


class Example(NamedTuple):
    """A prompt with its two responses.

    Attributes:
        name: of the row.
        prompt: its text, or role and content of each message.
        plain: the response without the head.
        guided: the one with it.
        asked: steps of that one at which the head was asked.
        moved: those at which it changed the choice.
        changes: the first of these, with the visible text of their candidates by id; that of the
            end token is empty.
    """

    name: str
    prompt: str | list[tuple[str, str]]
    plain: Answer
    guided: Answer
    asked: int
    moved: int
    changes: list[tuple[MovedStep, dict[int, str]]]

    @property
    def beginning(self) -> str:
        """The first words of what is asked: of a conversation, of its last message."""
        text = self.prompt if isinstance(self.prompt, str) else self.prompt[-1][1]
        line = f"{self.name}: {' '.join(text.split())}"
        if len(line) <= INDEX_CHARACTERS:
            return line
        return line[:INDEX_CHARACTERS].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


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


def shown_prompt(prompt: Prompt) -> str | list[tuple[str, str]]:
    """A text, or role and content of each message."""
    if isinstance(prompt, str):
        return prompt
    turns = (one.as_dict() if isinstance(one, Message) else one for one in prompt)
    return [(one["role"], one["content"]) for one in turns]


def shown_answer(
    made: Generation, rewards: np.ndarray, tokenizer: Tokenizer, colours: RewardColours
) -> Answer:
    """A response with (tokens + 1,) rewards of its prefixes."""
    labels = {step.place: label for label, step in enumerate(moves_of(made), 1)}
    pieces = token_pieces(tokenizer, made.tokens)
    cut = _cut_at(made, pieces, tokenizer)
    tokens = []
    for place, (token, piece) in enumerate(zip(made.tokens, pieces, strict=True)):
        after = float(rewards[place + 1])
        change = after - float(rewards[place])
        amount, level = colours.number(change), colours.level(change)
        title = f"{amount}, reward {signed(after, colours.decimals)}"
        kinds = [f"{'u' if level > 0 else 'd'}{abs(level)}"] if level else []
        if token in tokenizer.end_ids:
            title = f"end token, reward {signed(after, colours.decimals)}"
            kinds, piece = ["end"], "end"
        elif not piece:
            title += "; begins a character that a later token completes"
            kinds.append("inner")
        elif piece.strip(" ").startswith(("\n", "\r")):
            kinds.append("break")
        if place >= cut:
            title += "; cut off by a stop text"
            kinds.append("cut")
        if label := labels.get(place, 0):
            kinds.append("moved")
        tokens.append(ShownToken(place, piece, kinds, title, amount, label))
    return Answer(reward_of(made), tokens, _account(made, float(rewards[0]), tokenizer))


def candidate_texts(
    step: MovedStep, made: Generation, tokenizer: Tokenizer, last: int
) -> dict[int, str]:
    """The visible text of a step's candidates by id; of an end token it is empty.

    Args:
        step: of the response.
        made: the response.
        tokenizer: of its tokens.
        last: id of the prompt's last token.
    """
    before = made.tokens[step.place - 1] if step.place else last
    return {
        one.token: ""
        if one.token in tokenizer.end_ids
        else visible_token(tokenizer, before, one.token)
        for one in step.candidates
    }


def counted(number: int, thing: str) -> str:
    """A number of things, for example ``1 token``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _stopped_by_text(made: Generation, tokenizer: Tokenizer) -> bool:
    return made.finish_reason == STOPPED and not {*made.tokens[-1:]} & {*tokenizer.end_ids}


def _cut_at(made: Generation, pieces: Sequence[str], tokenizer: Tokenizer) -> int:
    """The place of the first token that a stop text took away."""
    if not _stopped_by_text(made, tokenizer):
        return len(pieces)
    # A template may put a space before the response, which is none of its text.
    end = "".join(pieces).find(made.text) + len(made.text)
    starts = np.cumsum([0, *map(len, pieces)])[:-1]
    return int(np.searchsorted(starts, end))


def _account(made: Generation, before: float, tokenizer: Tokenizer) -> str:
    if _stopped_by_text(made, tokenizer):
        how = "ended by a stop text: the reward is of what stands before it"
    else:
        how = "ended by itself" if made.finish_reason == STOPPED else "cut where its tokens ran out"
    if made.text != made.text.strip():
        how += ", white space at its edges does not count in the reward"
    account = f"{counted(len(made.tokens), 'token')}, {how}. Before the first: {signed(before)}."
    if made.near_ties:
        account += f" {counted(made.near_ties, 'decision')} that rounding may turn."
    return account
