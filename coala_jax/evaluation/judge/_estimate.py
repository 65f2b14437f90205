"""What asking a judge would take, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coala_jax.evaluation._chat import ChatRequest
from coala_jax.evaluation.judge._cache import ReplyCache, request_key
from coala_jax.evaluation.judge._settings import JudgeSettings, Prices

# English text under the tokenizers of OpenAI; other scripts take fewer characters a token.
CHARACTERS_PER_TOKEN = 4


def estimate(
    settings: JudgeSettings,
    requests: Sequence[ChatRequest],
    cache: ReplyCache,
    prices: Prices | None = None,
) -> dict[str, Any]:
    """Counts of requests and tokens, and about the price, as JSON.

    Prompt tokens are an estimate, a token for every four characters; completion tokens are the most
    that the requests allow.

    Args:
        settings: which judge.
        requests: to be asked.
        cache: of the replies there are.
        prices: of tokens; without them the price is None. With them it is that of the estimated
            prompt tokens and of replies as long as they may be.
    """
    distinct = {
        request_key(settings.model, request, send_temperature=settings.send_temperature): request
        for request in map(settings.sampled, requests)
    }
    missing = [request for key, request in distinct.items() if cache.get(key) is None]
    characters = sum(len(text) for request in missing for _, text in request.messages)
    prompt = -(-characters // CHARACTERS_PER_TOKEN)
    completion = sum(request.max_tokens for request in missing)
    return {
        "model": settings.model,
        "requests": len(requests),
        "distinct": len(distinct),
        "cached": len(distinct) - len(missing),
        "to_ask": len(missing),
        "prompt_tokens_estimate": prompt,
        "completion_tokens_at_most": completion,
        "price_estimate": None if prices is None else prices.of(prompt, completion),
    }
