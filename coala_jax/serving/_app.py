"""The application: routes, the errors of the API, and the gate before them."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from coala_jax.serving._access import Access
from coala_jax.serving._api import Api
from coala_jax.serving._errors import ApiError, internal_error
from coala_jax.serving._gate import ACCOUNT, HEALTH, Gate, TokenCheck, error_response, note_error
from coala_jax.serving._limits import Limits


def make_app(api: Api, access: Access, limits: Limits, log: Callable[[str], None]) -> ASGIApp:
    """The ASGI application.

    Args:
        api: answers.
        access: who may ask.
        limits: of the server.
        log: told of every request.
    """
    routes = [
        Route(HEALTH, api.health, methods=["GET"]),
        Route("/v1/models", api.models, methods=["GET"]),
        Route("/v1/models/{name:path}", api.one_model, methods=["GET"]),
        Route("/v1/completions", api.completions, methods=["POST"]),
        Route("/v1/chat/completions", api.chat_completions, methods=["POST"]),
        Route("/v1/score", api.score, methods=["POST"]),
    ]
    # Who asks with a slash at the end is answered: not every client follows a redirect.
    routes = [Route(f"{one.path}/", one.endpoint, methods=one.methods) for one in routes] + routes
    handlers = {ApiError: _api_error, HTTPException: _http_error, Exception: _fault}
    app: ASGIApp = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]
    app = TokenCheck(app, access)
    if access.origins:
        app = CORSMiddleware(
            app,
            allow_origins=sorted(access.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            # Of pages beyond this machine's network, whose browser asks before it lets them in.
            allow_private_network=True,
        )
    return Gate(app, access, limits, log)


async def _api_error(request: Request, error: ApiError) -> Response:
    note_error(request.scope[ACCOUNT], error)
    return error_response(error)


async def _http_error(request: Request, error: HTTPException) -> Response:
    """Of the router: no such path, or not by this method."""
    message = f"{error.detail}: {request.method} {request.url.path} is not served"
    if error.headers and "Allow" in error.headers:
        message += f"; use {' or '.join(sorted(error.headers['Allow'].split(', ')))}"
    code = "_".join(error.detail.lower().split())
    return error_response(ApiError(error.status_code, message, code=code, headers=error.headers))


async def _fault(_: Request, __: Exception) -> Response:
    return error_response(internal_error())
