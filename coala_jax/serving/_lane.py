"""Rows of one plan that many requests share: taken, advanced, freed."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax

from coala_jax.decoding._generate import is_cut
from coala_jax.decoding._reward_model import TextRewardModel, reward_of_text
from coala_jax.decoding._session import Request, Session
from coala_jax.decoding._state import Plan
from coala_jax.features import FeatureError
from coala_jax.serving._intake import Choice
from coala_jax.serving._tickets import Finished, Piece, Ticket

# Steps between two looks: fewer let text and new requests in sooner, more spare the host.
STEPS = 4
# Rows are let in where guidance acts, so that it acts on all of them in the same steps; where that
# would keep text and requests waiting for longer than this many steps, it acts when it will.
MOST_STEPS = 16


class LaneShape(NamedTuple):
    """What is compiled for a lane.

    Attributes:
        plan: of its rows.
        rows: how many there are.
        context: the most tokens of a prompt and its response.
    """

    plan: Plan
    rows: int
    context: int


class Job(NamedTuple):
    """A choice that waits for a row, or has one.

    Attributes:
        ticket: of its request.
        choice: what is generated.
    """

    ticket: Ticket
    choice: Choice


class Lane:
    """Rows of one shape; not for several threads at once."""

    def __init__(self, model: TextRewardModel, shape: LaneShape):
        """Begin with free rows; their memory is taken when the first is used.

        Args:
            model: that generates and gives rewards.
            shape: of the rows.
        """
        plan = shape.plan
        self._model, self._plan = model, plan
        self._capacity = plan.slots(shape.context)
        self._jobs: list[Job | None] = [None] * shape.rows
        self._session: Session | None = None
        self._steps = steps_between_looks(plan)

    @property
    def free(self) -> int:
        """How many rows are free."""
        return self._jobs.count(None)

    @property
    def taken(self) -> int:
        """How many rows are taken."""
        return len(self._jobs) - self.free

    @property
    def tickets(self) -> set[Ticket]:
        """Whose choices are in the rows."""
        return {job.ticket for job in self._jobs if job}

    def admit(self, jobs: Sequence[Job]) -> None:
        """Put choices into free rows; there must be as many.

        Prompts run one by one: every number of them at a time would be compiled for itself, and
        all requests would wait for that.
        """
        free = [row for row, job in enumerate(self._jobs) if job is None][: len(jobs)]
        # All have their rows before one runs: where that fails, `tickets` are all who must hear.
        for row, job in zip(free, jobs, strict=True):
            self._jobs[row] = job
        for row, (_, choice) in zip(free, jobs, strict=True):
            key = jax.random.fold_in(jax.random.key(choice.seed), choice.number)
            self._opened.admit([Request(choice.prompt, choice.config, key)], [row])

    def turn(self) -> None:
        """Free the rows of those who left, advance the others, and tell what came of it."""
        left = [row for row, job in enumerate(self._jobs) if job and job.ticket.cancelled]
        if left:
            self._opened.drop(left)
        for row in left:
            self._jobs[row] = None
        if not self.taken:
            return
        session, ended = self._opened, dict[int, Job]()
        for row, piece in session.write(self._steps).items():
            job = self._jobs[row]
            assert job is not None  # what goes on is somebody's
            if piece:
                job.ticket.tell(Piece(job.choice.number, piece))
            if session.texts[row].finish_reason:
                ended[row] = job
        told = self._outcomes(ended)
        for row in ended:
            self._jobs[row] = None
        # Last: who hears of an end finds the row free.
        for ticket, outcome in told:
            ticket.tell(outcome)

    def _outcomes(self, ended: Mapping[int, Job]) -> list[tuple[Ticket, Finished]]:
        """What to tell of rows that are done."""
        texts, told = self._opened.texts, []
        rewards = None
        if not all(is_cut(texts[row]) for row in ended):
            rewards = self._opened.rewards()[0]
        for row, (ticket, choice) in ended.items():
            text = texts[row]
            assert text.finish_reason is not None
            if rewards is None or is_cut(text):
                reward = self._reward_of(choice, text.text)
            else:
                reward = float(rewards[row])
            end = Finished(choice.number, text.finish_reason, reward, len(text.tokens))
            told.append((ticket, end))
        return told

    def _reward_of(self, choice: Choice, response: str) -> float:
        try:
            return reward_of_text(self._model, choice.text, response)
        except FeatureError:  # not finite; no fault of the other rows
            return math.nan

    @property
    def _opened(self) -> Session:
        if self._session is None:
            self._session = Session(self._model, self._plan, len(self._jobs), self._capacity)
        return self._session


def steps_between_looks(plan: Plan) -> int:
    """Steps after which text is sent and rows are let in.

    Args:
        plan: of the rows; a step is a token, or a block of them.
    """
    if not plan.candidates:
        return STEPS
    every = plan.guidance.guide_every
    if plan.guidance.continuations:
        return max(STEPS // every, 1)
    rounds = -(-STEPS // every) * every
    return rounds if rounds <= MOST_STEPS else STEPS
