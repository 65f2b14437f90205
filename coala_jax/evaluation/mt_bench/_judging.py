"""What judges are asked of answers to MT-Bench, and their replies as FastChat's judgments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax.evaluation._benchmark_rows import NO_TIME, Answer, Answers
from coala_jax.evaluation._chat import ChatRequest, Reply, require_one_reply_each
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.judge import JudgePrompt
from coala_jax.evaluation.judge._verdicts import Unread, is_echo, unread, without_echo
from coala_jax.evaluation.mt_bench._judge_prompts import (
    PAIRWISE,
    SINGLE,
    Kind,
    judge_request,
    prompt_name,
)
from coala_jax.evaluation.mt_bench._questions import Question
from coala_jax.evaluation.mt_bench._verdicts import (
    A,
    B,
    judgment_text,
    pair_verdict,
    reply_verdict,
    single_score,
)

MODEL_1, MODEL_2 = "model_1", "model_2"
# Who won a game by the letter of the verdict: in the first one A is model 1, in the second model 2.
_FIRST_GAME, _SECOND_GAME = {A: MODEL_1, B: MODEL_2}, {A: MODEL_2, B: MODEL_1}


class Match(NamedTuple):
    """One judgment to be made.

    Attributes:
        question: that was answered.
        turn: which answer is judged, 1 or 2.
        models: the one that is graded, or the two that are compared.
        prompt: its name.
        requests: one, or two of a comparison, the second with the answers in the other order.
    """

    question: Question
    turn: int
    models: tuple[str, ...]
    prompt: str
    requests: tuple[ChatRequest, ...]


def single_matches(
    questions: Sequence[Question],
    answers: Sequence[Answers],
    references: Mapping[str, Answer],
    prompts: Mapping[str, JudgePrompt],
) -> list[Match]:
    """Each answer to be graded, in FastChat's order (`make_match_single` of gen_judgment.py).

    Args:
        questions: all of the set.
        answers: of each model, to all questions.
        references: by question, of all that need one.
        prompts: of the kind ``single``, by name.

    Raises:
        EvaluationError: two models of one name, or a prompt with a place that nothing fills.
    """
    _require_different(answers)
    matches = []
    for question, turn in _turns_in_order(questions):
        prompt = prompts[_name(SINGLE, question, turn)]
        for model in answers:
            values = _known(question, turn, references)
            values |= _said("answer", model.by_question[question.key].turns, turn)
            request = judge_request(prompt, values)
            matches.append(Match(question, turn, (model.system,), prompt.name, (request,)))
    return matches


def pair_matches(
    questions: Sequence[Question],
    answers: Sequence[Answers],
    baseline: Answers,
    references: Mapping[str, Answer],
    prompts: Mapping[str, JudgePrompt],
) -> list[Match]:
    """Each answer to be compared with a baseline's, in both orders (`make_match` there).

    Args:
        questions: all of the set.
        answers: of each model, to all questions.
        baseline: of the model that the others are compared with.
        references: by question, of all that need one.
        prompts: of the kind ``pairwise``, by name.

    Raises:
        EvaluationError: as `single_matches` does.
    """
    _require_different([*answers, baseline])
    matches = []
    for question, turn in _turns_in_order(questions):
        prompt = prompts[_name(PAIRWISE, question, turn)]
        for model in answers:
            ours, theirs = (each.by_question[question.key].turns for each in (model, baseline))
            requests = []
            for first, second in ((ours, theirs), (theirs, ours)):
                values = _known(question, turn, references)
                values |= _said("answer_a", first, turn) | _said("answer_b", second, turn)
                requests.append(judge_request(prompt, values))
            models = (model.system, baseline.system)
            matches.append(Match(question, turn, models, prompt.name, tuple(requests)))
    return matches


def requests_of(matches: Sequence[Match]) -> list[ChatRequest]:
    """All that the judge is asked, match by match."""
    return [request for match in matches for request in match.requests]


def judgment_lines(
    matches: Sequence[Match], replies: Sequence[Reply], judge: str
) -> list[dict[str, Any]]:
    """Rows of ``model_judgment/JUDGE_single.jsonl`` or ``JUDGE_pair.jsonl`` of FastChat.

    A judge that could not be reached has said ``$ERROR$``, as there: a grade of -1, or no winner.
    So has a reply that repeats what was asked, in which FastChat's script finds the example of a
    grade that its prompt shows.

    Args:
        matches: that were asked about.
        replies: to `requests_of` them.
        judge: name of the judge's model.

    Raises:
        EvaluationError: another number of replies than of requests.
    """
    require_one_reply_each(requests_of(matches), replies)
    left = iter(replies)
    lines = []
    for match in matches:
        games = [_game(request, next(left)) for request in match.requests]
        made = _pair_fields if len(games) > 1 else _single_fields
        fields = made(match, games)
        shared = {"judge": [judge, match.prompt], "turn": match.turn, "tstamp": NO_TIME}
        lines.append({"question_id": match.question.id, **fields, **shared})
    return lines


def unread_replies(matches: Sequence[Match], replies: Sequence[Reply]) -> Unread:
    """What of the replies to `requests_of` matches gives neither a grade nor a winner, and why."""
    compared = [len(match.requests) > 1 for match in matches for _ in match.requests]
    verdicts = [
        without_echo(request, reply, reply_verdict(reply, compared=each))
        for request, reply, each in zip(requests_of(matches), replies, compared, strict=True)
    ]
    return unread(replies, verdicts)


class _Game(NamedTuple):
    """What the judge was asked, what it said, and what of that may hold a verdict."""

    asked: str
    said: str
    read: str


def _game(request: ChatRequest, reply: Reply) -> _Game:
    said = judgment_text(reply)
    return _Game(request.messages[-1][1], said, "" if is_echo(request, reply) else said)


def _single_fields(match: Match, games: Sequence[_Game]) -> dict[str, Any]:
    return {
        "model": match.models[0],
        "user_prompt": games[0].asked,
        "judgment": games[0].said,
        "score": single_score(games[0].read),
    }


def _pair_fields(match: Match, games: Sequence[_Game]) -> dict[str, Any]:
    first, second = (pair_verdict(game.read) for game in games)
    return {
        MODEL_1: match.models[0],
        MODEL_2: match.models[1],
        "g1_winner": _FIRST_GAME.get(first, first),
        "g2_winner": _SECOND_GAME.get(second, second),
        "g1_user_prompt": games[0].asked,
        "g1_judgment": games[0].said,
        "g2_user_prompt": games[1].asked,
        "g2_judgment": games[1].said,
    }


def _turns_in_order(questions: Sequence[Question]) -> Iterator[tuple[Question, int]]:
    """First turns, then second ones; of each those without a reference first."""
    for turn in (1, 2):
        for needs_reference in (False, True):
            for question in questions:
                if question.needs_reference == needs_reference and turn <= len(question.turns):
                    yield question, turn


def _name(kind: Kind, question: Question, turn: int) -> str:
    return prompt_name(kind, reference=question.needs_reference, second=turn == 2)


def _known(question: Question, turn: int, references: Mapping[str, Answer]) -> dict[str, str]:
    """Places of a prompt that no model fills: the question, and the reference answers."""
    values = _said("question", question.turns, turn)
    if question.needs_reference:
        values |= _numbered("ref_answer", references[question.key].turns)
    return values


def _said(place: str, turns: Sequence[str], turn: int) -> dict[str, str]:
    """Places that prompts of the first turn, or of the second one, have for what was said."""
    return {place: turns[0]} if turn == 1 else _numbered(place, turns)


def _numbered(place: str, turns: Sequence[str]) -> dict[str, str]:
    return {f"{place}_{number}": text for number, text in enumerate(turns, 1)}


def _require_different(answers: Sequence[Answers]) -> None:
    files: dict[str, str] = {}
    for each in answers:
        if each.system in files:
            raise EvaluationError(
                f"{each.name}: answers of {each.system}, as {files[each.system]} has; give the "
                "models names of their own"
            )
        files[each.system] = each.name
