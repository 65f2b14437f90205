"""Rows of one plan that many requests share: taken, advanced, freed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax

from coala_jax.decoding._generate import FULL, STOPPED
from coala_jax.decoding._prompts import ResponseText, template_of
from coala_jax.decoding._reward_model import TextRewardModel, reward_of_text
from coala_jax.decoding._session import Request, RowProgress, Session, response_of
from coala_jax.decoding._state import Plan, round_up
from coala_jax.features import FeatureError
from coala_jax.serving._intake import Choice
from coala_jax.serving._tickets import Finished, Piece, Ticket

# Steps between two looks: fewer let text and new requests in sooner, more spare the host.
STEPS = 4
# Rows are let in where guidance acts, so that it acts on all of them in the same steps; where that
# would keep text and requests waiting for longer than this many steps, it acts when it will.
MOST_STEPS = 16


class Shape(NamedTuple):
    """What is compiled for a lane.

    Attributes:
        plan: of its rows.
        rows: how many there are.
        context: the most tokens of a prompt and its response.
    """

    plan: Plan
    rows: int
    context: int


class Place(NamedTuple):
    """A choice in a row.

    Attributes:
        ticket: of its request.
        choice: what is generated.
        written: its text so far.
    """

    ticket: Ticket
    choice: Choice
    written: ResponseText


class Lane:
    """Rows of one shape; not for several threads at once."""

    def __init__(self, model: TextRewardModel, shape: Shape):
        """Begin with free rows; their memory is taken when the first is used.

        Args:
            model: that generates and gives rewards.
            shape: of the rows.
        """
        plan = shape.plan
        self._model, self._plan = model, plan
        self._capacity = round_up(shape.context + max(plan.branch_slots, 1))
        self._places: list[Place | None] = [None] * shape.rows
        self._session: Session | None = None
        self._steps = steps_between_looks(plan)

    @property
    def free(self) -> int:
        """How many rows are free."""
        return self._places.count(None)

    @property
    def taken(self) -> int:
        """How many rows are taken."""
        return len(self._places) - self.free

    @property
    def tickets(self) -> set[Ticket]:
        """Whose choices are in the rows."""
        return {place.ticket for place in self._places if place}

    def admit(self, taken: Sequence[tuple[Ticket, Choice]]) -> None:
        """Put choices into free rows; there must be as many.

        Prompts run one by one: every number of them at a time would be compiled for itself, and
        all requests would wait for that.
        """
        free = [row for row, place in enumerate(self._places) if place is None][: len(taken)]
        tokenizer, template = self._model.backbone.tokenizer, template_of(self._model)
        # All have their places before one runs: where that fails, `tickets` are all who must hear.
        for row, (ticket, choice) in zip(free, taken, strict=True):
            text = ResponseText(tokenizer, template, choice.config.sampling.stop)
            self._places[row] = Place(ticket, choice, text)
        for row, (_, choice) in zip(free, taken, strict=True):
            key = jax.random.fold_in(jax.random.key(choice.seed), choice.number)
            self._opened.admit([Request(choice.prompt, choice.config, key)], [row])

    def turn(self) -> None:
        """Free the rows of those who left, advance the others, and tell what came of it."""
        self._free([row for row, place in enumerate(self._places) if _left(place)])
        if not self.taken:
            return
        progress = self._opened.advance(self._steps)
        ended: list[tuple[int, Place]] = []
        cut: list[tuple[int, Place]] = []
        for row, place in enumerate(self._places):
            if place is None:
                continue
            done = bool(progress.done[row])
            fresh = response_of(progress, row, self._plan)[len(place.written.tokens) :]
            if piece := place.written.extend(fresh, last=done):
                place.ticket.tell(Piece(place.choice.number, piece))
            if done or place.written.stopped:
                (cut if place.written.stopped else ended).append((row, place))
        told = [(place.ticket, self._cut_outcome(place)) for _, place in cut]
        if ended:
            rewards, _ = self._opened.rewards()
            told += [
                (place.ticket, self._outcome(place, row, progress, float(rewards[row])))
                for row, place in ended
            ]
        # A row that a stop text ended goes on until it is dropped.
        self._free([row for row, _ in cut if not progress.done[row]])
        for row, _ in (*ended, *cut):
            self._places[row] = None
        # Last: who hears of an end finds the row free.
        for ticket, outcome in told:
            ticket.tell(outcome)

    @property
    def _opened(self) -> Session:
        if self._session is None:
            self._session = Session(self._model, self._plan, len(self._places), self._capacity)
        return self._session

    def _free(self, rows: Sequence[int]) -> None:
        if rows:
            self._opened.drop(rows)
        for row in rows:
            self._places[row] = None

    def _outcome(self, place: Place, row: int, progress: RowProgress, reward: float) -> Finished:
        tokens = progress.tokens[row, : progress.length[row]].tolist()
        reason = STOPPED if tokens[-1] == self._plan.end_id else FULL
        return Finished(place.choice.number, reason, reward, len(tokens))

    def _cut_outcome(self, place: Place) -> Finished:
        """Of a response that a stop text ended: the row holds what was cut off, too."""
        choice, written = place.choice, place.written
        try:
            reward = reward_of_text(self._model, choice.text, written.text)
        except FeatureError:  # not finite; no fault of the other rows
            reward = math.nan
        return Finished(choice.number, STOPPED, reward, len(written.tokens))


def _left(place: Place | None) -> bool:
    return place is not None and place.ticket.cancelled


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
