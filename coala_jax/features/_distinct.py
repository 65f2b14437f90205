"""Pairs that are none for a model: chosen and rejected become the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coala_jax._common_start import common_length
from coala_jax.data import PreferenceRow, RowSet, SetAsideRow
from coala_jax.features._tokens import TextTemplate, TokenSequence, encode_texts

if TYPE_CHECKING:
    from coala_jax.backbones import Backbone, Tokenizer

SAME_TOKENS = "chosen and rejected are the same tokens, once cut to the context"
# A tokenizer that gives this back loses no letter's case, accent or form, no sign and no space.
LOSSLESS_PROBE = (
    "Aa \u00c9 \u00e9 e\u0301  \ufb01 \u00b2 \uff21 \uff76\uff9e \u4f60 \u2603 \U0001f600\n\tb"
)
# Start and end tokens, and the bytes of a character that is the first to differ.
FEW_TOKENS = 8
# Rows that are tokenised together.
CHUNK_ROWS = 2048


def set_same_aside(row_set: RowSet, backbone: Backbone, template: TextTemplate) -> RowSet:
    """The rows whose two responses differ for the model; the others are set aside.

    They may differ behind the context, where they are cut off, or by what a tokenizer does not tell
    apart, such as case.

    Args:
        row_set: usable rows.
        backbone: that is to read them.
        template: around prompt and response.
    """
    lossless = _is_lossless(backbone.tokenizer)
    room = backbone.config.max_length - len(template.response.encode()) - FEW_TOKENS
    candidates = [
        number for number, row in enumerate(row_set.rows) if not lossless or _may_be_same(row, room)
    ]
    same = set[int]()
    for start in range(0, len(candidates), CHUNK_ROWS):
        numbers = candidates[start : start + CHUNK_ROWS]
        rows = [row_set.rows[number] for number in numbers]
        encoded = encode_pairs(rows, backbone, template)
        sides = zip(encoded[: len(rows)], encoded[len(rows) :], strict=True)
        same |= {n for n, each in zip(numbers, sides, strict=True) if _are_same(*each)}
    if not same:
        return row_set
    return row_set._replace(
        rows=tuple(row for number, row in enumerate(row_set.rows) if number not in same),
        set_aside=(*row_set.set_aside, *_set_aside(row_set.rows, sorted(same))),
    )


def _set_aside(rows: Sequence[PreferenceRow], numbers: Sequence[int]) -> list[SetAsideRow]:
    """Rows by their place among the usable ones, from 1."""
    texts = ("id", "prompt", "chosen", "rejected")
    return [
        SetAsideRow(
            number + 1,
            SAME_TOKENS,
            content={name: getattr(rows[number], name) for name in texts},
        )
        for number in numbers
    ]


def encode_pairs(
    rows: Sequence[PreferenceRow], backbone: Backbone, template: TextTemplate
) -> list[TokenSequence]:
    """The chosen responses of rows behind their prompts, then the rejected ones, as tokens."""
    return encode_texts(
        backbone.tokenizer,
        [row.prompt for row in rows] * 2,
        [*(row.chosen for row in rows), *(row.rejected for row in rows)],
        template,
        backbone.config.max_length,
    )


def _are_same(one: TokenSequence, other: TokenSequence) -> bool:
    return one.tokens == other.tokens


def _may_be_same(row: PreferenceRow, room: int) -> bool:
    """Whether both responses may become the same tokens where a tokenizer loses nothing.

    A token then holds a byte or more: what differs before that many bytes cannot be cut off.
    """
    chosen, rejected = row.chosen.strip(), row.rejected.strip()
    alike = chosen[: common_length(chosen, rejected)]
    # One may go on where the other ends, by an end token.
    return alike.strip() in (chosen, rejected) or len(alike.encode()) >= room


def _is_lossless(tokenizer: Tokenizer) -> bool:
    return tokenizer.decode(tokenizer.encode(LOSSLESS_PROBE)) == LOSSLESS_PROBE
