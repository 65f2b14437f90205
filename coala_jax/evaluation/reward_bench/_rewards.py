"""Rewards of a benchmark's answers under a head, as JSON lines that a later run goes on with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax._progress import Progress
from coala_jax.data import DataError, ResponseRow
from coala_jax.data._message import ASSISTANT, USER, Message
from coala_jax.data._responses import CHUNK_RESPONSES
from coala_jax.decoding import TextRewardModel
from coala_jax.decoding._resumed_lines import ResumedLines, chunks, open_lines
from coala_jax.decoding._reward_model import (
    is_known,
    require_reward_model,
    require_scores_responses,
)
from coala_jax.decoding._rewards import Rewards, score
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.reward_bench._rows import BenchRow, RewardBench
from coala_jax.evaluation.reward_bench._scores import read_scores

FORMAT = "coala-jax-reward-bench/1"


class ModelRewards(NamedTuple):
    """Rewards of all answers, and what must be known of them.

    Attributes:
        scores: by row.
        prompt_cut: answers whose prompt lost tokens to the context's length.
        response_cut: answers that lost tokens themselves.
        known_prompts: rows whose prompt the head was trained on; None where it does not say.
        resumed: rows that an earlier run had scored.
    """

    scores: list[tuple[float, ...]]
    prompt_cut: int
    response_cut: int
    known_prompts: int | None
    resumed: int


def model_rewards(
    model: TextRewardModel,
    bench: RewardBench,
    out: Path,
    *,
    chunk_responses: int = CHUNK_RESPONSES,
    report: Callable[[str], object] = lambda _: None,
) -> ModelRewards:
    """Score all answers of a benchmark, a line a row: ``id``, ``subset`` and ``scores``.

    A head of conversations gets prompt and answer as a user's and an assistant's turn, written by
    the chat template that its features were made with; a head of plain texts gets them as they
    stand.

    Args:
        model: of the rewards.
        bench: the rows.
        out: the JSONL to write; a run that was killed is gone on with.
        chunk_responses: answers that run together: what a killed run loses at most.
        report: is told what an earlier run had finished.

    Raises:
        HeadError: no reward model, or one of beginnings of responses.
        FeatureError: what an earlier run left is of something else, and what differs is named; a
            reward that is not finite; the model's tokenizer lacks the head's chat template.
        EvaluationError: a row that the chat template cannot write.

    Example:
        >>> from pathlib import Path
        >>> from coala_jax.data import SourceOptions
        >>> from coala_jax.evaluation.reward_bench import model_rewards, read_reward_bench
        >>> options = SourceOptions(download=True)
        >>> bench = read_reward_bench("allenai/reward-bench-2", options)  # doctest: +SKIP
        >>> found = model_rewards(model, bench, Path("scores.jsonl"))  # doctest: +SKIP
    """
    require_reward_model(model)
    require_scores_responses(model.scores)
    if model.identity.chat_template:
        model.require_chat_template(model.chat.name)
    request = {
        "format": FORMAT,
        "head": model.head_sha256,
        "rows": bench.sha256,
        "chunk_responses": chunk_responses,
        **model.identity._asdict(),
    }
    with open_lines(out, request, report) as lines:
        assert isinstance(lines, ResumedLines)
        resumed = int(lines.progress.get("rows", 0))
        if resumed:
            report(f"{resumed} rows are scored by an earlier run; going on from there")
        sums = _score(model, bench.rows, lines, chunk_responses)
        lines.finish()
    known = None if model.trained_on is None else sums["known_prompts"]
    cut = sums["prompt_cut"], sums["response_cut"]
    return ModelRewards(read_scores(out, bench), *cut, known, resumed)


def _score(
    model: TextRewardModel, rows: Sequence[BenchRow], lines: ResumedLines, chunk_responses: int
) -> dict[str, Any]:
    """Score what is not finished yet; gives the sums over all rows."""
    done = dict(lines.progress) or {
        "rows": 0,
        "prompt_cut": 0,
        "response_cut": 0,
        "known_prompts": 0,
        "token_budget": None,
    }
    left = rows[done["rows"] :]
    with Progress(sum(len(row.answers) for row in left), "score") as progress:
        for chunk in chunks(left, chunk_responses, lambda row: len(row.answers)):
            written = [_responses(model, row) for row in chunk]
            responses = [response for own in written for response in own]
            made = score(model, responses, progress=progress, token_budget=done["token_budget"])
            known = sum(is_known(model, own[0].prompt) for own in written)
            done = _after(done, chunk, made, known)
            lines.append(_lines(chunk, made.rewards.tolist()), done)
    return done


def _after(
    done: dict[str, Any], chunk: Sequence[BenchRow], made: Rewards, known: int
) -> dict[str, Any]:
    return {
        "rows": done["rows"] + len(chunk),
        "prompt_cut": done["prompt_cut"] + made.prompt_cut,
        "response_cut": done["response_cut"] + made.response_cut,
        "known_prompts": done["known_prompts"] + known,
        "token_budget": made.token_budget,
    }


def _lines(chunk: Sequence[BenchRow], rewards: Sequence[float]) -> Iterator[dict[str, Any]]:
    each = iter(rewards)
    for row in chunk:
        yield {"id": row.id, "subset": row.subset, "scores": [next(each) for _ in row.answers]}


def _responses(model: TextRewardModel, row: BenchRow) -> list[ResponseRow]:
    """The answers of a row as the head knows texts."""
    prompt, answers = row.prompt, list(row.answers)
    if model.identity.chat_template:
        turns = [[Message(ASSISTANT, answer)] for answer in answers]
        try:
            written = model.chat.texts([Message(USER, prompt)], turns)
        except DataError as error:
            raise EvaluationError(
                f"{row.place}: cannot be written as a conversation: {error}"
            ) from error
        prompt, answers = written.prompt, written.answers
    name = f"{row.place} ({row.subset} {row.id})"
    return [
        ResponseRow(name, f"answer {number}", prompt, answer)
        for number, answer in enumerate(answers, 1)
    ]
