"""The body of a chat completion as a `Reply`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from coala_jax.evaluation._chat import Reply
from coala_jax.evaluation.judge._faults import looks_like_page, shortened

# No probability is above 1, but for rounding.
_LARGEST_LOGPROB = 0.01


class NoCompletion(Exception):
    """A body that is no chat completion.

    Attributes:
        page: whether it is a page for people.
    """

    def __init__(self, what: str, *, page: bool = False) -> None:
        super().__init__(what)
        self.page = page


def read_completion(body: str) -> Reply:
    """What a judge said.

    A reply without content is one with an ``error``: a reasoning model that spent all its tokens
    on thinking gives none, nor does a filter. A refusal is what the judge said.

    Raises:
        NoCompletion: the body is something else.
    """
    try:
        fields = json.loads(body)
        if not isinstance(fields, Mapping):
            raise ValueError
    except (ValueError, RecursionError):
        page = looks_like_page(body)
        what = "a page of HTML" if page else f"no JSON object: {shortened(body)!r}"
        raise NoCompletion(what, page=page) from None
    try:
        choice = fields["choices"][0]
        message = choice["message"]
        text = message.get("content")
        if text is None:
            text = message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise NoCompletion(f"no chat completion: {shortened(body)!r}") from None
    if isinstance(text, list):  # of parts, as some servers have it
        parts: list[Any] = [p.get("text") if isinstance(p, Mapping) else None for p in text]
        text = "".join(parts) if all(isinstance(part, str) for part in parts) else text
    if text is not None and not isinstance(text, str):
        raise NoCompletion(f"content that is no text: {shortened(str(text))!r}")
    finish = choice.get("finish_reason")
    finish = finish if isinstance(finish, str) else None
    reply = Reply(
        text,
        _first_logprobs(choice),
        finish,
        _count(fields, "prompt_tokens"),
        _count(fields, "completion_tokens"),
    )
    return reply if text is not None else reply._replace(error=_no_content(finish))


def _no_content(finish: str | None) -> str:
    if finish == "length":
        return "the judge used all its tokens before it said anything; give it more (max_tokens)"
    return f"the judge said nothing (finish_reason {finish})"


def _count(fields: Mapping[str, Any], name: str) -> int | None:
    usage = fields.get("usage")
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) else None


def _first_logprobs(choice: Mapping[str, Any]) -> dict[str, float] | None:
    """Log probabilities of the first token's candidates by text; the likelier of equal texts."""
    try:
        candidates = choice["logprobs"]["content"][0]["top_logprobs"]
        pairs = [(str(each["token"]), float(each["logprob"])) for each in candidates]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    found: dict[str, float] = {}
    for token, logprob in pairs:
        if logprob <= _LARGEST_LOGPROB:  # NaN is not
            found[token] = max(logprob, found.get(token, -math.inf))
    # JSON has no infinity; -9999 is what OpenAI writes for it.
    return {token: max(logprob, -9999.0) for token, logprob in found.items()} or None
