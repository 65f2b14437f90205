"""Turns of a conversation, and a preference pair as turns."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

USER, ASSISTANT, SYSTEM, TOOL, DEVELOPER = "user", "assistant", "system", "tool", "developer"
# What a message is known by: the keys that OpenAI and that ShareGPT give it.
MESSAGE_KEYS = (frozenset({"role", "content"}), frozenset({"from", "value"}))
# What data sets call their speakers, in lower case; any other name stays as it is.
SPEAKERS: Mapping[str, str] = MappingProxyType(
    {
        "user": USER,
        "human": USER,
        "student": USER,
        "learner": USER,
        "assistant": ASSISTANT,
        "tutor": ASSISTANT,
        "teacher": ASSISTANT,
        "system": SYSTEM,
    }
)
NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


class Message(NamedTuple):
    """A turn.

    Attributes:
        role: who speaks, such as ``user``.
        content: the text.
        fields: what else the turn has, such as ``tool_calls``, for a chat template.

    Example:
        >>> from coala_jax.data import Message
        >>> Message("user", "What is DNA?").as_dict()
        {'role': 'user', 'content': 'What is DNA?'}
    """

    role: str
    content: str
    fields: Mapping[str, Any] = NO_FIELDS

    @classmethod
    def from_dict(cls, turn: Mapping[str, Any]) -> "Message":
        """The turn of role, content and whatever else it has that says something.

        Raises:
            KeyError: no ``role`` or no ``content``.
        """
        more = {
            name: without_nulls(value)
            for name, value in turn.items()
            if name not in ("role", "content") and not _is_nothing(value)
        }
        return cls(turn["role"], turn["content"], more or NO_FIELDS)

    def as_dict(self) -> dict[str, Any]:
        """The turn as trainers and chat templates know it."""
        return {"role": self.role, "content": self.content, **self.fields}


def without_nulls(value: Any) -> Any:
    """A value without keys of mappings that hold nothing.

    A table of structs gives every struct the keys of all others; templates would write them.
    """
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item) for item in value]
    return value


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], {})


class PairMessages(NamedTuple):
    """A preference pair before its messages became text.

    Attributes:
        prompt: the turns up to the answer.
        chosen: the preferred answer, one turn or more.
        rejected: the other one.

    Example:
        >>> from coala_jax.data import RowOptions, read_rows
        >>> row = {"prompt": "2 + 2?", "chosen": [{"role": "user", "content": "2 + 2?"},
        ...     {"role": "assistant", "content": "4"}], "rejected": [{"role": "user",
        ...     "content": "2 + 2?"}, {"role": "assistant", "content": "5"}]}
        >>> kept = read_rows([row], RowOptions(keep_messages=True)).rows[0].messages
        >>> kept.prompt[0].content, kept.chosen[0].content
        ('2 + 2?', '4')
    """

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
