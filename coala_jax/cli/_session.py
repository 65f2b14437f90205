"""A session at a terminal: a prompt a line, plain and guided responses beside each other."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any

import jax

from coala_jax.cli._output import BAD_INPUT, say
from coala_jax.cli._side_by_side import Columns
from coala_jax.decoding._config import GenerationConfig
from coala_jax.decoding._generate import generations
from coala_jax.decoding._plan import make_plan
from coala_jax.decoding._prompts import prompt_text, template_of
from coala_jax.decoding._reward_model import TextRewardModel
from coala_jax.decoding._session import Request, Session
from coala_jax.features._tokens import encode_prompts

TITLES = ("plain", "guided")
# Steps between two looks: text that comes word by word.
STEPS_A_LOOK = 3


def run_session(model: TextRewardModel, config: GenerationConfig, seed: int, *, chat: bool) -> int:
    """Answer the lines of stdin until they end.

    Args:
        model: on a causal backbone that jax runs.
        config: of the guided responses.
        seed: of the draws; every prompt has noise of its own, which both responses share.
        chat: each line is what a user says, for the chat template.

    Returns:
        The exit code: that of bad input where a line could not be answered and nobody sat there to
        see it.
    """
    rows = _Rows(model, [config.with_options(scale=0.0), config])
    key, failed = jax.random.key(seed), False
    for number, line in enumerate(_lines()):
        try:
            _answer(rows, line, jax.random.fold_in(key, number), chat)
        except ValueError as error:  # one prompt that cannot be used ends no session
            say(f"error: {error}")
            failed = True
    return BAD_INPUT if failed and not sys.stdin.isatty() else 0


class _Rows:
    """A row for each configuration, with room for the longest prompt so far."""

    def __init__(self, model: TextRewardModel, configs: list[GenerationConfig]):
        self.model, self.configs = model, configs
        self._plan = make_plan(model, configs)
        self._session: Session | None = None

    def admit(self, requests: list[Request]) -> Session:
        """The session, with requests for one prompt in its rows."""
        # A cache of the whole context may be larger than the model: twice as many slots, as needed.
        needed = self._plan.slots(len(requests[0].prompt) + self._plan.new_tokens)
        if self._session is None or self._session.capacity < needed:
            slots = 1 << (needed - 1).bit_length()
            self._session = Session(self.model, self._plan, len(requests), slots)
        self._session.admit(requests, range(len(requests)))
        return self._session


def _lines() -> Iterator[str]:
    """Prompts that are not blank; asked for where someone sits at the terminal."""
    if isinstance(sys.stdin, io.TextIOWrapper):  # a line of broken UTF-8 ends itself alone
        sys.stdin.reconfigure(errors="surrogateescape")
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


def _answer(rows: _Rows, line: str, key: jax.Array, chat: bool) -> None:
    model = rows.model
    prompt: Any = [{"role": "user", "content": line}] if chat else line
    text = prompt_text(model, prompt, "prompt")
    (ids,) = encode_prompts(model.backbone.tokenizer, [text], template_of(model))
    requests = [Request(ids, config, key, text=text) for config in rows.configs]
    session = rows.admit(requests)
    columns = Columns(TITLES)
    while session.going:
        session.write(STEPS_A_LOOK)
        columns.show([session.texts[row].text for row in range(len(requests))])
    made = generations(session, requests)
    columns.finish(
        [f"{title} ({one.reward:+.3f})" for title, one in zip(TITLES, made, strict=True)]
    )
