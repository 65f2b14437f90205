"""What a judge's words come to, by FastChat's rules."""

from __future__ import annotations

import re

from coala_jax.evaluation._chat import Reply

# `one_score_pattern` and `one_score_pattern_backup` of fastchat/llm_judge/common.py.
_SCORE, _SCORE_BACKUP = re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]")
# The score of a judgment that gives none, which every mean leaves out.
NO_SCORE = -1
# A number of more is no grade, and may be more than a float holds.
MOST_DIGITS = 20
A, B, TIE, ERROR = "A", "B", "tie", "error"
# What FastChat writes as the judgment where the judge could not be reached.
FAILED = "$ERROR$"


def judgment_text(reply: Reply) -> str:
    """What the judge said, or `FAILED`."""
    return FAILED if reply.text is None else reply.text


def single_score(judgment: str) -> float:
    """The grade in a judgment: the first ``[[7]]``, else the first ``[7]``, else -1.

    Grades outside 1 to 10 are taken as they are, as FastChat does.
    """
    found = _SCORE.search(judgment) or _SCORE_BACKUP.search(judgment)
    if found is None:
        return NO_SCORE
    digits = found[1]
    if len(digits) > MOST_DIGITS:
        return NO_SCORE
    return float(digits) if "." in digits else int(digits)


def pair_verdict(judgment: str) -> str:
    """``A``, ``B``, ``tie`` or ``error``: the first of ``[[A]]``, ``[[B]]``, ``[[C]]`` in it.

    First in this order, not in that of the text: a judgment with ``[[A]]`` anywhere is for A.
    """
    marks = {"[[A]]": A, "[[B]]": B, "[[C]]": TIE}
    return next((verdict for mark, verdict in marks.items() if mark in judgment), ERROR)
