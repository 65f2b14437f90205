"""Length and markdown of an answer, as Arena-Hard counts them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax.evaluation._errors import EvaluationError

_CODE = re.compile("```([^`]*)```")
_HEADERS = {f"h{level}": re.compile(rf"^#{{{level}}}\s", re.M) for level in range(1, 7)}
_LISTS = {
    "ordered": re.compile(r"^\s*\d+\.\s", re.M),
    "unordered": re.compile(r"^\s*[-*+]\s", re.M),
}
_BOLD = {"**": re.compile(r"\*\*[^*\n]+\*\*"), "__": re.compile(r"__[^_\n]+__")}
# English has some four bytes a token of gpt-4o; other scripts have more bytes a letter.
BYTES_PER_TOKEN = 4


class TokenCounter(NamedTuple):
    """How tokens are counted.

    Attributes:
        name: said in reports, and in answer files.
        counts: of each of some texts.
    """

    name: str
    counts: Callable[[Sequence[str]], list[int]]


class Style(NamedTuple):
    """What style control knows of an answer.

    Attributes:
        tokens: its length.
        headers: of all six levels.
        lists: items, ordered or not.
        bold: passages in ``**`` or ``__``.
    """

    tokens: int
    headers: int
    lists: int
    bold: int


def markdown_counts(text: str) -> dict[str, dict[str, int]]:
    """Headers, list items and bold passages outside blocks of code.

    Source: ``utils/add_markdown_info.py`` of lmarena/arena-hard-auto, to its last detail: a block
    with a backtick inside is none, and what a block holds is removed wherever the answer says it.

    Returns:
        ``header_count`` (``h1`` to ``h6``), ``list_count`` (``ordered``, ``unordered``) and
        ``bold_count`` (``**``, ``__``).
    """
    prose = text
    for block in _CODE.findall(text):
        prose = prose.replace(block, "")
    return {
        "header_count": _counts(_HEADERS, prose),
        "list_count": _counts(_LISTS, prose),
        "bold_count": _counts(_BOLD, prose),
    }


def style_of(metadata: Mapping[str, Any]) -> Style:
    """The figures of an answer's ``metadata``, or of ``conv_metadata`` of v0.1.

    Raises:
        EvaluationError: a count that is missing or none.
    """
    names = ("token_len", "header_count", "list_count", "bold_count")
    return Style(*(_total(metadata, name) for name in names))


def style_metadata(text: str, tokens: int) -> dict[str, Any]:
    """The ``metadata`` of an answer, in the format of the benchmark's files."""
    return {"token_len": tokens, **markdown_counts(text)}


def _estimated_tokens(texts: Sequence[str]) -> list[int]:
    return [-(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN) for text in texts]


# For want of tiktoken: close for English, and the same for both sides of a comparison.
ESTIMATE = TokenCounter(f"UTF-8 bytes / {BYTES_PER_TOKEN}, an estimate", _estimated_tokens)


def _counts(patterns: Mapping[str, re.Pattern[str]], text: str) -> dict[str, int]:
    return {name: len(pattern.findall(text)) for name, pattern in patterns.items()}


def _total(metadata: Mapping[str, Any], name: str) -> int:
    value = metadata.get(name)
    parts = list(value.values()) if isinstance(value, Mapping) else [value]
    counts = [part for part in parts if isinstance(part, int) and part >= 0]
    if not parts or len(counts) < len(parts):
        raise EvaluationError(f"{name} is {value!r}, a count or counts by kind are expected")
    return sum(counts)
