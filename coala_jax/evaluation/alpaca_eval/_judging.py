"""Pairs of answers to questions to a judge, and its replies to preferences."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from coala_jax.evaluation._chat import ChatRequest, Reply
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.alpaca_eval._annotations import (
    BASELINE_BETTER,
    MODEL_BETTER,
    TIE,
    Annotation,
)
from coala_jax.evaluation.alpaca_eval._outputs import Pair
from coala_jax.evaluation.alpaca_eval._template import FIRST_NAME, SECOND_NAME, Template

# One token says it all; at temperature 1 its log probabilities are those of the judge itself.
MAX_TOKENS, TEMPERATURE, TOP_LOGPROBS = 1, 1.0, 5
# How a verdict was read, or why there is none.
BY_LOGPROBS, BY_TEXT, UNPARSABLE, FAILED = "logprobs", "text", "unparsable", "failed"


class Call(NamedTuple):
    """One question to the judge.

    Attributes:
        pair: number of the pair.
        switched: whether the model's answer is shown first.
        request: what is asked.
    """

    pair: int
    switched: bool
    request: ChatRequest


class Verdicts(NamedTuple):
    """What can be said of a judge by its verdicts.

    Attributes:
        calls: how many.
        by_logprobs: verdicts read from log probabilities.
        by_text: verdicts read from the text, where log probabilities were not to be had.
        unparsable: replies that say neither.
        example: the first of these; None where there is none.
        failed: calls without a reply.
        same_outputs: pairs of equal answers, which are ties without a call.
        first_preferred: mean probability that the judge gave to the answer shown first. A judge
            that minds no order gives 0.5 where both orders are asked.
        both_orders: pairs with a verdict in either order.
        consistent: of those, how many prefer the same answer in both.
    """

    calls: int
    by_logprobs: int
    by_text: int
    unparsable: int
    example: str | None
    failed: int
    same_outputs: int
    first_preferred: float
    both_orders: int
    consistent: int


def is_switched(instruction: str) -> bool:
    """Whether the model's answer is shown first where one order is asked.

    Drawn by the instruction, as `RandomSwitchTwoColumnsProcessor` of tatsu-lab/alpaca_eval with
    seed 0 does, so that a judge of the same cache of replies sees the same order.
    """
    return random.Random(f"is_switched_outputs{instruction}0").choices([False, True])[0]


def judge_calls(
    pairs: Sequence[Pair], template: Template, *, both_orders: bool = False
) -> list[Call]:
    """All that a judge is asked, one call a pair or two; none of pairs of equal answers.

    Source: `evaluators_configs/weighted_alpaca_eval_gpt4_turbo` of tatsu-lab/alpaca_eval.

    Args:
        pairs: of answers.
        template: of the messages.
        both_orders: ask twice, each answer first; else once, in the order that `is_switched` draws.
    """
    calls = []
    for number, pair in enumerate(pairs):
        if pair.output_1 == pair.output_2:
            continue
        instruction = pair.question.instruction
        for switched in (False, True) if both_orders else (is_switched(instruction),):
            first, second = (pair.output_1, pair.output_2)[:: -1 if switched else 1]
            texts = {"instruction": instruction, "output_1": first, "output_2": second}
            messages = template.filled(texts)
            request = ChatRequest(messages, MAX_TOKENS, TEMPERATURE, TOP_LOGPROBS)
            calls.append(Call(number, switched, request))
    return calls


def judged(
    pairs: Sequence[Pair], calls: Sequence[Call], replies: Sequence[Reply]
) -> tuple[list[Annotation], Verdicts]:
    """The preference of each pair, and what can be said of the judge.

    A preference is the mean over the orders that were asked, and NaN where one of them has no
    verdict: a half of a pair would bring the bias for an order back.

    Args:
        pairs: (n,) of answers.
        calls: (m,) of `judge_calls` for these pairs.
        replies: (m,) to them.

    Raises:
        EvaluationError: another number of replies than of calls.
    """
    if len(replies) != len(calls):
        raise EvaluationError(f"{len(replies)} replies to {len(calls)} calls, one each is expected")
    read = [shown_preference(reply) for reply in replies]
    of_pair: dict[int, list[tuple[float, dict[str, Any]]]] = {}
    for call, reply, (preference, _) in zip(calls, replies, read, strict=True):
        towards_model = 3 - preference if call.switched else preference
        kept = {"switched": call.switched, "text": reply.text, "logprobs": reply.logprobs}
        kept |= {"error": reply.error} if reply.error else {}
        of_pair.setdefault(call.pair, []).append((towards_model, kept))
    annotations = []
    for number, pair in enumerate(pairs):
        verdicts = of_pair.get(number, [(TIE, None)])
        mean = math.fsum(preference for preference, _ in verdicts) / len(verdicts)
        annotations.append(Annotation(pair, mean, tuple(kept for _, kept in verdicts if kept)))
    kinds = [kind for _, kind in read]
    how = Counter(kinds)
    unread = [reply.text for reply, kind in zip(replies, kinds, strict=True) if kind == UNPARSABLE]
    shown = np.array([preference for preference, _ in read])
    both = [
        [preference for preference, _ in verdicts]
        for verdicts in of_pair.values()
        if len(verdicts) > 1 and not any(math.isnan(preference) for preference, _ in verdicts)
    ]
    return annotations, Verdicts(
        calls=len(calls),
        by_logprobs=how[BY_LOGPROBS],
        by_text=how[BY_TEXT],
        unparsable=how[UNPARSABLE],
        example=unread[0] if unread else None,
        failed=how[FAILED],
        same_outputs=len(pairs) - len(of_pair),
        first_preferred=_mean(MODEL_BETTER - shown[~np.isnan(shown)]),
        both_orders=len(both),
        consistent=sum(bool(np.sign(a - TIE) == np.sign(b - TIE)) for a, b in both),
    )


def shown_preference(reply: Reply) -> tuple[float, str]:
    """A preference between the answers in the order shown, from 1 to 2, and how it was read.

    2 - P(m) / (P(m) + P(M)) of the first token, of which one that is not among the candidates has
    probability 0 (`logprob_parser` of tatsu-lab/alpaca_eval). Where neither is among them, or there
    are none, the text counts, which must be one of the two.
    """
    if reply.text is None:
        return math.nan, FAILED
    known = reply.logprobs or {}
    first, second = (known.get(name, -math.inf) for name in (FIRST_NAME, SECOND_NAME))
    if max(first, second) > -math.inf:
        largest = max(first, second)
        shares = math.exp(first - largest), math.exp(second - largest)
        return MODEL_BETTER - shares[0] / sum(shares), BY_LOGPROBS
    verdict = {FIRST_NAME: BASELINE_BETTER, SECOND_NAME: MODEL_BETTER}.get(reply.text.strip())
    return (math.nan, UNPARSABLE) if verdict is None else (verdict, BY_TEXT)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
