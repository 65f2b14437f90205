"""What unpaired and scored rows share: a prompt and responses to it as text, and pairs of them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax.data._message import USER, Message, PairMessages
from coala_jax.data._options import RowOptions
from coala_jax.data._rows import RowFault, require_texts
from coala_jax.data._shapes._conversation import Conversations, is_conversation, messages
from coala_jax.data._shapes._prompts import (
    PROMPT_REPEATED,
    repeats_prompt,
    system_of,
    with_system,
    without_prompt,
)


class Responses(NamedTuple):
    """A prompt and responses to it.

    Attributes:
        prompt: as text.
        texts: of every response.
        prompt_messages: the prompt before it became text; empty where it was text.
        messages: every response before it became text; empty where they were text.
    """

    prompt: str
    texts: Sequence[str]
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
    if conversations.same_kind(*completions):
        given = prompt if is_conversation(prompt) else [{"role": USER, "content": prompt}]
        turns = tuple(messages(given, system))
        answers = [tuple(messages(completion)) for completion in completions]
        return Responses(*conversations.texts(turns, answers), turns, answers)
    for completion in completions:
        texts = {"prompt": prompt, "completion": completion}
        require_texts(texts, texts)
    if all(repeats_prompt(prompt, completion) for completion in completions):
        if not options.strip_prompt:
            raise RowFault(PROMPT_REPEATED.format("completion"))
        completions = [without_prompt(prompt, completion) for completion in completions]
    return Responses(with_system(prompt, system), list(completions))
