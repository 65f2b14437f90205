"""A small server of a study: gives the page, and keeps what it posts."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from coala_jax.evaluation.blind._inbox import FullInboxError, Inbox
from coala_jax.evaluation.blind._submissions import BrokenSubmission
from coala_jax.serving._access import Access
from coala_jax.serving._connection import server_config
from coala_jax.serving._errors import ApiError, internal_error
from coala_jax.serving._gate import ACCOUNT, Gate, error_response, note_error, read_body
from coala_jax.serving._limits import Limits

# An answer takes some 250 bytes.
LIMITS = Limits(body_bytes=2**20, requests=256)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def study_app(page: bytes, inbox: Inbox, access: Access, log: Callable[[str], None]) -> ASGIApp:
    """The ASGI application of a study.

    Args:
        page: bytes of its HTML.
        inbox: keeps the answers.
        access: names and pages that may ask.
        log: told a line a request, without who asked.
    """

    async def show(_: Request) -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers=HEADERS)

    async def receive(request: Request) -> Response:
        content = await read_body(request.scope, request.receive, LIMITS)
        try:
            kept = await asyncio.to_thread(inbox.keep, content)
        except BrokenSubmission as error:
            raise ApiError(400, str(error), code="broken_answers") from error
        except FullInboxError as error:
            raise ApiError(
                429, "too many files of answers are here already", code="too_many"
            ) from error
        request.scope[ACCOUNT].update(file=kept.name, new=kept.new)
        return JSONResponse({"number": kept.number, "new": kept.new}, 201 if kept.new else 200)

    routes = [
        Route("/", show, methods=["GET"]),
        Route("/answers", receive, methods=["POST"]),
    ]
    handlers = {ApiError: _refused, HTTPException: _not_served, Exception: _failed}
    app = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]
    # People are told that their address is not recorded: the line begins with it.
    return Gate(app, access, LIMITS, lambda line: log(line.partition(" ")[2]))


class StudyServer(uvicorn.Server):
    """A server that ends by SIGINT and SIGTERM, and does not pass them on afterwards."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End when one of them comes; in another thread than the main one, none does."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def study_server(app: ASGIApp) -> StudyServer:
    """A server that runs an application until SIGINT or SIGTERM, or ``should_exit``."""
    return StudyServer(server_config(app, LIMITS.header_seconds, LIMITS.shutdown_seconds))


def own_origins(hosts: frozenset[str], port: int) -> frozenset[str]:
    """What browsers send as the Origin of the study's own page."""
    names = (f"[{host}]" if ":" in host else host for host in hosts)
    return frozenset(f"http://{name}" + f":{port}" * (port != 80) for name in names)


async def _refused(request: Request, error: ApiError) -> Response:
    note_error(request.scope[ACCOUNT], error)
    return error_response(error)


async def _not_served(request: Request, error: HTTPException) -> Response:
    return error_response(
        ApiError(
            error.status_code,
            f"{request.method} {request.url.path} is not served; the page is at /",
            code="not_served",
            headers=error.headers,
        )
    )


async def _failed(_: Request, __: Exception) -> Response:
    return error_response(internal_error())
