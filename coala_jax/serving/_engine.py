"""The thread that generates and scores: requests wait here for rows, and share them.

Programs are compiled in a second thread: requests whose own are there do not wait for them.
"""

import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Container, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax

from coala_jax._errors import CoalaError
from coala_jax._progress import Progress
from coala_jax.data import ResponseRow
from coala_jax.decoding._reward_model import TextRewardModel
from coala_jax.decoding._rewards import rewards_of
from coala_jax.decoding._state import Plan
from coala_jax.serving._errors import ApiError, internal_error, overloaded, stopping
from coala_jax.serving._intake import Choice
from coala_jax.serving._lane import Job, Lane, LaneShape
from coala_jax.serving._limits import Limits
from coala_jax.serving._tickets import Failed, Ticket

# Programs of so many lanes are kept; with one more all are freed, and compiled anew where they are
# needed: jax forgets none by itself.
COMPILED_LANES = 64
# A step takes time for all slots of all rows, used or not: what fits gets rows of so many tokens,
SHORT_CONTEXT = 256
# and who asks alone gets a lane of one row.
ALONE = 1


class Engine:
    """One thread with the model to itself; the methods may be called from any other."""

    def __init__(self, model: TextRewardModel, limits: Limits, log: Callable[[str], None]):
        """Begin without work.

        Args:
            model: that generates and gives rewards.
            limits: of the server.
            log: told of faults, a line each.
        """
        self._model, self._limits, self._log = model, limits, log
        self._changed = threading.Condition()
        # Guarded by the condition, as all are down to the thread's own.
        self._waiting: deque[Job] = deque()
        self._to_score: deque[tuple[Ticket, Sequence[ResponseRow]]] = deque()
        self._tickets: set[Ticket] = set()
        self._refusing = self._stopped = False
        # Whether those who wait may have got a chance since the last look.
        self._news = False
        # Those that were taken; whether programs are being compiled; until when none is new.
        self._plans: set[Plan] = set()
        self._compiling, self._closed_until = False, -math.inf
        # The thread's own.
        self._lanes: dict[LaneShape, Lane] = {}
        self._compiled: set[LaneShape] = set()
        # What the other thread was given and has not done, whatever became of its lane.
        self._rehearsals: set[Future[None]] = set()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._compiler = ThreadPoolExecutor(1, thread_name_prefix="compiler")

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def generate(self, ticket: Ticket, choices: Sequence[Choice]) -> None:
        """Let choices wait for rows; the ticket is told of their pieces and ends.

        Raises:
            ApiError: too many wait already, or the engine takes no more; programs were compiled a
                moment ago, and these choices need others.
        """
        with self._changed:
            self._require_room(len(choices))
            self._require_leave({choice.plan for choice in choices})
            self._tickets.add(ticket)
            self._waiting.extend(Job(ticket, choice) for choice in choices)
            self._tell_news()

    def score(self, ticket: Ticket, rows: Sequence[ResponseRow]) -> None:
        """Let rows wait to be scored; the ticket is told their rewards.

        Raises:
            ApiError: too many wait already, or the engine takes no more.
        """
        with self._changed:
            self._require_room(1)
            self._tickets.add(ticket)
            self._to_score.append((ticket, rows))
            self._changed.notify()

    def cancel(self, ticket: Ticket) -> None:
        """Forget a request: its rows are freed before the next step."""
        with self._changed:
            ticket.cancelled = True
            self._tickets.discard(ticket)
            self._waiting = deque(job for job in self._waiting if job.ticket is not ticket)
            self._to_score = deque(one for one in self._to_score if one[0] is not ticket)
            self._tell_news()

    def refuse(self) -> None:
        """Take no more requests; those that are here go on."""
        with self._changed:
            self._refusing = True

    def abort(self) -> None:
        """End all requests, and the thread after its next step."""
        with self._changed:
            self._refusing = self._stopped = True
            for ticket in self._tickets:
                ticket.tell(Failed(stopping()))
            self._changed.notify()

    def stop(self) -> None:
        """End all requests, and wait for the thread."""
        self.abort()
        self._thread.join()
        self._compiler.shutdown(cancel_futures=True)

    @property
    def works(self) -> bool:
        """Whether requests are taken."""
        return self._thread.is_alive() and not self._refusing

    @property
    def running(self) -> int:
        """How many rows are taken."""
        return sum(lane.taken for lane in list(self._lanes.values()))

    def _require_room(self, count: int) -> None:
        if not self.works:
            raise stopping()
        waiting = len(self._waiting) + len(self._to_score)
        if waiting + count > self._limits.waiting:
            raise overloaded(
                f"{waiting} responses are waiting already and {self._limits.waiting} may; come "
                "again later"
            )

    def _require_leave(self, plans: set[Plan]) -> None:
        """Let plans in that are known, and others where the last new one is long enough ago.

        One plan has programs for alone and together, for short and long: those come when they will.
        """
        if plans <= self._plans:
            return
        rest = self._closed_until - time.monotonic()
        apart = self._limits.plan_seconds
        if apart and (self._compiling or rest > 0):
            raise overloaded(
                "another new set of guidance options was taken a moment ago; one is compiled at a "
                f"time, {apart:g} s apart; come again later",
                math.ceil(apart if self._compiling else rest),
            )
        if self._plans:  # the first is what all need
            self._closed_until = time.monotonic() + apart
        self._plans |= plans

    def _run(self) -> None:
        while self._wait_for_work():
            for lane in list(self._lanes.values()):
                self._guarded(lane, lane.free_left)
            for lane, taken in self._taken():
                lane.take(taken)
            self._forget_programs()
            for lane in list(self._lanes.values()):
                if lane.ready:
                    self._guarded(lane, lane.turn)
                    self._tell_news()  # rows may be free
            self._note_compiled()
            self._score_some()

    def _wait_for_work(self) -> bool:
        """Whether to go on; sleeps until there is something to do."""
        with self._changed:
            while not (
                self._stopped
                or self._news
                or self._to_score
                or any(lane.ready for lane in self._lanes.values())
            ):
                self._changed.wait()
            self._news = False
            return not self._stopped

    def _tell_news(self) -> None:
        """Wake the thread."""
        with self._changed:
            self._news = True
            self._changed.notify()

    def _beside(self, work: Callable[..., None], *given: object) -> Future[None]:
        """Do work in the thread that compiles: rows that have their programs go on meanwhile."""
        made = self._compiler.submit(work, *given)
        self._rehearsals = {one for one in self._rehearsals if not one.done()} | {made}
        made.add_done_callback(lambda _: self._tell_news())
        return made

    def _taken(self) -> list[tuple[Lane, list[Job]]]:
        """Who gets a free row, in the order they came; they wait no longer."""
        taken: dict[LaneShape, list[Job]] = {}
        with self._changed:
            waiting, self._waiting = list(self._waiting), deque()
            alone = len(waiting) == 1 and not self.running
            for n, job in enumerate(waiting):
                shape = self._shape(job.choice, alone=alone)
                lane = self._lane(shape, kept=taken)
                if lane is None:  # those behind it must not keep the lanes busy for ever
                    self._waiting.extend(waiting[n:])
                    break
                mine = taken.setdefault(shape, [])
                if len(mine) < lane.free:
                    mine.append(job)
                else:
                    self._waiting.append(job)
        return [(self._lanes[shape], each) for shape, each in taken.items() if each]

    def _shape(self, choice: Choice, *, alone: bool) -> LaneShape:
        """Of the lane for a choice, the smallest that does."""
        plan, limits = choice.plan, self._limits
        needed = len(choice.prompt) + choice.config.sampling.max_new_tokens + plan.reach
        context = SHORT_CONTEXT if needed <= SHORT_CONTEXT < limits.context else limits.context
        return LaneShape(plan, ALONE if alone else limits.rows, context)

    def _lane(self, shape: LaneShape, kept: Container[LaneShape]) -> Lane | None:
        """The lane of a shape, made where there is none; None where all others are in use."""
        lane = self._lanes.pop(shape, None)
        if lane is None and len(self._lanes) >= self._limits.lanes:
            idle = [one for one, lane in self._lanes.items() if not lane.taken and one not in kept]
            if not idle:
                return None
            del self._lanes[idle[0]]  # the one whose last use is the longest ago
        if shape not in self._compiled:
            self._compiling = True
            self._compiled.add(shape)
        self._lanes[shape] = lane or Lane(self._model, shape, self._beside)
        return self._lanes[shape]

    def _forget_programs(self) -> None:
        """Free the programs of lanes that may never come again, while none are compiled."""
        if len(self._compiled) > COMPILED_LANES and all(made.done() for made in self._rehearsals):
            jax.clear_caches()
            # Those that go on compile at their next step, those that are idle when they are used.
            self._lanes = {shape: lane for shape, lane in self._lanes.items() if lane.taken}
            self._compiled = set(self._lanes)
            with self._changed:
                self._plans = {shape.plan for shape in self._lanes}
                self._plans |= {job.choice.plan for job in self._waiting}

    def _note_compiled(self) -> None:
        """What was new has its programs."""
        opening = any(lane.opening for lane in self._lanes.values())
        with self._changed:
            if self._compiling and not opening:
                self._compiling = False
                if len(self._plans) > 1:
                    self._closed_until = time.monotonic() + self._limits.plan_seconds

    def _guarded(self, lane: Lane, work: Callable[[], None]) -> None:
        """Work on a lane; a fault ends its requests and not the thread."""
        try:
            work()
        except Exception as error:  # whatever it was, the other lanes and those who come go on
            failed = self._failure(error)
            for ticket in lane.tickets:
                ticket.tell(Failed(failed))
            self._lanes = {shape: one for shape, one in self._lanes.items() if one is not lane}

    def _score_some(self) -> None:
        """Score the rows of one request; rows that generate go on between two of them."""
        with self._changed:
            if not self._to_score:
                return
            ticket, rows = self._to_score.popleft()
        try:
            hidden = Progress(len(rows), "", hidden=True)
            made = rewards_of(self._model, rows, progress=hidden)
        except Exception as error:  # as in `_guarded`
            ticket.tell(Failed(self._failure(error, "items")))
        else:
            ticket.tell(made)

    def _failure(self, error: Exception, param: str | None = None) -> ApiError:
        """What clients are told of an error: what tokenizer or head fail on is theirs to mend."""
        if isinstance(error, CoalaError):
            failed = ApiError(400, str(error), code="invalid_value", param=param)
            failed.__cause__ = error.__cause__
            return failed
        self._log_fault(error)
        return internal_error()

    def _log_fault(self, error: Exception) -> None:
        """Where it failed; not what was said, which may hold what a client sent."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        found = f'File "{place.filename}", line {place.lineno}, in {place.name}'
        self._log(f"fault in the engine: {type(error).__name__} at {found}")
