"""The Alternating Population Strategy of COALA (arXiv 2605.23244): dialogue to preference pairs.

For every user turn the assistant's immediate answer is preferred to its next answer later on: that
one is as fluent and on the same subject, but answers another question (section 6.3, appendices E.2
and F).
"""

import difflib
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from coala_jax._choices import require_fields
from coala_jax.data._conversations import Conversation
from coala_jax.data._errors import DataError
from coala_jax.data._message import ASSISTANT, SYSTEM, USER, Message
from coala_jax.data._options import require_options
from coala_jax.data._reasons import EQUAL
from coala_jax.data._rows import PreferenceRow

# Why a user turn makes no triplet ...
NO_ANSWER = "no immediate answer"
NO_LATER_ANSWER = "no later answer"
NO_OTHER_ANSWER = "no other answer"
EMPTY_TURN = "empty turn"
NEAR_DUPLICATE = "near-duplicate answers"
# ... and why a whole conversation makes none.
UNKNOWN_ROLE = "unknown role"
NO_USER_TURN = "no user turn"

# The paper's conversations are tutoring sessions.
ROLE_LABELS: Mapping[str, str] = {USER: "Student", ASSISTANT: "Tutor", SYSTEM: "System"}
# One word of ten may differ: greetings and "Yes, that is right" in other words than the last time.
DUPLICATE_SIMILARITY = 0.9
# Words and signs; the marks of sentences and quotations make no other answer, those of formulae do.
_WORD = re.compile(r"""\w+|[^\w\s.,;:!?"'()\u2018\u2019\u201c\u201d\u2026]""")


class AlternatingPopulation(NamedTuple):
    """The triplets, and what made none.

    Attributes:
        rows: the triplets, their prompts flattened.
        dialogues: the prompt of each row as turns.
        skipped: how many user turns made no triplet, by reason; those of ``dropped`` conversations
            are not among them.
        dropped: how many conversations were not looked at, by reason.
    """

    rows: tuple[PreferenceRow, ...]
    dialogues: tuple[tuple[Message, ...], ...]
    skipped: dict[str, int]
    dropped: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class AlternatingOptions:
    """How the strategy reads a dialogue.

    Attributes:
        last_turn: the last answered turn makes no pair, or rejects the first answer, as the
            authors' script does (``wrap``).
        consecutive: turns of one speaker in a row are joined by line breaks, or stay apart: of
            several user turns the last is answered, of assistant turns the first is the answer.
        opening: what the assistant says before the user; ``drop`` as the authors' script does.
        system: system messages in the prompts; an answer may follow one.
        duplicate_similarity: share of common words from which on two answers are too alike for a
            pair (`near_duplicates`); 1 means the same words.
        labels: role to the label it has in the flattened prompt.

    Raises:
        DataError: names the option that is out of its values, or the role without a label.

    Example:
        >>> from coala_jax.data import AlternatingOptions
        >>> AlternatingOptions(last_turn="wrap", opening="drop").consecutive
        'merge'
    """

    last_turn: Literal["drop", "wrap"] = "drop"
    consecutive: Literal["merge", "keep"] = "merge"
    opening: Literal["keep", "drop"] = "keep"
    system: Literal["keep", "drop"] = "keep"
    duplicate_similarity: float = DUPLICATE_SIMILARITY
    labels: Mapping[str, str] = field(default_factory=lambda: ROLE_LABELS)

    def __post_init__(self) -> None:
        """Check every field."""
        require_fields(self, DataError)
        if not 0 < self.duplicate_similarity <= 1:
            raise DataError(
                f"duplicate_similarity must lie in (0, 1], got {self.duplicate_similarity!r}"
            )
        if lacking := {USER, ASSISTANT} - set(self.labels):
            raise DataError(f"labels: none for {', '.join(sorted(lacking))}")


def alternating_population(
    conversations: Sequence[Conversation], options: AlternatingOptions = AlternatingOptions()
) -> AlternatingPopulation:
    """Make preference triplets by the Alternating Population Strategy (COALA, section 6.3).

    For every user turn: the prompt is the dialogue up to its answer, chosen is that answer (the
    assistant speaks next), rejected is the assistant's answer to the next user turn that has one.
    Identical answers never make a triplet; what the assistant says first is never an answer.

    Args:
        conversations: dialogues, their turns alternating strictly or loosely.
        options: how they are read.

    Returns:
        Rows named ``<conversation id>/<turn>`` (turns count from 0, as the conversation was given;
        of merged ones it is the first), grouped by the conversation's group or else its id. A
        conversation with a role without a label, or without a user turn, makes no row.

    Raises:
        DataError: ``options`` that are no `AlternatingOptions`.

    Example:
        >>> from coala_jax.data import alternating_population, read_conversations
        >>> texts = ["What is a cell?", "The unit of life.", "And a tissue?", "Like cells."]
        >>> roles = ["user", "assistant"] * 2
        >>> messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)]
        >>> conversations = read_conversations([{"messages": messages}]).conversations
        >>> row, = alternating_population(conversations).rows
        >>> print(row.prompt)
        Student: What is a cell?
        Tutor:
        >>> row.chosen, row.rejected
        ('The unit of life.', 'Like cells.')
    """
    require_options(options, AlternatingOptions)
    rows: list[PreferenceRow] = []
    dialogues: list[tuple[Message, ...]] = []
    skipped: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for conversation in conversations:
        turns = _prepared(conversation.messages, options)
        if fault := _conversation_fault(turns, options.labels):
            dropped[fault] += 1
            continue
        answers = _answers(turns)
        for place, turn in enumerate(turns):
            if turn.role != USER:
                continue
            triplet = _triplet(turns, answers, place, options)
            if isinstance(triplet, str):
                skipped[triplet] += 1
                continue
            dialogue = tuple(
                Message(turn.role, turn.content.strip()) for turn in turns[: triplet.chosen]
            )
            dialogues.append(dialogue)
            rows.append(
                PreferenceRow(
                    id=f"{conversation.id}/{turn.number}",
                    prompt=flatten(dialogue, options.labels),
                    chosen=turns[triplet.chosen].content.strip(),
                    rejected=turns[triplet.rejected].content.strip(),
                    group=conversation.group or conversation.id,
                )
            )
    return AlternatingPopulation(
        tuple(rows), tuple(dialogues), dict(sorted(skipped.items())), dict(sorted(dropped.items()))
    )


def flatten(messages: Sequence[Message], labels: Mapping[str, str] = ROLE_LABELS) -> str:
    """The prompt text of a dialogue: ``Label: content`` a line, then the assistant's label.

    Args:
        messages: the turns so far.
        labels: role to label.

    Returns:
        For example ``Student: What is DNA?`` and, on the next line, ``Tutor:``.
    """
    lines = [f"{labels[message.role]}: {message.content.strip()}" for message in messages]
    return "\n".join([*lines, f"{labels[ASSISTANT]}:"])


def conversational(row: PreferenceRow, dialogue: Sequence[Message]) -> dict[str, Any]:
    """Prompt, chosen and rejected of a row as lists of messages, as TRL lays them out.

    Args:
        row: a triplet.
        dialogue: its prompt as turns.
    """
    return {
        "prompt": [message.as_dict() for message in dialogue],
        "chosen": [Message(ASSISTANT, row.chosen).as_dict()],
        "rejected": [Message(ASSISTANT, row.rejected).as_dict()],
    }


def near_duplicates(first: str, second: str, least: float = DUPLICATE_SIMILARITY) -> bool:
    """Whether two texts say nearly the same.

    Words are compared without case, Unicode's forms and the marks of sentences; signs of formulae
    count as words. The share in common is twice the words in the longest common blocks (difflib's
    ``ratio``) over all words. Texts without any word are compared as they stand.

    Args:
        first: a text.
        second: another one.
        least: the share from which on they are near-duplicates.
    """
    words, others = (
        _WORD.findall(unicodedata.normalize("NFKC", text).casefold()) for text in (first, second)
    )
    if not words and not others:
        return first.strip() == second.strip()
    matcher = difflib.SequenceMatcher(None, words, others, autojunk=False)
    # The quick bound spares most pairs the quadratic count.
    return matcher.quick_ratio() >= least and matcher.ratio() >= least


class _Turn(NamedTuple):
    role: str
    content: str
    number: int


class _Triplet(NamedTuple):
    """Places of the two answers among the turns."""

    chosen: int
    rejected: int


def _prepared(messages: Sequence[Message], options: AlternatingOptions) -> list[_Turn]:
    """The turns that the strategy sees."""
    turns = [
        _Turn(message.role, message.content, number) for number, message in enumerate(messages)
    ]
    if options.system == "drop":
        turns = [turn for turn in turns if turn.role != SYSTEM]
    if options.opening == "drop":
        first = next((place for place, turn in enumerate(turns) if turn.role == USER), 0)
        turns = [turn for turn in turns[:first] if turn.role != ASSISTANT] + turns[first:]
    return _merged(turns) if options.consecutive == "merge" else turns


def _conversation_fault(turns: Sequence[_Turn], labels: Mapping[str, str]) -> str:
    """Why a conversation is not looked at, or an empty string where it is."""
    if not all(turn.role in labels for turn in turns):
        return UNKNOWN_ROLE
    return "" if any(turn.role == USER for turn in turns) else NO_USER_TURN


def _merged(turns: Sequence[_Turn]) -> list[_Turn]:
    merged: list[_Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role:
            texts = (merged[-1].content.strip(), turn.content.strip())
            merged[-1] = merged[-1]._replace(content="\n".join(filter(None, texts)))
        else:
            merged.append(turn)
    return merged


def _answers(turns: Sequence[_Turn]) -> dict[int, int]:
    """Place of a user turn to the place of its answer: the assistant speaks next."""
    spoken = [place for place, turn in enumerate(turns) if turn.role != SYSTEM]
    return {
        place: after
        for place, after in itertools.pairwise(spoken)
        if turns[place].role == USER and turns[after].role == ASSISTANT
    }


def _triplet(
    turns: Sequence[_Turn], answers: Mapping[int, int], place: int, options: AlternatingOptions
) -> _Triplet | str:
    """The answers of a user turn's triplet, or why it makes none."""
    if place not in answers:
        return NO_ANSWER
    chosen = answers[place]
    # The answers stand in the order of the conversation.
    rejected = next((answer for answer in answers.values() if answer > chosen), None)
    if rejected is None and options.last_turn == "drop":
        return NO_LATER_ANSWER
    if rejected is None:
        rejected = next(iter(answers.values()))
    if rejected == chosen:
        return NO_OTHER_ANSWER
    texts = [turns[at].content.strip() for at in (place, chosen, rejected)]
    if not all(texts):
        return EMPTY_TURN
    if texts[1] == texts[2]:
        return EQUAL
    if near_duplicates(texts[1], texts[2], options.duplicate_similarity):
        return NEAR_DUPLICATE
    return _Triplet(chosen, rejected)
