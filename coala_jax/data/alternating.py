"""The Alternating Population Strategy of COALA (arXiv 2605.23244): dialogue to preference pairs.

For every user turn the assistant's immediate answer is preferred to its next answer later on: that
one is as fluent and on the same subject, but answers another question.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from coala_jax.data.rows import EQUAL, PreferenceRow

USER, ASSISTANT = "user", "assistant"
NO_ANSWER = "no immediate answer"
NO_LATER_ANSWER = "no later answer"
EMPTY_TURN = "empty turn"
UNKNOWN_ROLE = "unknown role"
# The paper's conversations are tutoring sessions.
ROLE_LABELS: Mapping[str, str] = {USER: "Student", ASSISTANT: "Tutor"}


class Message(NamedTuple):
    """A turn: ``role`` is a key of the role labels, ``content`` its text."""

    role: str
    content: str


class Conversation(NamedTuple):
    """A dialogue, with the name that its rows' ids and groups are made of."""

    id: str
    messages: tuple[Message, ...]
    group: str | None = None


class AlternatingRows(NamedTuple):
    """The triplets, and how many user turns made none, by reason."""

    rows: tuple[PreferenceRow, ...]
    skipped: dict[str, int]


def alternating_rows(
    conversations: Sequence[Conversation], labels: Mapping[str, str] = ROLE_LABELS
) -> AlternatingRows:
    """Make preference rows by the Alternating Population Strategy.

    For every user turn: the prompt is the dialogue up to and with it (``flatten``), chosen is the
    assistant turn right after it, rejected the assistant's answer to a later user turn, the next
    one there is. The last answered turn makes no row, for no answer follows it.

    Args:
        conversations: dialogues; their turns may begin with either role.
        labels: role to the label it has in the prompt. A conversation with a role outside them
            makes no row.

    Returns:
        Rows named ``<conversation id>/<turn>`` (turns count from 0), grouped by the conversation's
        group or else its id, and the user turns that made none, counted by reason.
    """
    rows: list[PreferenceRow] = []
    skipped: Counter[str] = Counter()
    for conversation in conversations:
        messages = conversation.messages
        known = all(message.role in labels for message in messages)
        for turn, message in enumerate(messages):
            if message.role != USER:
                continue
            reason = _fault(messages, turn) if known else UNKNOWN_ROLE
            if reason:
                skipped[reason] += 1
            else:
                rows.append(_row(conversation, turn, labels))
    return AlternatingRows(tuple(rows), dict(sorted(skipped.items())))


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


def _later_answer(messages: Sequence[Message], turn: int) -> int | None:
    """Index of the next assistant turn that answers a user turn after ``turn``."""
    for index in range(turn + 2, len(messages)):
        if messages[index].role == ASSISTANT and messages[index - 1].role == USER:
            return index
    return None


def _fault(messages: Sequence[Message], turn: int) -> str:
    """Why a user turn makes no row, or an empty string where it does."""
    if turn + 1 == len(messages) or messages[turn + 1].role != ASSISTANT:
        return NO_ANSWER
    later = _later_answer(messages, turn)
    if later is None:
        return NO_LATER_ANSWER
    texts = [messages[index].content.strip() for index in (turn, turn + 1, later)]
    if not all(texts):
        return EMPTY_TURN
    return EQUAL if texts[1] == texts[2] else ""


def _row(conversation: Conversation, turn: int, labels: Mapping[str, str]) -> PreferenceRow:
    messages = conversation.messages
    later = _later_answer(messages, turn)
    assert later is not None  # _fault has seen it
    return PreferenceRow(
        id=f"{conversation.id}/{turn}",
        prompt=flatten(messages[: turn + 1], labels),
        chosen=messages[turn + 1].content.strip(),
        rejected=messages[later].content.strip(),
        group=conversation.group or conversation.id,
    )
