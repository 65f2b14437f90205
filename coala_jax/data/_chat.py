"""How the messages of a conversation become a prompt and a response."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from coala_jax._errors import CoalaError
from coala_jax.data._alternating import flatten
from coala_jax.data._message import ASSISTANT, SYSTEM, USER, Message

ROLES = (SYSTEM, USER, ASSISTANT)
# What a role is called where no chat template says.
LABELS = {SYSTEM: "System", USER: "User", ASSISTANT: "Assistant"}
# Begins the name of a tokenizer's own template.
HASHED = "sha256:"


class ChatFormat(NamedTuple):
    """A way to write conversations.

    Attributes:
        name: by what it is known in a feature store; equal names write the same text.
        prompt: messages up to an answer, to the text that the answer follows.
        whole: messages that end in an answer, to their text; it begins with the prompt's.
    """

    name: str
    prompt: Callable[[Sequence[Message]], str]
    whole: Callable[[Sequence[Message]], str]

    def response(self, prompt: Sequence[Message], completion: Sequence[Message]) -> str:
        """The text that follows the prompt's: of one answer its content, unadorned.

        Raises:
            ValueError: the text of the whole does not begin with that of the prompt.
        """
        if len(completion) == 1:
            return completion[0].content
        before, whole = self.prompt(prompt), self.whole([*prompt, *completion])
        if not whole.startswith(before):
            raise CoalaError("the chat template writes a prompt otherwise once it is answered")
        return whole[len(before) :].strip()


def _flat_prompt(messages: Sequence[Message]) -> str:
    return flatten(messages, LABELS)


def _flat_whole(messages: Sequence[Message]) -> str:
    return f"{flatten(messages[:-1], LABELS)} {messages[-1].content.strip()}"


# ``Label: content`` a line, for tokenizers without a chat template.
PLAIN = ChatFormat("flatten(System, User, Assistant)", _flat_prompt, _flat_whole)


def plain_chat() -> ChatFormat:
    """The format of tokenizers without a chat template."""
    return PLAIN
