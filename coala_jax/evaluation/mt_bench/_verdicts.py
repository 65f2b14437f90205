"""What a judge's words come to, by FastChat's rules."""

from __future__ import annotations

from coala_jax.evaluation._chat import Reply
from coala_jax.evaluation.judge._verdicts import Verdict, grade_digits, unread_verdict

# The score of a judgment that gives none, which every mean leaves out.
NO_SCORE = -1
# A number of more is no grade, and may be more than a float holds.
MOST_DIGITS = 20
A, B, TIE, ERROR = "A", "B", "tie", "error"
# How much the answer shown first is preferred.
_SHARES = {A: 1.0, TIE: 0.5, B: 0.0}
# What FastChat writes as the judgment where the judge could not be reached.
FAILED = "$ERROR$"


def judgment_text(reply: Reply) -> str:
    """What the judge said, or `FAILED`."""
    return FAILED if reply.text is None else reply.text


def single_score(judgment: str) -> float:
    """The grade in a judgment: the first ``[[7]]``, else the first ``[7]``, else -1.

    Grades outside 1 to 10 are taken as they are, as FastChat does.
    """
    digits = grade_digits(judgment)
    if digits is None or len(digits) > MOST_DIGITS:
        return NO_SCORE
    return float(digits) if "." in digits else int(digits)


def pair_verdict(judgment: str) -> str:
    """``A``, ``B``, ``tie`` or ``error``: the first of ``[[A]]``, ``[[B]]``, ``[[C]]`` in it.

    First in this order, not in that of the text: a judgment with ``[[A]]`` anywhere is for A.
    """
    marks = {"[[A]]": A, "[[B]]": B, "[[C]]": TIE}
    return next((verdict for mark, verdict in marks.items() if mark in judgment), ERROR)


def reply_verdict(reply: Reply, *, compared: bool) -> Verdict:
    """What `single_score` or `pair_verdict` reads of a reply, or why they read nothing.

    Args:
        reply: of the judge.
        compared: whether it was asked to compare two answers, not to grade one.
    """
    if reply.text is None:
        return unread_verdict(reply)
    if compared:
        read = _SHARES.get(pair_verdict(reply.text))
    else:
        score = single_score(reply.text)
        read = None if score == NO_SCORE else score
    return unread_verdict(reply) if read is None else Verdict(read)
