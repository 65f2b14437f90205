"""Rewards of rows as JSON lines, in bounded memory; a run that was killed goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coala_jax._accuracy import pairwise_accuracy
from coala_jax._progress import Progress
from coala_jax.data import ResponseRow
from coala_jax.data._responses import CHOSEN, CHUNK_RESPONSES, RESPONSE
from coala_jax.decoding._resumed_lines import PassedLines, ResumedLines, chunks, open_lines
from coala_jax.decoding._reward_model import TextRewardModel, is_known
from coala_jax.decoding._rewards import Rewards, score
from coala_jax.features._distinct import SAME_TOKENS

FORMAT = "coala-jax-rewards/3"
PAIR = ("chosen_reward", "rejected_reward")
MARGIN, SET_ASIDE = "reward_margin", "set_aside"
# The responses of some rows, row by row.
Chunk = Sequence[tuple[ResponseRow, ...]]


class Tally(NamedTuple):
    """Sums over what was scored.

    Attributes:
        rows: lines written.
        responses: rewards in them.
        pairs: lines of preference rows whose responses differ for the model.
        same: lines of those that do not: they say nothing, and no other figure counts them.
        correct: pairs whose chosen response has the higher reward; a tie is half of one.
        ties: pairs of equal rewards.
        margin: sum of the reward margins.
        known_rows: rows whose prompt the head was trained on; 0 where it does not say.
        known_pairs: pairs of theirs.
        known_correct: of those, as `correct`.
        prompt_cut: responses whose prompt lost tokens to the context's length.
        response_cut: responses that lost tokens themselves.
    """

    rows: int = 0
    responses: int = 0
    pairs: int = 0
    same: int = 0
    correct: float = 0.0
    ties: int = 0
    margin: float = 0.0
    known_rows: int = 0
    known_pairs: int = 0
    known_correct: float = 0.0
    prompt_cut: int = 0
    response_cut: int = 0

    def plus(
        self, lines: Sequence[Mapping[str, Any]], known: Sequence[bool], rewards: Rewards
    ) -> Tally:
        """The sums with those of a chunk, in which some prompts are known to the head."""
        told = [(line, own) for line, own in zip(lines, known, strict=True) if MARGIN in line]
        pairs = [line for line, _ in told if SET_ASIDE not in line]
        known_pairs = np.array([own for line, own in told if SET_ASIDE not in line], bool)
        chosen, rejected = (np.array([pair[side] for pair in pairs]) for side in PAIR)
        right = pairwise_accuracy(chosen, rejected)
        return Tally(
            self.rows + len(lines),
            self.responses + len(rewards.rewards),
            self.pairs + len(pairs),
            self.same + len(told) - len(pairs),
            self.correct + float(right.sum()),
            self.ties + int((chosen == rejected).sum()),
            sum((pair[MARGIN] for pair in pairs), self.margin),
            self.known_rows + sum(known),
            self.known_pairs + int(known_pairs.sum()),
            self.known_correct + float(right[known_pairs].sum()),
            self.prompt_cut + rewards.prompt_cut,
            self.response_cut + rewards.response_cut,
        )

    def metrics(self) -> dict[str, float]:
        """Of preference rows, under TRL's names; empty where there are none."""
        if not self.pairs:
            return {}
        return {
            "rewards/accuracies": self.correct / self.pairs,
            "rewards/margins": self.margin / self.pairs,
        }

    def unseen_accuracy(self) -> float | None:
        """Share ordered right of the pairs whose prompts the head was not trained on; or None."""
        unseen = self.pairs - self.known_pairs
        return (self.correct - self.known_correct) / unseen if unseen else None


def write_rewards(
    model: TextRewardModel,
    rows: Iterable[tuple[ResponseRow, ...]],
    out: Path | None,
    *,
    chunk_responses: int = CHUNK_RESPONSES,
    report: Callable[[str], object] = lambda _: None,
) -> tuple[Tally, int]:
    """Score rows, one line each: ``id`` and its reward or rewards.

    Args:
        model: of the rewards.
        rows: the responses of each, to be gone through once.
        out: the JSONL to write; None is standard output, which cannot be resumed.
        chunk_responses: responses that run together: what a killed run loses at most.
        report: is told what an earlier run had finished.

    Returns:
        Sums over all lines, and how many lines an earlier run had finished. The lines are the same
        whether a run was killed or not, on the same devices.

    Raises:
        FeatureError: what an earlier run left is of something else, and what differs is named; a
            feature or reward that is not finite; what going through the rows raises.
    """
    request = {
        "format": FORMAT,
        "head": model.head_sha256,
        "chunk_responses": chunk_responses,
        **model.identity._asdict(),
    }
    with open_lines(out, request, report) as lines:
        resumed = int(lines.progress.get("rows", 0))
        if resumed:
            report(f"{resumed} lines are finished by an earlier run; going on from there")
        tally = _score(model, chunks(rows, chunk_responses, len), lines)
        lines.finish()
    return tally, resumed


def _score(
    model: TextRewardModel, chunks: Iterable[Chunk], lines: ResumedLines | PassedLines
) -> Tally:
    """Score what is not finished yet; the rows that are must be those of the earlier run."""
    earlier = lines.progress
    finished, tally = earlier.get("rows", 0), Tally(**earlier.get("tally", {}))
    # Lowered for want of memory, or found by the first rows: a later run keeps to it.
    budget = earlier.get("token_budget")
    seen, digest = 0, hashlib.sha256()
    with Progress(None, "score") as progress:
        for chunk in chunks:
            start, seen = seen, seen + len(chunk)
            digest.update(json.dumps(chunk).encode())
            if start < finished:
                other = seen == finished and digest.hexdigest() != earlier["rows_sha256"]
                if seen > finished or other:
                    raise lines.changed_input()
                continue
            responses = [row for each in chunk for row in each]
            rewards = score(model, responses, progress=progress, token_budget=budget)
            made = reward_lines(chunk, rewards.rewards.tolist(), rewards.first_alike)
            known = [is_known(model, row[0].prompt) for row in chunk]
            tally, budget = tally.plus(made, known, rewards), rewards.token_budget
            state = {"rows": seen, "rows_sha256": digest.hexdigest(), "token_budget": budget}
            lines.append(made, {**state, "tally": tally._asdict()})
    if seen < finished:
        raise lines.changed_input()
    return tally


def reward_lines(
    chunk: Chunk, rewards: Sequence[float], first_alike: Sequence[int]
) -> list[dict[str, Any]]:
    """One line a row, of the rewards of all responses in their order.

    Args:
        chunk: the responses, row by row.
        rewards: of each.
        first_alike: of each, as `Rewards` has it.
    """
    each, lines = iter(zip(rewards, first_alike, strict=True)), []
    for row in chunk:
        own, alike = zip(*(next(each) for _ in row), strict=True)
        lines.append(_line(row, own, same=len(set(alike)) == 1))
    return lines


def _line(row: tuple[ResponseRow, ...], rewards: Sequence[float], *, same: bool) -> dict[str, Any]:
    line: dict[str, Any] = {"id": row[0].id}
    if row[0].side == CHOSEN:
        chosen, rejected = rewards
        line |= dict(zip(PAIR, rewards, strict=True)) | {MARGIN: chosen - rejected}
        return {**line, SET_ASIDE: SAME_TOKENS} if same else line
    return {
        **line,
        **({"reward": rewards[0]} if row[0].side == RESPONSE else {"rewards": list(rewards)}),
    }
