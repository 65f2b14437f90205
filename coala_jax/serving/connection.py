"""Connections that a client cannot hold open by saying little."""

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from coala_jax.serving.errors import ApiError

# States in which no answer has begun yet.
_MAY_ANSWER = (h11.IDLE, h11.SEND_RESPONSE)


def connection_within(seconds: float) -> type[H11Protocol]:
    """The connections of a server.

    Args:
        seconds: in which the head of a request must be here, from when the connection was made or
            the head's first byte came.

    Returns:
        A protocol of uvicorn, which itself waits for ever. Faults of HTTP are answered in the form
        of the API.
    """

    class Connection(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._timer = self.loop.call_later(seconds, self._too_slow)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._stop_timer()
            elif self._timer is None and self.timeout_keep_alive_task is None:
                self._timer = self.loop.call_later(seconds, self._too_slow)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            self._end(ApiError(400, msg, code="invalid_http"))

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _too_slow(self) -> None:
            message = f"the head of the request was not here within {seconds:g} seconds"
            self._end(ApiError(408, message, code="header_timeout"))

        def _end(self, error: ApiError) -> None:
            if self.transport.is_closing():
                return
            if self.conn.our_state in _MAY_ANSWER:
                body = json.dumps(error.body()).encode()
                headers = [
                    ("content-type", "application/json"),
                    ("content-length", str(len(body))),
                    ("connection", "close"),
                ]
                for event in (
                    h11.Response(status_code=error.status, headers=headers),
                    h11.Data(data=body),
                    h11.EndOfMessage(),
                ):
                    self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

    return Connection
