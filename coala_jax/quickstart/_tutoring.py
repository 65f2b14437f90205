"""Seeded tutoring conversations from the concept base, and preference triplets from them.

A student asks about aspects of a concept in random order, then about its neighbour. Every aspect is
as likely at every turn, and openers and closers come from the same lists with the same chances
whatever is asked: an answer's kind, style or length says nothing about the label. What decides is
whether the answer addresses the question: asked aspect against answered aspect, an interaction.
"""

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from coala_jax._errors import CoalaError
from coala_jax.data._alternating import alternating_population
from coala_jax.data._conversations import Conversation
from coala_jax.data._message import ASSISTANT, USER, Message
from coala_jax.data._rows import PreferenceRow
from coala_jax.quickstart._concepts import ASPECTS, Concept, load_concepts

QUESTIONS = MappingProxyType(
    {
        "definition": (
            "What is {phrase}?",
            "How would you define {phrase}?",
            "What does the term {name} mean?",
            "Can you give me a definition of {phrase}?",
            "What exactly is meant by {phrase}?",
        ),
        "mechanism": (
            "How does {phrase} work?",
            "What makes {phrase} work?",
            "Can you walk me through how {phrase} works?",
            "What goes on behind {phrase}?",
            "Which mechanism lies behind {phrase}?",
        ),
        "example": (
            "Can you give me an example of {phrase}?",
            "Where do we meet {phrase} in real life?",
            "What would be an everyday case of {phrase}?",
            "Can you show me {phrase} in practice?",
            "Which example would you use for {phrase}?",
        ),
        "mistake": (
            "What do people get wrong about {phrase}?",
            "Which mistake is common with {phrase}?",
            "What is a typical misunderstanding of {phrase}?",
            "Where do students go astray with {phrase}?",
            "What error should I avoid with {phrase}?",
        ),
        "contrast": (
            "How does {phrase} differ from {neighbour}?",
            "What sets {phrase} apart from {neighbour}?",
            "How do I tell {phrase} from {neighbour}?",
            "What is the difference between {phrase} and {neighbour}?",
            "How does {phrase} compare with {neighbour}?",
        ),
    }
)
LEADS = ("Thanks.", "I see.", "One more question.", "Good to know.")
OPENERS = (
    "Good question.",
    "Let us take it step by step.",
    "Here is the short version.",
    "Sure.",
    "Happy to help with that.",
    "Many people ask me this.",
)
CLOSERS = (
    "Does that help?",
    "Write it down in your own words.",
    "Tell me if anything is unclear.",
    "Keep that in mind.",
    "Take a moment to think it over.",
    "We can go on whenever you like.",
)
# Half of the turns have one, half do not, so that lengths vary and no style is the rule.
LEAD_CHANCE = 0.5
OPENER_CHANCE = 0.5
CLOSER_CHANCE = 0.5
# Questions about the concept, then about its neighbour: fewest and most.
OWN_QUESTIONS = (3, 4)
NEIGHBOUR_QUESTIONS = (1, 3)
# Two of the six pairs of every field: 44 concepts in all, above the 40 that a fair test needs.
HELD_OUT_PAIRS_A_FIELD = 2
# Rows of the demonstration: features and both phases take a minute on two cores.
TRAIN_PAIRS, EVAL_PAIRS = 2000, 1000


class Turn(NamedTuple):
    """A question about an aspect of a concept, and the answer to it."""

    concept: Concept
    aspect: str
    question: str
    answer: str


class TutoringSplit(NamedTuple):
    """Rows of the demonstration; its two parts share no concept.

    Attributes:
        train: rows to train on.
        eval: held-out rows.
    """

    train: tuple[PreferenceRow, ...]
    eval: tuple[PreferenceRow, ...]


def make_turns(rng: np.random.Generator, concept: Concept, neighbour: Concept) -> tuple[Turn, ...]:
    """One conversation: 3 to 4 questions about a concept, then 1 to 3 about its neighbour.

    Args:
        rng: source of randomness; advanced.
        concept: what the conversation begins with.
        neighbour: what it moves to.

    Returns:
        The turns in order. No aspect of a concept is asked twice.
    """
    own = _draw_aspects(rng, OWN_QUESTIONS)
    later = _draw_aspects(rng, NEIGHBOUR_QUESTIONS)
    plan = [(concept, neighbour, aspect) for aspect in own]
    plan += [(neighbour, concept, aspect) for aspect in later]
    return tuple(
        Turn(
            about,
            aspect,
            make_question(rng, about, other, aspect, first=number == 0),
            make_answer(rng, about, aspect),
        )
        for number, (about, other, aspect) in enumerate(plan)
    )


def make_question(
    rng: np.random.Generator, concept: Concept, neighbour: Concept, aspect: str, *, first: bool
) -> str:
    """A question about an aspect, in one of several wordings; later ones may have a lead."""
    wording = str(rng.choice(QUESTIONS[aspect]))
    question = wording.format(name=concept.name, phrase=concept.phrase, neighbour=neighbour.phrase)
    lead = _maybe(rng, LEADS, LEAD_CHANCE)
    return question if first else " ".join(filter(None, (lead, question)))


def make_answer(rng: np.random.Generator, concept: Concept, aspect: str) -> str:
    """An answer: perhaps an opener, the aspect's text, perhaps a closer."""
    opener = _maybe(rng, OPENERS, OPENER_CHANCE)
    closer = _maybe(rng, CLOSERS, CLOSER_CHANCE)
    return " ".join(filter(None, (opener, concept.aspects[aspect].text, closer)))


def make_conversations(
    rng: np.random.Generator, concepts: Sequence[Concept], name: str
) -> Iterator[tuple[Conversation, tuple[Turn, ...]]]:
    """Conversations without end, every concept once a round, rounds in random order.

    Args:
        rng: source of randomness; advanced as conversations are taken.
        concepts: what conversations begin with; each with its neighbour.
        name: what the conversations' ids begin with.

    Yields:
        The conversation, and its turns with what they are about.
    """
    by_name = {concept.name: concept for concept in concepts}
    number = 0
    while True:
        for index in rng.permutation(len(concepts)):
            concept = concepts[index]
            turns = make_turns(rng, concept, by_name[concept.neighbour])
            messages = tuple(
                message
                for turn in turns
                for message in (Message(USER, turn.question), Message(ASSISTANT, turn.answer))
            )
            yield Conversation(f"{name}-{number}", messages, concept.group), turns
            number += 1


def tutoring_triplets(
    seed: int, pairs: int, groups: Sequence[str] | None = None
) -> tuple[PreferenceRow, ...]:
    """Preference rows by the Alternating Population Strategy, no two alike.

    Args:
        seed: decides everything; the same seed gives the same rows on every machine.
        pairs: how many rows.
        groups: keys of the neighbour pairs to talk about; None means all.

    Returns:
        (pairs,) rows. ``extra`` holds ``field``, ``concept`` and ``aspect`` (asked about),
        ``rejected_concept`` and ``rejected_aspect`` (what the rejected answer is about), and
        ``turn`` (from 0).

    Raises:
        CoalaError: a negative number of pairs, or no concept in ``groups``.
    """
    wanted = None if groups is None else set(groups)
    concepts = [c for c in load_concepts() if wanted is None or c.group in wanted]
    if pairs < 0 or not concepts:
        raise CoalaError(f"pairs={pairs!r}, concepts to talk about: {len(concepts)}")
    rng = np.random.default_rng(seed)
    rows: dict[tuple[str, str, str], PreferenceRow] = {}
    for conversation, turns in make_conversations(rng, concepts, f"tutor-{seed}"):
        for row in _rows_of(conversation, turns):
            if len(rows) >= pairs:
                return tuple(rows.values())
            rows.setdefault((row.prompt, row.chosen, row.rejected), row)
    raise AssertionError("conversations have no end")


def tutoring_rows(
    seed: int, train_pairs: int = TRAIN_PAIRS, eval_pairs: int = EVAL_PAIRS
) -> TutoringSplit:
    """Rows of the demonstration: training and held-out rows share no concept.

    Two of the six neighbour pairs of every field are held out, which ones the seed decides.

    Args:
        seed: decides the conversations and the held-out concepts.
        train_pairs: rows to train on.
        eval_pairs: held-out rows.

    Returns:
        Both parts, their ``group`` set to the neighbour pair's key.

    Raises:
        CoalaError: a negative number of pairs.

    Example:
        >>> from coala_jax.quickstart import tutoring_rows
        >>> split = tutoring_rows(seed=0, train_pairs=4, eval_pairs=2)
        >>> len(split.train), len(split.eval)
        (4, 2)
        >>> {row.group for row in split.train} & {row.group for row in split.eval}
        set()
    """
    chooser, train_seed, eval_seed = np.random.SeedSequence(seed).spawn(3)
    held_out = _held_out_groups(np.random.default_rng(chooser))
    kept = sorted({concept.group for concept in load_concepts()} - held_out)
    return TutoringSplit(
        tutoring_triplets(_as_seed(train_seed), train_pairs, kept),
        tutoring_triplets(_as_seed(eval_seed), eval_pairs, sorted(held_out)),
    )


def _held_out_groups(rng: np.random.Generator) -> set[str]:
    by_field: dict[str, list[str]] = {}
    for concept in load_concepts():
        groups = by_field.setdefault(concept.field, [])
        if concept.group not in groups:
            groups.append(concept.group)
    return {
        str(group)
        for groups in by_field.values()
        for group in rng.choice(groups, HELD_OUT_PAIRS_A_FIELD, replace=False)
    }


def _as_seed(sequence: np.random.SeedSequence) -> int:
    return int(sequence.generate_state(1)[0])


def _draw_aspects(rng: np.random.Generator, bounds: tuple[int, int]) -> list[str]:
    """Some of the aspects, in an order of which all are equally likely."""
    count = int(rng.integers(bounds[0], bounds[1], endpoint=True))
    return [str(aspect) for aspect in rng.permutation(ASPECTS)[:count]]


def _maybe(rng: np.random.Generator, phrases: Sequence[str], chance: float) -> str:
    return str(rng.choice(phrases)) if rng.random() < chance else ""


def _rows_of(conversation: Conversation, turns: Sequence[Turn]) -> list[PreferenceRow]:
    """The rows of a conversation; all of its turns but the last make one."""
    rows = alternating_population([conversation]).rows
    return [
        row._replace(extra=_facts(asked, answered, number))
        for number, (row, asked, answered) in enumerate(
            zip(rows, turns[:-1], turns[1:], strict=True)
        )
    ]


def _facts(asked: Turn, answered: Turn, number: int) -> dict[str, object]:
    """What a row is about: its question, and what its rejected answer answers instead."""
    return {
        "field": asked.concept.field,
        "concept": asked.concept.name,
        "aspect": asked.aspect,
        "rejected_concept": answered.concept.name,
        "rejected_aspect": answered.aspect,
        "turn": number,
    }
