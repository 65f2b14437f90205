"""Rows to be scored: a prompt and a response each, read from either kind of file."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax.data.chat import PLAIN, ChatFormat
from coala_jax.data.message import ASSISTANT
from coala_jax.data.rows import (
    SetAsideRow,
    count_reasons,
    require_usable,
    row_name,
    text_fault,
)
from coala_jax.data.shapes import Conversations
from coala_jax.data.shapes.conversation import is_conversation, messages
from coala_jax.data.shapes.fault import RowFault
from coala_jax.data.shapes.prompts import system_of, with_system
from coala_jax.data.sources import open_source


class ResponseRow(NamedTuple):
    """A response to be scored.

    Attributes:
        id: name of the row it came from.
        side: ``response``, or ``chosen`` or ``rejected`` for the two sides of a preference row.
        prompt: what the response answers.
        response: the text to score.
    """

    id: str
    side: str
    prompt: str
    response: str


class ResponseSet(NamedTuple):
    """The usable responses of a file, and the lines that were set aside.

    Attributes:
        rows: in the order of the file.
        refused: what is not among them.
        chat_template: as a ``RowSet`` has it.
    """

    rows: tuple[ResponseRow, ...]
    refused: tuple[SetAsideRow, ...] = ()
    chat_template: str = ""

    @property
    def refused_counts(self) -> dict[str, int]:
        """How many lines were set aside for each reason, sorted by reason."""
        return count_reasons(self.refused)


def read_responses(
    path: str | os.PathLike[str], *, chat: Callable[[], ChatFormat] = lambda: PLAIN
) -> ResponseSet:
    """Read responses to score.

    A line with ``response`` gives one row; a preference line (``chosen``, ``rejected``) gives two,
    the chosen one first. A prompt of messages becomes text by ``chat``.

    Args:
        path: a file or folder that `coala_jax.data.read_rows` can read.
        chat: as ``read_rows`` takes it.

    Returns:
        Usable rows in the order of the file, and the lines set aside.

    Raises:
        DataError: a missing, empty or unreadable file, or one with no usable row.
    """
    rows: list[ResponseRow] = []
    refused: list[SetAsideRow] = []
    source, conversations = open_source(path), Conversations(chat)
    for row in source.rows:
        number, fields = row.number, row.fields
        if fields is None:
            refused.append(SetAsideRow(number, row.reason, row.file, row.content))
            continue
        is_pair = "response" not in fields and ("chosen" in fields or "rejected" in fields)
        sides = ("chosen", "rejected") if is_pair else ("response",)
        try:
            fields = _as_text(fields, sides, conversations)
        except RowFault as fault:
            refused.append(SetAsideRow(number, str(fault), row.file, row.kept()))
            continue
        name = row_name(fields, number)
        rows.extend(ResponseRow(name, side, fields["prompt"], fields[side]) for side in sides)
    require_usable(source.name, rows, refused)
    return ResponseSet(tuple(rows), tuple(refused), conversations.chat_template)


def _as_text(
    fields: Mapping[str, Any], sides: Sequence[str], conversations: Conversations
) -> Mapping[str, Any]:
    """The same fields with prompt and responses as text.

    Raises:
        RowFault: one is missing, empty, or neither text nor messages.
    """
    prompt, responses = fields.get("prompt"), [fields.get(side) for side in sides]
    system = system_of(fields)
    if is_conversation(prompt) and all(responses):
        answers = [
            messages(each if is_conversation(each) else [{"role": ASSISTANT, "content": each}])
            for each in responses
        ]
        text, answered = conversations.texts(messages(prompt, system), answers)
        fields = {**fields, "prompt": text, **dict(zip(sides, answered, strict=True))}
        system = None  # in the text now
    if fault := text_fault(fields, ("prompt", *sides)):
        raise RowFault(fault)
    return {**fields, "prompt": with_system(fields["prompt"], system)}
