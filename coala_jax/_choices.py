"""The values that a field of a ``Literal`` type may have."""

from typing import Any, Literal, get_args, get_origin, get_type_hints


def choices(kind: Any) -> tuple[Any, ...]:
    """The values of a ``Literal``, also of one in a union; empty for other types."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(value for part in get_args(kind) for value in choices(part))


def require_choices(options: Any, error: type[Exception]) -> None:
    """Raise where a field of a dataclass has a value that its type does not list.

    Args:
        options: the dataclass; fields of other types than ``Literal`` are not looked at.
        error: what to raise; it names the field, the value and the choices.
    """
    for name, kind in get_type_hints(type(options)).items():
        value, known = getattr(options, name), choices(kind)
        if known and value not in known and not (value is None and type(None) in get_args(kind)):
            raise error(f"{name}={value!r} must be one of {', '.join(known)}")
