"""What is asked of a judge, and what it says: the only thing that benchmarks know of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from coala_jax.evaluation._errors import EvaluationError

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"


class ChatRequest(NamedTuple):
    """One question to a judge: what decides its reply, and so the key of the cache.

    Attributes:
        messages: (role, content) of each.
        max_tokens: of the reply.
        temperature: of the sampling; 0 is greedy.
        top_logprobs: how many log probabilities of first tokens to ask for; None asks for none.
    """

    messages: tuple[tuple[str, str], ...]
    max_tokens: int
    temperature: float = 0.0
    top_logprobs: int | None = None


class Reply(NamedTuple):
    """What came of a request.

    Attributes:
        text: what the judge said; None where nothing came, and ``error`` says why.
        logprobs: of the candidates of the first token, by their text; None where none were given.
        finish_reason: as the endpoint gave it, such as ``stop`` or ``length``; None of a reply that
            is `uncut`.
        prompt_tokens: as the endpoint counted them; None where it did not.
        completion_tokens: likewise.
        error: why there is no text.
    """

    text: str | None
    logprobs: Mapping[str, float] | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None


def uncut(request: ChatRequest, reply: Reply) -> Reply:
    """The reply without its reason to end, where a token was all that was asked for.

    Args:
        request: as it was sent, with the most tokens that the judge was allowed.
        reply: to it.
    """
    one_token = request.max_tokens == 1 and request.top_logprobs is not None
    return reply._replace(finish_reason=None) if one_token else reply


# Replies in the order of their requests.
Ask = Callable[[Sequence[ChatRequest]], Sequence[Reply]]


def require_one_reply_each(requests: Sequence[ChatRequest], replies: Sequence[Reply]) -> None:
    """Raise where a judge gave another number of replies than it was asked for.

    Raises:
        EvaluationError: says both numbers.
    """
    if len(replies) != len(requests):
        raise EvaluationError(
            f"ask: gave {len(replies)} replies to {len(requests)} requests; give one each, in order"
        )
