"""Small studies, and people without a browser who take part in them."""

import json

import numpy as np

from coala_jax.evaluation._benchmark_rows import Answer, Answers
from coala_jax.evaluation.blind import Design, Exclusions, make_study, plan_study, write_study
from coala_jax.evaluation.blind._checks import GOOD
from coala_jax.evaluation.blind._coding import place_of
from coala_jax.evaluation.blind._study import ANSWERS_FORMAT
from coala_jax.evaluation.blind._submissions import record_sha256

SECRET = b"a secret of tests"
WORDS = ("light", "water", "air", "sugar", "leaf", "root", "rain", "soil", "stem", "seed", "moss")


def answers_of(systems, prompts, seed=0):
    """Answers of eight words or more, all different."""
    rng = np.random.default_rng(seed)
    return [
        Answers(
            system,
            {
                question: Answer(
                    question,
                    (f"{' '.join(rng.choice(WORDS, rng.integers(12, 30)))} {rng.random()}",),
                    system,
                    "here",
                )
                for question in prompts
            },
            f"{system}.jsonl",
        )
        for system in systems
    ]


def small_study(systems=("coala", "dpo"), prompts=12, places=12, **options):
    """A study, its answers and its design."""
    asked = {f"q{number}": f"What is number {number}?" for number in range(prompts)}
    answers = answers_of(systems, asked)
    design = Design(
        places=places,
        items=options.pop("items", min(prompts, 8)),
        repeats=options.pop("repeats", 2),
        checks=options.pop("checks", 2),
    )
    return make_study(asked, answers, design, secret=SECRET, **options), answers, design


def written_study(folder, *, exclusions=Exclusions(fewest_seconds=1.0), **options):  # noqa: B008
    """The files of a small study, and the study."""
    study, answers, design = small_study(**options)
    plan = plan_study(study, answers, design, exclusions, level=0.95)
    return write_study(folder, study, plan), study


class Reader:
    """Someone who takes part: prefers systems by their strength, passes checks, is consistent.

    Attributes:
        study: with its key, by which the reader knows what to prefer.
        strengths: log strengths of the systems.
        tie: parameter of Davidson's model.
    """

    def __init__(self, study, strengths, *, tie=0.0, seed=0):
        self.study, self.strengths, self.tie = study, strengths, tie
        self._rng, self._said = np.random.default_rng(seed), {}

    def choice(self, item, left, right):
        """left, tie or right, by the codes of a trial."""
        by_code = self.study.key["items"][item]["systems"]
        first, second = by_code[left], by_code[right]
        if GOOD in (first, second):
            return "left" if first == GOOD else "right"
        preferred = self._said.setdefault(item, self._drawn(left, right, first, second))
        return {left: "left", right: "right", None: "tie"}[preferred]

    def _drawn(self, left, right, first, second):
        one, other = np.exp(self.strengths[first]), np.exp(self.strengths[second])
        weight = np.array([one, self.tie * np.sqrt(one * other), other])
        return (left, None, right)[self._rng.choice(3, p=weight / weight.sum())]


def record_of(study, code, choose, *, answered=None, milliseconds=5000, begun="2026-11-30T09:00"):
    """The file that the page writes for a participant.

    Args:
        study: the study.
        code: of the participant.
        choose: of (item, left, right) codes, gives left, tie or right.
        answered: how many pairs; None is all of them.
    """
    page = study.page
    place = place_of(page["study"], code, page["codes"], len(page["places"]))
    shown = study.key["places"][place]
    trials = [
        {
            "item": item,
            "left": left,
            "right": right,
            "choice": choose(item, left, right),
            "milliseconds": milliseconds,
            "at": begun,
        }
        for item, left, right in shown[:answered]
    ]
    record = {
        "format": ANSWERS_FORMAT,
        "study": page["study"],
        "participant": code,
        "place": place,
        "agreed": begun,
        "begun": begun,
        "ended": begun,
        "planned": len(shown),
        "complete": len(trials) == len(shown),
        "parameters": {},
        "trials": trials,
    }
    return record | {"sha256": record_sha256(record)}


def hand_in(folder, record, name=None):
    """Write a file of answers."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name or record['participant']}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path
