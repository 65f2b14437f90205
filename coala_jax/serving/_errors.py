"""Errors in the form that clients of the API expect."""

from collections.abc import Mapping
from typing import Any

# Begins the statuses that are no fault of the request.
SERVER_FAULT = 500


class ApiError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: of HTTP.
        message: names what was wrong, its value and the mend.
        code: a word for programs.
        param: the field that was wrong, or None.
        headers: that go with the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON object of the answer."""
        kind = "server_error" if self.status >= SERVER_FAULT else "invalid_request_error"
        fields = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": fields}


def bad_field(param: str, message: str, code: str = "invalid_value") -> ApiError:
    """A field of the request that cannot be used."""
    return ApiError(400, message, code=code, param=param)


def overloaded(message: str, seconds: int = 1) -> ApiError:
    """More than the server takes on at once; clients may come again after so many seconds."""
    return ApiError(503, message, code="overloaded", headers={"Retry-After": str(seconds)})


def internal_error() -> ApiError:
    """A fault of the server, whose account is in its log."""
    return ApiError(500, "the server failed on this request; see its log", code="internal_error")


def stopping() -> ApiError:
    """The server is about to end."""
    return ApiError(503, "the server is shutting down", code="shutting_down")


def timed_out(seconds: float) -> ApiError:
    """A request that took too long; a client that repeats it would wait as long again."""
    return ApiError(
        504,
        f"not answered within {seconds:g} seconds; ask for fewer tokens, or start the server with "
        "a larger --request-seconds",
        code="timeout",
        headers={"x-should-retry": "false"},
    )
