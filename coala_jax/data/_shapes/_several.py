"""What rows of responses share: a prompt and responses to it as text, and pairs of them."""

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
from coala_jax.data._sources._row import SourceRow
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


class Single(NamedTuple):
    """A row with one response.

    Attributes:
        row: as the source has it.
        fields: its columns.
        responses: the prompt and the one response.
    """

    row: SourceRow
    fields: Mapping[str, Any]
    responses: Responses


def single(
    row: SourceRow, fields: Mapping[str, Any], options: RowOptions, conversations: Conversations
) -> Single:
    """The response of a row in its column ``completion``.

    Raises:
        RowFault: as of `prompt_and_completions`.
    """
    completions = [fields.get("completion")]
    return Single(row, fields, prompt_and_completions(fields, completions, options, conversations))


def pair_of(better: Single, worse: Single, carried: Mapping[str, Any]) -> SourceRow:
    """A row of two, without a name, with these columns beside its texts."""
    fields = dict(carried)
    if fields.get("group") is None:
        fields["group"] = better.responses.group
    fields |= {
        "prompt": better.responses.prompt,
        "chosen": better.responses.texts[0],
        "rejected": worse.responses.texts[0],
    }
    messages = None
    if better.responses.messages:
        answers = (side.responses.messages[0] for side in (better, worse))
        messages = PairMessages(better.responses.prompt_messages, *answers)
    kept = [better.row.kept(), worse.row.kept()]
    return better.row._replace(fields=fields, content=kept, messages=messages)
