"""From files of answers and the key to choices between systems, and who is left out."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from coala_jax.evaluation.blind._checks import GOOD
from coala_jax.evaluation.blind._coding import place_of
from coala_jax.evaluation.blind._key import Key
from coala_jax.evaluation.blind._plan import Exclusions
from coala_jax.evaluation.blind._submissions import LEFT, RIGHT, TIE, Answered, SetAside, Submission

# What the left answer is worth.
WORTH = {LEFT: 1.0, TIE: 0.5, RIGHT: 0.0}


class Choice(NamedTuple):
    """One choice between the answers of two systems.

    Attributes:
        participant: code.
        question: the prompt.
        left: system whose answer was on the left.
        right: the other.
        worth: 1 where the left was chosen, 0.5 of a tie, 0 where the right was.
        left_characters: length of the answer on the left.
        right_characters: of the other.
        seconds: that the pair was in sight.
    """

    participant: str
    question: str
    left: str
    right: str
    worth: float
    left_characters: int
    right_characters: int
    seconds: float

    def worth_of(self, system: str) -> float:
        """What the choice is worth to one of the two."""
        return self.worth if system == self.left else 1 - self.worth


class Person(NamedTuple):
    """What a participant did.

    Attributes:
        submission: the file.
        choices: each pair once, as it was first answered.
        repeated: of pairs that were shown again, whether the answer was the same.
        failed_checks: how many.
        seconds: median for a pair.
    """

    submission: Submission
    choices: tuple[Choice, ...]
    repeated: tuple[bool, ...]
    failed_checks: int
    seconds: float


class People(NamedTuple):
    """Who counts, and who does not.

    Attributes:
        counted: the people.
        set_aside: the others, with reasons.
    """

    counted: tuple[Person, ...]
    set_aside: tuple[SetAside, ...]


def people_of(submissions: Sequence[Submission], key: Key, exclusions: Exclusions) -> People:
    """Read the choices by the key, and leave out whom the plan leaves out.

    Args:
        submissions: one of each participant.
        key: of the study.
        exclusions: of the plan.
    """
    counted, set_aside = [], []
    for submission in submissions:
        reason = _foreign(submission, key)
        if reason is None:
            person = _person(submission, key)
            reason = _excluded(person, exclusions)
            if reason is None:
                counted.append(person)
        if reason is not None:
            set_aside.append(SetAside(submission.file, *reason))
    return People(tuple(counted), tuple(set_aside))


def _foreign(submission: Submission, key: Key) -> tuple[str, str] | None:
    """Why answers are not those to what the page showed, where they are not."""
    place = place_of(key.study, submission.participant, key.codes, len(key.places))
    if place is None:
        return "unknown participant", f"{submission.participant} is no code of the study"
    if place != submission.place:
        return "edited", f"{submission.participant} has another place than its file says"
    shown = [(one.item, one.left, one.right) for one in submission.trials]
    if shown != [tuple(trial) for trial in key.places[place]][: len(shown)]:
        return "edited", f"{submission.participant} answers pairs that were not shown"
    return None


def _excluded(person: Person, exclusions: Exclusions) -> tuple[str, str] | None:
    name = person.submission.participant
    if not person.choices:
        return "no answers", f"{name} stopped before the first pair"
    if not (person.submission.complete or exclusions.keep_incomplete):
        return "incomplete", f"{name} answered {len(person.submission.trials)} pairs and stopped"
    if person.failed_checks > exclusions.most_failed_checks:
        return "failed checks", f"{name} failed {person.failed_checks}"
    if person.seconds < exclusions.fewest_seconds:
        return "too fast", f"{name} took {person.seconds:.1f} seconds a pair, by the median"
    return None


def _person(submission: Submission, key: Key) -> Person:
    first: dict[str, Answered] = {}
    repeated, failed = [], 0
    for one in submission.trials:
        item = key.items[one.item]
        if item.question is None:
            failed += item.systems.get(_chosen(one) or "") != GOOD
        elif one.item in first:
            repeated.append(_chosen(one) == _chosen(first[one.item]))
        else:
            first[one.item] = one
    seconds = [one.milliseconds / 1000 for one in submission.trials]
    choices = tuple(_choice(submission.participant, one, key) for one in first.values())
    median = statistics.median(seconds) if seconds else 0.0
    return Person(submission, choices, tuple(repeated), failed, median)


def _chosen(one: Answered) -> str | None:
    """The code of the answer that was chosen; None of a tie."""
    return {LEFT: one.left, RIGHT: one.right}.get(one.choice)


def _choice(participant: str, one: Answered, key: Key) -> Choice:
    item = key.items[one.item]
    assert item.question is not None
    return Choice(
        participant,
        item.question,
        item.systems[one.left],
        item.systems[one.right],
        WORTH[one.choice],
        item.characters[one.left],
        item.characters[one.right],
        one.milliseconds / 1000,
    )
