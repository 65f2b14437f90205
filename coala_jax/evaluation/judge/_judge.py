"""A judge: requests in, replies out, each kept as it arrives and asked no second time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coala_jax._progress import Progress
from coala_jax.evaluation._chat import ChatRequest, Reply, uncut
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.judge._cache import ReplyCache, open_cache, request_key
from coala_jax.evaluation.judge._endpoint import Endpoint
from coala_jax.evaluation.judge._pace import Stopped
from coala_jax.evaluation.judge._settings import JudgeSettings, Prices

# So many requests lost one after the other, each after all its attempts, are no accident.
MOST_LOST_IN_A_ROW = 20


class Judge:
    """Asks an endpoint what its cache does not hold; an `Ask`, made by `open_judge`.

    Attributes:
        model: its name.
    """

    def __init__(
        self,
        settings: JudgeSettings,
        endpoint: Endpoint,
        cache: ReplyCache,
        prices: Prices | None = None,
    ) -> None:
        """Ask ``endpoint`` as ``settings`` say, and keep what it says in ``cache``."""
        self.model = settings.model
        self._settings, self._endpoint = settings, endpoint
        self._cache, self._prices = cache, prices
        self._counts: Counter[str] = Counter()
        self._sampling: set[tuple[float | None, int]] = set()
        self._elsewhere: Counter[str] = Counter()

    def __call__(self, requests: Sequence[ChatRequest]) -> list[Reply]:
        """Replies in the order of the requests; equal requests are asked once.

        A request that got no reply has a `Reply` with an ``error``; it is not kept, so that the
        next run asks it again.

        Raises:
            EvaluationError: the endpoint answers no request of this run, or stopped answering.
                What it has answered is in the cache.
        """
        requests = [self._settings.sampled(request) for request in requests]
        says = self._settings.send_temperature
        self._sampling |= {
            (each.temperature if says else None, each.max_tokens) for each in requests
        }
        keys = [self._key(request) for request in requests]
        distinct = dict(zip(keys, requests, strict=True))
        found: dict[str, Reply] = {}
        for key in distinct:
            if (kept := self._cache.get(key)) is not None:
                found[key] = kept.reply
                if kept.base_url != self._endpoint.base_url:
                    self._elsewhere[kept.base_url] += 1
        self._counts += Counter(requests=len(requests), distinct=len(distinct), cached=len(found))
        found |= self._ask_all({key: distinct[key] for key in distinct if key not in found})
        return [uncut(distinct[key], found[key]) for key in keys]

    def account(self) -> dict[str, Any]:
        """What was asked so far, as JSON.

        ``sampling`` is what it was asked with, None for a temperature that was not said. ``asked``
        counts replies of this run, ``failed`` requests without one, ``retries`` further
        attempts; tokens and ``price`` are of this run's replies, as the endpoint counted them, and
        ``uncounted`` are its replies for which it counted none. ``cached_elsewhere`` counts cached
        replies that another base URL gave.
        """
        names = ("requests", "distinct", "cached", "asked", "failed")
        tokens = [self._counts[name] for name in ("prompt_tokens", "completion_tokens")]
        return {
            "model": self.model,
            "base_url": self._endpoint.base_url,
            "cache": str(self._cache.path),
            "sampling": [
                {"temperature": temperature, "max_tokens": most}
                for temperature, most in sorted(self._sampling, key=str)
            ],
            **{name: self._counts[name] for name in names},
            "retries": self._endpoint.retries,
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "uncounted": self._counts["uncounted"],
            "price": None if self._prices is None else self._prices.of(*tokens),
            "cached_elsewhere": dict(self._elsewhere),
            "unreadable_cache_lines": self._cache.unreadable,
        }

    def _key(self, request: ChatRequest) -> str:
        return request_key(self.model, request, send_temperature=self._settings.send_temperature)

    def _ask_all(self, requests: Mapping[str, ChatRequest]) -> dict[str, Reply]:
        found: dict[str, Reply] = {}
        if not requests:
            return found
        lost_in_a_row = 0
        self._endpoint.pace.stopping.clear()  # set by an earlier call that ended in an error
        with (
            Progress(len(requests), f"asking {self.model}") as bar,
            ThreadPoolExecutor(self._settings.parallel) as pool,
        ):
            futures = {pool.submit(self._ask, *item): item[0] for item in requests.items()}
            try:
                for future in as_completed(futures):
                    try:
                        reply = future.result()
                    except Stopped:  # by another of them, whose error comes too
                        continue
                    found[futures[future]] = reply
                    self._count(reply)
                    bar.advance(1, (reply.prompt_tokens or 0) + (reply.completion_tokens or 0))
                    lost_in_a_row = 0 if reply.error is None else lost_in_a_row + 1
                    if lost_in_a_row == MOST_LOST_IN_A_ROW:
                        raise self._gave_up(reply, len(requests) - len(found))
            finally:  # whoever waits wakes up, what is under way is still kept
                if not all(future.done() for future in futures):
                    self._endpoint.pace.stopping.set()
                    pool.shutdown(wait=False, cancel_futures=True)
        return found

    def _ask(self, key: str, request: ChatRequest) -> Reply:
        """One reply, kept before anybody hears of it."""
        try:
            reply = self._endpoint(request)
            if reply.error is None:
                self._cache.add(key, reply, self.model, self._endpoint.base_url)
        except BaseException:  # before this thread or another takes up a further request
            self._endpoint.pace.stopping.set()
            raise
        return reply

    def _count(self, reply: Reply) -> None:
        if reply.error is not None:
            self._counts["failed"] += 1
            return
        self._counts["asked"] += 1
        self._counts["prompt_tokens"] += reply.prompt_tokens or 0
        self._counts["completion_tokens"] += reply.completion_tokens or 0
        self._counts["uncounted"] += reply.prompt_tokens is None or reply.completion_tokens is None

    def _gave_up(self, reply: Reply, left: int) -> EvaluationError:
        return EvaluationError(
            f"{self._endpoint.base_url}, model {self.model}: {MOST_LOST_IN_A_ROW} requests in a "
            f"row got no reply, the last one: {reply.error}; {left} are left. Run the same command "
            f"again when the endpoint answers: what it has said is in {self._cache.path}"
        )


@contextmanager
def open_judge(
    settings: JudgeSettings,
    cache: Path,
    report: Callable[[str], object],
    prices: Prices | None = None,
) -> Iterator[Judge]:
    """A judge whose replies are kept in a file.

    Args:
        settings: which judge, and how it is asked.
        cache: file of the replies; made where there is none, and gone on with.
        report: called with a line where the file cannot be locked.
        prices: of its tokens, for `Judge.account`.

    Raises:
        EvaluationError: the settings or the environment do not fit, the `openai` client is not
            installed, or the cache is no cache or is being written by another process.

    Example:
        >>> from pathlib import Path
        >>> from coala_jax.evaluation.judge import JudgeSettings, Prices, open_judge
        >>> settings = JudgeSettings(model="judge-model", base_url="http://127.0.0.1:8000/v1")
        >>> prices = Prices(2.5, 10.0)
        >>> with open_judge(settings, Path("kept.jsonl"), print, prices) as judge:  # doctest: +SKIP
        ...     judged = judge_pairs(judge, questions, first, second)
    """
    endpoint = Endpoint(settings)
    try:
        with open_cache(cache, report) as replies:
            yield Judge(settings, endpoint, replies, prices)
    finally:
        endpoint.close()
