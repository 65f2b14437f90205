"""A double-blind study: what its page shows, and the key that says which answer is whose."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from coala_jax._unseen import printable
from coala_jax.evaluation._benchmark_rows import Answers
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.blind._checks import BAD, GOOD, Check, shuffled_checks
from coala_jax.evaluation.blind._design import Design, Trial, draw_places
from coala_jax.evaluation.blind._wording import DEFAULT_WORDING, Wording, paragraphs

PAGE_FORMAT = "coala-jax-blind-page/1"
KEY_FORMAT = "coala-jax-blind-key/1"
ANSWERS_FORMAT = "coala-jax-blind-answers/1"
# Letters and digits that are not taken for one another.
CODE_LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
CODE_LENGTH = 6


class Study(NamedTuple):
    """A study, made.

    Attributes:
        page: what the page embeds; it says nothing of systems.
        key: which answer is whose, and what else must stay secret until the answers are in.
        identical: pairs of answers with the same text, which are not shown.
    """

    page: dict[str, Any]
    key: dict[str, Any]
    identical: int


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
    pairs = {question: _different(its) for question, its in texts.items()}
    all_pairs = len(systems) * (len(systems) - 1) // 2
    shown = [question for question in prompts if pairs[question]]
    checks = list(checks) or shuffled_checks(prompts, texts, design.checks, rng)
    places = draw_places([pairs[question] for question in shown], len(checks), design, rng)
    items: list[tuple[str, dict[str, str], str | None]] = [
        (prompts[question], dict(zip(systems, texts[question], strict=True)), question)
        for question in shown
    ]
    items += [(one.prompt, {GOOD: one.good, BAD: one.bad}, None) for one in checks]
    coded = [
        _coded(secret, number, prompt, by_system, question)
        for number, (prompt, by_system, question) in enumerate(items)
    ]
    page: dict[str, Any] = {
        "format": PAGE_FORMAT,
        "answers_format": ANSWERS_FORMAT,
        "wording": {
            "title": wording.title,
            "question": wording.question,
            "consent": paragraphs(wording.consent),
            "instructions": paragraphs(wording.instructions),
        },
        "any_code": any_code,
        "codes": [] if any_code else _participant_codes(secret, design.places),
        "completion_url": completion_url,
        "items": [item for item, _ in coded],
        "places": [
            [_embedded(trial, coded[trial.item][1], systems, len(shown)) for trial in place]
            for place in places
        ],
    }
    page["study"] = hashlib.sha256(json.dumps(page).encode()).hexdigest()[:16]
    key = {
        "format": KEY_FORMAT,
        "study": page["study"],
        "secret": secret.hex(),
        "codes": page["codes"],
        "items": {item["id"]: its_key for item, its_key in coded},
        "places": [
            [_as_answered(trial, page["items"]) for trial in place] for place in page["places"]
        ],
    }
    return Study(page, key, all_pairs * len(prompts) - sum(map(len, pairs.values())))


def place_of(study: str, code: str, codes: Sequence[str], places: int) -> int | None:
    """The place of a participant code: its own, or one drawn by the code.

    Args:
        study: id of the study.
        code: of the participant.
        codes: of the places; empty where people bring their own.
        places: how many there are.

    Returns:
        Its number, or None of a code that the study does not have.
    """
    if codes:
        return codes.index(code) if code in codes else None
    return int(hashlib.sha256(f"{study}:{code}".encode()).hexdigest()[:8], 16) % places


def item_code(secret: bytes, number: int) -> str:
    """The code of a prompt, by its number."""
    return _code(secret, f"item:{number}")


def answer_code(secret: bytes, number: int, system: str) -> str:
    """The code of a system's answer to it, which the secret alone tells from another's."""
    return _code(secret, f"answer:{number}:{system}")


def systems_named(page: Mapping[str, Any], systems: Sequence[str]) -> dict[str, int]:
    """How many prompts and answers of a page name a system, which would tell who wrote them."""
    texts = [text for item in page["items"] for text in (item["prompt"], *item["texts"])]
    patterns = {
        name: re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE) for name in systems
    }
    counts = {name: sum(map(bool, map(found.search, texts))) for name, found in patterns.items()}
    return {name: count for name, count in counts.items() if count}


def _different(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of systems whose answers can be told apart."""
    bare = [" ".join(text.split()) for text in texts]
    return [
        (one, other)
        for one, other in itertools.combinations(range(len(texts)), 2)
        if bare[one] != bare[other]
    ]


def _coded(
    secret: bytes, number: int, prompt: str, by_system: Mapping[str, str], question: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A prompt as the page has it, its answers under codes and in their order, and its key."""
    codes = {system: answer_code(secret, number, system) for system in by_system}
    in_order = sorted(by_system, key=codes.__getitem__)
    item = {
        "id": item_code(secret, number),
        "prompt": printable(prompt),
        "codes": [codes[system] for system in in_order],
        "texts": [printable(by_system[system]) for system in in_order],
    }
    its_key = {
        "question": question,
        "check": question is None,
        "systems": {codes[system]: system for system in in_order},
        "characters": {codes[system]: len(by_system[system]) for system in in_order},
    }
    return item, its_key


def _code(secret: bytes, name: str) -> str:
    return hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()[:12]


def _participant_codes(secret: bytes, count: int) -> list[str]:
    """Codes that cannot be guessed from one another."""
    codes: dict[str, None] = {}
    for number in itertools.count():
        if len(codes) == count:
            return list(codes)
        digest = hmac.new(secret, f"place:{number}".encode(), hashlib.sha256).digest()
        drawn = (CODE_LETTERS[byte % len(CODE_LETTERS)] for byte in digest)
        codes["".join(itertools.islice(drawn, CODE_LENGTH))] = None
    raise AssertionError


def _embedded(
    trial: Trial, its_key: Mapping[str, Any], systems: Sequence[str], mains: int
) -> list[int]:
    """A trial as the page has it: numbers of the item and of its answers in their order."""
    names = systems if trial.item < mains else (GOOD, BAD)
    in_order = list(its_key["systems"].values())
    return [trial.item, in_order.index(names[trial.left]), in_order.index(names[trial.right])]


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
