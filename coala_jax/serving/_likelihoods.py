"""Log probabilities of tokens, in the two forms that the API has for them."""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from coala_jax.backbones import Tokenizer
from coala_jax.decoding._prompts import UNFINISHED

# What the API says of a token without probability; JSON knows no infinity.
LEAST = -9999.0
# How vocabularies with single bytes among their tokens write one.
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class LikelyToken(NamedTuple):
    """A token and how probable the backbone finds it.

    Attributes:
        text: of the token; empty where its bytes are none.
        bytes: of the token, or None where they are not known.
        log_prob: over the whole vocabulary.
    """

    text: str
    bytes: tuple[int, ...] | None
    log_prob: float


class TokenLikelihood(NamedTuple):
    """A token of a response, and what else was probable in its place.

    Attributes:
        own: the token.
        others: the most probable ones in order, the token among them where it is one.
        offset: characters of the response before it.
    """

    own: LikelyToken
    others: tuple[LikelyToken, ...]
    offset: int


class TokenTexts:
    """Texts and bytes of single tokens; not for several threads at once."""

    def __init__(self, tokenizer: Tokenizer):
        """Take the tokenizer."""
        self._tokenizer = tokenizer
        self._known: dict[int, tuple[str, tuple[int, ...] | None]] = {}

    def likely(self, token: int, log_prob: float) -> LikelyToken:
        """A token with its log probability."""
        if token not in self._known:
            self._known[token] = self._read(token)
        finite = log_prob if math.isfinite(log_prob) else LEAST
        return LikelyToken(*self._known[token], finite)

    def _read(self, token: int) -> tuple[str, tuple[int, ...] | None]:
        # Behind another token: some tokenizers drop the space of the first.
        end = self._tokenizer.end_id
        before, both = self._tokenizer.decode([end]), self._tokenizer.decode([end, token])
        text = both.removeprefix(before)
        if UNFINISHED not in text:
            return text, tuple(text.encode())
        # Part of a character.
        piece = self._tokenizer.raw.convert_ids_to_tokens(token) or ""
        if found := _BYTE.fullmatch(piece):
            return "", (int(found[1], 16),)
        if all(character in _BYTES for character in piece):
            return "", tuple(_BYTES[character] for character in piece)
        return text, None


def chat_logprobs(tokens: Sequence[TokenLikelihood]) -> dict[str, Any]:
    """As choices of a conversation have them."""

    def entry(token: LikelyToken) -> dict[str, Any]:
        known = None if token.bytes is None else list(token.bytes)
        return {"token": _name(token), "logprob": token.log_prob, "bytes": known}

    content = [
        {**entry(token.own), "top_logprobs": [entry(other) for other in token.others]}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def text_logprobs(tokens: Sequence[TokenLikelihood]) -> dict[str, Any]:
    """As choices of a text have them: what was most probable, and the token itself, by its text."""

    def by_name(token: TokenLikelihood) -> dict[str, float]:
        # Of tokens of one text the most probable counts.
        found: dict[str, float] = {}
        for one in (*token.others, token.own):
            found.setdefault(_name(one, "bytes:"), one.log_prob)
        return found

    return {
        "tokens": [_name(token.own, "bytes:") for token in tokens],
        "token_logprobs": [token.own.log_prob for token in tokens],
        "top_logprobs": [by_name(token) for token in tokens],
        "text_offset": [token.offset for token in tokens],
    }


def _name(token: LikelyToken, part: str = "") -> str:
    """The text of a token; of part of a character the bytes, written out."""
    if token.text or not token.bytes:
        return token.text
    return part + "".join(f"\\x{byte:02x}" for byte in token.bytes)


def _byte_alphabet() -> dict[str, int]:
    """The characters that stand for bytes in byte-level vocabularies (Radford et al. 2019).

    A byte that is a visible character of Latin-1 stands for itself; the others follow from 256 on.
    """
    itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in itself]
    shifted = {chr(256 + number): byte for number, byte in enumerate(others)}
    return {chr(byte): byte for byte in itself} | shifted


_BYTES = _byte_alphabet()
