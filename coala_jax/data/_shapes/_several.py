"""What unpaired and scored rows share: a prompt and responses to it as text, and pairs of them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax.data._message import USER, Message, PairMessages
from coala_jax.data._options import RowOptions
from coala_jax.data._rows import RowFault, require_texts
from coala_jax.data._shapes._conversation import (
    Conversations,
    first_question,
    messages,
    tools_of,
)
from coala_jax.data._shapes._layouts import is_conversation
from coala_jax.data._shapes._prompts import (
    PROMPT_REPEATED,
    repeats_prompt,
    system_of,
    with_system,
    without_prompt,
)
from coala_jax.data._split import question_group


class Responses(NamedTuple):
    """A prompt and responses to it.

    Attributes:
        prompt: as text.
        texts: of every response.
        group: what belongs together where the row does not say; None where only equal prompts do.
        prompt_messages: the prompt before it became text; empty where it was text.
        messages: every response before it became text; empty where they were text.
    """

    prompt: str
    texts: Sequence[str]
    group: str | None = None
    prompt_messages: tuple[Message, ...] = ()
    messages: Sequence[tuple[Message, ...]] = ()

    def pair(self, better: int, worse: int) -> PairMessages | None:
        """The messages of two of the responses; None where they were text."""
        if not self.messages:
            return None
        return PairMessages(self.prompt_messages, self.messages[better], self.messages[worse])


def prompt_and_completions(
    fields: Mapping[str, Any],
    completions: Sequence[Any],
    options: RowOptions,
    conversations: Conversations,
) -> Responses:
    """The prompt of a row and responses to it, as text.

    Raises:
        RowFault: one is missing, empty, no text, or repeats the prompt.
    """
    prompt, system = fields.get("prompt"), system_of(fields)
    if prompt is None:
        raise RowFault("no prompt")
    if any(value is None for value in completions):
        raise RowFault("no completion")
    if conversations.are_messages(*completions):
        given = prompt if is_conversation(prompt) else [{"role": USER, "content": prompt}]
        turns = tuple(messages(given, system))
        answers = [tuple(messages(completion)) for completion in completions]
        text, written = conversations.texts(turns, answers, tools_of(fields))
        return Responses(text, written, first_question(turns), turns, answers)
    for completion in completions:
        texts = {"prompt": prompt, "completion": completion}
        require_texts(texts, texts)
    if all(repeats_prompt(prompt, completion) for completion in completions):
        if not options.strip_prompt:
            raise RowFault(PROMPT_REPEATED.format("completion"))
        completions = [without_prompt(prompt, completion) for completion in completions]
    group = None if system is None else question_group(prompt)
    return Responses(with_system(prompt, system), list(completions), group)
