"""Which judge is asked, and how."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from coala_jax._choices import require_fields
from coala_jax.evaluation._chat import ChatRequest
from coala_jax.evaluation._errors import EvaluationError

KEY_VARIABLE, URL_VARIABLE = "OPENAI_API_KEY", "OPENAI_BASE_URL"
OPENAI_URL = "https://api.openai.com/v1"
# What the client sends where an endpoint takes no key: it refuses to send none.
NO_KEY = "none"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Prices(NamedTuple):
    """What a million tokens cost, in the user's currency."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """The price of so many tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """A model behind an endpoint that speaks OpenAI's protocol of chat completions.

    Attributes:
        model: its name there.
        base_url: the endpoint, such as http://127.0.0.1:8000/v1; None means OPENAI_BASE_URL of the
            environment, or else OpenAI's.
        key_variable: environment variable that holds the key, which is given nowhere else. It is
            read when the judge is opened and is never written anywhere.
        parallel: requests at a time.
        retries: further attempts where an endpoint is busy or broken.
        timeout: seconds after which a request counts as lost.
        requests_per_minute: send no more than these, retries among them; None means no limit.
        send_temperature: say the temperature, for models that refuse any but their own. What these
            sample without is not greedy.
        temperature: of the judge's sampling; None means that of the request: 1 of AlpacaEval, what
            its file says of Arena-Hard, 0 of all others.
        max_tokens: of a reply, of which the first token decides of AlpacaEval and of --verdict
            token, so that no judge can be read there that begins with its thoughts; None means
            that of the request: 1 of these two, what its file says of Arena-Hard or else 16000
            (v0.1: 4096), 2048 of MT-Bench, 1024 of others.
    """

    model: str
    base_url: str | None = None
    key_variable: str = KEY_VARIABLE
    parallel: int = 8
    retries: int = 6
    timeout: float = 120.0
    requests_per_minute: float | None = None
    send_temperature: bool = True
    temperature: float | None = None
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            EvaluationError: names the field and what it may be; of ``key_variable`` never the
                value, which may be a key given by mistake.
        """
        if not isinstance(self.key_variable, str) or not _VARIABLE.fullmatch(self.key_variable):
            raise EvaluationError(
                "key_variable must be the name of an environment variable, such as "
                f"{KEY_VARIABLE}; the key itself is given in that variable alone"
            )
        require_fields(self, EvaluationError)
        if not self.model:
            raise EvaluationError("model='' must name a model of the endpoint")
        if self.parallel < 1 or self.retries < 0:
            raise EvaluationError(
                f"parallel={self.parallel} must be at least 1, retries={self.retries} at least 0"
            )
        for name in ("timeout", "requests_per_minute"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise EvaluationError(f"{name}={value} must be above 0")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise EvaluationError(f"max_tokens={self.max_tokens} must be at least 1")
        if self.temperature is not None and not 0 <= self.temperature < float("inf"):
            raise EvaluationError(f"temperature={self.temperature} must be at least 0")
        if self.temperature is not None and not self.send_temperature:
            raise EvaluationError(
                f"temperature={self.temperature} is not said with send_temperature=False; leave "
                "one of them out"
            )

    def sampled(self, request: ChatRequest) -> ChatRequest:
        """A request with the temperature and the most tokens of these settings, if they say any."""
        return request._replace(
            temperature=request.temperature if self.temperature is None else self.temperature,
            max_tokens=self.max_tokens or request.max_tokens,
        )

    def url(self, environment: Mapping[str, str] = os.environ) -> str:
        """The endpoint that is asked.

        Raises:
            EvaluationError: it is no address of HTTP.
        """
        url = self.base_url or environment.get(URL_VARIABLE) or OPENAI_URL
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise EvaluationError(
                f"base URL {shown_url(url)}: must begin with http:// or https:// and name a host, "
                "such as http://127.0.0.1:8000/v1"
            )
        if parts.query or parts.fragment:
            raise EvaluationError(
                f"base URL {shown_url(url)}: has something behind a ? or a #, to which the path of "
                "the API cannot be added; leave it out, and give a key in the environment"
            )
        return url.rstrip("/")

    def key(self, environment: Mapping[str, str] = os.environ) -> str:
        """The key for the endpoint; `NO_KEY` where none is set and the endpoint may need none.

        Raises:
            EvaluationError: none is set, and OpenAI or a variable of the caller's is meant.
        """
        # Of a file with line ends of Windows a variable keeps one.
        if key := environment.get(self.key_variable, "").strip():
            if not (key.isascii() and key.isprintable()):
                raise EvaluationError(
                    "the key in the environment has a character that no header may have; set the "
                    "variable to the key alone"
                )
            return key
        if self.key_variable != KEY_VARIABLE:
            raise EvaluationError(
                "the environment variable that key_variable names is not set; set it to the key "
                "of the endpoint"
            )
        if self.url(environment) == OPENAI_URL:
            raise EvaluationError(
                f"{OPENAI_URL} needs a key: set {KEY_VARIABLE} to it, or give the base URL of "
                "another endpoint"
            )
        return NO_KEY


def shown_url(url: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
