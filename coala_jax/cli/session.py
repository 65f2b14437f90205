"""A session at a terminal: a prompt a line, plain and guided responses beside each other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax

from coala_jax.backbones import Backbone
from coala_jax.cli.columns import Columns
from coala_jax.cli.output import BAD_INPUT, say
from coala_jax.data import ResponseRow
from coala_jax.decoding.config import GenerationConfig
from coala_jax.decoding.plan import make_plan, slots_needed
from coala_jax.decoding.prompts import (
    ResponseText,
    encode_prompts,
    prompt_text,
    template_of,
)
from coala_jax.decoding.session import Request, Session, response_of
from coala_jax.decoding.text_head import TextHead, rewards_of_responses

TITLES = ("plain", "guided")
# Steps between two looks: text that comes word by word.
STEPS_A_LOOK = 3


def run_session(
    backbone: Backbone, head: TextHead, config: GenerationConfig, seed: int, *, chat: bool
) -> int:
    """Answer the lines of stdin until they end.

    Args:
        backbone: the model.
        head: of that backbone.
        config: of the guided responses.
        seed: of the draws; every prompt has noise of its own, which both responses share.
        chat: each line is what a user says, for the chat template.

    Returns:
        The exit code: that of bad input where a line could not be answered and nobody sat there to
        see it.
    """
    configs = [replace(config, scale=0.0), config]
    plan = make_plan(backbone, head, configs)
    session = Session(
        backbone, head, plan, len(configs), slots_needed(plan, backbone.config.max_length)
    )
    key, failed = jax.random.key(seed), False
    for number, line in enumerate(_lines()):
        try:
            _answer(session, backbone, head, line, configs, jax.random.fold_in(key, number), chat)
        except ValueError as error:  # one prompt that cannot be used ends no session
            say(f"error: {error}")
            failed = True
    return BAD_INPUT if failed and not sys.stdin.isatty() else 0


def _lines() -> Iterator[str]:
    """Prompts that are not blank; asked for where someone sits at the terminal."""
    if sys.stdin.isatty():
        say("a prompt a line; ctrl-D ends")
    while True:
        if sys.stdin.isatty():
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.rstrip("\n")


def _answer(
    session: Session,
    backbone: Backbone,
    head: TextHead,
    line: str,
    configs: list[GenerationConfig],
    key: jax.Array,
    chat: bool,
) -> None:
    prompt: Any = [{"role": "user", "content": line}] if chat else line
    text = prompt_text(backbone, head, prompt, "prompt")
    template = template_of(head)
    (ids,) = encode_prompts(backbone.tokenizer, [text], template)
    session.admit([Request(ids, config, key) for config in configs], range(len(configs)))
    written = [ResponseText(backbone.tokenizer, template, config.stop) for config in configs]
    with Columns(TITLES) as columns:
        while True:
            progress = session.advance(STEPS_A_LOOK)
            for row, response in enumerate(written):
                fresh = response_of(progress, row, session.plan)[len(response.tokens) :]
                response.extend(fresh, last=bool(progress.done[row]))
            columns.show([response.text for response in written])
            going = [row for row in range(len(written)) if not progress.done[row]]
            stopped = [row for row in going if written[row].stopped]
            if len(stopped) == len(going):
                break
            if stopped:
                session.drop(stopped)
        rewards = session.rewards()[0].tolist()
        for row, response in enumerate(written):
            if response.stopped:  # the rows hold what the stop text cut off, too
                whole = ResponseRow("response", "response", text, response.text)
                rewards[row] = float(rewards_of_responses(backbone, head, [whole]).rewards[0])
        columns.finish(
            [f"{title} ({reward:+.3f})" for title, reward in zip(TITLES, rewards, strict=True)]
        )
