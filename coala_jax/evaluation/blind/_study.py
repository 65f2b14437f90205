"""A double-blind study: what its page shows, and the key that says which answer is whose."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from coala_jax.evaluation._benchmark_rows import Answers
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.blind._checks import BAD, GOOD, Check, shuffled_checks
from coala_jax.evaluation.blind._coding import (
    Item,
    item_code,
    item_key,
    participant_codes,
    shown_item,
    shown_trial,
)
from coala_jax.evaluation.blind._design import Design, Trial, draw_places
from coala_jax.evaluation.blind._wording import DEFAULT_WORDING, Wording, paragraphs

# People see these two, so they name no system.
PAGE_FORMAT = "blind-study-page/1"
ANSWERS_FORMAT = "blind-study-answers/1"
KEY_FORMAT = "coala-jax-blind-key/1"
OURS = "coala-jax's own"


class Study(NamedTuple):
    """A study, made.

    Attributes:
        page: what the page embeds; it says nothing of systems.
        key: which answer is whose, and what else must stay secret until the answers are in.
        identical: pairs of answers with the same text, which are not shown.
        wording: what of the page's words is ours and what the user's, and the question.
    """

    page: dict[str, Any]
    key: dict[str, Any]
    identical: int
    wording: dict[str, str]


def make_study(
    prompts: Mapping[str, str],
    answers: Sequence[Answers],
    design: Design,
    *,
    secret: bytes,
    checks: Sequence[Check] = (),
    wording: Wording = DEFAULT_WORDING,
    any_code: bool = False,
    completion_url: str | None = None,
) -> Study:
    """Draw a study; the same secret draws the same one.

    Args:
        prompts: by question.
        answers: of two or more systems to all of them.
        design: of the places.
        secret: random bytes, from which codes and places are drawn.
        checks: of attention; none makes as many as a place needs by `shuffled_checks`.
        wording: of the page.
        any_code: whether people bring codes of their own, such as Prolific's; else each place has a
            code, and no other is taken.
        completion_url: where the page leads at its end.

    Raises:
        EvaluationError: fewer than two systems, two of one name, or what cannot be drawn.
    """
    systems = [one.system for one in answers]
    if len(systems) < 2 or len(set(systems)) < len(systems):
        raise EvaluationError(
            f"systems: {', '.join(systems) or 'none'}; two or more with different names are needed"
        )
    _require_web_address(completion_url)
    rng = np.random.default_rng(list(hashlib.sha256(secret + b"draws").digest()))
    texts = {question: [one.by_question[question].text for one in answers] for question in prompts}
    pairs = {question: different(its) for question, its in texts.items()}
    questions = [question for question in prompts if pairs[question]]
    given = bool(checks)
    checks = list(checks) or shuffled_checks(prompts, texts, design.checks, rng)
    drawn = draw_places([pairs[question] for question in questions], len(checks), design, rng)
    items = [
        *(
            Item(prompts[one], dict(zip(systems, texts[one], strict=True)), one)
            for one in questions
        ),
        *(Item(one.prompt, {GOOD: one.good, BAD: one.bad}, None) for one in checks),
    ]
    shown = {
        "any_code": any_code,
        "codes": [] if any_code else participant_codes(secret, design.places),
        "completion_url": completion_url,
        "items": [shown_item(secret, number, item) for number, item in enumerate(items)],
        "places": [[_shown(secret, trial, items) for trial in place] for place in drawn],
    }
    page = {"format": PAGE_FORMAT, "answers_format": ANSWERS_FORMAT, **_words(wording), **shown}
    page["study"] = _sha256(json.dumps(page))[:16]
    all_pairs = math.comb(len(systems), 2) * len(prompts)
    return Study(
        page,
        _key(secret, page, items),
        all_pairs - sum(map(len, pairs.values())),
        {**_whose(wording), "checks": "the user's" if given else OURS},
    )


def _whose(wording: Wording) -> dict[str, str]:
    """The question, and of the longer texts whose they are."""
    longer = {
        name: OURS if text == getattr(DEFAULT_WORDING, name) else f"SHA-256 {_sha256(text)}"
        for name, text in wording._asdict().items()
        if name in ("consent", "instructions")
    }
    return {"question": wording.question, **longer}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _words(wording: Wording) -> dict[str, Any]:
    return {
        "wording": {
            "title": wording.title,
            "question": wording.question,
            "consent": paragraphs(wording.consent),
            "instructions": paragraphs(wording.instructions),
        }
    }


def _shown(secret: bytes, trial: Trial, items: Sequence[Item]) -> tuple[int, int, int]:
    item = items[trial.item]
    names = list(item.answers)
    return shown_trial(secret, trial.item, item, names[trial.left], names[trial.right])


def _key(secret: bytes, page: Mapping[str, Any], items: Sequence[Item]) -> dict[str, Any]:
    return {
        "format": KEY_FORMAT,
        "study": page["study"],
        "secret": secret.hex(),
        "codes": page["codes"],
        "items": {
            item_code(secret, number): item_key(secret, number, item)
            for number, item in enumerate(items)
        },
        "places": [
            [_as_answered(trial, page["items"]) for trial in place] for place in page["places"]
        ],
    }


def systems_named(page: Mapping[str, Any], systems: Sequence[str]) -> dict[str, int]:
    """How many prompts and answers of a page name a system, which would tell who wrote them."""
    texts = [text for item in page["items"] for text in (item["prompt"], *item["texts"])]
    patterns = {
        name: re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE) for name in systems
    }
    counts = {name: sum(map(bool, map(found.search, texts))) for name, found in patterns.items()}
    return {name: count for name, count in counts.items() if count}


def different(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of systems, by their places, whose answers to a prompt can be told apart."""
    bare = [" ".join(text.split()) for text in texts]
    return [
        (one, other)
        for one, other in itertools.combinations(range(len(texts)), 2)
        if bare[one] != bare[other]
    ]


def _as_answered(trial: Sequence[int], items: Sequence[Mapping[str, Any]]) -> list[str]:
    """A trial as files of answers have it: codes of the item and its answers."""
    item = items[trial[0]]
    return [item["id"], item["codes"][trial[1]], item["codes"][trial[2]]]


def _require_web_address(url: str | None) -> None:
    if url is None:
        return
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.netloc:
        raise EvaluationError(f"completion_url={url!r} must be an address such as https://...")
