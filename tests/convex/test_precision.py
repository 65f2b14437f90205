"""`Config.precision` is that of the ADMM steps alone: what a solve says of itself is float32's."""

import jax
import numpy as np
import pytest
from jax import lax

from coala_jax import Config, Params, PreferenceFeatures, select, solve
from coala_jax._inputs import prepare_features, prepare_params
from coala_jax.convex import cronos_init, cronos_step
from coala_jax.convex._prepare import at_strength, prepare
from coala_jax.selection import Grid

CONFIG = Config(n_gates=3, max_iterations=50, linear_path=True, phase1_loss="bradley_terry")
STEPS_ALONE = Config(**{**vars(CONFIG), "precision": "default"})
HIGHEST = (lax.Precision.HIGHEST, lax.Precision.HIGHEST)


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return PreferenceFeatures(*rng.standard_normal((2, 40, 4)).astype(np.float32))


def products(jaxpr):
    """The precisions of all products of a program, those of loops among them."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            found.append(equation.params["precision"])
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(part, "jaxpr", part)
                found += products(inner) if hasattr(inner, "eqns") else []
    return found


def coarse(function, *arguments):
    """How many products are below float32's, and how many there are."""
    found = products(jax.make_jaxpr(function)(*arguments).jaxpr)
    return sum(each != HIGHEST for each in found), len(found)


def a_step(features):
    """Products of one step, all of them coarse."""

    def step(params, pairs):
        prepared = prepare(params, pairs, STEPS_ALONE, jax.random.key(0), None)
        problem, _ = at_strength(params, STEPS_ALONE, prepared)
        state = cronos_init(problem, adapt_rows=True)
        with jax.default_matmul_precision("default"):
            return cronos_step(problem, state, STEPS_ALONE.max_cg_iterations)

    with jax.default_matmul_precision("highest"):
        return coarse(step, prepare_params(Params()), prepare_features(features))[0]


def test_only_the_steps_have_the_precision_that_was_asked_for(features):
    def run(params, features):
        return solve(params, features, config=STEPS_ALONE)

    low, every = coarse(run, Params(), features)
    assert 0 < low < every / 2
    assert low == a_step(features)
    # The last step before a check, with what it begins with (products, outputs of the
    # network and of the path), is exact.
    exact = coarse(lambda *inputs: solve(*inputs, config=CONFIG), Params(), features)
    assert exact == (0, every - low - 3)


def test_a_default_precision_of_the_caller_changes_nothing(features):
    with jax.default_matmul_precision("bfloat16"):
        assert coarse(lambda *x: solve(*x, config=CONFIG), Params(), features)[0] == 0


@pytest.mark.slow
def test_folds_run_at_the_highest_precision_outside_steps(features, monkeypatch):
    """The precision in force where selection calls its compiled functions."""
    from coala_jax.selection import _left_out

    seen = []

    def watched(function):
        def call(*arguments, **options):
            seen.append(jax.config.jax_default_matmul_precision)
            return function(*arguments, **options)

        return call

    for name in ("coarse_begin", "coarse_advance", "linear_probes"):
        monkeypatch.setattr(_left_out, name, watched(getattr(_left_out, name)))
    select(Params(), features, config=STEPS_ALONE, grid=Grid((0.5,), (1.0,), ()))
    assert seen and set(seen) == {"highest"}
