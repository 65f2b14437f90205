"""A good status is a statement about the head that was saved, on raw features of any offset.

Judged in float64 numpy from docs/solver.md: the head is written, read again, and run on the raw
features, in float64 and in the caller's float32.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import (
    Config,
    Params,
    PreferenceFeatures,
    Status,
    certify,
    cronos,
    decompose_gated,
    finetune,
    load_head,
    regularization_path,
    save_head,
)
from tests.helpers import head_tensors, rows_of, standardised_rows

PAIRS, WIDTH = 100, 4
MODELS = ["relu", "gated_relu"]
PARAMS = Params()
EXACT = 1e-5


def draw(*, scale=1.0, offset=0.0, dtype="float32", seed=0) -> PreferenceFeatures:
    """Gaussian pairs with columns scale (x + offset)."""
    rng = np.random.default_rng(seed)
    sides = (rng.standard_normal((PAIRS, WIDTH)) + shift for shift in (0.4, 0.0))
    return PreferenceFeatures(*((scale * (x + offset)).astype(jnp.dtype(dtype)) for x in sides))


def one_column(offset: float) -> np.ndarray:
    return np.array([offset, 0, 0, 0])


MIXED = 10.0 ** np.array([-30, -12, 10, 30])
LIMITS = np.array([1e-34, 1, 1, 1e32])
CASES = {
    "plain": draw(),
    "offset 1e2": draw(offset=one_column(1e2)),
    "offset 1e4": draw(offset=one_column(1e4)),
    "offset 1e5": draw(offset=one_column(1e5)),
    "offset 9e5": draw(offset=one_column(9e5)),
    "offset -9e5": draw(offset=one_column(-9e5)),
    "every column 1e5": draw(offset=np.array([1, -1, 1, -1]) * 1e5),
    "offset 5e6": draw(offset=one_column(5e6)),
    "scaled": draw(scale=MIXED),
    "scaled to the limits": draw(scale=LIMITS),
    "scaled and offset 1e5": draw(scale=MIXED, offset=1e5),
    "float16": draw(offset=100.0, dtype="float16"),
    "bfloat16": draw(dtype="bfloat16"),
    "bfloat16 offset 20": draw(offset=20.0, dtype="bfloat16"),
    "bfloat16 offset 1e2": draw(offset=one_column(1e2), dtype="bfloat16"),
    "float64 offset 1e4": draw(offset=one_column(1e4), dtype="float64"),
}


class Saved(NamedTuple):
    """A solve and what its saved head says of the raw features; `rows` are those in float64."""

    features: PreferenceFeatures
    rows: np.ndarray
    solution: object
    neurons: np.ndarray
    theta2: np.ndarray
    rewards: np.ndarray
    called: np.ndarray


def save_and_run(folder, features, solution) -> Saved:
    save_head(folder, solution.head, {})
    head, _ = load_head(folder)
    tensors = {name: leaf.astype(np.float64) for name, leaf in head_tensors(head).items()}
    rows = rows_of(features).astype(np.float64)
    centred = rows - tensors["center"]
    layer = centred @ tensors["theta1"] + tensors["bias"]
    gates = centred @ tensors["gates"] + tensors["gate_bias"] if "gates" in tensors else layer
    neurons = np.where(gates >= 0, layer, 0)
    theta2 = tensors["theta2"]
    called = np.asarray(head(rows_of(features)), np.float64)
    return Saved(features, rows, solution, neurons, theta2, neurons @ theta2, called)


def given(features: PreferenceFeatures) -> PreferenceFeatures:
    """The features as a float32 solve takes them."""
    return jax.tree.map(lambda side: side.astype(np.float32), features)


@pytest.fixture(scope="module", params=MODELS)
def phase1(request, tmp_path_factory):
    """Phase I of every case."""
    folder, config = tmp_path_factory.mktemp("heads"), Config(model=request.param)
    return {
        name: save_and_run(folder / name, given(case), cronos(PARAMS, case, config=config))
        for name, case in CASES.items()
    }


def certified_outputs(saved: Saved) -> np.ndarray:
    """F u on standardised rows."""
    certificate = saved.solution.certificate
    x = standardised_rows(saved.features, certificate)
    products = np.asarray(certificate.weights, np.float64) @ x.T
    advantage = products[0] - products[1] if len(products) == 2 else products[0]
    return np.sum(np.asarray(certificate.patterns) * advantage, axis=0)


def dual_bound(features: PreferenceFeatures, certificate) -> float:
    """Of the certificate's dual point, scaled until it is feasible in float64."""
    x = standardised_rows(features, certificate)
    c = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), certificate)
    pulled = (c.patterns * c.dual_point) @ x
    halves = np.stack([pulled, -pulled])[: len(c.weights)]
    blocks = halves + ((2 * c.patterns - 1) * c.multipliers) @ x
    shrink = min(1, c.group_lasso_strength / np.linalg.norm(blocks, axis=-1).max())
    r = shrink * c.dual_point
    return float(r @ (c.labels - r / 2))


@pytest.mark.parametrize("name", CASES)
def test_the_saved_head_gives_the_certified_outputs(name, phase1):
    saved = phase1[name]
    assert int(saved.solution.status) == Status.SOLVED
    certified = certified_outputs(saved)
    size = np.abs(certified).max()
    assert size > 0.1
    assert np.abs(saved.rewards - certified).max() <= EXACT * size
    assert np.abs(saved.called - certified).max() <= EXACT * size


@pytest.mark.parametrize("name", CASES)
def test_the_saved_head_has_the_certified_gap(name, phase1):
    saved = phase1[name]
    certificate, stats = saved.solution.certificate, saved.solution.stats
    norms = np.linalg.norm(np.asarray(certificate.weights, np.float64), axis=-1).sum()
    penalty = float(certificate.group_lasso_strength) * norms
    labels = np.tile([1.0, -1.0], PAIRS)
    bound = dual_bound(saved.features, certificate)
    for rewards in (saved.rewards, saved.called):
        value = 0.5 * np.sum((rewards - labels) ** 2) + penalty
        assert value == pytest.approx(float(stats.primal_value), rel=EXACT)
        assert (value - bound) / bound <= float(stats.relative_gap) + 2 * EXACT
        assert (PAIRS - value) / (PAIRS - bound) >= float(stats.explained) - 1e-3


@pytest.mark.parametrize("name", CASES)
def test_patterns_and_statistics_are_those_of_the_raw_rows(name, phase1):
    saved = phase1[name]
    certificate = saved.solution.certificate
    x = standardised_rows(saved.features, certificate)
    gates = np.asarray(certificate.gates, np.float64)
    np.testing.assert_array_equal(gates @ x.T >= 0, certificate.patterns)
    assert int(saved.solution.stats.constant_features) == 0
    np.testing.assert_allclose(np.mean(x[:, :-1] ** 2, axis=0), 1, rtol=1e-5)
    # Next to 5e6 floats are half a deviation apart.
    np.testing.assert_allclose(x[:, :-1].mean(axis=0), 0, atol=0.25)


@pytest.mark.parametrize("name", ["offset 9e5", "scaled and offset 1e5"])
def test_certify_bears_the_claim_out(name, phase1):
    solution = phase1[name].solution
    config = Config(model="relu" if len(solution.certificate.weights) == 2 else "gated_relu")
    report = certify(PARAMS, CASES[name], solution.certificate, config=config)
    np.testing.assert_allclose(report.primal_value, solution.stats.primal_value, rtol=EXACT)
    assert float(report.relative_gap) <= float(solution.stats.relative_gap) + EXACT


@pytest.mark.parametrize("objective", ["pairwise", "pointwise"])
@pytest.mark.parametrize("name", ["offset 1e4", "offset 1e5", "offset 9e5", "bfloat16 offset 20"])
def test_phase_2_has_the_gradient_that_it_claims(name, objective, phase1, tmp_path):
    head, features = phase1[name].solution.head, phase1[name].features
    config = Config(phase2_objective=objective)
    solution = finetune(PARAMS, head, CASES[name], config=config)
    assert int(solution.status) == Status.SOLVED
    saved = save_and_run(tmp_path, features, solution)
    chosen, rejected = saved.neurons[::2], saved.neurons[1::2]
    design = chosen - rejected if objective == "pairwise" else np.concatenate([chosen, -rejected])
    used = design @ saved.theta2
    gradient = PARAMS.ridge * saved.theta2 - design.T @ (1 / (1 + np.exp(used))) / len(design)
    assert np.linalg.norm(gradient) <= float(solution.stats.gradient_norm) + 1e-5
    loss = np.mean(np.logaddexp(0, -used)) + PARAMS.ridge / 2 * saved.theta2 @ saved.theta2
    assert loss == pytest.approx(float(solution.stats.loss), rel=EXACT)


@pytest.mark.parametrize("model", MODELS)
def test_float64_far_from_zero_is_what_the_float32_file_says(model, tmp_path):
    """Of features that float32 cannot hold: their mean is 1e9 deviations."""
    features = draw(offset=one_column(1e9), dtype="float64")
    with jax.enable_x64(True):
        solution = cronos(PARAMS, features, config=Config(model=model))
        saved = save_and_run(tmp_path, features, solution)
    assert int(solution.status) == Status.SOLVED
    certified = certified_outputs(saved)
    for rewards in (saved.rewards, saved.called):
        assert np.abs(rewards - certified).max() <= EXACT * np.abs(certified).max()


def through_rows(features: PreferenceFeatures, gates: int) -> np.ndarray:
    """Gates that each have WIDTH rows on their hyperplanes, but for rounding."""
    rows = rows_of(features)
    x = np.c_[(rows - rows.mean(axis=0)) / rows.std(axis=0), np.ones(len(rows))]
    few = x[: gates * WIDTH].reshape(gates, WIDTH, WIDTH + 1)
    return np.linalg.svd(few)[2][:, -1].astype(np.float32)


def test_gates_through_rows_make_no_solved_gated_network():
    features = CASES["plain"]
    gates = through_rows(features, 8)
    x = standardised_rows(features, cronos(PARAMS, features).certificate)
    assert np.sum(np.abs(gates @ x.T) < 1e-5) >= 8 * WIDTH
    gated = cronos(PARAMS, features, config=Config(model="gated_relu"), gates=gates)
    assert int(gated.status) == int(gated.stats.status) == Status.HEAD_DIFFERS
    np.testing.assert_array_equal(gated.certificate.gates, gates)
    assert not Status.HEAD_DIFFERS.ok
    path = regularization_path(
        PARAMS, features, np.array([0.1]), config=Config(model="gated_relu"), gates=gates
    )
    assert int(path.status[0]) == Status.HEAD_DIFFERS


def test_columns_are_constant_where_all_values_are_equal_and_only_there():
    """Of two neighbouring floats the spread is real; whatever its size, a constant is ignored.

    But for a column so near to zero that float32 flushes what it varies by.
    """
    rng = np.random.default_rng(0)
    sides = []
    for side in CASES["plain"][:2]:
        near = np.where(rng.random(PAIRS) < 0.5, np.float32(0.1), np.nextafter(np.float32(0.1), 1))
        constants = np.ones(PAIRS)[:, None] * [0.1, -7e5, 1e-30, 3e38, 0.0]
        sides.append(np.c_[side, near, 1e-36 * side[:, 0], constants].astype(np.float32))
    solution = cronos(PARAMS, PreferenceFeatures(*sides))
    assert int(solution.status) == Status.SOLVED
    assert int(solution.stats.constant_features) == 6
    certificate = solution.certificate
    np.testing.assert_array_equal(certificate.center[-5:], sides[0][0, -5:])
    np.testing.assert_array_equal(certificate.scale[-6:], 1)
    assert not np.any(np.asarray(solution.head.theta1)[-6:])
    x = standardised_rows(PreferenceFeatures(*sides), certificate)
    assert not np.any(x[:, -6:-1])
    np.testing.assert_allclose(np.mean(x[:, :-7] ** 2, axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize("x64", [False, True])
def test_no_row_is_moved_by_another_value_of_a_column_that_was_constant(x64, tmp_path):
    """Gates have weights on every standardised column, constant ones too."""
    constants = [0.1, -7e5, 1e20 + 3e4]
    sides = [np.c_[x, np.ones((PAIRS, 1)) * constants] for x in CASES["plain"][:2]]
    features = PreferenceFeatures(*(side.astype("float64" if x64 else "float32") for side in sides))
    with jax.enable_x64(x64):
        solution = cronos(PARAMS, features, config=Config(model="gated_relu"))
        saved = save_and_run(tmp_path, features, solution)
        moved = np.asarray(solution.head(features.chosen + np.array([0, 0, 0, 0, 5, 5, 5])))
        decomposed = decompose_gated(features, solution.certificate)
    assert int(solution.status) == Status.SOLVED
    certified = certified_outputs(saved)
    assert np.abs(saved.called - certified).max() <= EXACT * np.abs(certified).max()
    np.testing.assert_allclose(moved, certified[::2], atol=EXACT)
    assert not np.any(np.asarray(decomposed.theta1)[-3:])
