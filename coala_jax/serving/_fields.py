"""Typed reading of the fields of a JSON object; every fault is an error of the API."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

from coala_jax.serving._errors import ApiError, bad_field

# Characters of a value that a message shows.
SHOWN = 60


def json_object(body: bytes) -> dict[str, Any]:
    """The object that a body holds.

    Raises:
        ApiError: no JSON, or JSON of something else.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    try:
        found = json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON ({error})", code="invalid_json") from None
    if not isinstance(found, dict):
        raise ApiError(400, f"the body is {shown(found)}, not a JSON object", code="invalid_json")
    return found


def shown(value: object) -> str:
    """A value for a message."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


class Fields:
    """The fields of an object that were given; null counts as not given, as in the API."""

    def __init__(self, fields: Mapping[str, Any], *, within: str = ""):
        """Take the fields.

        Args:
            fields: of the object.
            within: what the object is called in messages, such as ``messages[0]``; empty for the
                body itself.
        """
        self._fields = {name: value for name, value in fields.items() if value is not None}
        self._within = within

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def get(self, name: str, default: Any) -> Any:
        """A field as it was given, or the default."""
        return self._fields.get(name, default)

    def param(self, name: str) -> str:
        """How a field is called in messages."""
        return f"{self._within}.{name}" if self._within else name

    def wrong(self, name: str, expected: str) -> ApiError:
        """The error of a field that is not what was expected."""
        param = self.param(name)
        return bad_field(param, f"{param}={shown(self._fields.get(name))} must be {expected}")

    def require(self, *names: str) -> None:
        """Raise where a field is missing."""
        for name in names:
            if name not in self._fields:
                param = self.param(name)
                raise bad_field(param, f"{param} is missing; give it", "missing_required_parameter")

    def only(self, known: Collection[str], neutral: Mapping[str, Sequence[Any]]) -> None:
        """Raise where a field would change the answer and nothing here reads it.

        Args:
            known: names that are read, or may be ignored.
            neutral: names that are not supported, with the values that ask for nothing.
        """
        for name, value in self._fields.items():
            param = self.param(name)
            if name in neutral:
                if not any(_same(value, one) for one in neutral[name]):
                    raise bad_field(
                        param,
                        f"{param}={shown(value)} is not supported by this server; leave it out",
                        "unsupported_parameter",
                    )
            elif name not in known:
                raise bad_field(
                    param, f"{param} is not a field of this request", "unknown_parameter"
                )

    def text(self, name: str) -> str:
        """A text that can be encoded.

        Raises:
            ApiError: missing, no text, or half a surrogate pair in it.
        """
        self.require(name)
        return require_text(self._fields[name], self.param(name))

    def integer(self, name: str, least: int, most: int, default: int) -> int:
        """An integer within bounds."""
        if name not in self._fields:
            return default
        value = self._fields[name]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(name, f"an integer from {least} to {most}")
        return value

    def number(self, name: str, least: float, most: float, default: float) -> float:
        """A number within bounds."""
        if name not in self._fields:
            return default
        value = self._fields[name]
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if not (real and least <= value <= most):
            raise self.wrong(name, f"a number from {least:g} to {most:g}")
        return float(value)

    def boolean(self, name: str) -> bool:
        """True or false; false where it is not given."""
        value = self._fields.get(name, False)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def one_of(self, name: str, known: Sequence[str], default: str) -> str:
        """One of several words."""
        value = self._fields.get(name, default)
        if not isinstance(value, str) or value not in known:
            raise self.wrong(name, f"one of {', '.join(known)}")
        return value


def require_text(value: object, param: str) -> str:
    """A value as text.

    Raises:
        ApiError: no text, or half a surrogate pair in it, which no tokenizer can encode.
    """
    if not isinstance(value, str):
        raise bad_field(param, f"{param}={shown(value)} must be a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise bad_field(
            param,
            f"{param} holds half a surrogate pair at character {error.start}, which is no text",
        ) from None
    return value


def _same(left: object, right: object) -> bool:
    """Equal, and not merely as false equals 0."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)
