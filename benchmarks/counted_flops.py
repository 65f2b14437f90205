"""Floating-point operations of products, counted while they run.

`jax`'s own cost analysis counts the body of a loop once, however often it runs. Here a program
counts as it goes: `while` loops until they end, scans by their length, of a conditional the branch
that was taken. What counts is in `product_flops.py`: products, convolutions, factorisations and
triangular solves; elementwise operations and sums are left out, as the package's own formulas leave
them out.

    with counting() as flops:
        anything()
    flops.total()

Everything that this thread runs in the context is seen, whether a function is compiled or not,
except what was compiled ahead of time, which is an error there. A program without loops that count
runs as it would have run, and its count is known before; another one is compiled anew with a
counter beside its state. Results are the same up to what another compilation rounds.

The count is of the program as it is written, without what nothing depends on; a loop counts whole.
XLA may still do less, by taking equal products together or out of loops. `shard_map`, callbacks and
custom kernels are refused by name. Needs jax 0.10.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from equations import bound, branches_of, live, opened_of
from jax import lax
from jax.extend import core
from product_flops import PRODUCTS, UncountedError

# The part of what runs in none of the parts that were asked for.
REST = "rest"
# Primitives that run one program as it is, and where they keep it.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vmap_call": "call",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
}
# Primitives that count by what is in them, or have no formula here.
_NOT_PLAIN = {
    *{"eig", "schur", "svd", "hessenberg", "householder_product", "tridiagonal"},
    *{"tridiagonal_solve", "fft", "custom_lin", "while", "scan", "cond", "custom_linear_solve"},
}
# No products in them.
PLAIN = {
    *(each.name for each in vars(core.primitives).values() if isinstance(each, core.Primitive)),
    *{"random_wrap", "random_unwrap", "split", "stack", "unstack", "tile", "platform_index"},
    "optimization_barrier",
} - {*PRODUCTS, *CALLS, *_NOT_PLAIN}
# A count of 64 bits in two words, which are exact in every mode of jax.
_WORD = 32


class Counted(NamedTuple):
    """What a function gave, and the operations of its products."""

    value: Any
    flops: int


def counted(function: Callable[..., Any], *arguments: Any, **options: Any) -> Counted:
    """Run a function of arrays, compiled or not, and count.

    Raises:
        UncountedError: as `counting`.
    """
    with counting() as flops:
        value = function(*arguments, **options)
    return Counted(value, flops.total())


@contextlib.contextmanager
def counting(parts: Sequence[str] = ()) -> Iterator[Counter[str]]:
    """Count what this thread runs.

    Args:
        parts: names of functions under `jax.jit` to be counted apart. Of several, one in the other,
            the innermost counts.

    Yields:
        Operations by part so far; `REST` is in none of them.

    Raises:
        UncountedError: a primitive that is not known here, by name; a program that was
            compiled ahead of time.
    """
    flops: Counter[str] = Counter()

    def refuse(*_: Any, **__: Any) -> None:
        raise UncountedError("a program that was compiled ahead of time cannot be counted")

    with core.take_current_trace() as below:
        trace = _Counting(below, _Place((*parts, REST), REST), flops)
        with (
            mock.patch.object(jax.stages.Compiled, "__call__", refuse),
            core.set_current_trace(trace),
        ):
            yield flops


class _Place(NamedTuple):
    """The part that an equation is in, and all parts in the order of the words of a count."""

    parts: tuple[str, ...]
    part: str

    def inside(self, equation: core.JaxprEqn) -> _Place:
        name = equation.params.get("name")
        return self._replace(part=name) if name in self.parts else self


class _Counting(jax.core.Trace):
    """Runs every primitive on values, and counts it.

    Args:
        below: what would run it otherwise.
        place: where all of it is.
        flops: is added to.
    """

    def __init__(self, below: jax.core.Trace, place: _Place, flops: Counter[str]) -> None:
        super().__init__()
        self._below, self._place, self._flops = below, place, flops

    def stage_value(self, val: Any) -> Any:
        return self._below.stage_value(val)

    def process_primitive(self, primitive: Any, tracers: Any, params: Any, /) -> Any:
        with core.set_current_trace(self._below):
            types = tuple(map(jax.typeof, tracers))
            program = _program(self._place, primitive, types, **params)
            if program.run is None:
                self._flops.update(program.fixed)
                return primitive.bind(*tracers, **params)
            found, words = program.run(*tracers)
        self._flops.update(_of_words(self._place, np.asarray(words)))
        return found if primitive.multiple_results else found[0]

    def process_call(self, primitive: Any, f: Any, tracers: Any, params: Any, /) -> Any:
        return self._called(f, tracers)

    def process_custom_jvp_call(
        self, primitive: Any, fun: Any, jvp: Any, tracers: Any, /, **_: Any
    ) -> Any:
        return self._called(fun, tracers)

    def process_custom_vjp_call(
        self, primitive: Any, fun: Any, fwd: Any, bwd: Any, tracers: Any, /, **_: Any
    ) -> Any:
        return self._called(fun, tracers)

    def _called(self, function: Any, values: Any) -> Any:
        with core.set_current_trace(self):
            return function.call_wrapped(*values)


class _Program(NamedTuple):
    """A primitive with its operations, or what gives its results with the words of their count."""

    fixed: Counter[str]
    run: Callable[..., tuple[list[Any], jax.Array]] | None


@functools.cache
def _program(place: _Place, primitive: Any, types: tuple[Any, ...], **params: Any) -> _Program:
    """Of one primitive on values of these types."""
    jaxpr = jax.make_jaxpr(lambda *values: primitive.bind(*values, **params))(*types)
    fixed = _fixed(place, jaxpr)
    if fixed is not None:
        return _Program(fixed, None)
    return _Program(Counter(), jax.jit(lambda *values: _run(place, jaxpr, values)))


def _fixed(place: _Place, jaxpr: Any, needed: Sequence[bool] | None = None) -> Counter[str] | None:
    """Operations of a program where they are known before it runs; None where they are not."""
    total: Counter[str] = Counter()
    for equation, wanted in live(jaxpr, needed):
        found = _fixed_of(place, equation, wanted)
        if found is None:
            return None
        total.update(found)
    return total


def _fixed_of(
    place: _Place, equation: core.JaxprEqn, needed: Sequence[bool]
) -> Counter[str] | None:
    """The same of an equation of which these results are needed."""
    name, params = equation.primitive.name, equation.params
    if name in PRODUCTS:
        return Counter({place.part: PRODUCTS[name](equation)})
    if name in CALLS:
        return _fixed(place.inside(equation), params[CALLS[name]], needed)
    if name == "custom_linear_solve":
        return _fixed(place, params["jaxprs"].solve)
    if name == "scan":
        once = _fixed(place, params["jaxpr"])
        return once and Counter({part: params["length"] * flops for part, flops in once.items()})
    if name == "while":
        loop = [_fixed(place, params[part]) for part in ("cond_jaxpr", "body_jaxpr")]
        return None if any(part is None or part.total() for part in loop) else Counter()
    if name == "cond":
        first, *others = [_fixed(place, branch) for branch in branches_of(equation)]
        return first if all(other == first for other in others) else None
    if name in PLAIN:
        return Counter()
    raise UncountedError(f"{name}: a primitive whose operations are not known")


def _run(
    place: _Place, jaxpr: Any, values: Sequence[Any], needed: Sequence[bool] | None = None
) -> tuple[list[Any], jax.Array]:
    """Results of a program on values, None for what is not needed, and the words of its count."""
    opened = opened_of(jaxpr)
    known = dict(zip(opened.invars, values, strict=True))
    known |= dict(zip(opened.constvars, getattr(jaxpr, "consts", ()), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else known.get(atom)

    fixed: Counter[str] = Counter()
    words = _words(place, fixed)
    for equation, wanted in live(jaxpr, needed):
        inputs = [read(atom) for atom in equation.invars]
        flops = _fixed_of(place, equation, wanted)
        with equation.ctx.manager:
            if flops is not None:
                fixed.update(flops)
                found = bound(equation, inputs)
            else:
                found, more = _RUNS[equation.primitive.name](place, equation, inputs, wanted)
                words = _sum(words, more)
        known.update(zip(equation.outvars, found, strict=True))
    return [read(atom) for atom in opened.outvars], _sum(words, _words(place, fixed))


def _run_call(
    place: _Place, equation: core.JaxprEqn, inputs: Sequence[Any], needed: Sequence[bool]
) -> tuple[list[Any], jax.Array]:
    jaxpr = equation.params[CALLS[equation.primitive.name]]
    return _run(place.inside(equation), jaxpr, inputs, needed)


def _run_linear_solve(
    place: _Place, equation: core.JaxprEqn, inputs: Sequence[Any], needed: Sequence[bool]
) -> tuple[list[Any], jax.Array]:
    lengths = equation.params["const_lengths"]
    before = lengths.matvec + lengths.vecmat
    constants, right = inputs[before : before + lengths.solve], inputs[sum(lengths) :]
    return _run(place, equation.params["jaxprs"].solve, [*constants, *right])


def _run_cond(
    place: _Place, equation: core.JaxprEqn, inputs: Sequence[Any], needed: Sequence[bool]
) -> tuple[list[Any], jax.Array]:
    index, *operands = inputs

    def runs(branch: Any) -> Callable[..., tuple[list[Any], jax.Array]]:
        return lambda *operands: _run(place, branch, operands)

    branches = list(map(runs, branches_of(equation)))
    found: tuple[list[Any], jax.Array] = (
        lax.switch(index, branches, *operands) if len(branches) > 1 else branches[0](*operands)
    )
    return found


def _run_scan(
    place: _Place, equation: core.JaxprEqn, inputs: Sequence[Any], needed: Sequence[bool]
) -> tuple[list[Any], jax.Array]:
    params = equation.params
    if "num_carry" in params:
        constant, carried = params["num_consts"], params["num_carry"]
    else:  # since jax 0.11
        constant, carried, _ = map(len, params["ft_in"].unpack())
    constants, state = inputs[:constant], inputs[constant : constant + carried]

    def step(carry: Any, rows: Any) -> Any:
        words, state = carry
        found, more = _run(place, params["jaxpr"], [*constants, *state, *rows])
        return (_sum(words, more), found[:carried]), found[carried:]

    (words, state), rows = lax.scan(
        step,
        (_words(place, Counter()), state),
        inputs[constant + carried :],
        **{name: params[name] for name in ("length", "reverse", "unroll")},
    )
    return [*state, *rows], words


def _run_while(
    place: _Place, equation: core.JaxprEqn, inputs: Sequence[Any], needed: Sequence[bool]
) -> tuple[list[Any], jax.Array]:
    """The condition is asked within the body, since what it takes counts as well.

    Of a batch it is an array: rows that are done stay as they are, until all are. As in what `jax`
    makes of such a loop, the body then asks once more.
    """
    params = equation.params
    of_condition = params["cond_nconsts"]
    of_both = of_condition + params["body_nconsts"]
    asking, stepping, state = inputs[:of_condition], inputs[of_condition:of_both], inputs[of_both:]

    def ask(words: jax.Array, state: Sequence[Any]) -> tuple[jax.Array, jax.Array]:
        (going,), more = _run(place, params["cond_jaxpr"], [*asking, *state])
        return going, _sum(words, more)

    def step(loop: Any) -> Any:
        going, words, state = loop
        after, more = _run(place, params["body_jaxpr"], [*stepping, *state])
        words = _sum(words, more)
        if going.ndim:
            going, words = ask(words, state)
            after = [_where(going, new, old) for new, old in zip(after, state, strict=True)]
        return *ask(words, after), after

    start = *ask(_words(place, Counter()), state), list(state)
    _, words, state = lax.while_loop(lambda loop: loop[0].any(), step, start)
    return state, words


_RUNS = {
    **dict.fromkeys(CALLS, _run_call),
    "custom_linear_solve": _run_linear_solve,
    "cond": _run_cond,
    "scan": _run_scan,
    "while": _run_while,
}


def _where(rows: jax.Array, new: Any, old: Any) -> jax.Array:
    """By row of a batch, along the leading axes."""
    return jnp.where(rows.reshape(rows.shape + (1,) * (jnp.ndim(new) - rows.ndim)), new, old)


def _words(place: _Place, flops: Counter[str]) -> jax.Array:
    """(2, parts) uint32: the lower halves of the counts, and the upper ones."""
    counts = [divmod(flops[part], 2**_WORD) for part in place.parts]
    return jnp.asarray(np.array(counts, np.uint32).T[::-1])


def _sum(one: jax.Array, other: jax.Array) -> jax.Array:
    """Of two counts in words."""
    low = one[0] + other[0]
    return jnp.stack([low, one[1] + other[1] + (low < other[0])])


def _of_words(place: _Place, words: np.ndarray) -> Counter[str]:
    """The counts."""
    low, high = words.tolist()
    return Counter(
        {
            part: (upper << _WORD) + lower
            for part, lower, upper in zip(place.parts, low, high, strict=True)
        }
    )
