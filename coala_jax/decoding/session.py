"""A batch of rows on the device: requests come in, tokens come out, rows are used again."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax.backbones import Backbone
from coala_jax.decoding.branches import Reward
from coala_jax.decoding.config import GenerationConfig
from coala_jax.decoding.plan import room_for_response, row_options
from coala_jax.decoding.state import DecodeState, Plan, begin, prompt_batch
from coala_jax.decoding.step import advance, close
from coala_jax.decoding.text_head import TextHead
from coala_jax.features.query import query_array
from coala_jax.head import ConvexHead


class Request(NamedTuple):
    """What a row is asked for.

    Attributes:
        prompt: token ids.
        config: how to answer.
        key: typed key; the response depends on it and the prompt, not on the other rows.
        name: for messages.
    """

    prompt: Sequence[int]
    config: GenerationConfig
    key: jax.Array
    name: str = "prompt"


class RowProgress(NamedTuple):
    """Where the rows stand, on the host.

    Attributes:
        tokens: (rows, new_tokens) int32 responses so far, end tokens among them.
        count: (rows,) how many there are of each.
        done: (rows,) booleans.
        evaluations: (rows,) tokens that the backbone ran.
        guided: (rows,) guided steps.
        near_ties: (rows,) decisions that rounding may turn.
    """

    tokens: np.ndarray
    count: np.ndarray
    done: np.ndarray
    evaluations: np.ndarray
    guided: np.ndarray
    near_ties: np.ndarray


class Session:
    """Rows of one plan; not for several threads at once.

    Attributes:
        plan: what was compiled.
        rows: how many requests run together.
        capacity: slots of each.
    """

    def __init__(
        self, backbone: Backbone, head: TextHead | None, plan: Plan, rows: int, capacity: int
    ):
        """Begin without requests.

        Args:
            backbone: the model.
            head: of guided requests and rewards, or None.
            plan: from `coala_jax.decoding.plan.make_plan` for configurations as general as those
                to come.
            rows: the most requests at a time.
            capacity: slots a row, from `coala_jax.decoding.plan.slots_needed`.
        """
        self._backbone, self.plan, self.rows, self.capacity = backbone, plan, rows, capacity
        self._reward = _reward(backbone, head)
        self._state: DecodeState | None = None

    def admit(self, requests: Sequence[Request], places: Sequence[int]) -> None:
        """Run the prompts of requests and put them into rows.

        Args:
            requests: at most as many as there are rows.
            places: the row of each; what was there is gone.

        Raises:
            GenerationError: a prompt that is empty or too long; nothing was changed.
        """
        rooms = [
            room_for_response(self._backbone, self.plan, one.prompt, one.config, one.name)
            for one in requests
        ]
        # A compilation for every power of two; what fills up has no prompt and is done.
        size = self.rows
        if self._state is not None:
            size = min(1 << (len(requests) - 1).bit_length(), self.rows)
        filling = size - len(requests)
        prompts = [*(one.prompt for one in requests), *[()] * filling]
        tokens, lengths = prompt_batch(prompts, self._backbone.tokenizer.pad_id)
        configs = [*(one.config for one in requests), *[requests[0].config] * filling]
        keys = jnp.stack([*(one.key for one in requests), *[requests[0].key] * filling])
        options = row_options(configs, keys, [*rooms, *[0] * filling])
        # The first batch fills the rows in order; `_place` needs one to put others into.
        fresh = begin(
            self._backbone.module, tokens, lengths, options, plan=self.plan, capacity=self.capacity
        )
        order = np.full(size, self.rows, np.int32)
        order[: len(requests)] = places
        if self._state is None and list(places) == list(range(len(requests))):
            self._state = fresh
            return
        base = _emptied(fresh) if self._state is None else self._state
        self._state = _place(base, fresh, jnp.asarray(order))

    def advance(self, steps: int) -> RowProgress:
        """Take up to so many steps; fewer where all rows are done before."""
        self._state = advance(
            self._backbone.module, self._reward, self._begun, jnp.int32(steps), plan=self.plan
        )
        return self.progress()

    def progress(self) -> RowProgress:
        """Where the rows stand."""
        fields = {name: getattr(self._begun, name) for name in RowProgress._fields}
        return RowProgress(**jax.device_get(fields))

    def drop(self, places: Sequence[int]) -> None:
        """End rows before they are done."""
        state = self._begun
        self._state = state._replace(done=state.done.at[jnp.asarray(places)].set(True))

    def rewards(self) -> tuple[np.ndarray, np.ndarray]:
        """(rows,) rewards of the responses as they stand, and (rows,) evaluations with them."""
        return jax.device_get(
            close(self._backbone.module, self._reward, self._begun, plan=self.plan)
        )

    def trace(self) -> dict[str, np.ndarray]:
        """What the guided steps saw, as `coala_jax.decoding.state.Trace` has it."""
        return jax.device_get(self._begun.trace._asdict())

    @property
    def _begun(self) -> DecodeState:
        if self._state is None:
            raise RuntimeError("no request was admitted yet")
        return self._state


def _reward(backbone: Backbone, head: TextHead | None) -> Reward:
    if head is None:  # a network without neurons, which no plan without candidates looks at
        none = jnp.zeros((backbone.config.hidden_size, 0))
        return Reward(ConvexHead(none, none[0], none[0]), None)
    settings = head.settings
    query = None
    if settings.query:
        shape = len(settings.layers), backbone.config.hidden_size
        query = jnp.asarray(query_array(settings.query, *shape))
    return Reward(jax.tree.map(jnp.asarray, head.head), query)


def _emptied(state: DecodeState) -> DecodeState:
    return state._replace(done=jnp.ones_like(state.done))


@partial(jax.jit, donate_argnames=("state",))
def _place(state: DecodeState, fresh: DecodeState, places: jax.Array) -> DecodeState:
    """Rows of ``fresh`` at their places in ``state``; a place outside drops one."""

    def put(axis: int) -> object:
        at = (slice(None),) * axis + (places,)
        return lambda whole, part: whole.at[at].set(part, mode="drop")

    merged = jax.tree.map(put(0), state._replace(cache=None), fresh._replace(cache=None))
    old, new = state.cache, fresh.cache
    cache = jax.tree.map(put(0), old._replace(keys=None, values=None), new._replace(keys=None, values=None))
    keys, values = (put(1)(whole, part) for whole, part in ((old.keys, new.keys), (old.values, new.values)))
    return merged._replace(cache=cache._replace(keys=keys, values=values))
