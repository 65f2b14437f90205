"""What an endpoint's refusal means: the end of the run, another attempt, or one lost request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, Literal, NamedTuple

Kind = Literal["stop", "again", "request", "rename"]
# Busy or broken for now (408, 409, 429 and what begins with 5).
_BUSY = (408, 409, 429)
# Refusals that are about the text of one request, by the code that OpenAI, Azure or vLLM gives or
# by words of the message.
_OF_ONE_REQUEST = (
    "context_length_exceeded",
    "maximum context length",
    "context window",
    "too many tokens",
    "prompt is too long",
    "string_above_max_length",
    "content_filter",
    "content_policy",
    "invalid_prompt",
)
_MENDS = {
    401: "the key is not accepted; set the environment variable of the key to one that is",
    402: "the account has no credit there",
    403: "the key may not use this model or endpoint",
    404: "no such model or route; most base URLs end in /v1, and GET /models lists the models",
    405: "this is no route of chat completions; most base URLs end in /v1",
}
_REFUSED_FIELDS = {
    "temperature": "this model takes no temperature but its own: judge with "
    "send_temperature=False (--no-temperature)",
    "logprobs": "this model gives no log probabilities: read its verdict from the text instead",
}
LONGEST_MESSAGE = 300


class Fault(NamedTuple):
    """What is to be done about a refusal.

    Attributes:
        kind: ``stop`` ends the run, ``again`` is worth another attempt, ``request`` concerns one
            request alone, ``rename`` wants the limit of tokens under its newer name.
        text: what the endpoint said, and the mend where there is one.
        wait: seconds that it asks for before another attempt.
    """

    kind: Kind
    text: str
    wait: float | None = None


def status_fault(status: int, body: str, headers: Mapping[str, str], *, answered: bool) -> Fault:
    """The fault of a reply with a status of 400 or above.

    Args:
        status: of HTTP.
        body: of the reply.
        headers: of the reply, by names in lower case.
        answered: whether this endpoint has answered a request of this run, with the same fields:
            a refusal is then about what this one says.
    """
    said, code, field = _said(body)
    text = f"HTTP {status}: {said}"
    if status in _BUSY or status >= 500:
        if code == "insufficient_quota":
            return Fault("stop", f"{text}; the account has no credit left there")
        return Fault("again", text, _wait(headers))
    if status == 413 or any(word in f"{code} {said}".lower() for word in _OF_ONE_REQUEST):
        return Fault("request", text)
    # Of an endpoint that answered others, 403 is moderation's word on this text.
    if status in _MENDS and not (status == 403 and answered):
        return Fault("stop", f"{text}; {_MENDS[status]}")
    if "max_completion_tokens" in said and "max_tokens" in f"{field} {said}":
        return Fault("rename", text)
    if answered:
        return Fault("request", text)
    for name, mend in _REFUSED_FIELDS.items():
        if name in f"{field} {said}":
            return Fault("stop", f"{text}; {mend}")
    return Fault("stop", text)


def looks_like_page(body: str) -> bool:
    """Whether a body is a page for people: the address is then of no API."""
    return body.lstrip()[:1] == "<"


def _said(body: str) -> tuple[str, str, str]:
    """Message, code and parameter of an error, as OpenAI and those who follow it write them."""
    try:
        fields: Any = json.loads(body)
        error = fields.get("error", fields)
        if isinstance(error, str):
            return shortened(error), "", ""
        message = error.get("message") or error.get("detail") or body
        return shortened(str(message)), str(error.get("code")), str(error.get("param"))
    except (ValueError, AttributeError, RecursionError):
        if looks_like_page(body):
            return "a page of HTML", "", ""
        return shortened(body) or "nothing more", "", ""


def shortened(text: str) -> str:
    """A text of others on one line of a message."""
    words = " ".join(text.split())
    return words if len(words) <= LONGEST_MESSAGE else f"{words[:LONGEST_MESSAGE]}..."


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that Retry-After asks for, whichever way it says them."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time())
    except (KeyError, ValueError):
        return None
