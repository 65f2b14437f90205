"""What a caller may say of how rows become pairs."""

from typing import NamedTuple

ONE, ALL = "one", "all"
PAIRINGS = (ONE, ALL)


class ShapeOptions(NamedTuple):
    """How rows become pairs.

    Attributes:
        pairs: of several responses to a prompt, ``one``: the best against the worst, or each good
            one against one bad one, in order, so that every response counts once at most; or
            ``all``: every better one against every worse one.
        strip_prompt: take a prompt that is repeated out of the response; else it is a fault.
        implicit_prompt: of a row without a prompt it is what its responses begin with; else such a
            row is a fault.
    """

    pairs: str = ONE
    strip_prompt: bool = False
    implicit_prompt: bool = False
