"""Rewards of the responses of a file, in bounded memory; a run that was killed goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax._lock import only_writer
from coala_jax._progress import Progress
from coala_jax.data import ResponseRow
from coala_jax.data._responses import CHOSEN, CHUNK_RESPONSES, RESPONSE, ResponseStream
from coala_jax.decoding._inputs import usable_rows
from coala_jax.decoding._resumed_lines import PassedLines, ResumedLines
from coala_jax.decoding._reward_model import Rewards, TextRewardModel, score
from coala_jax.decoding._set_aside import SetAside
from coala_jax.features import FeatureError

# A tie orders nothing: half a correct pair.
TIE = 0.5
FORMAT = "coala-jax-rewards/1"
Report = Callable[[str], object]
# The responses of some rows, row by row.
Chunk = Sequence[tuple[ResponseRow, ...]]


class Tally(NamedTuple):
    """Sums over what was scored.

    Attributes:
        rows: lines written.
        responses: rewards in them.
        pairs: lines of preference rows.
        correct: pairs whose chosen response has the higher reward; a tie is half of one.
        margin: sum of the reward margins.
        prompt_cut: responses whose prompt lost tokens to the context's length.
        response_cut: responses that lost tokens themselves.
    """

    rows: int = 0
    responses: int = 0
    pairs: int = 0
    correct: float = 0.0
    margin: float = 0.0
    prompt_cut: int = 0
    response_cut: int = 0

    def plus(self, lines: Iterable[Mapping[str, Any]], rewards: Rewards) -> Tally:
        """The sums with those of a chunk."""
        rows, pairs, correct, margin = self.rows, self.pairs, self.correct, self.margin
        for line in lines:
            rows += 1
            if "reward_margin" in line:
                pairs += 1
                margin += line["reward_margin"]
                chosen, rejected = line["chosen_reward"], line["rejected_reward"]
                correct += TIE if chosen == rejected else float(chosen > rejected)
        return Tally(
            rows,
            self.responses + len(rewards.rewards),
            pairs,
            correct,
            margin,
            self.prompt_cut + rewards.prompt_cut,
            self.response_cut + rewards.response_cut,
        )

    def summary(self) -> dict[str, Any]:
        """Counts, and the metrics of preference rows under TRL's names where there are any."""
        cut = {"prompt": self.prompt_cut, "response": self.response_cut}
        counts = {"lines": self.rows, "responses": self.responses, "pairs": self.pairs, "cut": cut}
        if not self.pairs:
            return counts
        return {
            **counts,
            "rewards/accuracies": self.correct / self.pairs,
            "rewards/margins": self.margin / self.pairs,
        }


class Scored(NamedTuple):
    """What `score_stream` did.

    Attributes:
        summary: of `Tally.summary`, with the rows that were set aside by reason.
        resumed: lines that an earlier run had finished.
        rejected: where the rows set aside are; None where there are none.
    """

    summary: dict[str, Any]
    resumed: int
    rejected: Path | None


def score_stream(
    model: TextRewardModel,
    stream: ResponseStream,
    out: Path | None,
    *,
    rejected: Path | None = None,
    chunk_responses: int = CHUNK_RESPONSES,
    report: Report = lambda _: None,
) -> Scored:
    """Score responses, one line a row: ``id`` and its reward or rewards.

    Args:
        model: of the rewards.
        stream: the rows, from ``stream_responses``.
        out: the JSONL to write; None is standard output, which cannot be resumed.
        rejected: where rows that are set aside go; None only counts them.
        chunk_responses: responses that run together: what a killed run loses at most.
        report: is told what an earlier run had finished.

    Returns:
        Counts and metrics. The lines are the same whether a run was killed or not, on the same
        devices.

    Raises:
        FeatureError: another chat template than the head's; what an earlier run left is of
            something else, and what differs is named; a feature or reward that is not finite.
        DataError: no usable row, or what reading the stream raises.
    """
    aside = SetAside(rejected)
    try:
        with ExitStack() as stack:
            lines = _open_lines(stack, out, _request(model, chunk_responses), report)
            resumed = int((lines.progress or {}).get("rows", 0))
            if resumed:
                report(f"{resumed} lines are finished by an earlier run; going on from there")
            rows = usable_rows(stream, model, aside)
            chunks = _chunks(rows, chunk_responses)
            tally = _score(lines, chunks, model)
            aside.require_usable(stream.name, tally.rows)
            kept = aside.finish()
            lines.finish()
    finally:
        aside.close()
    summary = tally.summary()
    summary["rows"] = {"set_aside": dict(sorted(aside.counts.items())), "cut": summary.pop("cut")}
    return Scored(summary, resumed, kept)


def _request(model: TextRewardModel, chunk_responses: int) -> dict[str, Any]:
    """All that decides the lines, but for the rows."""
    return {
        "format": FORMAT,
        "head": model.head_sha256,
        "chunk_responses": chunk_responses,
        **model.identity._asdict(),
    }


def _open_lines(
    stack: ExitStack, out: Path | None, request: Mapping[str, Any], report: Report
) -> ResumedLines | PassedLines:
    if out is None:
        return PassedLines()
    stack.enter_context(only_writer(out, report, FeatureError))
    return stack.enter_context(ResumedLines(out, request))


def _score(
    lines: ResumedLines | PassedLines,
    chunks: Iterable[Chunk],
    model: TextRewardModel,
) -> Tally:
    """Score what is not finished yet; the rows that are must be those of the earlier run."""
    earlier: Mapping[str, Any] = lines.progress or {}
    finished = earlier.get("rows", 0)
    tally = Tally(**earlier.get("tally", {}))
    # Lowered for want of memory, or found by the first rows: a later run keeps to it.
    budget = earlier.get("token_budget")
    seen, digest = 0, hashlib.sha256()
    with Progress(None, "score") as progress:
        for chunk in chunks:
            start, seen = seen, seen + len(chunk)
            digest.update(json.dumps(chunk).encode())
            if start < finished:
                if seen > finished:
                    raise lines.changed_input()
                if seen == finished and digest.hexdigest() != earlier["rows_sha256"]:
                    raise lines.changed_input()
                continue
            rows = [row for responses in chunk for row in responses]
            rewards = score(model, rows, progress=progress, token_budget=budget)
            made = _lines(chunk, rewards.rewards.tolist())
            tally = tally.plus(made, rewards)
            budget = rewards.token_budget
            lines.append(
                made,
                {
                    "rows": seen,
                    "rows_sha256": digest.hexdigest(),
                    "token_budget": budget,
                    "tally": tally._asdict(),
                },
            )
    if seen < finished:
        raise lines.changed_input()
    return tally


def _chunks(rows: Iterable[tuple[ResponseRow, ...]], chunk_responses: int) -> Iterator[Chunk]:
    """Rows in groups of at least so many responses, the same groups in every run."""
    chunk: list[tuple[ResponseRow, ...]] = []
    held = 0
    for row in rows:
        chunk.append(row)
        held += len(row)
        if held >= chunk_responses:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _lines(chunk: Chunk, rewards: Sequence[float]) -> list[dict[str, Any]]:
    """One line a row."""
    each = iter(rewards)
    return [_line(row, [next(each) for _ in row]) for row in chunk]


def _line(row: tuple[ResponseRow, ...], rewards: list[float]) -> dict[str, Any]:
    if row[0].side == CHOSEN:
        chosen, rejected = rewards
        return {
            "id": row[0].id,
            "chosen_reward": chosen,
            "rejected_reward": rejected,
            "reward_margin": chosen - rejected,
        }
    if row[0].side == RESPONSE:
        return {"id": row[0].id, "reward": rewards[0]}
    return {"id": row[0].id, "rewards": rewards}
