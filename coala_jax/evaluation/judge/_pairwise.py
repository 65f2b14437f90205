"""Two systems' answers compared by a judge, each pair in both orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax.evaluation._benchmark_rows import Answers
from coala_jax.evaluation._chat import Ask, ChatRequest, Reply, require_one_reply_each
from coala_jax.evaluation.judge._prompts import COMPARE, COMPARE_IN_A_TOKEN, JudgePrompt
from coala_jax.evaluation.judge._readable import require_readable
from coala_jax.evaluation.judge._verdicts import (
    Unread,
    Verdict,
    letter_verdict,
    token_verdict,
    unread,
    without_echo,
)

# Of a reply that says why; FastChat allows 2048, Arena-Hard 4096, and few judges use 500.
MAX_TOKENS = 1024
# As AlpacaEval asks for them: the letter, and what else could have stood there.
TOP_LOGPROBS = 5
ORDERS = 2


class Comparison(NamedTuple):
    """How a pair is put to a judge, and how its reply is read.

    Attributes:
        prompt: with places for {question}, {answer_a} and {answer_b}.
        max_tokens: of a reply.
        by_token: whether the verdict is the first token's, by its log probabilities.
    """

    prompt: JudgePrompt = COMPARE
    max_tokens: int = MAX_TOKENS
    by_token: bool = False

    def request(self, question: str, first: str, second: str) -> ChatRequest:
        """The pair in one order."""
        texts = {"question": question, "answer_a": first, "answer_b": second}
        top = TOP_LOGPROBS if self.by_token else None
        messages = self.prompt.messages(texts)
        return ChatRequest(messages, self.max_tokens, top_logprobs=top)


TEXT = Comparison()
TOKEN = Comparison(COMPARE_IN_A_TOKEN, 1, True)


class PairOutcome(NamedTuple):
    """What came of a question.

    Attributes:
        question: its id.
        replies: of the judge, first system shown first and second; empty where both answers are
            the same text, which is a tie without asking.
        verdicts: on the place shown first, as they were read of the replies.
        characters: of both answers, the first system's first.
    """

    question: str
    replies: tuple[Reply, ...]
    verdicts: tuple[Verdict, ...]
    characters: tuple[int, int]

    @property
    def scores(self) -> tuple[float, float] | None:
        """For the first system in either order, from 0 to 1; None unless both could be read."""
        if not self.verdicts:
            return 0.5, 0.5
        shown_first, shown_second = (verdict.score for verdict in self.verdicts)
        if shown_first is None or shown_second is None:
            return None
        return shown_first, 1 - shown_second

    def account(self) -> dict[str, Any]:
        """The question's line in a file of verdicts, as JSON."""
        scores = self.scores
        return {
            "question": self.question,
            "score": None if scores is None else sum(scores) / ORDERS,
            "scores_by_order": scores,
            "characters": self.characters,
            "equal_answers": not self.replies,
            "games": [
                {
                    "first_shown": shown,
                    "score_of_first_place": verdict.score,
                    "problem": verdict.problem,
                    "reply": reply.text,
                    "error": reply.error,
                }
                for shown, reply, verdict in zip(
                    ("first", "second"), self.replies, self.verdicts, strict=False
                )
            ],
        }


class Judged(NamedTuple):
    """All questions with what came of each, and what could not be read."""

    outcomes: tuple[PairOutcome, ...]
    unread: Unread


def pair_requests(
    questions: Mapping[str, str],
    first: Answers,
    second: Answers,
    comparison: Comparison = TEXT,
) -> list[ChatRequest]:
    """What a judge is asked: every pair of different answers in both orders, one after the other.

    Args:
        questions: texts by id.
        first: answers of one system to them.
        second: of the other.
        comparison: how they are put.
    """
    return [
        request
        for question, text in questions.items()
        for request in _both_orders(text, *_texts(question, first, second), comparison)
    ]


def judge_pairs(
    ask: Ask,
    questions: Mapping[str, str],
    first: Answers,
    second: Answers,
    comparison: Comparison = TEXT,
) -> Judged:
    """Have a judge compare two systems' answers, each pair in both orders.

    Args:
        ask: the judge.
        questions: texts by id; both systems have answered each.
        first: answers of one system.
        second: of the other.
        comparison: how they are put, and how replies are read.

    Returns:
        What came of each question, in their order.

    Raises:
        EvaluationError: under half of the replies could be read; shows one.
    """
    requests = pair_requests(questions, first, second, comparison)
    replies = ask(requests)
    require_one_reply_each(requests, replies)
    read = token_verdict if comparison.by_token else letter_verdict
    verdicts = [
        without_echo(request, reply, read(reply))
        for request, reply in zip(requests, replies, strict=True)
    ]
    not_read = unread(replies, verdicts)
    require_readable(not_read, len(replies))
    outcomes = []
    place = 0
    for question in questions:
        texts = _texts(question, first, second)
        end = place + (0 if texts[0] == texts[1] else ORDERS)
        outcomes.append(
            PairOutcome(
                question,
                tuple(replies[place:end]),
                tuple(verdicts[place:end]),
                (len(texts[0]), len(texts[1])),
            )
        )
        place = end
    return Judged(tuple(outcomes), not_read)


def _texts(question: str, first: Answers, second: Answers) -> tuple[str, str]:
    return first.by_question[question].text, second.by_question[question].text


def _both_orders(
    question: str, first: str, second: str, comparison: Comparison
) -> Sequence[ChatRequest]:
    if first == second:
        return ()
    return (
        comparison.request(question, first, second),
        comparison.request(question, second, first),
    )
