"""Pairs of answers to questions to a judge, and its replies to preferences."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from coala_jax._intervals import UNKNOWN, Interval, share_interval
from coala_jax.evaluation._chat import ChatRequest, Reply, require_one_reply_each
from coala_jax.evaluation.alpaca_eval._annotations import (
    BASELINE_BETTER,
    MODEL_BETTER,
    TIE,
    Annotation,
)
from coala_jax.evaluation.alpaca_eval._outputs import Pair
from coala_jax.evaluation.alpaca_eval._template import FIRST_NAME, SECOND_NAME, Template
from coala_jax.evaluation.judge._verdicts import Unread, Verdict, unread, unread_verdict

# One token says it all; at temperature 1 its log probabilities are those of the judge itself.
MAX_TOKENS, TEMPERATURE, TOP_LOGPROBS = 1, 1.0, 5


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
        unread: what could not be read.
        same_outputs: pairs of equal answers, which are ties without a call.
        first_preferred: mean probability that the judge gave to the answer shown first, with its
            95 % interval over pairs. A judge that minds no order gives 0.5 where both are asked.
        both_orders: pairs with a verdict in either order.
        consistent: share of those that prefer the same answer in both, with its interval.
    """

    calls: int
    by_logprobs: int
    by_text: int
    unread: Unread
    same_outputs: int
    first_preferred: Interval
    both_orders: int
    consistent: Interval

    def account(self) -> dict[str, Any]:
        """The same as JSON."""
        shares = {"first_preferred": self.first_preferred, "consistent": self.consistent}
        return {
            **self._asdict(),
            "unread": self.unread._asdict(),
            **{name: share._asdict() for name, share in shares.items()},
        }


def is_switched(instruction: str) -> bool:
    """Whether the model's answer is shown first where one order is asked.

    Drawn by the instruction, as `RandomSwitchTwoColumnsProcessor` of tatsu-lab/alpaca_eval with
    seed 0 does, so that a judge of the same cache of replies sees the same order.
    """
    # Half a character, which is no text in UTF-8, loses its own request alone.
    seed = f"is_switched_outputs{instruction}0".encode("utf-8", "surrogatepass")
    return random.Random(seed).choices([False, True])[0]


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
    pairs: Sequence[Pair], calls: Sequence[Call], replies: Sequence[Reply], template: Template
) -> tuple[list[Annotation], Verdicts]:
    """The preference of each pair, and what can be said of the judge.

    A preference is the mean over the orders that were asked, and NaN where one of them has no
    verdict: a half of a pair would bring the bias for an order back.

    Args:
        pairs: (n,) of answers.
        calls: (m,) of `judge_calls` for these pairs.
        replies: (m,) to them.
        template: that the calls were made with.

    Raises:
        EvaluationError: another number of replies than of calls.
    """
    require_one_reply_each([call.request for call in calls], replies)
    read = [shown_verdict(reply) for reply in replies]
    of_pair: dict[int, list[tuple[float, dict[str, Any]]]] = {}
    for call, reply, verdict in zip(calls, replies, read, strict=True):
        for_first = math.nan if verdict.score is None else verdict.score
        preference = (BASELINE_BETTER + for_first) if call.switched else (MODEL_BETTER - for_first)
        kept = {"switched": call.switched, "text": reply.text, "logprobs": reply.logprobs}
        kept |= {"error": reply.error} if reply.error else {}
        of_pair.setdefault(call.pair, []).append((preference, kept))
    annotations = []
    for number, pair in enumerate(pairs):
        if number in of_pair:
            preferences, said = zip(*of_pair[number], strict=True)
            mean = math.fsum(preferences) / len(preferences)
            annotations.append(Annotation(pair, mean, said, template.wording))
        else:
            annotations.append(Annotation(pair, TIE))
    shown = [
        (str(call.pair), verdict.score)
        for call, verdict in zip(calls, read, strict=True)
        if verdict.score is not None
    ]
    both = [
        [preference for preference, _ in asked]
        for asked in of_pair.values()
        if len(asked) > 1 and not any(math.isnan(preference) for preference, _ in asked)
    ]
    by_text = sum(verdict.from_text for verdict in read)
    return annotations, Verdicts(
        calls=len(calls),
        by_logprobs=len(shown) - by_text,
        by_text=by_text,
        unread=unread(replies, read),
        same_outputs=len(pairs) - len(of_pair),
        first_preferred=_share([pair for pair, _ in shown], [score for _, score in shown]),
        both_orders=len(both),
        consistent=_share(
            [str(number) for number in range(len(both))],
            [float(np.sign(one - TIE) == np.sign(other - TIE)) for one, other in both],
        ),
    )


def _share(pairs: Sequence[str], values: Sequence[float]) -> Interval:
    """A share over pairs, each of which may have several values."""
    return share_interval(np.array(values), pairs) if values else UNKNOWN


def shown_verdict(reply: Reply) -> Verdict:
    """How much the answer shown first is preferred, from 0 to 1.

    P(m) / (P(m) + P(M)) of the first token, of which one that is not among the candidates has
    probability 0 (`logprob_parser` of tatsu-lab/alpaca_eval). Where neither is among them, or there
    are none, the text counts, which must be one of the two.
    """
    if reply.text is None:
        return unread_verdict(reply)
    known = reply.logprobs or {}
    first, second = (known.get(name, -math.inf) for name in (FIRST_NAME, SECOND_NAME))
    largest = max(first, second)
    if largest > -math.inf:
        shares = math.exp(first - largest), math.exp(second - largest)
        return Verdict(shares[0] / sum(shares))
    score = {FIRST_NAME: 1.0, SECOND_NAME: 0.0}.get(reply.text.strip())
    return unread_verdict(reply) if score is None else Verdict(score, from_text=True)
