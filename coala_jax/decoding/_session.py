"""A batch of rows on the device: requests come in, tokens come out, rows are used again."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax.backbones import Backbone
from coala_jax.decoding._candidates import SamplingArrays
from coala_jax.decoding._config import GenerationConfig, GenerationError
from coala_jax.decoding._prompts import ResponseText, require_known_tokens, template_of
from coala_jax.decoding._reward_model import TextRewardModel, backbone_of
from coala_jax.decoding._running_pool import RunningReward
from coala_jax.decoding._state import Counts, DecodeState, Likely, Plan, Trace, begin, prompt_batch
from coala_jax.decoding._step import advance, close


class Request(NamedTuple):
    """What a row is asked for.

    Attributes:
        prompt: token ids.
        config: how to answer.
        key: typed key; the response depends on it and the prompt, not on the other rows.
        name: for messages.
        text: of the prompt, for the reward of a response that a stop text cut off.
    """

    prompt: Sequence[int]
    config: GenerationConfig
    key: jax.Array
    name: str = "prompt"
    text: str = ""


class RowProgress(NamedTuple):
    """Where the rows stand, on the host.

    Attributes:
        tokens: (rows, new_tokens) int32 responses so far, end tokens among them.
        length: (rows,) how many there are of each.
        done: (rows,) booleans.
        counts: of what they took.
        unsound: (rows,) booleans, a score was not finite.
    """

    tokens: np.ndarray
    length: np.ndarray
    done: np.ndarray
    counts: Counts
    unsound: np.ndarray


class Session:
    """Rows of one plan, and the texts that they become; not for several threads at once.

    Attributes:
        model: that answers.
        plan: what was compiled.
        rows: how many requests run together.
        capacity: slots of each.
        texts: by row, of the response to its last request.
        going: rows whose response goes on.
    """

    def __init__(self, model: Backbone | TextRewardModel, plan: Plan, rows: int, capacity: int):
        """Begin without requests.

        Args:
            model: with the head of guided requests and rewards, or a backbone alone.
            plan: from `coala_jax.decoding._plan.make_plan` for configurations as general as those
                to come.
            rows: the most requests at a time.
            capacity: slots a row, from ``plan.slots``.
        """
        self.model, self.plan, self.rows, self.capacity = model, plan, rows, capacity
        self.texts: dict[int, ResponseText] = {}
        self.going: set[int] = set()
        self._backbone, self._reward = backbone_of(model), RunningReward.of(model)
        self._state: DecodeState | None = None

    def room(self, request: Request) -> int:
        """The most new tokens of a request: what it asks for, as far as the context reaches.

        Raises:
            GenerationError: an empty prompt, one with a token that the model does not know, or one
                that leaves no room.
        """
        name, count, most = request.name, len(request.prompt), self._backbone.config.max_length
        if not count:
            raise GenerationError(f"{name} is empty; a response needs something to answer")
        require_known_tokens(request.prompt, self._backbone.config.vocab_size, name)
        room = most - count - self.plan.reach
        if room < 1:
            ahead, mend = self.plan.reach - 1, "shorten it"
            behind = f" and {ahead} looked at behind it," if ahead else ""
            if self.plan.depth > 1:
                mend += ", or give a smaller lookahead or guide_every"
            raise GenerationError(
                f"{name} has {count} tokens: with at least one new token{behind} it does not fit "
                f"the model's context of {most}; {mend}"
            )
        return min(request.config.sampling.max_new_tokens, room)

    def admit(self, requests: Sequence[Request], places: Sequence[int]) -> None:
        """Run the prompts of requests and put them into rows.

        Args:
            requests: at most as many as there are rows.
            places: the row of each; what was there is gone.

        Raises:
            GenerationError: a prompt that is empty or too long; nothing was changed.
        """
        rooms = [self.room(request) for request in requests]
        fresh = self._fresh(requests, rooms)
        self._put(fresh, places)
        for row, request in zip(places, requests, strict=True):
            stop = request.config.sampling.stop
            template = template_of(self.model)
            self.texts[row] = ResponseText(self._backbone.tokenizer, template, stop)
        self.going |= set(places)

    def rehearse(self, length: int) -> None:
        """Compile what a single request of so many prompt tokens needs, from its start to its end.

        Once that was done, it may run in one thread for another length while another thread uses
        the rows.
        """
        prompt = [self._backbone.tokenizer.end_id] * length
        fresh = self._fresh([Request(prompt, GenerationConfig(), jax.random.key(0))], [0])
        if self._state is None:
            self._put(fresh, [self.rows])  # outside: in none of the rows
            self._state = self._stepped(0)
            self.drop([])
            self.rewards()

    def _fresh(self, requests: Sequence[Request], rooms: Sequence[int]) -> DecodeState:
        """The rows of requests, with so many new tokens each, after their prompts."""
        tokenizer = self._backbone.tokenizer
        # A compilation for every power of two. What fills up has a prompt of no length, the last.
        size = _power_of_two(len(requests), self.rows)
        filling = size - len(requests)
        known = list(dict.fromkeys(tuple(one.prompt) for one in requests))
        places_of = {prompt: number for number, prompt in enumerate(known)}
        known += [()] * (_power_of_two(len(known) + (filling > 0), size) - len(known))
        answers = [places_of[tuple(one.prompt)] for one in requests] + [len(known) - 1] * filling
        filled = [*requests, *[requests[0]] * filling]
        options = _arrays(filled, [*rooms, *[0] * filling])
        return begin(
            self._backbone.module,
            self._reward,
            prompt_batch(known, tokenizer.pad_id),
            jnp.asarray(np.array(answers, np.int32)),
            options,
            plan=self.plan,
            capacity=self.capacity,
        )

    def _put(self, fresh: DecodeState, places: Sequence[int]) -> None:
        """Put rows, of which the last may be there to fill up, at their places."""
        order = np.full(len(fresh.done), self.rows, np.int32)
        order[: len(places)] = places
        if self._state is None:
            self._state = _free_rows(fresh, rows=self.rows)
        self._state = _place(self._state, fresh, jnp.asarray(order))

    def write(self, steps: int) -> dict[int, str]:
        """Take up to so many steps and go on with the texts; a stop text ends its row.

        Returns:
            Of every row that went on, what became certain of its text.
        """
        progress = self.advance(steps)
        pieces = {}
        for row in sorted(self.going):
            text = self.texts[row]
            fresh = progress.tokens[row, len(text.tokens) : progress.length[row]].tolist()
            pieces[row] = text.extend(fresh, last=bool(progress.done[row]))
        stopped = [row for row in pieces if self.texts[row].stopped and not progress.done[row]]
        if stopped:
            self.drop(stopped)
        self.going -= {row for row in pieces if self.texts[row].finish_reason}
        return pieces

    def advance(self, steps: int) -> RowProgress:
        """Take up to so many steps; fewer where all rows are done before."""
        self._state = self._stepped(steps)
        return self.progress()

    def _stepped(self, steps: int) -> DecodeState:
        return advance(
            self._backbone.module, self._reward, self._begun, jnp.int32(steps), plan=self.plan
        )

    def progress(self) -> RowProgress:
        """Where the rows stand."""
        fields = {name: getattr(self._begun, name) for name in RowProgress._fields}
        return RowProgress(**jax.device_get(fields))

    def drop(self, places: Sequence[int]) -> None:
        """End rows before they are done."""
        state = self._begun
        dropped = np.isin(np.arange(self.rows), places)  # of one shape, however many there are
        self._state = state._replace(done=state.done | jnp.asarray(dropped))
        self.going -= set(places)

    def rewards(self) -> tuple[np.ndarray, np.ndarray]:
        """(rows,) rewards of the responses as they stand, and (rows,) evaluations with them."""
        return jax.device_get(
            close(self._backbone.module, self._reward, self._begun, plan=self.plan)
        )

    def trace(self) -> Trace:
        """What the guided steps saw, on the host."""
        return jax.device_get(self._begun.trace)

    def likely(self) -> Likely:
        """What the backbone found probable where the tokens were taken, on the host."""
        return jax.device_get(self._begun.likely)

    @property
    def _begun(self) -> DecodeState:
        if self._state is None:
            raise RuntimeError("no request was admitted yet")
        return self._state


def _arrays(requests: Sequence[Request], rooms: Sequence[int]) -> SamplingArrays:
    """What requests ask for, with the most new tokens that there is room for."""

    def column(name: str) -> jax.Array:
        values = [getattr(one.config.sampling, name) for one in requests]
        return jnp.asarray(np.array(values, np.int32 if name == "top_k" else np.float32))

    own = ("temperature", "top_p", "top_k", "repetition_penalty", "scale")
    return SamplingArrays(
        key=jnp.stack([one.key for one in requests]),
        max_new_tokens=jnp.asarray(np.array(rooms, np.int32)),
        **{name: column(name) for name in own},
    )


def _power_of_two(least: int, most: int) -> int:
    """The smallest one that is at least ``least``, or ``most``."""
    return min(1 << (least - 1).bit_length(), most)


@partial(jax.jit, static_argnames=("rows",))
def _free_rows(fresh: DecodeState, *, rows: int) -> DecodeState:
    """So many rows without requests, of the kind of ``fresh``."""

    def repeated(part: jax.Array) -> jax.Array:
        return jnp.broadcast_to(part[:1], (rows, *part.shape[1:]))

    return _rowwise(repeated, fresh)._replace(done=jnp.ones(rows, bool))


@partial(jax.jit, donate_argnames=("state",))
def _place(state: DecodeState, fresh: DecodeState, places: jax.Array) -> DecodeState:
    """Rows of ``fresh`` at their places in ``state``; a place outside drops one."""

    def put(whole: jax.Array, part: jax.Array) -> jax.Array:
        return whole.at[places].set(part, mode="drop")

    return _rowwise(put, state, fresh)


def _rowwise(function: Callable[..., jax.Array], *states: DecodeState) -> DecodeState:
    """A function of arrays whose first axis are the rows, for every array of the states."""
    # Of keys and values alone the rows are the second axis.
    keys, values = map(jax.vmap(function), *(state.cache[:2] for state in states))
    rest = (
        state._replace(cache=state.cache._replace(keys=state.done, values=state.done))
        for state in states
    )
    made = jax.tree.map(function, *rest)
    return made._replace(cache=made.cache._replace(keys=keys, values=values))
