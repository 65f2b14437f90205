"""Conversational rows: messages are checked and become text, once."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from coala_jax.data._chat import ROLES, ChatFormat
from coala_jax.data._message import ASSISTANT, SYSTEM, Message
from coala_jax.data._rows import RowFault

UNKNOWN_ROLE = f"a role other than {', '.join(ROLES)}"
NOT_ALTERNATING = "roles do not alternate"
NOT_AN_ANSWER = "a completion does not begin with the assistant"
NOT_MESSAGES = "a message without role and content"
MIXED_KINDS = "messages and text in one row"
CHANGED_KIND = "messages here, text in the first row, or the other way round"


def is_conversation(value: Any) -> bool:
    """Whether a value is meant as messages: a list of mappings."""
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], dict)


class Conversations:
    """Messages to text, and whether a source holds messages or text: all rows as the first one.

    Attributes:
        chat_template: name of the format that was used; empty before the first conversation.
    """

    def __init__(self, chat: Callable[[], ChatFormat]) -> None:
        self._load_format = chat
        self._format: ChatFormat | None = None
        self._first: bool | None = None
        self.chat_template = ""

    def same_kind(self, *values: Any) -> bool:
        """Whether these values of one row are messages.

        Raises:
            RowFault: some are and some are not, or the rows before were of the other kind.
        """
        kinds = {is_conversation(value) for value in values}
        if len(kinds) > 1:
            raise RowFault(MIXED_KINDS)
        kind = kinds.pop()
        if self._first is None:
            self._first = kind
        if kind != self._first:
            raise RowFault(CHANGED_KIND)
        return kind

    def texts(
        self, prompt: Sequence[Message], completions: Sequence[Sequence[Message]]
    ) -> tuple[str, list[str]]:
        """A prompt and what may follow it as text.

        Raises:
            RowFault: unknown roles, roles that do not alternate, or the template refuses them.
        """
        for completion in completions:
            _check(prompt, completion)
        if self._format is None:
            self._format = self._load_format()
            self.chat_template = self._format.name
        chat = self._format
        try:
            return chat.prompt(prompt), [chat.response(prompt, each) for each in completions]
        except Exception as error:  # a template is a program: it raises what it likes
            raise RowFault(f"the chat template refuses it ({error})") from error


def messages(value: Any, system: str | None = None) -> list[Message]:
    """Messages of a column, after a system message where one is given and they have none.

    Raises:
        RowFault: one without a role and a content that are text.
    """
    read = []
    for item in value:
        role, content = (
            (item.get("role"), item.get("content")) if isinstance(item, dict) else (None, None)
        )
        if not isinstance(role, str) or not isinstance(content, str) or not content.strip():
            raise RowFault(NOT_MESSAGES)
        read.append(Message(role, content))
    if system and not any(message.role == SYSTEM for message in read):
        read.insert(0, Message(SYSTEM, system))
    return read


def shared_start(left: Sequence[Message], right: Sequence[Message]) -> int:
    """How many messages both begin with."""
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count


def _check(prompt: Sequence[Message], completion: Sequence[Message]) -> None:
    if not completion or completion[0].role != ASSISTANT:
        raise RowFault(NOT_AN_ANSWER)
    roles = [message.role for message in (*prompt, *completion)]
    if not set(roles) <= set(ROLES):
        raise RowFault(UNKNOWN_ROLE)
    turns = roles[1:] if roles[0] == SYSTEM else roles
    if SYSTEM in turns or any(one == other for one, other in pairwise(turns)):
        raise RowFault(NOT_ALTERNATING)
