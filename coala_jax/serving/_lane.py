"""Rows of one plan that many requests share: taken, advanced, freed."""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import jax

from coala_jax._errors import CoalaError
from coala_jax.decoding._generate import is_cut
from coala_jax.decoding._reward_model import TextRewardModel
from coala_jax.decoding._rewards import rewards_of_texts
from coala_jax.decoding._session import Request, Session
from coala_jax.decoding._state import Likely, Plan, round_up
from coala_jax.serving._intake import Choice
from coala_jax.serving._likelihoods import TokenLikelihood, TokenTexts
from coala_jax.serving._tickets import Finished, Piece, Ticket

# Steps between two looks: fewer let text and new requests in sooner, more spare the host.
STEPS = 4
# Rows are let in where guidance acts, so that it acts on all of them in the same steps; where that
# would keep text and requests waiting for longer than this many steps, it acts when it will.
MOST_STEPS = 16


# Does work in another thread.
Beside = Callable[..., "Future[None]"]


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

    def __init__(self, model: TextRewardModel, shape: LaneShape, beside: Beside):
        """Begin with free rows; their memory is taken when the first is used.

        Args:
            model: that generates and gives rewards.
            shape: of the rows.
            beside: does work in the thread that compiles, one after another.
        """
        plan = shape.plan
        self._model, self._plan, self._beside = model, plan, beside
        self._session = Session(model, plan, shape.rows, plan.slots(shape.context))
        # By length of prompts; rows whose prompts are not in yet.
        self._rehearsals: dict[int, Future[None]] = {}
        self._coming: set[int] = set()
        self._jobs: list[Job | None] = [None] * shape.rows
        self._texts = TokenTexts(model.backbone.tokenizer)
        self._told = [0] * shape.rows
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
    def opening(self) -> bool:
        """Whether the first programs are being compiled."""
        return bool(self._rehearsals) and not any(made.done() for made in self._rehearsals.values())

    @property
    def ready(self) -> bool:
        """Whether a turn has something to do; where all wait for programs it has not."""
        return bool(self._session.going) or any(self._rehearsal(row).done() for row in self._coming)

    @property
    def tickets(self) -> set[Ticket]:
        """Whose choices are in the rows."""
        return {job.ticket for job in self._jobs if job}

    def free_left(self) -> None:
        """Free the rows of those who left, and do not begin to compile for nobody."""
        left = {row for row, job in enumerate(self._jobs) if job and job.ticket.cancelled}
        if running := left - self._coming:
            self._session.drop(sorted(running))
        for row in left:
            self._jobs[row] = None
        self._coming -= left
        needed = {self._rehearsal(row) for row in self._coming}
        self._rehearsals = {
            length: made
            for length, made in self._rehearsals.items()
            if made in needed or made.done() or not made.cancel()
        }

    def take(self, jobs: Sequence[Job]) -> None:
        """Give choices free rows, of which there must be as many; their prompts run in a turn.

        What a prompt of a new length needs is compiled beside the rows that go on.
        """
        free = [row for row, job in enumerate(self._jobs) if job is None][: len(jobs)]
        for row, job in zip(free, jobs, strict=True):
            self._jobs[row], self._told[row] = job, 0
            self._coming.add(row)
            length = _padded_length(job.choice)
            known = self._rehearsals.get(length)
            if known is None or (known.done() and known.exception()):
                self._rehearsals[length] = self._beside(self._session.rehearse, length)

    def turn(self) -> None:
        """Advance the rows whose programs are there, and tell what came of it."""
        self._admit()
        session, ended = self._session, dict[int, Job]()
        if not session.going:
            return
        pieces = session.write(self._steps)
        likely = session.likely() if self._plan.likely else None
        for row, piece in pieces.items():
            job = self._jobs[row]
            assert job is not None  # what goes on is somebody's
            if piece:
                tokens = None if likely is None else self._tokens(row, job.choice, likely)
                job.ticket.tell(Piece(job.choice.number, piece, tokens))
            if session.texts[row].finish_reason:
                ended[row] = job
        told = self._outcomes(ended)
        for row in ended:
            self._jobs[row] = None
        # Last: who hears of an end finds the row free.
        for ticket, outcome in told:
            ticket.tell(outcome)

    def _admit(self) -> None:
        """Run the prompts whose programs are there.

        They run one by one: every number of them at a time would be compiled for itself.
        """
        for row in sorted(self._coming):
            job = self._jobs[row]
            assert job is not None  # it comes
            if not (made := self._rehearsal(row)).done():
                continue
            made.result()  # raises what the rehearsal raised
            self._coming.remove(row)
            choice = job.choice
            key = row_key(choice.seed, choice.number)
            self._session.admit([Request(choice.prompt, choice.config, key)], [row])

    def _rehearsal(self, row: int) -> Future[None]:
        """What the prompt of a row that comes waits for."""
        job = self._jobs[row]
        assert job is not None
        return self._rehearsals[_padded_length(job.choice)]

    def _tokens(self, row: int, choice: Choice, likely: Likely) -> tuple[TokenLikelihood, ...]:
        """The tokens of a row that begin in what is certain of its text and were not told yet."""
        text, told, most = self._session.texts[row], [], choice.likely
        for place in range(self._told[row], len(text.said)):
            offset = text.width(place)
            if offset >= len(text.text):
                break
            others = zip(
                likely.tokens[row, place, :most].tolist(),
                likely.log_probs[row, place, :most].tolist(),
                strict=True,
            )
            token, own = text.said[place], float(likely.own[row, place])
            told.append(
                TokenLikelihood(
                    self._texts.likely(token, own),
                    tuple(self._texts.likely(*one) for one in others),
                    offset,
                )
            )
        self._told[row] += len(told)
        return tuple(told)

    def _outcomes(self, ended: Mapping[int, Job]) -> list[tuple[Ticket, Finished]]:
        """What to tell of rows that are done."""
        texts, told = self._session.texts, []
        rewards = None
        if not all(is_cut(texts[row], self._model) for row in ended):
            rewards = self._session.rewards()[0]
        for row, (ticket, choice) in ended.items():
            text = texts[row]
            assert text.finish_reason is not None
            if rewards is None or is_cut(text, self._model):
                reward = self._reward_of(choice, text.text)
            else:
                reward = float(rewards[row])
            end = Finished(choice.number, text.finish_reason, reward, len(text.tokens))
            told.append((ticket, end))
        return told

    def _reward_of(self, choice: Choice, response: str) -> float:
        try:
            return rewards_of_texts(self._model, [(choice.text, response)])[0]
        except CoalaError:  # not finite, mostly; no fault of the other rows
            return math.nan


def _padded_length(choice: Choice) -> int:
    """How long its prompt is compiled as."""
    return round_up(len(choice.prompt))


def row_key(seed: int, number: int) -> jax.Array:
    """The typed key that a choice draws with: ``fold_in(key(seed), number)``.

    Args:
        seed: 64 bits, with or without a sign. ``jax.random.key`` takes 32 of them for certain: what
            a seed has beyond those is folded in before the number.
        number: of the choice.
    """
    high, low = divmod(seed % 2**64, 2**32)
    key = jax.random.key(low)
    return jax.random.fold_in(jax.random.fold_in(key, high) if high else key, number)


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
