"""One request to an OpenAI-compatible endpoint, attempted until it is answered or hopeless.

The attempts are ours, with the client's own switched off: a pause that the endpoint asks for holds
for all threads, a run that ends wakes those who wait, and nobody sleeps through an hour unasked.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from coala_jax._extras import how_to_install
from coala_jax.evaluation._chat import ChatRequest, Reply
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.judge._faults import Fault, status_fault
from coala_jax.evaluation.judge._pace import Pace, backoff
from coala_jax.evaluation.judge._reading import NoCompletion, read_completion
from coala_jax.evaluation.judge._settings import JudgeSettings, shown_url

# Seconds before the second attempt; doubled before each further one, up to a minute.
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
# An endpoint that wants a longer pause has no more to give today: people decide, not a sleep.
LONGEST_PAUSE = 600.0
# Characters from which on a key is a secret; what local servers are given, such as EMPTY, is none,
# and may well be a word of a reply.
LEAST_SECRET = 12
# Newer models of OpenAI refuse the one, many servers know no other; both mean the same.
LIMIT, NEWER_LIMIT = "max_tokens", "max_completion_tokens"


class Endpoint:
    """Asks one judge; threads share it.

    Attributes:
        base_url: as it may be shown and kept.
        retries: attempts so far that were not the first of their request.
        pace: when requests are sent.
    """

    def __init__(self, settings: JudgeSettings) -> None:
        """Read the key from the environment and make the client.

        Raises:
            EvaluationError: no client is installed, or a setting or the environment does not fit.
        """
        try:
            import openai
        except ModuleNotFoundError as error:
            raise EvaluationError(
                f"asking a judge needs {error.name}; install it: {how_to_install('judge')}"
            ) from error
        self._openai, self._settings = openai, settings
        url, self._key = settings.url(), settings.key()
        self.base_url, self.retries = shown_url(url), 0
        self.pace = Pace(settings.requests_per_minute)
        self._lock = threading.Lock()
        self._answered = False
        self._limit = LIMIT
        try:
            self._client = openai.OpenAI(
                api_key=self._key, base_url=url, timeout=settings.timeout, max_retries=0
            )
        except openai.OpenAIError as error:
            raise EvaluationError(self._without_key(str(error))) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __call__(self, request: ChatRequest) -> Reply:
        """The reply, or one whose ``error`` says why there is none.

        Raises:
            EvaluationError: no request of this run will get a reply.
            Stopped: the run ends.
        """
        attempt = 0
        while True:
            self.pace.wait()
            limit = self._limit
            found = self._attempt(request, limit)
            if isinstance(found, Reply):
                return found
            if found.kind == "rename" and limit == LIMIT:
                self._limit = NEWER_LIMIT
                continue
            if found.kind in ("stop", "rename"):
                raise self._stop(found.text)
            if found.kind == "request" or attempt >= self._settings.retries:
                return Reply(None, error=self._without_key(found.text))
            if found.wait is not None:
                if found.wait > LONGEST_PAUSE:
                    raise self._stop(f"{found.text}; it asks for a pause of {found.wait:.0f} s")
                self.pace.hold(found.wait)
            self.pace.sleep(backoff(attempt, FIRST_WAIT, LONGEST_WAIT))
            attempt += 1
            with self._lock:
                self.retries += 1

    def _attempt(self, request: ChatRequest, limit: str) -> Reply | Fault:
        openai, url = self._openai, self.base_url
        try:
            reply = read_completion(self._post(request, limit))
        except openai.APIStatusError as error:
            body, headers = self._without_key(error.response.text), error.response.headers
            return status_fault(error.status_code, body, headers, answered=self._answered)
        except (openai.APITimeoutError, TimeoutError):
            return Fault("again", f"no reply within {self._settings.timeout:g} s")
        except openai.APIConnectionError as error:
            why = error.__cause__ or error
            text = f"{type(why).__name__}: {why}"
            if self._answered or not _nobody_there(why):
                return Fault("again", f"the connection broke ({text})")
            return Fault(
                "stop", f"nothing answers there ({text}); start the endpoint, or mend the base URL"
            )
        except NoCompletion as error:
            text = f"HTTP 200 with {error}"
            if error.page and not self._answered:
                return Fault("stop", f"{text}: {url} is no API; most base URLs end in /v1")
            return Fault("again", text)
        except UnicodeEncodeError as error:
            return Fault("request", f"half a character cannot be sent ({error})")
        except Exception as error:
            if not _is_of_http(error):
                raise
            return Fault("again", f"the connection broke ({type(error).__name__}: {error})")
        self._answered = True
        return reply

    def _post(self, request: ChatRequest, limit: str) -> str:
        """The body of the reply, which must be whole in time.

        It is read in pieces: a proxy that sends a blank now and then to keep the connection alive
        is never silent for long enough to be lost.

        Raises:
            TimeoutError: it is not.
        """
        deadline = time.monotonic() + self._settings.timeout
        pieces: list[bytes] = []
        streaming: Any = self._client.chat.completions.with_streaming_response
        with streaming.create(**self._body(request, limit)) as response:
            for piece in response.iter_bytes():
                if time.monotonic() > deadline:
                    raise TimeoutError
                pieces.append(piece)
        return self._without_key(b"".join(pieces).decode(errors="replace"))

    def _body(self, request: ChatRequest, limit: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": [{"role": role, "content": text} for role, text in request.messages],
            limit: request.max_tokens,
        }
        if self._settings.send_temperature:
            body["temperature"] = request.temperature
        if request.top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        return body

    def _without_key(self, text: str) -> str:
        """A text of the endpoint's, which may repeat what it was sent."""
        return text if len(self._key) < LEAST_SECRET else text.replace(self._key, "[key]")

    def _stop(self, text: str) -> EvaluationError:
        return EvaluationError(
            f"{self.base_url}, model {self._settings.model}: {self._without_key(text)}"
        )


# The client has changed its HTTP library, and may again: its errors are known by their names.
def _nobody_there(why: BaseException) -> bool:
    """Whether no connection came about: refused, or a host that has no address."""
    return type(why).__name__ == "ConnectError"


def _is_of_http(error: BaseException) -> bool:
    """Whether it is an error of that library, which the client passes on while a body is read."""
    return type(error).__module__.startswith("httpx")
