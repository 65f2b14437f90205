"""Turns of a conversation, and a preference pair as turns."""

from typing import NamedTuple

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"


class Message(NamedTuple):
    """A turn: ``role`` says who speaks, such as ``user``; ``content`` is the text."""

    role: str
    content: str


class PairMessages(NamedTuple):
    """A preference pair before its messages became text.

    Attributes:
        prompt: the turns up to the answer.
        chosen: the preferred answer, one turn or more.
        rejected: the other one.
    """

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
