"""Codes of prompts, answers, people and places: what a page says in place of names."""

from __future__ import annotations

import hashlib
import hmac
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax._unseen import printable

# Letters and digits that are not taken for one another.
CODE_LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
CODE_LENGTH = 6


class Item(NamedTuple):
    """A prompt with the answers that may be shown.

    Attributes:
        prompt: the text.
        answers: by system.
        question: its name; None of a check.
    """

    prompt: str
    answers: Mapping[str, str]
    question: str | None


def shown_item(secret: bytes, number: int, item: Item) -> dict[str, Any]:
    """A prompt as the page has it: its answers under codes, and in the order of these."""
    in_order = _in_order(secret, number, item)
    return {
        "id": item_code(secret, number),
        "prompt": printable(item.prompt),
        "codes": [answer_code(secret, number, system) for system in in_order],
        "texts": [printable(item.answers[system]) for system in in_order],
    }


def item_key(secret: bytes, number: int, item: Item) -> dict[str, Any]:
    """What the key says of a prompt, by the codes of its answers."""
    codes = {answer_code(secret, number, system): system for system in item.answers}
    return {
        "question": item.question,
        "check": item.question is None,
        "systems": codes,
        "characters": {code: len(item.answers[system]) for code, system in codes.items()},
    }


def shown_trial(
    secret: bytes, number: int, item: Item, left: str, right: str
) -> tuple[int, int, int]:
    """A trial as the page has it: numbers of the prompt and of its answers in their order."""
    in_order = _in_order(secret, number, item)
    return number, in_order.index(left), in_order.index(right)


def item_code(secret: bytes, number: int) -> str:
    """The code of a prompt, by its number."""
    return _code(secret, f"item:{number}")


def answer_code(secret: bytes, number: int, system: str) -> str:
    """The code of a system's answer to it, which the secret alone tells from another's."""
    return _code(secret, f"answer:{number}:{system}")


def participant_codes(secret: bytes, count: int) -> list[str]:
    """Codes that cannot be guessed from one another."""
    codes: dict[str, None] = {}
    for number in itertools.count():
        if len(codes) == count:
            return list(codes)
        digest = hmac.new(secret, f"place:{number}".encode(), hashlib.sha256).digest()
        drawn = (CODE_LETTERS[byte % len(CODE_LETTERS)] for byte in digest)
        codes["".join(itertools.islice(drawn, CODE_LENGTH))] = None
    raise AssertionError


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


def _in_order(secret: bytes, number: int, item: Item) -> list[str]:
    return sorted(item.answers, key=lambda system: answer_code(secret, number, system))


def _code(secret: bytes, name: str) -> str:
    return hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()[:12]
