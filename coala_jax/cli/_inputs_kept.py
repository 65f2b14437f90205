"""No command writes over what it reads."""

from __future__ import annotations

import argparse
import os
import re

from coala_jax.cli._parser import UsageError

# Attributes of parsed arguments that name a file to be read, and to be written with its option.
INPUTS = (
    *("data", "file", "features", "eval", "groups"),
    *("first", "second", "answers", "outputs", "questions", "baseline", "reference", "scores"),
    *("annotations", "judgments", "prompts", "judge_prompts", "template", "cache"),
    *("difficulty", "gamed"),
)
_STANDARD_OUTPUT = "-"
# One of the two answers that a line of `generate` holds.
_SIDE = re.compile(r":(plain|guided)$")
OUTPUTS = {"out": "--out", "html": "--html", "set_aside": "--rejected"}


def require_inputs_kept(arguments: argparse.Namespace) -> None:
    """Raise where an output is one of the files that the command reads.

    Args:
        arguments: of any command.

    Raises:
        UsageError: names the option and the file.
    """
    read = [path for name in INPUTS for path in _paths(getattr(arguments, name, None))]
    for name, option in OUTPUTS.items():
        written = getattr(arguments, name, None)
        if written and any(_same_file(str(path), str(written)) for path in read):
            raise UsageError(f"{option} {written} is what is read; give another file")


def _paths(given: object) -> list[object]:
    """What an option names: nothing, one file or several."""
    return given if isinstance(given, list) else [given] if given else []


def _same_file(read: str, written: str) -> bool:
    """Whether both name one file, there or not; of folders commands say more themselves."""
    read = _SIDE.sub("", read)
    if written == _STANDARD_OUTPUT or os.path.isdir(read) or os.path.isdir(written):
        return False
    return os.path.realpath(read) == os.path.realpath(written) or (
        os.path.isfile(read) and os.path.isfile(written) and os.path.samefile(read, written)
    )
