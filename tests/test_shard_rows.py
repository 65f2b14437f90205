"""`shard_rows`: any number of pairs or groups over any number of devices is the same problem."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from coala_jax import (
    CoalaError,
    Config,
    GroupFeatures,
    Params,
    PreferenceFeatures,
    shard_rows,
    solve,
)
from coala_jax._shard_rows import _places, agreed_columns, filled_columns, holding_of
from tests.convex.devices import figures
from tests.helpers import draw_pairs
from tests.processes import as_processes

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_uneven_rows_over_devices_are_solved_as_on_one():
    devices = 8
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, "-m", "tests.uneven_rows"],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    for name, result in found.items():
        whole, split = result["whole"], result["split"]
        assert split.pop("values") == pytest.approx(whole.pop("values"), rel=1e-9), name
        assert split == whole, name
        assert whole["status"] == 0, name
        assert result["rows_a_device"] == [result["rows"] / devices], name


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        Config(phase1_loss="bradley_terry"),
        Config(linear_path=True, strength_unit="absolute"),
        Config(phase1_loss="bradley_terry", rows="compact"),
    ],
)
def test_a_pair_without_weight_changes_no_step(config):
    features = draw_pairs(0, 11)
    columns = filled_columns(features._asdict(), 11, 16)
    padded = PreferenceFeatures(**columns)
    assert len(padded.chosen) == 16 and padded.weight.tolist() == [1.0] * 11 + [0.0] * 5
    params = Params(group_lasso=1.0) if config.strength_unit == "absolute" else Params()
    with jax.enable_x64(True):
        plain, with_more = (figures(solve(params, f, config=config)) for f in (features, padded))
    assert with_more.pop("values") == pytest.approx(plain.pop("values"), rel=1e-9)
    assert with_more == plain


def test_copies_are_of_the_first_pair_with_weight():
    features = PreferenceFeatures(
        np.array([[np.inf], [2.0], [3.0]]), np.zeros((3, 1)), np.array([0.0, 2.0, 1.0])
    )
    filled = filled_columns(features._asdict(), 3, 5)
    assert filled["chosen"][3:].tolist() == [[2.0], [2.0]]
    assert filled["weight"].tolist() == [0, 2, 1, 0, 0]


def test_places_behind_the_last_row_are_named_by_the_row_that_they_are_copies_of():
    kinds = [[0, 0, 5, 1], [3, 3, 3], None]
    parts = [
        holding_of({"chosen": np.zeros((rows, 1)), "weight": weight and np.array(weight, float)}, 1)
        for rows, weight in zip((4, 3, 2), kinds, strict=True)
    ]
    owners = [SimpleNamespace(process_index=number) for number in (0, 0, 1, 1, 2, 2)]
    mesh = SimpleNamespace(devices=np.array(owners))
    place, copy_of = _places(mesh, parts, 3)
    assert place.tolist() == [0, 1, 2, 3, 6, 7, 8, 12, 13]
    assert copy_of.tolist() == [0, 1, 2, 3, 2, 2, 4, 5, 6, 4, 4, 4, 7, 8, 7, 7, 7, 7]


def test_on_one_device_features_are_as_they_were():
    features = draw_pairs(0, 5, dtype="float32")._replace(margin=np.arange(5.0))
    split = shard_rows(features, Mesh(np.array(jax.devices()[:1]), ("rows",)))
    assert split.weight is None
    for name in ("chosen", "rejected", "margin"):
        np.testing.assert_array_equal(getattr(split, name), getattr(features, name))


def agreed(*parts):
    """Columns of the first process, as if these were all."""
    told = [holding_of(part._asdict(), 1) for part in parts]
    return agreed_columns(parts[0]._asdict(), len(parts[0][0]), told)


def groups(n, k, **columns):
    return GroupFeatures(np.ones((n, k, 3), "float32"), np.zeros((n, k)), **columns)


def test_processes_fill_in_the_columns_that_others_have():
    pairs = draw_pairs(0, 4)
    weighted = pairs._replace(weight=np.full(4, 2.0, "float32"), margin=np.ones(4, "float32"))
    columns = agreed(pairs, weighted)
    assert columns["weight"].tolist() == [1.0] * 4
    assert columns["margin"].tolist() == [0.0] * 4


def test_groups_have_as_many_members_as_in_any_process():
    columns = agreed(groups(2, 3), groups(5, 4))
    assert columns["responses"].shape == (2, 4, 3)
    assert columns["scores"].shape == (2, 4)
    assert columns["mask"].tolist() == [[True] * 3 + [False]] * 2


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((draw_pairs(0, 4, 3), draw_pairs(0, 4, 5)), r"chosen is not alike in all 2 processes"),
        (
            (draw_pairs(0, 4), draw_pairs(0, 4, dtype="float32")),
            r"float32 rows of \(3,\) and float64 rows of \(3,\)",
        ),
        (
            (groups(2, 3), groups(2, 3)._replace(scores=None, ranks=np.zeros((2, 3)))),
            r"scores is None in some of the 2 processes",
        ),
    ],
)
def test_columns_that_differ_between_processes_are_named_in_all_of_them(parts, message):
    for order in (parts, parts[::-1]):
        with pytest.raises(CoalaError, match=message):
            agreed(*order)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (draw_pairs(0, 1), "features hold 1 pairs or groups for 1 devices"),
        (
            PreferenceFeatures(np.zeros((3, 2)), np.zeros((4, 2))),
            r"one row a pair or group in every array; got features.chosen \(3, 2\)",
        ),
        (PreferenceFeatures([1.0], [2.0]), "features.chosen must be a jax or numpy array"),
        ((1, 2), "features must be coala_jax.PreferenceFeatures"),
    ],
)
def test_what_cannot_be_split_is_named(features, message):
    with pytest.raises((CoalaError, TypeError), match=message):
        shard_rows(features)


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        ("rows", "mesh must be a jax.sharding.Mesh, got str"),
        (
            Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("a", "b")),
            r"mesh has the axes 'a' \(.*\), 'b'",
        ),
        (
            Mesh(np.array(jax.devices()[:1]), ("rows",), axis_types=(AxisType.Explicit,)),
            r"mesh has the axes 'rows' \(.*Explicit.*\): rows are split over one axis",
        ),
    ],
)
def test_a_mesh_that_rows_cannot_be_split_over_is_named(mesh, message):
    with pytest.raises((CoalaError, TypeError), match=message):
        shard_rows(draw_pairs(0, 4), mesh)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (PreferenceFeatures([1.0], [2.0]), "features.chosen must be a jax or numpy array"),
        (PreferenceFeatures(np.zeros((3, 2)), np.zeros((4, 2))), "features must have one row"),
        ((1, 2), "features must be coala_jax.PreferenceFeatures"),
    ],
)
def test_what_is_wrong_in_one_process_is_raised_in_all(monkeypatch, bad, message):
    given = (draw_pairs(0, 4), bad, draw_pairs(0, 4))
    found = as_processes(monkeypatch, [lambda own=own: shard_rows(own) for own in given])
    for error in found:
        assert isinstance(error, CoalaError) and f"process 1 of 3: {message}" in str(error)


def test_pairs_in_one_process_and_groups_in_another_are_named_in_both(monkeypatch):
    given = (draw_pairs(0, 4), groups(4, 3))
    found = as_processes(monkeypatch, [lambda own=own: shard_rows(own) for own in given])
    for error in found:
        assert isinstance(error, CoalaError) and "pairs in some of the 2 processes" in str(error)
