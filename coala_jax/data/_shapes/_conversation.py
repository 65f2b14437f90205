"""Conversational rows: messages are checked and become text, once."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

from coala_jax.data._chat import SPEAKING, TOOLS, ChatError, ChatFormat, Tools
from coala_jax.data._message import ASSISTANT, DEVELOPER, SYSTEM, TOOL, USER, Message
from coala_jax.data._rows import RowFault
from coala_jax.data._shapes._layouts import NOT_MESSAGES, is_conversation
from coala_jax.data._split import question_group

NOT_ALTERNATING = "roles do not alternate"
NOT_AN_ANSWER = "a completion does not begin with the assistant"
MIXED_KINDS = "messages and text in one row"
CHANGED_KIND = "messages here, text in the first row, or the other way round"
# Who opens a conversation before any turn of it.
INSTRUCTING = (SYSTEM, DEVELOPER)


class Conversations:
    """Messages to text, and whether a source holds messages or text: all rows as the first one.

    Attributes:
        chat_template: name of the format that was used; empty before the first conversation.
        unwritten: in how many rows a field of messages was, which the format writes nothing of.
    """

    def __init__(self, chat: Callable[[], ChatFormat]) -> None:
        self._load_format = chat
        self._format: ChatFormat | None = None
        self._first: bool | None = None
        self.chat_template = ""
        self.unwritten = Counter[str]()

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the messages is in no text."""
        return tuple(
            f"messages have {name}, of which the chat template writes nothing: {count} rows"
            for name, count in sorted(self.unwritten.items())
        )

    def are_messages(self, *values: Any) -> bool:
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
        self,
        prompt: Sequence[Message],
        completions: Sequence[Sequence[Message]],
        tools: Tools = None,
    ) -> tuple[str, list[str]]:
        """A prompt and what may follow it as text.

        Raises:
            RowFault: unknown roles, roles that do not alternate, or the format refuses them or
                leaves out what they say.
        """
        if self._format is None:
            self._format = self._load_format()
            self.chat_template = self._format.name
        for completion in completions:
            _check(prompt, completion, self._format.roles)
        try:
            written = self._format.texts(prompt, completions, tools)
        except ChatError as error:
            raise RowFault(str(error)) from error
        except Exception as error:  # a template is a program: it raises what it likes
            raise RowFault(f"the chat template refuses it ({error})") from error
        self.unwritten.update(written.unwritten)
        return written.prompt, written.answers


def messages(value: Any, system: str | None = None) -> list[Message]:
    """Messages of a column, after a system message where one is given and they have none.

    A system message without a text says nothing and is left out.

    Raises:
        RowFault: one without a role and a content that are text.
    """
    read = []
    for item in value:
        role, content = (
            (item.get("role"), item.get("content")) if isinstance(item, Mapping) else (None, None)
        )
        if not isinstance(role, str) or not isinstance(content, str):
            raise RowFault(NOT_MESSAGES)
        message = Message.from_dict(item)
        if not content.strip():
            if role in INSTRUCTING:
                continue
            if not any(name in SPEAKING for name in message.fields):
                raise RowFault(NOT_MESSAGES)
        read.append(message)
    if system and not any(message.role == SYSTEM for message in read):
        read.insert(0, Message(SYSTEM, system))
    return read


def tools_of(fields: Mapping[str, Any]) -> Tools:
    """The tools of a conversation; None where it has none.

    Raises:
        RowFault: they are no list of mappings.
    """
    tools = fields.get(TOOLS)
    if isinstance(tools, str):
        with suppress(ValueError, RecursionError):  # what it is then is said below
            tools = json.loads(tools)
    if not tools:
        return None
    if not isinstance(tools, list | tuple) or not all(isinstance(one, Mapping) for one in tools):
        raise RowFault(f"{TOOLS} is not a list of mappings")
    return tools


def first_question(prompt: Sequence[Message]) -> str | None:
    """By what conversations are known that go on from one question; None where there is none.

    The same question under several system texts, and a conversation at several of its turns, have
    it in common: they must not be split between training and test.
    """
    asked = next((message.content for message in prompt if message.role == USER), None)
    return None if asked is None else question_group(asked)


def _check(prompt: Sequence[Message], completion: Sequence[Message], known: Sequence[str]) -> None:
    if not completion or completion[0].role != ASSISTANT:
        raise RowFault(NOT_AN_ANSWER)
    roles = [message.role for message in (*prompt, *completion)]
    if not set(roles) <= set(known):
        raise RowFault(f"a role other than {', '.join(known)}")
    turns = roles[1:] if roles[0] in INSTRUCTING else roles
    repeated = any(one == other != TOOL for one, other in pairwise(turns))
    if set(turns) & set(INSTRUCTING) or repeated:
        raise RowFault(NOT_ALTERNATING)
