"""What clients are answered: the objects of the API, whole or as events of a stream."""

import json
import math
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coala_jax.data._message import ASSISTANT
from coala_jax.decoding._rewards import Rewards
from coala_jax.serving._likelihoods import TokenLikelihood, chat_logprobs, text_logprobs
from coala_jax.serving._tickets import Finished, Piece

# Ends a stream.
STREAM_END = "[DONE]"
# Bytes of randomness in the id of an answer.
ID_BYTES = 12


@dataclass(frozen=True)
class Reply:
    """An answer in the making.

    Attributes:
        model: the name of the one that is served.
        chat: whether it answers a conversation.
        seed: that makes it again.
        prompt_tokens: of all prompts.
        usage: whether a stream ends with the number of tokens.
        id: of the answer.
        created: seconds since 1970.
    """

    model: str
    chat: bool
    seed: int
    prompt_tokens: int
    usage: bool = False
    id: str = field(default_factory=lambda: secrets.token_hex(ID_BYTES))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, pieces: Iterable[Piece], ends: Iterable[Finished]) -> dict[str, Any]:
        """The answer to a request that is not streamed: whole texts; choices in order."""
        ends = list(ends)
        choices = []
        for piece, end in zip(pieces, ends, strict=True):
            message = {"role": ASSISTANT, "content": piece.text, "refusal": None}
            said: dict[str, Any]
            said = {"message": message} if self.chat else {"text": piece.text}
            said["logprobs"] = self._logprobs(piece.tokens)
            choices.append(self._choice(end.number, said, end))
        kind = "chat.completion" if self.chat else "text_completion"
        tokens = sum(end.tokens for end in ends)
        return {**self._head(kind), "choices": choices, "usage": self._tokens(tokens)}

    def opening(self, number: int) -> dict[str, Any] | None:
        """The first event of a choice: who speaks; of a text there is none."""
        if not self.chat:
            return None
        return self._chunk([self._choice(number, {"delta": {"role": ASSISTANT, "content": ""}})])

    def piece(self, piece: Piece) -> dict[str, Any]:
        """Text of a choice as it comes."""
        said: dict[str, Any]
        said = {"delta": {"content": piece.text}} if self.chat else {"text": piece.text}
        said["logprobs"] = self._logprobs(piece.tokens)
        return self._chunk([self._choice(piece.number, said)])

    def end(self, finished: Finished) -> dict[str, Any]:
        """The last event of a choice, with its reward."""
        said: dict[str, Any] = {"delta": {}} if self.chat else {"text": ""}
        return self._chunk([self._choice(finished.number, said, finished)])

    def count(self, tokens: int) -> dict[str, Any]:
        """The event that ends a stream whose tokens are to be counted."""
        return {**self._chunk([]), "usage": self._tokens(tokens)}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        counted = {"usage": None} if self.usage else {}
        return {**self._head(kind), "choices": choices, **counted}

    def _head(self, kind: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.chat else "cmpl"
        return {
            "id": f"{prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "seed": self.seed,
        }

    def _logprobs(self, tokens: Sequence[TokenLikelihood] | None) -> dict[str, Any] | None:
        if tokens is None:
            return None
        return chat_logprobs(tokens) if self.chat else text_logprobs(tokens)

    @staticmethod
    def _choice(
        number: int, said: Mapping[str, Any], end: Finished | None = None
    ) -> dict[str, Any]:
        reason = None if end is None else end.reason
        choice = {"index": number, "logprobs": None, **said, "finish_reason": reason}
        return choice if end is None else {**choice, "reward": _finite(end.reward)}

    def _tokens(self, completion: int) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }


def scores(model: str, made: Rewards) -> dict[str, Any]:
    """The answer to a request for rewards."""
    data = [
        {"object": "score", "index": n, "reward": reward}
        for n, reward in enumerate(made.rewards.tolist())
    ]
    cut = {"prompt": made.prompt_cut, "response": made.response_cut}
    return {"object": "list", "model": model, "data": data, "cut": cut}


def event(content: Mapping[str, Any] | str) -> bytes:
    """A server-sent event."""
    text = content if isinstance(content, str) else json.dumps(content, allow_nan=False)
    return f"data: {text}\n\n".encode()


def _finite(reward: float) -> float | None:
    return reward if math.isfinite(reward) else None
