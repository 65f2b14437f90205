"""How the messages of a conversation become a prompt and a response."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax._common_start import common_length
from coala_jax._literal import without_marks
from coala_jax.data._alternating import flatten
from coala_jax.data._errors import DataError
from coala_jax.data._message import ASSISTANT, DEVELOPER, SYSTEM, TOOL, USER, Message

ROLES = (SYSTEM, USER, ASSISTANT)
# Those that a chat template may know beside them.
TEMPLATE_ROLES = (*ROLES, DEVELOPER, TOOL)
# What a role is called where no chat template says.
LABELS = {SYSTEM: "System", USER: "User", ASSISTANT: "Assistant"}
# Begins the name of a tokenizer's own template.
HASHED = "sha256:"
# Two answers that have nothing in common: what stands before both belongs to no answer.
PROBES = ("Yes", "No")
# Where the reasoning of an answer ends; templates drop that of earlier answers.
REASONED = "</think>"
# Fields of a turn that say something, and must not be lost; others are about the turn.
SPEAKING = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking", "name")
UNWRITTEN = "the chat template writes nothing of {}, and the texts would be without"
TOOLS = "tools"

Tools = Sequence[Mapping[str, Any]] | None


class ChatError(DataError):
    """A conversation that cannot be written without losing or adding something; says what."""


class ChatText(str):
    """A prompt that a tokenizer's chat template has written, told apart from what a user writes."""

    __slots__ = ()


class ChatTexts(NamedTuple):
    """A conversation as text.

    Attributes:
        prompt: up to where the answers begin.
        answers: what follows the prompt, with each of the answers.
        unwritten: names of fields of the turns, about them, that the format writes nothing of.
    """

    prompt: str
    answers: list[str]
    unwritten: frozenset[str] = frozenset()


class ChatFormat(NamedTuple):
    """A way to write conversations.

    Attributes:
        name: by what it is known in a feature store; equal names write the same text.
        write: turns that end in an answer, and tools, to the text of all of it.
        roles: who may speak.
        ends: texts of the tokens that end an answer.
        is_template: the text is a conversation as its model knows it, to which nothing is added;
            else it is plain text, and prompts and answers meet like any others.
    """

    name: str
    write: Callable[[Sequence[Message], Tools], str]
    roles: Sequence[str] = TEMPLATE_ROLES
    ends: tuple[str, ...] = ()
    is_template: bool = True

    def prompt(self, messages: Sequence[Message], tools: Tools = None) -> str:
        """The text up to where an answer begins.

        It is what the conversation with one answer and that with another begin with. The opening
        that a template has for generation is not asked: some have none, some open a thought.

        Raises:
            ChatError: the text leaves out what a message says.
        """
        return self.texts(messages, [[Message(ASSISTANT, PROBES[0])]], tools).prompt

    def texts(
        self,
        prompt: Sequence[Message],
        completions: Sequence[Sequence[Message]],
        tools: Tools = None,
    ) -> ChatTexts:
        """A prompt and each of its answers, which is what the whole goes on with.

        Args:
            prompt: the turns up to the answers.
            completions: an answer each, of one turn or more.
            tools: that the conversation may use, as chat templates take them.

        Returns:
            The texts. What a template writes behind an end token is not there.

        Raises:
            ChatError: the text leaves out what a message, a field of it, or the tools say.
        """
        bare = [[*map(self._bare, completion)] for completion in completions]
        wholes = [self.write([*prompt, *completion], tools) for completion in bare]
        begun = self._begun(prompt, tools)
        begun = begun[: common_length(begun, *wholes)]
        _require_said(begun, prompt)
        for whole, completion in zip(wholes, bare, strict=True):
            _require_said(whole[len(begun) :], completion)
        unwritten = self._unwritten(prompt, bare, wholes, tools)
        answers = [self._ended(whole)[len(begun) :] for whole in wholes]
        if self.is_template:
            return ChatTexts(ChatText(begun), answers, unwritten)
        return ChatTexts(begun.rstrip(), [answer.strip() for answer in answers], unwritten)

    def closing(self) -> str:
        """The end token that is written behind an answer; empty where there is none."""
        begun = [Message(USER, PROBES[0])]
        whole = self.write([*begun, Message(ASSISTANT, PROBES[1])], None)
        behind = whole[len(self._begun(begun, None)) + len(PROBES[1]) :]
        found = [(behind.find(end), end) for end in self.ends if end in behind]
        return min(found, default=(0, ""))[1]

    def _begun(self, messages: Sequence[Message], tools: Tools) -> str:
        one, other = (self.write([*messages, Message(ASSISTANT, each)], tools) for each in PROBES)
        return one[: common_length(one, other)]

    def _bare(self, message: Message) -> Message:
        """An answer without white space at its edges or an end token of its own."""
        if message.role != ASSISTANT:
            return message
        return message._replace(content=without_ends(message.content, self.ends))

    def _ended(self, whole: str) -> str:
        """The text without the white space behind an end token, which opens the next turn."""
        stripped = whole.rstrip()
        return stripped if any(map(stripped.endswith, self.ends)) else whole

    def _unwritten(
        self,
        prompt: Sequence[Message],
        completions: Sequence[Sequence[Message]],
        wholes: Sequence[str],
        tools: Tools,
    ) -> frozenset[str]:
        """Fields of the turns that change nothing of the wholes.

        Of turns of one kind, by role and field, the first and the last are looked at: a template
        may treat what was said before otherwise than what is said last.

        Raises:
            ChatError: one of them speaks, or the tools do.
        """
        unwritten = set[str]()
        for number, (completion, whole) in enumerate(zip(completions, wholes, strict=True)):
            turns = [*prompt, *completion]
            if tools and not number and self.write(turns, None) == whole:
                raise ChatError(UNWRITTEN.format(TOOLS))
            for name, place in _ends_of_kinds(turns, len(prompt), answers_only=number > 0):
                turn, without = turns[place], [*turns]
                less = {key: value for key, value in turn.fields.items() if key != name}
                without[place] = turn._replace(fields=less)
                if self.write(without, tools) != whole:
                    continue
                if _speaks(name, turn, answers=place >= len(prompt)):
                    raise ChatError(UNWRITTEN.format(name))
                unwritten.add(name)
        return frozenset(unwritten)


def _ends_of_kinds(
    turns: Sequence[Message], prompt: int, *, answers_only: bool
) -> list[tuple[str, int]]:
    """Fields and places of the first and the last turn of every role with that field."""
    places: dict[tuple[str, str, bool], list[int]] = {}
    for place, turn in enumerate(turns):
        answers = place >= prompt
        for name in turn.fields if answers or not answers_only else ():
            places.setdefault((name, turn.role, answers), []).append(place)
    return [(name, at) for (name, *_), own in places.items() for at in {own[0], own[-1]}]


def without_ends(text: str, ends: Sequence[str]) -> str:
    """What of an answer counts: neither white space at its edges nor an end token of its own."""
    text = text.strip()
    while own := [end for end in ends if text.endswith(end)]:
        text = text.removesuffix(own[0]).rstrip()
    return text


def _speaks(name: str, turn: Message, *, answers: bool) -> bool:
    """Whether a field says what must not be lost.

    Templates leave out what an earlier answer thought, and which tool a result is of.
    """
    if name not in SPEAKING:
        return False
    if name == "name":
        return turn.role != TOOL
    return answers or name in ("tool_calls", "function_call")


def _require_said(text: str, messages: Sequence[Message]) -> None:
    """Raise where a text leaves out what a message says.

    Raises:
        ChatError: names who said it.
    """
    written = without_marks(text)
    for message in messages:
        said = message.content
        if message.role == ASSISTANT:
            said = said.rpartition(REASONED)[2]
        said = without_marks(said).strip()
        # The result of a tool may stand there as JSON.
        if said not in written and json.dumps(said)[1:-1] not in written:
            raise ChatError(
                f"the chat template leaves out what a message of the {message.role} says, as those "
                "for images do with plain text; use a tokenizer whose template writes it"
            )


def require_deterministic(chat: ChatFormat) -> None:
    """Raise where a format is no function of the conversation.

    Raises:
        ChatError: it leaves out what is said, or writes the same conversation in two ways.
    """
    turns = [Message(USER, "Why?"), Message(ASSISTANT, "Because.")]
    try:
        first, again = (chat.write(turns, None) for _ in range(2))
    except Exception:  # what it asks of a conversation is said of each row
        return
    if first != again:
        raise ChatError("the chat template writes the same conversation in two ways")
    _require_said(first, turns)


def _flat(messages: Sequence[Message], _: Tools) -> str:
    return f"{flatten(messages[:-1], LABELS)} {messages[-1].content.strip()}"


# ``Label: content`` a line, for tokenizers without a chat template.
PLAIN = ChatFormat("flatten(System, User, Assistant)", _flat, ROLES, is_template=False)


def plain_chat() -> ChatFormat:
    """The format of tokenizers without a chat template."""
    return PLAIN
