"""How the messages of a conversation become a prompt and a response."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax._common_start import common_length
from coala_jax._errors import CoalaError
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
# Around the reasoning of an answer; templates drop that of earlier answers.
REASONING, REASONED = "<think>", "</think>"
# What a system message asks of a template, and not of the model.
FLAGS = ("/no_think", "/think", "/system_override")
# Who opens a conversation before any turn of it.
INSTRUCTING = (SYSTEM, DEVELOPER)
# Fields of a turn that say something, and must not be lost; others are about the turn.
SPEAKING = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking", "name")
UNWRITTEN = "the chat template writes nothing of {}, and the texts would be without"
TOOLS = "tools"

Tools = Sequence[Mapping[str, Any]] | None


class ChatError(DataError):
    """A conversation that cannot be written without losing or adding something; says what."""


class ChatText(str):
    """A prompt that a tokenizer's chat template has written, told apart from what a user writes.

    Attributes:
        turns: what it was made of, where an answer is to be made; empty where there is one.
    """

    __slots__ = ("turns",)
    turns: tuple[Message, ...]

    def __new__(cls, text: str, turns: Sequence[Message] = ()) -> "ChatText":
        """A text, and the turns that it was made of."""
        made = super().__new__(cls, text)
        made.turns = tuple(turns)
        return made


class ChatAnswer(str):
    """An answer that the template does not write behind the prompt of other answers.

    Some open every answer with an empty thought, and an answer that thinks with its own.

    Attributes:
        begun: what stands before it, which its prompt begins with.
    """

    __slots__ = ("begun",)
    begun: ChatText

    def __new__(cls, text: str, begun: str) -> "ChatAnswer":
        """A text, and what stands before it."""
        made = super().__new__(cls, text)
        made.begun = ChatText(begun)
        return made


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

    Example:
        >>> from coala_jax.data import ChatFormat, Message, read_rows
        >>> def write(turns: list[Message], tools) -> str:
        ...     return "".join(f"<{turn.role}>{turn.content}</{turn.role}>" for turn in turns)
        >>> tags = ChatFormat("tags", write, ends=("</assistant>",))
        >>> question = [{"role": "user", "content": "2 + 2?"}]
        >>> rows = [{"prompt": question, "chosen": [{"role": "assistant", "content": "4"}],
        ...     "rejected": [{"role": "assistant", "content": "5"}]}]
        >>> row, = read_rows(rows, chat=lambda: tags).rows
        >>> row.prompt, row.chosen
        ('<user>2 + 2?</user><assistant>', '4</assistant>')
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

        Args:
            messages: the turns up to the answer.
            tools: as `texts` takes them.

        Raises:
            ChatError: as `texts` does, which is a `DataError`.
        """
        text = self.texts(messages, [[Message(ASSISTANT, PROBES[0])]], tools).prompt
        return ChatText(text, messages) if self.is_template else text

    def texts(
        self,
        prompt: Sequence[Message],
        completions: Sequence[Sequence[Message]],
        tools: Tools = None,
    ) -> ChatTexts:
        """A prompt and each of its answers, which is what the whole goes on with.

        What the prompt is does not depend on the answers, nor one answer on another.

        Args:
            prompt: the turns up to the answers; a system message without text says nothing.
            completions: an answer each, of one turn or more.
            tools: that the conversation may use, as chat templates take them.

        Returns:
            The texts. What a template writes behind an end token is not there.

        Raises:
            ChatError: the template refuses the conversation, or leaves out what a message, a field
                of it, or the tools say.
        """
        try:
            return self._texts(prompt, completions, tools)
        except CoalaError:
            raise
        except Exception as error:  # a template is a program: it raises what it likes
            said = " ".join(f"{error}".split())
            raise ChatError(f"the chat template refuses it ({said})") from error

    def _texts(
        self, prompt: Sequence[Message], completions: Sequence[Sequence[Message]], tools: Tools
    ) -> ChatTexts:
        prompt = [turn for turn in prompt if turn.content.strip() or turn.role not in INSTRUCTING]
        bare = [[*map(self._bare, completion)] for completion in completions]
        wholes = [self.write([*prompt, *completion], tools) for completion in bare]
        begun, behind = self._around(prompt, tools)
        _require_said(begun, prompt)
        answers = []
        for whole, completion in zip(wholes, bare, strict=True):
            start = common_length(begun, whole)
            answer = self._ended(whole, behind)[start:]
            if start < len(begun):
                _require_said(whole[:start], prompt)
                answer = ChatAnswer(answer, whole[:start])
            _require_said(whole[start:], completion, answers=True)
            answers.append(answer)
        unwritten = self._unwritten(prompt, bare, wholes, tools)
        if self.is_template:
            return ChatTexts(ChatText(begun), answers, unwritten)
        return ChatTexts(begun.rstrip(), [answer.strip() for answer in answers], unwritten)

    def closing(self) -> str:
        """What is written behind an answer, up to the first end token in it."""
        return self._cut(self.behind())

    def behind(self) -> str:
        """What is written behind an answer; empty where a template refuses so plain a one."""
        try:
            return self._around([Message(USER, PROBES[0])], None)[1]
        except Exception:
            return ""

    def _around(self, messages: Sequence[Message], tools: Tools) -> tuple[str, str]:
        """What stands before any answer to these messages, and what stands behind it."""
        one, other = (self.write([*messages, Message(ASSISTANT, each)], tools) for each in PROBES)
        begun = one[: common_length(one, other)]
        return begun, one[len(begun) + len(PROBES[0]) :]

    def _bare(self, message: Message) -> Message:
        """An answer without white space at its edges or an end token of its own."""
        if message.role != ASSISTANT:
            return message
        return message._replace(content=without_ends(message.content, self.ends))

    def _cut(self, behind: str) -> str:
        """What stands behind an answer up to its first end token: more opens the next turn."""
        places = [behind.find(end) + len(end) for end in self.ends if end in behind]
        return behind[: min(places)] if places else behind

    def _ended(self, whole: str, behind: str) -> str:
        """The text of a whole up to the first end token behind its answer."""
        if behind and whole.endswith(behind):
            return whole.removesuffix(behind) + self._cut(behind)
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
            if tools and not number and self._writes(turns, None, whole):
                raise ChatError(UNWRITTEN.format(TOOLS))
            about = {name for turn in turns for name in turn.fields} - {*SPEAKING}
            if about and self._writes([_without(turn, about) for turn in turns], tools, whole):
                unwritten |= about
            else:
                unwritten |= {
                    name
                    for name in about
                    if self._writes([_without(turn, {name}) for turn in turns], tools, whole)
                }
            for name, place in _ends_of_kinds(turns, len(prompt), answers_only=number > 0):
                turn = turns[place]
                if name in unwritten or not _speaks(name, turn, answers=place >= len(prompt)):
                    continue
                without = [*turns]
                without[place] = _without(turn, {name})
                if self._writes(without, tools, whole):
                    raise ChatError(UNWRITTEN.format(name))
        return frozenset(unwritten)

    def _writes(self, turns: Sequence[Message], tools: Tools, whole: str) -> bool:
        """Whether these turns are written as that whole."""
        try:
            return self.write(turns, tools) == whole
        except Exception:
            return False  # it asks for what was left out, so it writes that


def _without(turn: Message, names: Collection[str]) -> Message:
    return turn._replace(fields={k: value for k, value in turn.fields.items() if k not in names})


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


def _require_said(text: str, messages: Sequence[Message], *, answers: bool = False) -> None:
    """Raise where a text leaves out what a message says.

    Args:
        text: that was written.
        messages: each of which must stand there, at a place of its own.
        answers: they are answers, of which no thought may be left out either; of what was said
            before templates leave thoughts out.

    Raises:
        ChatError: names who said it.
    """
    written = without_marks(text)
    said = [
        (part, message.role)
        for message in messages
        for part in _parts(message, thoughts=answers or message.role != ASSISTANT)
    ]
    for part, role in sorted(said, key=lambda each: -len(each[0])):
        for form in _forms(part):
            place = written.find(form)
            if place >= 0:
                written = f"{written[:place]}\0{written[place + len(form) :]}"
                break
        else:
            raise ChatError(
                f"the chat template leaves out what a message of the {role} says, as those for "
                "images do with plain text; use a tokenizer whose template writes it"
            )


def _forms(part: str) -> Iterator[str]:
    """How a text may stand there: as it is, or as JSON, as the results of tools do."""
    yield part
    yield json.dumps(part)[1:-1]
    yield json.dumps(part, ensure_ascii=False)[1:-1]


def _parts(message: Message, *, thoughts: bool) -> list[str]:
    """What of a message must be written: trimmed texts, without the marks around thoughts."""
    content = without_marks(message.content)
    if not thoughts:
        content = content.rpartition(REASONED)[2]
    if message.role == ASSISTANT:
        parts = content.replace(REASONED, REASONING).split(REASONING)
    elif message.role in INSTRUCTING:
        for flag in FLAGS:  # which a template obeys and does not write
            content = content.replace(flag, REASONING)
        parts = content.split(REASONING)
    else:
        parts = [content]
    return [part.strip() for part in parts if part.strip()]


def require_deterministic(chat: ChatFormat) -> None:
    """Raise where a format is no function of the conversation.

    Raises:
        ChatError: it leaves out what is said, or writes the same conversation in two ways.
    """
    turns = [Message(USER, "Why is it so?"), Message(ASSISTANT, "Because.")]
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
