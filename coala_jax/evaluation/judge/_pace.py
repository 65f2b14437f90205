"""When the next request may be sent: a rate, and pauses that an endpoint asks for."""

from __future__ import annotations

import random
import threading
import time


class Stopped(Exception):
    """The run ends: no request is sent any more."""


class Pace:
    """Shared by all threads that send.

    Attributes:
        stopping: once set, nobody waits and nothing is sent.
    """

    def __init__(self, requests_per_minute: float | None) -> None:
        """Space requests evenly, so that no burst meets an endpoint that counts by the second."""
        self.stopping = threading.Event()
        self._spacing = 0.0 if requests_per_minute is None else 60 / requests_per_minute
        self._lock = threading.Lock()
        self._next = self._hold = time.monotonic()

    def wait(self) -> None:
        """Until it is the caller's turn.

        Raises:
            Stopped: the run ends.
        """
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._spacing
        # A pause that somebody else was asked for meanwhile holds for this request too.
        while (left := max(turn, self._held_until()) - time.monotonic()) > 0:
            if self.stopping.wait(left):
                break
        if self.stopping.is_set():
            raise Stopped

    def hold(self, seconds: float) -> None:
        """Send nothing for some seconds: the endpoint asked all of us to wait."""
        with self._lock:
            self._hold = max(self._hold, time.monotonic() + seconds)
            self._next = max(self._next, self._hold)

    def sleep(self, seconds: float) -> None:
        """Let one request wait.

        Raises:
            Stopped: the run ends.
        """
        if self.stopping.wait(seconds):
            raise Stopped

    def _held_until(self) -> float:
        with self._lock:
            return self._hold


def backoff(attempt: int, first: float, longest: float) -> float:
    """Seconds before another attempt: doubling, with jitter so that threads do not come together.

    Args:
        attempt: how many have failed, from 0.
        first: seconds after the first, before jitter.
        longest: seconds at most.
    """
    return min(longest, first * 2**attempt) * random.uniform(0.5, 1.0)
