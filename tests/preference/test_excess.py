"""Phase II's bound of its excess against the optimum that Newton finds in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import Config, Params, PreferenceFeatures, SolveError, Status, finetune
from coala_jax._inputs import prepare_features, prepare_params
from coala_jax.preference import LogisticProblem, newton_optimum, objective
from coala_jax.preference._excess import Excess, excess_bound, in_blocks
from coala_jax.preference._objective import logistic_problem
from coala_jax.preference._terms import balance_neurons
from tests.helpers import draw_pairs, random_head

# Differences of objectives that float64 resolves.
RESOLVED = 1e-17


class Regression:
    """The objective of Phase II in numpy, with its optimum."""

    def __init__(self, params: Params, problem: LogisticProblem):
        self.beta, self.ridge = float(params.beta), float(params.ridge)
        self.design, self.offset, self.weight = (np.asarray(leaf, np.float64) for leaf in problem)
        self.optimum = self._newton()
        self.least = self.value(self.optimum)

    def value(self, theta2: np.ndarray) -> float:
        losses = np.logaddexp(0, self.offset - self.beta * (self.design @ theta2))
        return np.mean(self.weight * losses) + self.ridge / 2 * theta2 @ theta2

    def probability(self, theta2: np.ndarray) -> np.ndarray:
        return np.exp(-np.logaddexp(0, self.beta * (self.design @ theta2) - self.offset))

    def excess(self, theta2) -> float:
        """Objective - optimum; row by row where the two agree in many digits."""
        start = np.asarray(theta2, np.float64)
        plain = self.value(start) - self.least
        if plain > 1e-3:
            return plain
        step = start - self.optimum
        moved = np.expm1(-self.beta * (self.design @ step))
        rows = np.log1p(self.probability(self.optimum) * moved)
        return np.mean(self.weight * rows) + self.ridge * step @ (start + self.optimum) / 2

    def _newton(self) -> np.ndarray:
        best = np.zeros(self.design.shape[1])
        for _ in range(200):
            probability = self.probability(best)
            pull = self.weight * probability / len(self.offset)
            gradient = self.ridge * best - self.beta * self.design.T @ pull
            curvature = self.beta**2 * pull * (1 - probability)
            hessian = (self.design.T * curvature) @ self.design + self.ridge * np.eye(len(best))
            step = -np.linalg.solve(hessian, gradient)
            if -gradient @ step < 1e-26:
                break
            # An increase by rounding is none.
            above = self.value(best) * (1 + 1e-15)
            step *= next(k for k in 0.5 ** np.arange(60) if self.value(best + k * step) <= above)
            best = best + step
        return best


def draw_regression(seed: int) -> tuple[Params, LogisticProblem]:
    """Rows of many kinds, as Phase II has them: columns of unit root mean square."""
    rng = np.random.default_rng(seed)
    rows, neurons = rng.choice([3, 200]), rng.choice([2, 24])
    design = rng.standard_normal((rows, neurons)) + rng.choice([0, 0.3, 2])
    if seed % 3 == 0:
        design *= rng.standard_t(2, (rows, 1))
    if seed % 5 == 0:
        design[:, 0] = design[:, -1] * (1 + 1e-6)
    if seed % 7 == 0:
        design[:, : neurons // 2] = 0
    square = np.mean(design**2, axis=0)
    design /= np.sqrt(np.where(square > 0, square, 1))
    weight = rng.uniform(0, 2, rows) ** 3 + 1e-3 if seed % 2 else np.ones(rows)
    offset = rng.choice([0.0, 0.5, -5, 5]) + rng.choice([0, 1.0]) * rng.standard_normal(rows)
    params = Params(beta=10 ** rng.uniform(-4, 1), ridge=10 ** rng.uniform(-10, 1))
    arrays = (jnp.asarray(a, float) for a in (design, offset, weight / weight.mean()))
    return prepare_params(params), LogisticProblem(*arrays)


optimum_of = jax.jit(newton_optimum)


@jax.jit
def certify_at(params: Params, problem: LogisticProblem, theta2: jax.Array) -> Excess:
    return excess_bound(params, in_blocks(problem), theta2, objective(params, problem, theta2))


@pytest.mark.parametrize("x64", [False, True])
def test_the_bound_holds_at_the_optimum_near_it_and_far_away(x64):
    """In float32 where the gradient's norm alone, without its rounding, does not."""
    holds_by_rounding = 0
    with jax.enable_x64(x64):
        for seed in range(80):
            params, problem = draw_regression(seed)
            truth = Regression(params, problem)
            near = np.asarray(optimum_of(params, problem).theta2)
            for noise in (0, 1e-6, 1e-3, 1):
                moved = 1 + noise * np.random.default_rng(seed).standard_normal(near.size)
                theta2 = jnp.asarray(near * moved, problem.design.dtype)
                found, excess = certify_at(params, problem, theta2), truth.excess(theta2)
                assert excess <= float(found.bound) + RESOLVED, (seed, noise)
                plain = float(found.gradient_norm) ** 2 / (2 * float(params.ridge))
                holds_by_rounding += excess > plain + RESOLVED
    assert x64 or holds_by_rounding > 2


def test_the_bound_is_the_square_of_the_norm_where_rounding_is_nothing():
    with jax.enable_x64(True):
        params, problem = draw_regression(1)
        theta2 = jnp.asarray(Regression(params, problem).optimum * 1.001)
        found = certify_at(params, problem, theta2)
    plain = float(found.gradient_norm) ** 2 / (2 * float(params.ridge))
    assert plain <= float(found.bound) <= 1.02 * plain


def test_pairs_without_weight_have_no_part_in_the_bound():
    params, problem = draw_regression(4)
    theta2 = jnp.ones(problem.design.shape[1])
    without = problem._replace(weight=problem.weight.at[0].set(0))
    wild = without._replace(
        design=without.design.at[0].set(1e30), offset=without.offset.at[0].set(1e30)
    )
    np.testing.assert_allclose(
        certify_at(params, wild, theta2), certify_at(params, without, theta2), rtol=1e-5
    )


PAIRS, WIDTH = 200, 6
FEATURES = draw_pairs(0, PAIRS, WIDTH, dtype="float32")
HEAD = jax.tree.map(jnp.asarray, random_head(WIDTH, neurons=8))
SMALL = Params(beta=1e-4, ridge=1e-8)


def truth_of(params: Params, features: PreferenceFeatures, kind: str = "pairwise") -> Regression:
    """In the neurons that `finetune` makes of `HEAD`, which carry over to its result."""
    params, pairs = prepare_params(params), prepare_features(features)
    head = balance_neurons(HEAD, pairs)
    return Regression(params, logistic_problem(kind, head, pairs, params.gamma))


SETTINGS = {
    "defaults": (Params(), Config()),
    "small scale and ridge": (SMALL, Config()),
    "large scale": (Params(beta=30.0), Config()),
    "large ridge": (Params(ridge=10.0), Config()),
    "small ridge": (Params(ridge=1e-6), Config(max_epochs=3000)),
    "offset": (Params(gamma=3.0), Config()),
    "negative offset": (Params(gamma=-8.0), Config()),
    "pointwise": (Params(), Config(phase2_objective="pointwise")),
    "minibatches": (Params(), Config(batch_size=50, max_epochs=200)),
    "weight decay": (Params(weight_decay=1.0), Config(max_epochs=200)),
    "one epoch": (Params(), Config(max_epochs=1)),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_reported_excess_is_one_and_solved_is_within_the_tolerance(name):
    params, config = SETTINGS[name]
    rng = np.random.default_rng(3)
    features = FEATURES._replace(weight=rng.uniform(0.2, 2, PAIRS), margin=rng.uniform(0, 1, PAIRS))
    result = finetune(params, HEAD, features, config=config)
    truth = truth_of(params, features, config.phase2_objective)
    excess = truth.excess(result.head.theta2)
    assert -RESOLVED <= excess <= float(result.stats.excess) + RESOLVED
    allowed = params.excess_tolerance * truth.value(np.zeros(truth.optimum.size))
    unsolved = name in ("minibatches", "weight decay", "one epoch")
    assert int(result.status) == (Status.EPOCH_LIMIT if unsolved else Status.SOLVED)
    assert (float(result.stats.excess) <= allowed * (1 + 1e-5)) == (not unsolved)


def test_a_small_scale_with_a_small_ridge_is_solved_by_going_there():
    """Its gradient is never above 1e-4: an absolute tolerance on that read as solved."""
    result = finetune(SMALL, HEAD._replace(theta2=0 * HEAD.theta2), FEATURES)
    trace = result.history.trim().train
    assert int(result.status) == Status.SOLVED
    assert 0 < int(result.stats.epochs) < 100
    assert trace.loss[0] == pytest.approx(np.log(2), rel=1e-6)
    gone = (trace.loss[0] - trace.loss[-1]) / (trace.loss[0] - truth_of(SMALL, FEATURES).least)
    assert gone > 0.999


@pytest.mark.parametrize("factor", [2.0**-13, 2.0**5])
def test_scale_and_ridge_together_are_a_matter_of_units(factor):
    plain, scaled = (
        finetune(Params(beta=k, ridge=1e-3 * k**2), HEAD._replace(theta2=HEAD.theta2 / k), FEATURES)
        for k in (1.0, factor)
    )
    assert int(plain.stats.epochs) == int(scaled.stats.epochs)
    np.testing.assert_allclose(factor * scaled.head.theta2, plain.head.theta2, rtol=1e-4)
    assert float(scaled.stats.excess) == pytest.approx(float(plain.stats.excess), rel=1e-3)


@pytest.mark.parametrize("tolerance", [0.0, 1e-13])
def test_a_tolerance_below_the_resolution_is_not_claimed(tolerance):
    params = Params(excess_tolerance=tolerance)
    result = finetune(params, HEAD, FEATURES)
    assert int(result.status) == Status.ROUNDING_LIMIT
    assert int(result.stats.epochs) < Config().max_epochs
    excess = truth_of(params, FEATURES).excess(result.head.theta2)
    assert tolerance < excess <= float(result.stats.excess) < 1e-8
    with pytest.raises(SolveError, match="rounding_limit: .*enable x64, raise Params.ridge"):
        result.raise_for_status()


def test_float64_resolves_what_float32_does_not():
    with jax.enable_x64(True):
        params = Params(excess_tolerance=1e-13)
        result = finetune(params, HEAD, FEATURES)
    assert int(result.status) == Status.SOLVED
    assert float(result.stats.excess) <= 1e-13 * np.log(2)


def test_the_cap_of_epochs_names_what_to_change():
    result = finetune(Params(weight_decay=1.0), HEAD, FEATURES, config=Config(max_epochs=20))
    with pytest.raises(SolveError, match=r"Params\.ridge or Params\.learning_rate, leave .*_decay"):
        result.raise_for_status()
