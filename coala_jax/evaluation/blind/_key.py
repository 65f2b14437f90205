"""The key of a study: which answer is whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax._json import read_json_object
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.blind._coding import answer_code, item_code
from coala_jax.evaluation.blind._study import KEY_FORMAT

MEND = "give the key that was written with the study's page"


class ItemKey(NamedTuple):
    """What stands behind the codes of a prompt.

    Attributes:
        question: its id, or its text; None of a check.
        systems: who wrote each answer, by its code.
        characters: of each answer, by its code.
    """

    question: str | None
    systems: Mapping[str, str]
    characters: Mapping[str, int]


class Key(NamedTuple):
    """The key.

    Attributes:
        study: id of the study.
        plan_sha256: of the plan that was made with it.
        codes: of participants, by place; empty where they bring their own.
        items: by the code of each.
        places: trials of each: codes of the item, the left and the right answer.
    """

    study: str
    plan_sha256: str
    codes: Sequence[str]
    items: Mapping[str, ItemKey]
    places: Sequence[Sequence[Sequence[str]]]


def read_key(path: Path, study: str) -> Key:
    """Read the key of a study.

    Raises:
        EvaluationError: no key, that of another study, or one whose codes are not those that its
            secret makes.
    """
    found: dict[str, Any] = read_json_object(path, EvaluationError, MEND, unique=True)
    if found.get("format") != KEY_FORMAT:
        raise EvaluationError(f"{path}: is no key of a study; {MEND}")
    if found.get("study") != study:
        raise EvaluationError(
            f"{path}: is the key of study {found.get('study')}, the plan and the answers are of "
            f"study {study}; {MEND}"
        )
    try:
        items = {
            code: ItemKey(one["question"], one["systems"], one["characters"])
            for code, one in found["items"].items()
        }
        key = Key(study, found["plan_sha256"], found["codes"], items, found["places"])
        secret = bytes.fromhex(found["secret"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EvaluationError(
            f"{path}: a part of the key is missing or broken ({error}); {MEND}"
        ) from error
    _require_unchanged(path, secret, items)
    return key


def _require_unchanged(path: Path, secret: bytes, items: Mapping[str, ItemKey]) -> None:
    """Raise where an answer stands under another system than the one that it was coded for."""
    for number, (code, item) in enumerate(items.items()):
        coded = {answer_code(secret, number, system): system for system in item.systems.values()}
        if code != item_code(secret, number) or coded != item.systems:
            raise EvaluationError(
                f"{path}: was changed: the codes of {item.question or 'a check'!r} are not those "
                f"that its secret makes; {MEND}"
            )
