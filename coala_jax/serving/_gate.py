"""What stands before the routes: the names and pages that may ask, the token, a line of log."""

import asyncio
import shlex
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coala_jax.serving._access import Access, host_name
from coala_jax.serving._errors import ApiError, overloaded
from coala_jax.serving._limits import Limits

# Where the routes put what the log says of a request beside its status.
ACCOUNT = "coala_jax.account"
# Answers without a token, and tells nothing.
HEALTH = "/health"
# The coding of a body that has none.
IDENTITY = "identity"
# Characters of a path that the log shows.
SHOWN_PATH = 80


def error_response(error: ApiError) -> JSONResponse:
    """An error as an answer."""
    return JSONResponse(error.body(), error.status, headers=error.headers)


def note_error(account: dict[str, Any], error: ApiError) -> None:
    """Put why a request was refused into its line of log, without what was said."""
    account["error"] = error.code
    if error.__cause__ is not None:
        account["cause"] = type(error.__cause__).__name__


class Gate:
    """Refuses what must not come in, and logs one line a request, without what was said."""

    def __init__(self, app: ASGIApp, access: Access, limits: Limits, log: Callable[[str], None]):
        """Stand before an application.

        Args:
            app: the application.
            access: who may ask.
            limits: of the server.
            log: told of every request.
        """
        self._app, self._access, self._limits, self._log = app, access, limits, log
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        started, status = time.monotonic(), "cancelled"
        account: dict[str, Any] = {}
        scope[ACCOUNT] = account

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        self._inside += 1
        try:
            refusal = self._refusal(Headers(scope=scope))
            app = self._app
            if refusal is not None:
                note_error(account, refusal)
                app = error_response(refusal)
            await app(scope, receive, note_status)
        except Exception as error:  # the routes have answered it; the server goes on
            account["fault"] = type(error).__name__
        finally:
            self._inside -= 1
            self._log(_line(scope, status, account, time.monotonic() - started))

    def _refusal(self, headers: Headers) -> ApiError | None:
        if self._inside > self._limits.requests:
            return overloaded(
                f"{self._limits.requests} requests are being answered, and no more may; come again"
            )
        host = host_name(headers.get("host", ""))
        if host not in self._access.hosts:
            return ApiError(
                403,
                f"the Host header names {host[:SHOWN_PATH]!r}, which this server does not go by; "
                "start it with --allow-host NAME",
                code="host_not_allowed",
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self._access.origins:
            shown = origin[:SHOWN_PATH]
            return ApiError(
                403,
                f"origin {shown} is not allowed; start the server with --allow-origin "
                f"{shlex.quote(shown)}",
                code="origin_not_allowed",
            )
        return None


class TokenCheck:
    """Refuses requests without the token."""

    def __init__(self, app: ASGIApp, access: Access):
        """Stand before an application."""
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        given = Headers(scope=scope).get("authorization", "")
        if scope["path"] == HEALTH or self._access.admits_token(given):
            await self._app(scope, receive, send)
            return
        error = ApiError(
            401,
            "the bearer token is missing or wrong; send the header Authorization: Bearer TOKEN",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
        note_error(scope[ACCOUNT], error)
        await error_response(error)(scope, receive, send)


async def read_body(scope: Scope, receive: Receive, limits: Limits) -> bytes:
    """The body of a request.

    Raises:
        ApiError: no JSON by its type, compressed, too long, too slow, or broken off.
    """
    headers = Headers(scope=scope)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(
            415,
            f"the body's type is {kind[:SHOWN_PATH]!r}; send the header Content-Type: "
            "application/json",
            code="unsupported_media_type",
        )
    coding = headers.get("content-encoding", IDENTITY).strip().lower()
    if coding != IDENTITY:
        raise ApiError(
            415,
            f"the body is coded as {coding[:SHOWN_PATH]!r}; send it as it is, without the header "
            "Content-Encoding",
            code="unsupported_encoding",
            headers={"Accept-Encoding": IDENTITY},
        )
    most = limits.body_bytes
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise _too_long(most)
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise client_left()
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    raise _too_long(most)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise ApiError(
            408,
            f"the body was not here within {limits.body_seconds:g} seconds",
            code="body_timeout",
            headers={"Connection": "close"},
        ) from None


def client_left() -> ApiError:
    """The client closed the connection; the status is for the log alone."""
    return ApiError(499, "the client left", code="client_left")


def _too_long(most: int) -> ApiError:
    return ApiError(
        413,
        f"the body is longer than {most} bytes; send less, or start the server with a larger "
        "--max-body-bytes",
        code="body_too_large",
        headers={"Connection": "close"},
    )


def _line(scope: Scope, status: str, account: dict[str, Any], seconds: float) -> str:
    client = scope.get("client") or ("-",)
    path = quote(scope["path"], safe="/")[:SHOWN_PATH]
    said = "".join(f" {name}={value}" for name, value in account.items())
    return f"{client[0]} {scope['method']} {path} {status}{said} {seconds:.2f}s"
