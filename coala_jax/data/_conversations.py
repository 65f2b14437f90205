"""Conversations: what they hold, and how they are read."""

import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from coala_jax.data._column_names import named_rows
from coala_jax.data._message import SPEAKERS, Message
from coala_jax.data._rows import (
    SURROGATE,
    RowFault,
    SetAsideRow,
    count_reasons,
    lost_note,
    require_usable,
    row_name,
)
from coala_jax.data._sources import open_source
from coala_jax.data._sources._row import SourceRow, each_row

# Keys that hold the turns; the first one there counts.
MESSAGES = "messages"
UTTERANCES = "utterances"
LAYOUTS = (MESSAGES, UTTERANCES)


class Conversation(NamedTuple):
    """A dialogue.

    Attributes:
        id: its name, of which the ids of its rows are made.
        messages: the turns, in order.
        group: of its rows; None means one of their own, by ``id``.
    """

    id: str
    messages: tuple[Message, ...]
    group: str | None = None


class ConversationSet(NamedTuple):
    """The conversations of a source.

    Attributes:
        conversations: in the order of the source.
        set_aside: rows that hold none, each with its reason.
        notes: what must be known of the source, as a ``RowSet`` has them.
    """

    conversations: tuple[Conversation, ...]
    set_aside: tuple[SetAsideRow, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def set_aside_counts(self) -> dict[str, int]:
        """How many lines were set aside for each reason, sorted by reason."""
        return count_reasons(self.set_aside)


def read_conversations(
    source: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    speakers: Mapping[str, str] = SPEAKERS,
) -> ConversationSet:
    """Read conversations; rows that hold none are set aside with their reason.

    A row has ``messages``, a list of ``{"role": ..., "content": ...}``, or EduFeedback's
    ``utterances``, a list of ``[speaker, text]``. ``id`` (else ``line-<number>``) and ``group`` are
    optional. Texts may be blank: what becomes of a blank turn is the strategy's matter.

    Args:
        source: a file, a folder or records in memory, as `open_source` takes it.
        speakers: name of a speaker in lower case to its role. Other names are roles as they stand.

    Returns:
        Conversations in the order of the source, and the rows set aside.

    Raises:
        DataError: a missing, empty or unreadable source, or one without a conversation.

    Example:
        >>> from coala_jax.data import read_conversations
        >>> rows = [{"utterances": [["Student", "What is DNA?"], ["Tutor", "A molecule."]]}]
        >>> found = read_conversations(rows, {"student": "user", "tutor": "assistant"})
        >>> [turn.role for turn in found.conversations[0].messages]
        ['user', 'assistant']
    """
    opened, conversations = open_source(source), list[Conversation]()

    def keep(row: SourceRow, fields: Mapping[str, Any]) -> tuple[()]:
        conversations.append(conversation_of(fields, row.number, speakers))
        return ()

    set_aside = [row.as_set_aside() for row in each_row(named_rows(opened, {}), keep)]
    require_usable(opened.name, conversations, set_aside)
    lost = lost_note(opened.name, len(conversations), count_reasons(set_aside))
    return ConversationSet(tuple(conversations), tuple(set_aside), (*lost, *opened.notes))


def conversation_of(
    fields: Mapping[str, Any], number: int, speakers: Mapping[str, str] = SPEAKERS
) -> Conversation:
    """The conversation of an entry, in one of the `LAYOUTS`.

    Args:
        fields: of the entry.
        number: names it where it has no ``id``.
        speakers: as `read_conversations` takes it.

    Raises:
        RowFault: it holds none.
    """
    messages = tuple(
        Message(speakers.get(name.strip().lower(), name), text) for name, text in _turns(fields)
    )
    group = fields.get("group")
    return Conversation(row_name(fields, number), messages, None if group is None else str(group))


def _turns(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Speaker and text of every turn."""
    key = next((key for key in LAYOUTS if key in fields), None)
    if key is None:
        raise RowFault(f"no {' or '.join(LAYOUTS)}")
    given = fields[key]
    if not isinstance(given, list):
        raise RowFault(f"{key} is not a list")
    if not given:
        raise RowFault(f"empty {key}")
    turns = [_turn(turn, key) for turn in given]
    if any(SURROGATE.search(part) for turn in turns for part in turn):
        raise RowFault(f"{key} is not valid Unicode")
    return turns


def _turn(turn: object, key: str) -> tuple[str, str]:
    """Speaker and text of one turn."""
    if key == MESSAGES:
        cell = (turn.get("role"), turn.get("content")) if isinstance(turn, Mapping) else ()
    else:
        cell = tuple(turn) if isinstance(turn, list) else ()
    match cell:
        case (str(speaker), str(text)):
            return speaker, text
    raise RowFault(f"{key} holds a turn that is not a speaker and a text")
