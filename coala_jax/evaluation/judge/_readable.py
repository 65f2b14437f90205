"""Whether enough of a judge's replies could be read for a result to mean anything."""

from __future__ import annotations

from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.judge._faults import shortened
from coala_jax.evaluation.judge._verdicts import (
    CUT,
    ECHO,
    EMPTY,
    FAILED,
    FOREIGN,
    OTHER,
    Unread,
)

# Below it, what was read is a selection that the judge made, not the answers under judgment.
LEAST_SHARE = 0.5
HINTS = {
    FAILED: "see what the endpoint says, then run the same command again",
    ECHO: "the model may be no chat model, or too small to judge",
    EMPTY: "the model may be no chat model, or have no template for one",
    CUT: "allow more tokens (--max-tokens)",
    FOREIGN: "take a judge that answers in the language it is asked in, or a prompt in its own",
    OTHER: "take a judge that keeps to the form asked for, or another prompt",
}


def require_readable(unread: Unread, replies: int, kept: str = "") -> None:
    """Raise where under half of the replies could be read.

    Args:
        unread: what could not.
        replies: how many there are.
        kept: what of them is kept and where, for the end of the message.

    Raises:
        EvaluationError: says why, shows one, and what to do.
    """
    lost = sum(unread.counts.values())
    if replies - lost >= LEAST_SHARE * replies:
        return
    why = "; ".join(f"{count} {problem}" for problem, count in unread.counts.items())
    raise EvaluationError(
        f"{lost} of {replies} replies of the judge cannot be read ({why}), so there is no result; "
        f"one of them: {shortened(unread.example or '')!r}. {hint(unread)}" + (kept and f". {kept}")
    )


def hint(unread: Unread) -> str:
    """What to do about the most frequent problem."""
    text = HINTS[next(iter(unread.counts))]
    return text[0].upper() + text[1:]
