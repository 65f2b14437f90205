"""The error of a checkpoint, and names in its messages."""

from collections.abc import Iterable

from coala_jax._errors import CoalaError

# A message names this many offenders of a kind; the rest is a number.
NAMED_IN_ERROR = 5


class CheckpointError(CoalaError):
    """A folder that cannot be read as a checkpoint; the message names the folder and the fault."""


class TokenizerError(CoalaError):
    """A text or ids that a tokenizer fails on; the message says why."""


def some_of(names: Iterable[str], separator: str = ", ") -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    rest = len(names) - NAMED_IN_ERROR
    shown = separator.join(names[:NAMED_IN_ERROR])
    return f"{shown} and {rest} more" if rest > 0 else shown
