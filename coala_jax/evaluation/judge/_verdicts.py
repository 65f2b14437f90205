"""What a judge's reply says: A, B or neither, a grade, or nothing that can be read, and why."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from coala_jax.evaluation._chat import ChatRequest, Reply

_LETTER = re.compile(r"\[\[\s*([ABC])\s*\]\]")
_SCORES = {"A": 1.0, "C": 0.5, "B": 0.0}
# FastChat's patterns, in its order (fastchat/llm_judge/common.py).
_GRADES = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))
LOWEST_GRADE, HIGHEST_GRADE = 1.0, 10.0
# Last characters of a request that no judge says again by chance.
_ECHOED = 80
# Why a reply could not be read.
FAILED, EMPTY, CUT, ECHO, FOREIGN, OTHER = (
    "no reply",
    "an empty reply",
    "a reply that was cut at max_tokens",
    "a reply that repeats what was asked",
    "a reply in another script",
    "a reply without a verdict",
)


class Verdict(NamedTuple):
    """What was read of a reply.

    Attributes:
        score: a grade, or how much the first place is preferred, from 0 to 1; None where nothing
            could be read.
        problem: why not, one of the constants above.
        from_text: whether a verdict wanted from log probabilities was read from the text, since
            there were none.
    """

    score: float | None
    problem: str | None = None
    from_text: bool = False


def letter_verdict(reply: Reply) -> Verdict:
    """The last of [[A]], [[B]] and [[C]]: 1, 0 and 1/2."""
    found = _LETTER.findall(reply.text or "")
    return Verdict(_SCORES[found[-1]]) if found else unread_verdict(reply)


def token_verdict(reply: Reply) -> Verdict:
    """P(A) / (P(A) + P(B)) by the log probabilities of the reply's first token.

    Candidates that are one letter but for spaces count together; one that is not among those given
    counts nothing (AlpacaEval's ``logprob_parser``). Without log probabilities the letter that the
    reply consists of is 1 or 0.
    """
    if reply.error is not None:
        return unread_verdict(reply)
    if reply.logprobs is None:
        letter = (reply.text or "").strip().strip("[].*\"'")
        return (
            Verdict(_SCORES[letter], None, True) if letter in ("A", "B") else unread_verdict(reply)
        )
    share = {
        letter: sum(math.exp(p) for token, p in reply.logprobs.items() if token.strip() == letter)
        for letter in ("A", "B")
    }
    both = sum(share.values())
    return Verdict(share["A"] / both) if both > 0 else unread_verdict(reply)


def grade_verdict(reply: Reply, *, last: bool = False) -> Verdict:
    """The first [[number]], or else the first [number], from 1 to 10 (FastChat's rule).

    Args:
        reply: of the judge.
        last: whether the last one counts instead, since the prompt shows one as an example.
    """
    grade = float(grade_digits(reply.text or "", last=last) or "nan")
    return Verdict(grade) if LOWEST_GRADE <= grade <= HIGHEST_GRADE else unread_verdict(reply)


def grade_digits(text: str, *, last: bool = False) -> str | None:
    """The first, or last, [[number]] of a text, or else [number], as it stands there."""
    found = next(filter(None, (pattern.findall(text) for pattern in _GRADES)), None)
    return None if found is None else str(found[-1 if last else 0])


def without_echo(request: ChatRequest, reply: Reply, verdict: Verdict) -> Verdict:
    """The verdict, unless it was read of a reply that `is_echo`."""
    echoes = verdict.score is not None and is_echo(request, reply)
    return Verdict(None, ECHO) if echoes else verdict


def is_echo(request: ChatRequest, reply: Reply) -> bool:
    """Whether a reply repeats how the request ends, with the marks that stand there.

    Args:
        request: whose last message ends in what the judge has to do.
        reply: to it.
    """
    asked = request.messages[-1][1].rstrip()
    return len(asked) > _ECHOED and asked[-_ECHOED:] in (reply.text or "")


class Unread(NamedTuple):
    """Replies that could not be read.

    Attributes:
        counts: how many, by why.
        example: one of them, as the judge said it; None where there is none.
    """

    counts: dict[str, int]
    example: str | None


def unread(replies: Sequence[Reply], verdicts: Sequence[Verdict]) -> Unread:
    """Counts of what could not be read, the most frequent reason first, and an example of it."""
    counts: dict[str, int] = {}
    for verdict in verdicts:
        if verdict.problem is not None:
            counts[verdict.problem] = counts.get(verdict.problem, 0) + 1
    ordered = dict(sorted(counts.items(), key=lambda item: -item[1]))
    example = next(
        (
            reply.error or reply.text
            for reply, verdict in zip(replies, verdicts, strict=True)
            if ordered and verdict.problem == next(iter(ordered))
        ),
        None,
    )
    return Unread(ordered, example)


def unread_verdict(reply: Reply) -> Verdict:
    """That nothing could be read of a reply, and why."""
    text = (reply.text or "").strip()
    if reply.error is not None:
        return Verdict(None, FAILED)
    if reply.finish_reason == "length":
        return Verdict(None, CUT)
    if not text:
        return Verdict(None, EMPTY)
    return Verdict(None, FOREIGN if _is_foreign(text) else OTHER)


def _is_foreign(text: str) -> bool:
    """Whether most letters are of another script than the one the judge was asked in."""
    letters = [mark for mark in text if mark.isalpha()]
    latin = sum(unicodedata.name(mark, "").startswith("LATIN") for mark in letters)
    return latin < len(letters) / 2
