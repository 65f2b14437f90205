"""What the page of a study says to the people who take part."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from coala_jax._unseen import printable
from coala_jax.evaluation._errors import EvaluationError


class Wording(NamedTuple):
    """What the page says to its readers.

    Attributes:
        title: of the study.
        question: asked of every pair.
        consent: what people agree to, as paragraphs with an empty line between them.
        instructions: what they are asked to do, likewise.
    """

    title: str
    question: str
    consent: str
    instructions: str


DEFAULT_WORDING = Wording(
    title="Comparing answers",
    question="Which answer is more helpful?",
    consent=(
        "You are asked to compare answers to questions, two at a time. Taking part is voluntary. "
        "You can stop at any time, without giving a reason.\n\n"
        "What is recorded: your choices, how long each took, when, and the participant code below. "
        "Your name, your address and what else is on this device are not recorded. Your choices "
        "are kept in this browser too, so that nothing is lost. They are used for research, and "
        "may be published without the code.\n\n"
        "If you have questions, ask the person who sent you this page."
    ),
    instructions=(
        "You will see a prompt and two answers to it, A and B. Read both, then say which one is "
        "better. If neither is, say that they are about the same.\n\n"
        "The answers are in random order, and nothing here says who wrote which. There is no "
        "time limit. If you close this page, open it again in the same browser with the same code: "
        "it goes on where you stopped."
    ),
)


def read_words(path: Path) -> str:
    """The text of a file, which must have some.

    Raises:
        OSError: no such file.
        EvaluationError: it is no text in UTF-8, or there is none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path}: cannot be read as text in UTF-8 ({error})") from error
    if not paragraphs(text):
        raise EvaluationError(f"{path}: holds no text; write it, or leave the option out")
    return text


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, between which there are empty lines."""
    parts = re.split(r"\n\s*\n", printable(text))
    return [" ".join(part.split()) for part in parts if part.strip()]
