"""Options from the fields of a dataclass or NamedTuple, whose defaults and docstring they share."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from coala_jax._choices import choices
from coala_jax.cli._parser import column_names, integer_list, positive_integer, positive_number

T = TypeVar("T")
# What an option takes: a function of its text, or the values to choose from.
Takes: TypeAlias = Callable[[str], Any] | Sequence[str]
# How values of a type are read, and what help calls them; others are numbers.
_READERS: dict[Any, tuple[Takes, str]] = {
    int: (positive_integer, "N"),
    str: (str, "TEXT"),
    tuple: (integer_list, "N,N"),
    Mapping: (column_names, "NAME=COLUMN,..."),
}
# `name: text`, and the indented lines that go on with it.
_ENTRY = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
_FIRST_SENTENCE = re.compile(r"(.+?)\.(?=\s+[A-Z`(]|$)")
# What a reader of help has no use for, and what is called otherwise there.
_REFERENCE, _FIELD = re.compile(r" \(`[^`]*`\)"), re.compile(r"`+((?:Params|Config)\.)?(\w+)`+")


def add_fields(
    group: argparse._ActionsContainer,
    kind: type,
    fields: Sequence[str],
    *,
    takes: Mapping[str, Takes] | None = None,
    names: Mapping[str, str] | None = None,
    defaults: object = None,
    old: Mapping[str, str] | None = None,
    unset: bool = False,
) -> None:
    """Add an option a field, which `from_options` reads.

    Numbers must be positive unless ``takes`` says otherwise, and a field that is on by default
    has an option that begins with ``--no``.

    Args:
        group: of a parser.
        kind: a dataclass or NamedTuple. Help is the first sentence of a field's entry in the
            docstring, where ``; None means ...`` says what its absence means.
        fields: those to show.
        takes: what the options of fields take whose type does not tell.
        names: option strings of fields that are called otherwise here.
        defaults: an object of that kind with the defaults of the command; None for those of the
            kind.
        old: option strings that still work, and their fields.
        unset: an option that is not given says nothing: `from_options` has its field from
            elsewhere.
    """
    takes, names, hints, texts = takes or {}, names or {}, get_type_hints(kind), field_texts(kind)
    defaults, made = defaults or kind(), {}
    for name in fields:
        default = getattr(defaults, name)
        made[name] = _kind_of_option(hints[name], default, takes.get(name))
        group.add_argument(
            names.get(name, option_of(f"no-{name}" if default is True else name)),
            dest=f"{kind.__name__}.{name}",
            default=argparse.SUPPRESS if unset else [] if default == () else default,
            help=_help(texts.get(name, ""), default),
            **made[name],
        )
    for option, name in (old or {}).items():
        group.add_argument(
            option,
            dest=f"{kind.__name__}.{name}",
            default=argparse.SUPPRESS,
            help=argparse.SUPPRESS,
            **made[name],
        )


def from_options(arguments: argparse.Namespace, kind: type[T], **fixed: Any) -> T:
    """The object that the options of `add_fields` say; ``fixed`` have none, or are changed."""
    return kind(**{**option_values(arguments, kind), **fixed})


def given_fields(arguments: argparse.Namespace, kind: type) -> list[str]:
    """The fields whose options say something else than the defaults of their kind."""
    defaults, values = kind(), option_values(arguments, kind)
    return [name for name, value in values.items() if value != getattr(defaults, name)]


def field_texts(kind: type) -> dict[str, str]:
    """The first sentence about each field; nothing where ``python -OO`` leaves no docstring."""
    docs = (inspect.cleandoc(each.__doc__ or "") for each in reversed(kind.__mro__))
    entries, texts = dict(_ENTRY.findall("\n".join(docs))), {}

    def as_option(field: re.Match[str]) -> str:
        return option_of(field[2]) if field[1] or field[2] in entries else field[0]

    for name, entry in entries.items():
        text = " ".join(entry.split())
        first = _FIRST_SENTENCE.match(text)
        text = _REFERENCE.sub("", first[1] if first else text)
        text = _FIELD.sub(as_option, text)
        texts[name] = re.sub(r"[`\"]", "", text)
    return texts


def option_values(arguments: argparse.Namespace, kind: type) -> dict[str, Any]:
    """What the options of a kind say, by field."""
    prefix = f"{kind.__name__}."
    return {
        name.removeprefix(prefix): tuple(value) if isinstance(value, list) else value
        for name, value in vars(arguments).items()
        if name.startswith(prefix)
    }


def option_of(field: str) -> str:
    """What an option is called unless a command says otherwise."""
    return f"--{field.replace('_', '-')}"


def _help(text: str, default: Any) -> str:
    text, _, unset = text.partition("; None means ")
    if default is True:
        text = text and f"do not {text}"
    elif default == ():
        text = text and f"{text}; may be repeated"
    elif isinstance(default, tuple):
        unset = ",".join(map(str, default))
    elif not (default is None or default is False or default == {}):
        unset = str(default)
    return (text + (f" (default: {unset})" if unset else "")).replace("%", "%%")


def _kind_of_option(hint: Any, default: Any, takes: Takes | None) -> dict[str, Any]:
    """What `argparse` is told of a field."""
    if isinstance(default, bool):
        return {"action": "store_false" if default else "store_true"}
    takes = takes or choices(hint)
    if takes and isinstance(takes, Sequence):
        return {"choices": tuple(takes)}
    if type(None) in get_args(hint):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    of = get_origin(hint) or hint
    if of is tuple and get_args(hint)[0] is str:
        return {"action": "append", "metavar": "TEXT"}
    reader, metavar = _READERS.get(of, (positive_number, "X"))
    return {"type": takes or reader, "metavar": metavar}
