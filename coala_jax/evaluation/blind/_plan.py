"""The plan of the analysis, written when the study is made, before there are any answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from coala_jax._choices import require_fields
from coala_jax._intervals import LEVEL
from coala_jax._json import json_text, read_json_object
from coala_jax.evaluation._errors import EvaluationError

PLAN_FORMAT = "coala-jax-blind-plan/1"
OUTCOME = "share of choices for the first system of a comparison; a tie is half"
TEST = (
    "two-sided: sign flips of prompts, sign flips of participants, and Student's t of the two-way "
    "clustered interval; the largest of the three p-values, by Holm over the comparisons"
)
SECOND_SUBMISSIONS = (
    "of a participant's files the complete one that was begun first counts; without a complete "
    "one, the first"
)


@dataclass(frozen=True)
class Exclusions:
    """Whose answers do not count.

    Attributes:
        most_failed_checks: who fails more checks of attention is left out. An answer of "about
            the same" fails one.
        fewest_seconds: whose median time for a pair is shorter is left out.
        keep_incomplete: count the answers of people who stop early. They are left out otherwise.
    """

    most_failed_checks: int = 0
    fewest_seconds: float = 3.0
    keep_incomplete: bool = False

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            EvaluationError: names the field, its value and what it may be.
        """
        require_fields(self, EvaluationError)
        if self.most_failed_checks < 0 or self.fewest_seconds < 0:
            raise EvaluationError(
                f"most_failed_checks={self.most_failed_checks}, fewest_seconds="
                f"{self.fewest_seconds} must be at least 0"
            )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is analysed, and how.

    Attributes:
        study: id of the study.
        comparisons: pairs of systems, each a test of one family.
        exclusions: whose answers do not count.
        level: coverage of the intervals.
        design: places, items, repeats and checks a place.
        trials: how many trials a place has.
        answers: of each system, the file and its SHA-256.
        wording: the question, and whose the other words of the page are.
        identical: pairs of answers that were the same text and are not shown.
        outcome: what is estimated.
        test: what is tested.
        second_submissions: which file of a participant counts.
    """

    study: str
    comparisons: tuple[tuple[str, str], ...]
    exclusions: Exclusions
    level: float = LEVEL
    design: Mapping[str, int]
    trials: int
    answers: Mapping[str, Mapping[str, Any]]
    wording: Mapping[str, str]
    identical: int = 0
    outcome: str = OUTCOME
    test: str = TEST
    second_submissions: str = SECOND_SUBMISSIONS

    def __post_init__(self) -> None:
        """Check what a person may have changed.

        Raises:
            EvaluationError: names the field, its value and what it may be.
        """
        if not 0 < self.level < 1:
            raise EvaluationError(f"level={self.level} must lie between 0 and 1")
        if not self.comparisons:
            raise EvaluationError("comparisons: none of them; name at least one pair of systems")
        for pair in self.comparisons:
            if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(self.answers):
                raise EvaluationError(
                    f"comparisons: {' and '.join(map(str, pair))} must be two of the systems "
                    f"{', '.join(self.answers)}"
                )

    @property
    def text(self) -> str:
        """The plan as its file holds it."""
        return json_text({"format": PLAN_FORMAT, **asdict(self)})

    @property
    def sha256(self) -> str:
        """Of the text: what was planned, however the file is laid out."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        EvaluationError: no plan, or one with other fields.
    """
    found = read_json_object(path, EvaluationError, unique=True)
    if found.pop("format", None) != PLAN_FORMAT:
        raise EvaluationError(f"{path}: is no plan of a study; give the one that make wrote")
    expected = {field.name for field in fields(Plan)}
    if set(found) != expected:
        other = ", ".join(sorted(set(found) ^ expected))
        raise EvaluationError(f"{path}: fields of a plan are missing or unknown: {other}")
    try:
        found["comparisons"] = tuple(tuple(pair) for pair in found["comparisons"])
        return Plan(**{**found, "exclusions": Exclusions(**found["exclusions"])})
    except (TypeError, AttributeError) as error:
        raise EvaluationError(f"{path}: is no plan of a study ({error})") from error
