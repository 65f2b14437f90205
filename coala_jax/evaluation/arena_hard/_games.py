"""Games of Arena-Hard: what a judge is asked, its verdicts, and the rows of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax.evaluation._benchmark_rows import Answers, benchmark_rows, require_answered
from coala_jax.evaluation._chat import ChatRequest, Reply, require_one_reply_each
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation._own_wording import Wording
from coala_jax.evaluation.arena_hard._prompts import OWN_PROMPTS, JudgePrompts
from coala_jax.evaluation.arena_hard._questions import BASELINES, V01, Question, uid_of

# Of `regex_patterns` of config/arena-hard-v2.0.yaml: the second where the first finds nothing.
_LABELS = (re.compile(r"\[\[([AB<>=]+)\]\]"), re.compile(r"\[([AB<>=]+)\]"))
# How well A did by a label, and how often the game counts: `load_judgments` of show_result.py.
DECISIVE = 3
VERDICTS: Mapping[str, tuple[float, int]] = {
    "A>>B": (1.0, DECISIVE),
    "B<<A": (1.0, DECISIVE),
    "A>B": (1.0, 1),
    "B<A": (1.0, 1),
    "A=B": (0.5, 1),
    "B=A": (0.5, 1),
    "A<B": (0.0, 1),
    "B>A": (0.0, 1),
    "A<<B": (0.0, DECISIVE),
    "B>>A": (0.0, DECISIVE),
}
# Of config/arena-hard-*.yaml, for their judges without sampling.
TEMPERATURE, MAX_TOKENS, MAX_TOKENS_V01 = 0.0, 16000, 4096


class Match(NamedTuple):
    """Two games of one question.

    Attributes:
        question: that both answered.
        baseline: the system that the answer is set against.
        requests: of the game in which the baseline is A, and of the one in which it is B.
        wording: whose words the judge is told in both.
    """

    question: Question
    baseline: str
    requests: tuple[ChatRequest, ChatRequest]
    wording: Wording


def verdict(text: str) -> str | None:
    """The last label that a judge gave, in capitals; None without one that has a meaning.

    Source: ``get_score`` of gen_judgment.py of lmarena/arena-hard-auto, which keeps labels without
    a meaning, such as ``AB``, too; its script of scores then fails.
    """
    for pattern in _LABELS:
        found = pattern.findall(text.upper())
        if found:
            label: str = found[-1]
            return label if label in VERDICTS else None
    return None


def make_matches(
    questions: Sequence[Question],
    answers: Answers,
    baselines: Sequence[Answers],
    prompts: JudgePrompts = OWN_PROMPTS,
    *,
    categories: Sequence[str] | None = None,
    partial: bool = False,
) -> list[Match]:
    """Every question with an answer, against its baseline, in both orders.

    Args:
        questions: of the benchmark.
        answers: of the system that is judged; those to other questions are an error.
        baselines: of one system, or of one by category.
        prompts: of the judge; its temperature and most tokens where the files name them.
        categories: which are judged; None is all.
        partial: whether questions may be without an answer.

    Raises:
        EvaluationError: answers that are not to these questions, a category that has none of them
            or whose baseline is not given, a baseline without an answer or that is the system
            itself, or nothing to judge.
    """
    require_answered((question.uid for question in questions), answers, partial=True)
    wanted = _of_categories(questions, categories)
    uids = {question.uid: answers.by_question.get(question.uid) for question in wanted}
    mine = {uid: answer for uid, answer in uids.items() if answer is not None}
    mend = "answer them too, or judge those there are (--partial)"
    require_answered(uids, answers._replace(by_question=mine), partial=partial, mend=mend)
    matches = []
    for question in wanted:
        answer = answers.by_question.get(question.uid)
        if answer is None:
            continue
        baseline = _baseline_of(question.category, baselines)
        if baseline.system == answers.system:
            raise EvaluationError(
                f"{answers.name}: answers of {answers.system}, as those of the baseline "
                f"{baseline.name} are; give the answers of another system"
            )
        against = baseline.by_question.get(question.uid)
        if against is None:
            raise EvaluationError(
                f"{baseline.name}: no answer to {question.place} ({question.uid}); a baseline must "
                "answer every question that is judged"
            )
        orders = (against.text, answer.text), (answer.text, against.text)
        first, second = (_request(question, prompts, a, b) for a, b in orders)
        wording = prompts.wording(question.category)
        matches.append(Match(question, baseline.system, (first, second), wording))
    if not matches:
        raise EvaluationError(f"{answers.name}: answers none of the questions that are judged")
    return matches


def requests_of(matches: Sequence[Match]) -> list[ChatRequest]:
    """All that the judge is asked, match by match, as `judgment_rows` takes the replies."""
    return [request for match in matches for request in match.requests]


def judgment_rows(
    matches: Sequence[Match],
    replies: Sequence[Reply],
    *,
    judge: str,
    model: str,
) -> Iterator[dict[str, Any]]:
    """Rows of ``model_judgment/JUDGE/MODEL.jsonl``, which the benchmark's own scripts read too.

    Beside the benchmark's fields stands what the judge was told, by `Wording.fields`. A game
    without a reply is null; one whose reply has no label has a null score.

    Args:
        matches: what was to be judged.
        replies: to `requests_of` of them.
        judge: its name.
        model: whose answers were judged.

    Raises:
        EvaluationError: another number of replies than of requests.
    """
    require_one_reply_each(requests_of(matches), replies)
    coming = iter(replies)
    for match in matches:
        yield {
            "uid": match.question.uid,
            "category": match.question.category,
            "judge": judge,
            "model": model,
            "baseline": match.baseline,
            "games": [_game(request, next(coming)) for request in match.requests],
            **match.wording.fields(),
        }


def other_rows(path: Path, matches: Sequence[Match], model: str) -> list[Mapping[str, Any]]:
    """Rows of a file of judgments that stay when matches are judged, such as other categories'.

    Args:
        path: ``model_judgment/JUDGE/MODEL.jsonl``, which need not be there.
        matches: that are judged.
        model: whose answers are judged.

    Raises:
        EvaluationError: a row that is broken.
    """
    if not path.is_file() or not path.stat().st_size:
        return []
    judged = {(match.question.uid, model) for match in matches}
    rows = benchmark_rows(path)
    return [
        row.fields for row in rows if (uid_of(row), row.text("model", "model_id")) not in judged
    ]


def _of_categories(
    questions: Sequence[Question], categories: Sequence[str] | None
) -> Sequence[Question]:
    there = dict.fromkeys(question.category for question in questions)
    for category in categories or ():
        if category not in there:
            raise EvaluationError(f"category {category}: the questions have {', '.join(there)}")
    return [
        question for question in questions if categories is None or question.category in categories
    ]


def _baseline_of(category: str, baselines: Sequence[Answers]) -> Answers:
    named = {each.system: each for each in baselines}
    expected = BASELINES.get(category)
    if expected in named:
        return named[expected]
    if len(named) == 1 and not set(named) & set(BASELINES.values()):
        return next(iter(named.values()))
    raise EvaluationError(
        f"category {category}: its baseline is {expected or 'not known'}, and "
        f"{', '.join(named) or 'none'} is given; give the baseline's answers, or judge the other "
        "categories alone"
    )


def _request(question: Question, prompts: JudgePrompts, a: str, b: str) -> ChatRequest:
    default = MAX_TOKENS_V01 if question.category == V01 else MAX_TOKENS
    return ChatRequest(
        messages=prompts.messages(question.category, question.prompt, a, b),
        max_tokens=default if prompts.max_tokens is None else prompts.max_tokens,
        temperature=TEMPERATURE if prompts.temperature is None else prompts.temperature,
    )


def _game(request: ChatRequest, reply: Reply) -> dict[str, Any] | None:
    if reply.text is None:
        return None
    return {
        "score": verdict(reply.text),
        "judgment": {"answer": reply.text},
        "prompt": [{"role": role, "content": content} for role, content in request.messages],
    }
