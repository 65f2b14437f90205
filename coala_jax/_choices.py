"""The values that a field of options may have, by its type."""

import numbers
from collections.abc import Iterable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

# numpy's numbers count as Python's; a boolean is no number.
_NUMBERS: dict[Any, type] = {int: numbers.Integral, float: numbers.Real}
_WORDS = {
    bool: "True or False",
    int: "an integer",
    float: "a number",
    str: "a text",
    NoneType: "None",
}


def choices(kind: Any) -> tuple[Any, ...]:
    """The values of a ``Literal``, also of one in a union; empty for other types."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(value for part in get_args(kind) for value in choices(part))


def require_fields(options: Any, error: type[Exception]) -> None:
    """Raise where a field of a dataclass has a value that is not of its type.

    Args:
        options: the dataclass; looked at are fields of booleans, numbers, texts, ``Literal``, None,
            sequences and mappings of these, and classes.
        error: what to raise; it names the field, the value and what it may be.
    """
    for name, kind in get_type_hints(type(options)).items():
        if not _fits(value := getattr(options, name), kind):
            raise error(f"{name}={value!r} must be {_in_words(kind)}")


def _fits(value: Any, kind: Any) -> bool:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is None:
        number = _NUMBERS.get(kind)
        if number is not None:
            return isinstance(value, number) and not isinstance(value, bool)
        return not isinstance(kind, type) or isinstance(value, kind)
    if origin is Literal:
        return value in parts
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple and parts[-1] is Ellipsis:
        return isinstance(value, (tuple, list)) and _all_fit(value, parts[0])
    if origin is tuple:
        known = isinstance(value, (tuple, list)) and len(value) == len(parts)
        return known and all(map(_fits, value, parts))
    if origin is Mapping:
        known = isinstance(value, Mapping)
        return known and _all_fit(value, parts[0]) and _all_fit(value.values(), parts[1])
    return True


def _all_fit(values: Iterable[Any], kind: Any) -> bool:
    return all(_fits(value, kind) for value in values)


def _in_words(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (Union, UnionType):
        return " or ".join(map(_in_words, parts))
    if origin is tuple and parts[-1] is Ellipsis:
        return f"a tuple of {_several(parts[0])}"
    if origin is tuple:
        return f"a tuple of {' and '.join(map(_in_words, parts))}"
    if origin is Mapping:
        return f"a mapping of {' to '.join(map(_several, parts))}"
    return _WORDS.get(kind, f"a {getattr(kind, '__name__', kind)}")


def _several(kind: Any) -> str:
    """Words for many values of a type."""
    words = _in_words(kind)
    article, _, noun = words.partition(" ")
    one_noun = article in ("a", "an") and " " not in noun
    return f"{noun}s" if one_noun else f"values, each {words}"
