"""Pairs of several processes are those of one: weights, checks and faults."""

import itertools

import numpy as np
import pytest

from coala_jax.features import FeatureError, FeatureTable
from coala_jax.study._agreed_table import require_unique_ids
from coala_jax.study._all_pairs import of_all_processes
from coala_jax.study._read_pairs import pairs_of_table
from tests.processes import as_processes


def group_rows(silent, weight=None):
    """Groups of three, of which some have one score for all; (2 n,) rows."""
    rng = np.random.default_rng(0)
    names = [f"g{group:02d}/0>{other}" for group in range(len(silent)) for other in (1, 2)]
    margin = np.array([0.0 if same else other for same in silent for other in (1, 2)], np.float32)
    chosen, rejected = rng.standard_normal((2, len(names), 3)).astype(np.float32)
    return FeatureTable(
        np.repeat(chosen[::2], 2, axis=0),
        rejected,
        tuple(names),
        margin=margin,
        weight=None if weight is None else np.repeat(np.float32(weight), 2),
    )


def share(table, start, stop):
    columns = table._asdict().items()
    return FeatureTable(**{name: None if c is None else c[start:stop] for name, c in columns})


def told_by(monkeypatch, table, borders):
    """The pairs that each process knows of all."""
    return as_processes(
        monkeypatch,
        [
            lambda start=start, stop=stop: of_all_processes(
                pairs_of_table("here", share(table, 2 * start, 2 * stop))
            )
            for start, stop in itertools.pairwise(borders)
        ],
    )


def test_an_id_that_two_processes_share_is_named_in_both(monkeypatch):
    shares = (["a", "b"], ["c", "å", "b"], [])
    found = as_processes(
        monkeypatch, [lambda ids=ids: require_unique_ids("here", ids) for ids in shares]
    )
    assert all(isinstance(each, FeatureError) for each in found)
    assert {str(each)[:54] for each in found} == {
        "here: 1 ids name more than one row, the first is 'b'; "
    }
    apart = (["a", "b"], ["c"])
    checks = [lambda ids=ids: require_unique_ids("here", ids) for ids in apart]
    assert as_processes(monkeypatch, checks) == [None, None]


SILENT_LATE = [False] * 5 + [True] * 3


@pytest.mark.parametrize("weight", [None, [1, 2, 3, 4, 5, 6, 7, 8]])
@pytest.mark.parametrize("borders", [(0, 4, 8), (0, 1, 8), (0, 5, 8), (0, 3, 7, 8)])
def test_pairs_of_groups_have_the_weights_of_one_process(monkeypatch, weight, borders):
    table = group_rows(SILENT_LATE, weight)
    whole = pairs_of_table("here", table)
    if weight is None:  # five of eight groups say something, three pairs each
        np.testing.assert_allclose(whole.weight, np.full(15, 8 / 5 / 3), rtol=1e-6)
    for found in told_by(monkeypatch, table, borders):
        np.testing.assert_array_equal(found.weight, whole.weight)
        assert len(found.keys) == 15


@pytest.mark.parametrize(
    ("silent", "message"),
    [
        ([True, True, True], "nothing to learn: of 3 groups 0 have fewer than two members and 3"),
        ([False], "holds 1 groups of 3 responses of 3 features; at least 2 groups"),
    ],
)
def test_groups_that_are_too_few_in_all_are_named_by_all(monkeypatch, silent, message):
    table = group_rows(silent)
    with pytest.raises(FeatureError, match=message):
        pairs_of_table("here", table)
    if len(silent) > 1:
        for found in told_by(monkeypatch, table, (0, 1, len(silent))):
            assert isinstance(found, FeatureError) and message in str(found)
