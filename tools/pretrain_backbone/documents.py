"""Text of the generator as token rows to pre-train on, tokenised as features will be.

A document is a prompt, an answer and the end token, as in use; after it, an index line names the
aspect that was asked about and the aspect that was answered, in either order. So the state at the
end token has to know both, whichever comes first. It is never told whether they agree.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from coala_jax.backbones import Tokenizer
from coala_jax.data import PreferenceRow
from coala_jax.features._tokens import TextTemplate, encode_texts
from coala_jax.quickstart._tutoring import tutoring_triplets

# Plain asking, without a dialogue before, is what the sampled shares test: of about 4.5 rows of a
# conversation one is a first turn, and at this rate of the others 40 % of the documents are.
LATER_TURN_KEPT = 0.35
# Words of the index line: what was asked, and what was answered. No word is in both, so that
# agreement is no word of its own.
ASKED_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "definition": "define",
        "mechanism": "explain",
        "example": "illustrate",
        "mistake": "warn",
        "contrast": "compare",
    }
)
ANSWERED_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "definition": "meaning",
        "mechanism": "workings",
        "example": "case",
        "mistake": "error",
        "contrast": "difference",
    }
)


class Document(NamedTuple):
    """A prompt, the answer to learn after it, and the index line after the end token."""

    prompt: str
    response: str
    index_line: str


def make_documents(seed: int, pairs: int, *, plain: bool = False) -> list[Document]:
    """Prompts with their direct or their drifting answer, half and half.

    Args:
        seed: of the conversations, and of what is taken from them.
        pairs: how many preference rows to take documents from.
        plain: take first turns alone, where nothing was said before.

    Returns:
        Documents, one from each row that is kept, in the order of the conversations.
    """
    rng = np.random.default_rng([seed, pairs])
    kept = [
        row
        for row in tutoring_triplets(seed, pairs)
        if row.extra["turn"] == 0 or (not plain and rng.random() < LATER_TURN_KEPT)
    ]
    return [_document(rng, row) for row in kept]


def encode_documents(
    tokenizer: Tokenizer, documents: Sequence[Document], max_length: int
) -> list[np.ndarray]:
    """Token ids: prompt, response and end token as ``features`` makes them, then the index."""
    sequences = encode_texts(
        tokenizer,
        [document.prompt for document in documents],
        [document.response for document in documents],
        TextTemplate(),
        max_length,
    )
    indices = tokenizer.encode_batch([document.index_line for document in documents])
    return [
        np.array([*sequence.tokens, *index], np.int32)
        for sequence, index in zip(sequences, indices, strict=True)
    ]


def pack_documents(documents: Iterable[np.ndarray], length: int) -> np.ndarray:
    """Documents one after another in rows of one length, every position filled.

    Every row begins with a document's begin, as in use; the last one is cut where the row ends.

    Args:
        documents: token ids of each.
        length: tokens of a row.

    Returns:
        (rows, length) integers; documents that fill no row any more are left out.
    """
    rows: list[np.ndarray] = []
    current: list[np.ndarray] = []
    filled = 0
    for document in documents:
        current.append(document)
        filled += len(document)
        if filled >= length:
            rows.append(np.concatenate(current)[:length])
            current, filled = [], 0
    return np.stack(rows) if rows else np.empty((0, length), np.int32)


def _document(rng: np.random.Generator, row: PreferenceRow) -> Document:
    """A row's direct or drifting answer, and the index line in either order, by fair coins."""
    direct, asked_first = rng.random(2) < 0.5
    asked = ASKED_WORDS[row.extra["aspect"]]
    answered = ANSWERED_WORDS[row.extra["aspect" if direct else "rejected_aspect"]]
    words = (asked, answered) if asked_first else (answered, asked)
    response = row.chosen if direct else row.rejected
    return Document(row.prompt, response, f" {words[0]} {words[1]}\n")
