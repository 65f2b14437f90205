"""Argument parsing: one-line errors, and the types that several commands share."""

from __future__ import annotations

import argparse
import difflib
import importlib
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from coala_jax.study._hold_out import FEWEST_PAIRS

# Seeds reach jax.random.key and numpy alike; both take this range.
LARGEST_SEED = 2**32 - 1
LARGEST_PORT = 65535

# A column of `column_names`: name here, quoted or bare name there, and the comma behind it.
_COLUMN = re.compile(
    r"""\s*(\w+)\s*=\s*(?:"((?:[^"]|"")*)"\s*(?=,|$)|(.*?)(?=,\s*\w+\s*=|$)),?""", re.S
)
# What argparse takes for an option.
_NEGATIVE_LIST = re.compile(r"-\d+(,-?\d+)+")
# How argparse begins what it says of these.
_LACKING = "the following arguments are required"
_NO_COMMAND = re.compile(r"argument COMMAND: invalid choice: '(.*)' \(choose from (.*)\)")


class UsageError(Exception):
    """A command line that cannot be parsed."""


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are exceptions, and whose examples keep their line breaks.

    That of a command learns its options from the command's module once it is used.
    """

    def __init__(self, *, module: str | None = None, **options: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options
        )
        self._module = module
        self._words: list[str] = []
        self._is_command = module is not None

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """As usual, but ``--layers -1,-8`` needs no equals sign, as ``-1`` alone needs none."""
        if self._module is not None:
            self._learn(importlib.import_module(self._module))
        words = list(sys.argv[1:] if args is None else args)
        for at in range(len(words) - 1, 0, -1):
            if _NEGATIVE_LIST.fullmatch(words[at]) and words[at - 1].startswith("--"):
                words[at - 1 : at + 1] = [f"{words[at - 1]}={words[at]}"]
        self._words = words
        found, unknown = super().parse_known_args(words, namespace)
        if unknown and self._is_command:  # here, where the command's own help can be named
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._guess(unknown[0])}")
        return found, unknown

    def _guess(self, word: str) -> str:
        """An option of a name like this one's, to be said behind it."""
        return _guess(word.partition("=")[0], self._option_string_actions)

    def _learn(self, command: Any) -> None:
        self._module, self.epilog = None, f"example:\n{command.EXAMPLE}"
        self.set_defaults(run=command.run)
        self.add_argument(
            "--json",
            action="store_true",
            help="print the result as one JSON object on stdout, everything else on stderr",
        )
        command.add_options(self)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing a usage of many lines."""
        if message.startswith(_LACKING):  # argparse does not say what stood in its place
            known = self._option_string_actions
            unknown = [word for word in self._words if word.startswith("--") and word != "--"]
            unknown = [word for word in unknown if word.partition("=")[0] not in known]
            if unknown and self._is_command:
                message += f"; {unknown[0]} is none{self._guess(unknown[0])}"
        elif wrong := _NO_COMMAND.match(message):
            message += _guess(wrong[1], wrong[2].replace("'", "").split(", "))
        raise UsageError(f"{message} (see {self.prog} --help)")


def _guess(word: str, known: Iterable[str]) -> str:
    """Of the known words one like this, to be said behind it."""
    near = difflib.get_close_matches(word, [*known], 1)
    return f"; did you mean {near[0]}?" if near else ""


def add_commands(parser: OneLineParser, prefix: str, summaries: Mapping[str, str]) -> Any:
    """Add commands, each with what its help says first; gives what takes more of them.

    Args:
        parser: of the program, or of a group of commands.
        prefix: of the names of their modules, which have ``EXAMPLE``, ``add_options(parser)`` and
            ``run(arguments)``, which gives the exit code.
        summaries: by the name of the command.
    """
    commands = parser.add_subparsers(
        dest=f"{prefix}command", required=True, metavar="COMMAND", title="commands"
    )
    for name, summary in summaries.items():
        module = f"coala_jax.cli._{prefix}{name.replace('-', '_')}"
        commands.add_parser(name, help=summary, description=summary, module=module)
    return commands


def positive_integer(text: str) -> int:
    """An integer of at least 1."""
    return _integer(text, 1, None)


def natural_number(text: str) -> int:
    """An integer of at least 0."""
    return _integer(text, 0, None)


def pair_count(text: str) -> int:
    """An integer that is enough for a part of a split."""
    return _integer(text, FEWEST_PAIRS, None)


def seed(text: str) -> int:
    """An integer that every generator takes."""
    return _integer(text, 0, LARGEST_SEED)


def port(text: str) -> int:
    """A port to listen on; 0 means a free one."""
    return _integer(text, 0, LARGEST_PORT)


def finite_number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def non_negative_number(text: str) -> float:
    """A finite number of at least 0."""
    value = finite_number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be at least 0")
    return value


def positive_number(text: str) -> float:
    """A finite number above 0."""
    value = finite_number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be above 0")
    return value


def fraction(text: str) -> float:
    """A number strictly between 0 and 1."""
    value = positive_number(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be below 1")
    return value


def integer_list(text: str) -> tuple[int, ...]:
    """Integers with commas between them."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of integers such as -1,-8"
        ) from None


def column_names(text: str) -> dict[str, str]:
    """Names here to names there, from ``prompt=question,chosen=best``.

    A comma belongs to a name there unless a name here and ``=`` follow it. A name there may be
    quoted as in CSV.
    """
    names: dict[str, str] = {}
    at = 0
    while (found := _COLUMN.match(text, at)) and found.end() > at:
        name, quoted, bare = found.groups()
        column = bare.strip() if quoted is None else quoted.replace('""', '"')
        if not column or name in names:
            break
        names[name], at = column, found.end()
    if not names or at < len(text):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a list such as prompt=question,chosen="best, of all"'
        )
    return names


def _integer(text: str, least: int, most: int | None) -> int:
    bound = f"an integer of at least {least}" + ("" if most is None else f" and at most {most}")
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {bound}") from None
    if value < least or (most is not None and value > most):
        raise argparse.ArgumentTypeError(f"{text!r} is not {bound}")
    return value
