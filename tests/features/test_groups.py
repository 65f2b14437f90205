"""Groups of responses from stores, .npz and Arrow: what goes together, with which scores."""

import numpy as np
import pytest

from coala_jax import Config, Params, solve
from coala_jax._group_inputs import prepare_groups
from coala_jax.features import (
    FeatureError,
    FeatureTable,
    from_dataset,
    group_table,
    load_features,
    to_dataset,
    write_npz,
)
from coala_jax.features._groups import group_counts
from coala_jax.study._read_pairs import pairs_of_table

IDS = ("a/b/1>0", "a/b/1=2", "a/b/1>3", "c/0>1", "d/2>0", "d/2>1")


def table(**changed) -> FeatureTable:
    rng = np.random.default_rng(0)
    best = rng.standard_normal((3, 4)).astype("f4")
    fields = {
        "chosen": best[[0, 0, 0, 1, 2, 2]],
        "rejected": rng.standard_normal((6, 4)).astype("f4"),
        "ids": IDS,
        "prompt_hashes": tuple("xxxyzz"),
        "margin": np.array([2, 0, 1, 5, 1, 3], "f4"),
        "weight": np.array([2, 2, 2, 1, 1, 1], "f4"),
    }
    return FeatureTable(**{**fields, **changed})


def test_rows_of_a_group_become_one():
    given = table()
    found = group_table(given)
    features = found.features
    assert found.ids == ("a/b", "c", "d") and found.keys == ("x", "y", "z")
    assert features.responses.shape == (3, 4, 4)
    np.testing.assert_array_equal(features.mask.sum(1), [4, 2, 3])
    np.testing.assert_array_equal(features.scores[0], [0, -2, 0, -1])
    np.testing.assert_array_equal(features.scores[2, :3], [0, -1, -3])
    np.testing.assert_array_equal(features.weight, [2, 1, 1])
    np.testing.assert_array_equal(features.responses[2, 0], given.chosen[4])
    np.testing.assert_array_equal(features.responses[2, 1:3], given.rejected[4:])
    assert group_table(table(groups=tuple("ggghii"))).keys == ("g", "h", "i")
    prepare_groups(features)
    config = Config(phase1_loss="plackett_luce", model="gated_relu", n_gates=2)
    assert np.isfinite(float(solve(Params(), features, config=config).stats.phase1.primal_value))


def test_groups_and_ties_in_them_are_counted():
    counts = {"total": 3, "answers": {"2": 1, "3": 1, "4": 1}, "tied_pairs": 1}
    assert group_counts(table()) == counts
    three = table(margin=np.array([0, 0, 1, 5, 1, 1], "f4"))
    assert group_counts(three) == {**counts, "tied_pairs": 4}
    assert group_counts(table(ids=("a", *IDS[1:]))) is None


def test_files_keep_groups(tmp_path):
    pytest.importorskip("datasets")
    expected = group_table(table())
    for again in (
        load_features(write_npz(tmp_path / "groups.npz", table())),
        from_dataset(to_dataset(table())),
    ):
        found = group_table(again)
        assert found.ids == expected.ids and found.keys == expected.keys
        for one, other in zip(found.features, expected.features, strict=True):
            np.testing.assert_array_equal(one, other)


def test_pairs_and_groups_are_not_taken_for_each_other():
    with pytest.raises(FeatureError, match="they are of pairs; read the rows again"):
        group_table(table(ids=("a", *IDS[1:])))


def test_pairs_of_groups_are_all_those_with_different_scores():
    lengths = np.arange(12).reshape(6, 2)
    lengths[1:3, 0], lengths[5, 0] = lengths[0, 0], lengths[4, 0]  # the best one is one response
    pairs = pairs_of_table("store", table(lengths=lengths))
    # Of a/b 0 and 2 tie at the top: three pairs of each with 1 and 3, and 3 above 1.
    assert len(pairs.chosen) == 5 + 1 + 3 and pairs.split_by == "prompt"
    assert pairs.keys == tuple("xxxxxyzzz")
    np.testing.assert_allclose(pairs.margin, [2, 1, 2, 1, 1, 5, 1, 3, 2])
    np.testing.assert_allclose(np.bincount(pairs.group_of, pairs.weight), [1.5, 0.75, 0.75])
    np.testing.assert_array_equal(pairs.lengths[-1], [lengths[4, 1], lengths[5, 1]])
    some = pairs.take(pairs.group_of != 1)
    config = Config(phase1_loss="listwise")
    assert some.feature_keys(config) == ("x", "z") and some.feature_keys(Config()) == some.keys
    np.testing.assert_array_equal(some.groups.weight, [2, 1])
    with pytest.raises(FeatureError, match="beginnings are of pairs"):
        pairs_of_table("store", table(), prefixes=True)
