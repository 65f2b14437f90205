"""What goes between a request's task on the event loop and the thread that generates."""

import asyncio
import contextlib
from typing import NamedTuple

from coala_jax.decoding._rewards import Rewards
from coala_jax.serving._errors import ApiError
from coala_jax.serving._likelihoods import TokenLikelihood


class Piece(NamedTuple):
    """Text that became certain.

    Attributes:
        number: of the choice.
        text: that follows what was sent before.
        tokens: that begin in it, with log probabilities; None where nobody asked for them.
    """

    number: int
    text: str
    tokens: tuple[TokenLikelihood, ...] | None = None

    def followed_by(self, other: "Piece") -> "Piece":
        """This piece and the next of the same choice as one."""
        tokens = None if self.tokens is None else self.tokens + (other.tokens or ())
        return Piece(self.number, self.text + other.text, tokens)


class Finished(NamedTuple):
    """A choice that is done.

    Attributes:
        number: of the choice.
        reason: ``stop`` or ``length``.
        reward: of the response; NaN where the head overflows on it.
        tokens: of the response, its end token among them.
    """

    number: int
    reason: str
    reward: float
    tokens: int


class Failed(NamedTuple):
    """The request is over.

    Attributes:
        error: that answers it.
    """

    error: ApiError


# Rewards are those of the rows of a request.
Event = Piece | Finished | Rewards | Failed


class Ticket:
    """A request in the engine; made on the event loop that waits for its events.

    Attributes:
        cancelled: nobody waits any longer; read by the thread that generates.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.cancelled = False

    def tell(self, event: Event) -> None:
        """Send an event, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def next(self) -> Event:
        """The next event but a failure.

        Raises:
            ApiError: the request failed.
        """
        event = await self._events.get()
        if isinstance(event, Failed):
            raise event.error
        return event
