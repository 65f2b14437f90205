"""Connections that a client cannot hold open by saying little."""

import asyncio
import json
import math

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from coala_jax.serving._errors import ApiError

# States in which no answer has begun yet.
_MAY_ANSWER = (h11.IDLE, h11.SEND_RESPONSE)


def server_config(
    app: ASGIApp, header_seconds: float, shutdown_seconds: float, *, backlog: int = 2048
) -> uvicorn.Config:
    """How our servers run an application: they log, trust and say nothing by themselves.

    Args:
        app: to be served.
        header_seconds: in which the head of a request must be here, as `Connection` has it.
        shutdown_seconds: that answers may take once the server is to end.
        backlog: connections that may wait; the default is uvicorn's.
    """

    class OurConnection(Connection):
        seconds = header_seconds

    return uvicorn.Config(
        app,
        http=OurConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        backlog=backlog,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=math.ceil(header_seconds),
        timeout_graceful_shutdown=math.ceil(shutdown_seconds),
    )


class Connection(H11Protocol):
    """A connection whose client must not hold it open; uvicorn's own waits for ever.

    Faults of HTTP are answered in the form of the API.

    Attributes:
        seconds: in which the head of a request must be here, from when the connection was made or
            the head's first byte came. What is left of a body whose request was answered without
            it must be here as soon, and so must the client have taken what an answer left to send.
    """

    seconds: float
    _timer: asyncio.TimerHandle | None = None
    _rest_timer: asyncio.TimerHandle | None = None
    _abort_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._inner, self.app = self.app, self._answer
        self._timer = self.loop.call_later(self.seconds, self._too_slow)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            _stop(self._timer)
            self._timer = None
        elif self._timer is None and self.timeout_keep_alive_task is None:
            self._timer = self.loop.call_later(self.seconds, self._too_slow)
        # Nobody waits for the rest of the body, and uvicorn's own timer ends with every byte.
        if self.conn.our_state is not h11.DONE or self.conn.their_state is not h11.SEND_BODY:
            _stop(self._rest_timer)
            self._rest_timer = None
        elif self._rest_timer is None:
            self._rest_timer = self.loop.call_later(self.seconds, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._rest_timer, self._abort_timer):
            _stop(timer)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._close()

    def send_400_response(self, msg: str) -> None:
        self._end(ApiError(400, msg, code="invalid_http"))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        cycle = self.cycle
        try:
            await self._inner(scope, receive, send)
        finally:
            # Closing it would wait for a client that reads nothing.
            if cycle.response_started and not cycle.response_complete:
                self.transport.abort()

    def _close(self) -> None:
        """Close the connection, and take no notice of what is not sent by then."""
        self.transport.close()
        if self._abort_timer is None:
            self._abort_timer = self.loop.call_later(self.seconds, self.transport.abort)

    def _too_slow(self) -> None:
        message = f"the head of the request was not here within {self.seconds:g} seconds"
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
        self._close()


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
