"""The probe against scikit-learn; the length rule; folds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from coala_jax import PreferenceFeatures
from coala_jax._folds import folds_of
from coala_jax._inputs import prepare_features
from coala_jax.study._baselines import (
    RIDGE_GRID,
    _fit,
    _rewards,
    fit_length_rule,
    fit_linear_probe,
)
from coala_jax.study._on_devices import OnDevices
from coala_jax.study._pair_set import PairSet

RNG = np.random.default_rng(0)


def _pairs(n=120, d=5, shift=0.4, keys=None, **columns):
    chosen = RNG.normal(shift, 1.0, (n, d)).astype(np.float32)
    rejected = RNG.normal(0.0, 1.0, (n, d)).astype(np.float32)
    keys = tuple(f"k{i // 2}" for i in range(n)) if keys is None else keys
    return PairSet("test", chosen, rejected, keys, "group", **columns)


@pytest.mark.parametrize("ridge", [1e-3, 1e-1])
def test_the_probe_is_ridge_logistic_regression_without_intercept(ridge):
    pairs = _pairs()
    difference = pairs.chosen - pairs.rejected
    weight = RNG.uniform(0.0, 2.0, len(difference)).astype(np.float32)
    weight[:20] = 0
    weight /= weight.mean()
    scale = np.sqrt((weight[:, None] * difference**2).mean(0))
    rows = difference / scale
    # Both signs of every row make the two classes; half the strength makes up for it.
    truth = LogisticRegression(
        C=1 / (2 * len(rows) * ridge), fit_intercept=False, tol=1e-8, max_iter=1000
    ).fit(
        np.concatenate([rows, -rows]),
        np.repeat([1, 0], len(rows)),
        sample_weight=np.tile(weight, 2),
    )
    found = _fit(prepare_features(pairs.as_pairs()), weight, (ridge, 10 * ridge))[0]
    np.testing.assert_allclose(found, truth.coef_[0] / scale, rtol=1e-3)


def test_a_column_without_difference_gets_no_weight():
    pairs = _pairs()
    pairs.chosen[:, 1] = pairs.rejected[:, 1]
    probe = fit_linear_probe(pairs, seed=0)
    assert probe.weights[1] == 0
    assert np.isfinite(probe.weights).all()


def test_the_strength_is_chosen_on_left_out_rows():
    probe = fit_linear_probe(_pairs(), seed=0)
    assert probe.ridge in RIDGE_GRID
    assert probe.validation[RIDGE_GRID.index(probe.ridge)] == max(probe.validation)
    # 100 columns of noise and 60 rows: any fit is perfect on its own rows.
    noise = fit_linear_probe(_pairs(n=60, d=100, shift=0.0), seed=0)
    assert max(noise.validation) < 0.75


def test_the_probe_finds_a_linear_reward_and_needs_two_keys():
    pairs = _pairs(n=200, shift=2.0)
    assert fit_linear_probe(pairs, seed=0).correct(_pairs(n=100, shift=2.0)).mean() > 0.95
    assert fit_linear_probe(_pairs(n=4, keys=("a",) * 4), seed=0) is None


def test_folds_keep_keys_together_and_are_seeded():
    keys = [f"k{i % 13}" for i in range(50)]
    fold = folds_of(keys, 5, seed=0)
    assert set(fold) == set(range(5))
    assert all(len(set(fold[np.array(keys) == key])) == 1 for key in keys)
    assert (fold == folds_of(keys, 5, seed=0)).all()
    assert (fold != folds_of(keys, 5, seed=1)).any()
    assert sorted(folds_of(["a", "b"], 5, seed=0)) == [0, 1]


def test_the_length_rule_takes_its_direction_from_the_training_rows():
    lengths = np.array([[5, 3], [2, 2], [1, 4]])
    three = _pairs(n=3, lengths=lengths)
    longer, shorter = (
        fit_length_rule(three),
        fit_length_rule(three._replace(lengths=np.array([[1, 2], [1, 2], [2, 1]]))),
    )
    assert longer.longer
    assert not shorter.longer
    assert longer.correct(three).tolist() == [1.0, 0.5, 0.0]
    assert shorter.correct(three).tolist() == [0.0, 0.5, 1.0]
    assert fit_length_rule(_pairs()) is None
    with pytest.raises(ValueError, match="no text"):
        longer.correct(_pairs())


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_the_probe_of_compact_pairs_is_that_of_whole_ones(monkeypatch, dtype):
    """In blocks of seven pairs, from features that are never in float32 as a whole."""
    monkeypatch.setattr("coala_jax._row_blocks.BLOCK_NUMBERS", 70)
    pairs = _pairs()
    narrow = [jnp.asarray(side, dtype) for side in (pairs.chosen, pairs.rejected)]
    whole = pairs._replace(chosen=np.float32(narrow[0]), rejected=np.float32(narrow[1]))
    kept = OnDevices(PreferenceFeatures(*narrow), compact=True)
    expected, found = (fit_linear_probe(whole, 0, rows) for rows in (None, kept))
    assert (found.ridge, found.validation) == (expected.ridge, expected.validation)
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(found.correct(whole, kept), expected.correct(whole))


def test_products_of_the_probe_have_full_precision_on_devices():
    features, weights = jnp.ones((4, 3), jnp.float32), jnp.ones(3, jnp.float32)
    program = str(jax.make_jaxpr(_rewards)(weights, features))
    assert program.count("Precision.HIGHEST") == 2 and "dot_general" in program
    np.testing.assert_array_equal(_rewards(weights, features), np.full(4, 3.0))
