"""The head as a function and as files."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import ConvexHead, GatedHead, HeadFileError, load_head, save_head


def make_head() -> ConvexHead:
    rng = np.random.default_rng(0)
    theta2 = np.array([1.0, 0.0, -2.0, 0.5])
    return ConvexHead(rng.standard_normal((3, 4)), rng.standard_normal(4), theta2)


def make_gated_head() -> GatedHead:
    rng = np.random.default_rng(2)
    gates, gate_bias = rng.standard_normal((3, 4)), rng.standard_normal(4)
    return GatedHead(*make_head(), gates, gate_bias)


def test_reward_is_relu_of_the_first_layer_times_the_second():
    head, x = make_head(), np.random.default_rng(1).standard_normal((5, 3))
    expected = np.maximum(x @ head.theta1 + head.bias, 0) @ head.theta2
    np.testing.assert_allclose(head(x), expected, rtol=1e-5)
    assert head(x[0]).shape == ()
    assert head(x.reshape(5, 1, 3)).shape == (5, 1)


def test_a_gated_reward_is_the_first_layer_where_its_gate_is_open_times_the_second():
    head, x = make_gated_head(), np.random.default_rng(1).standard_normal((50, 3))
    layer, opened = x @ head.theta1 + head.bias, x @ head.gates + head.gate_bias >= 0
    # Both signs on both sides of the gates: a gate is not the sign of its neuron.
    assert all(np.any(opened == gate, where=layer > 0) for gate in (False, True))
    assert all(np.any(opened == gate, where=layer < 0) for gate in (False, True))
    np.testing.assert_allclose(head.neurons(x), np.where(opened, layer, 0), rtol=1e-5, atol=1e-6)
    expected = np.where(opened, layer, 0) @ head.theta2
    np.testing.assert_allclose(head(x), expected, rtol=1e-5, atol=1e-6)
    assert head(x[0]).shape == ()
    assert head(x.reshape(25, 2, 3)).shape == (25, 2)


def test_a_gate_is_open_on_its_own_hyperplane():
    """As its pattern is: 1(X h >= 0)."""
    head = GatedHead(*(np.array(a) for a in ([[2.0]], [3.0], [1.0], [[1.0]], [-1.0])))
    np.testing.assert_array_equal(head(np.array([[1.0], [0.999], [2.0]])), [5.0, 0.0, 7.0])


def test_saving_a_gated_head_prunes_zero_neurons_and_keeps_the_function(tmp_path):
    head, x = make_gated_head(), np.random.default_rng(1).standard_normal((50, 3))
    save_head(tmp_path, head, {"seed": 3})
    loaded, metadata = load_head(tmp_path)
    assert isinstance(loaded, GatedHead)
    document = metadata.document
    assert (document["features"], document["neurons"], document["seed"]) == (3, 3, 3)
    kept = [0, 2, 3]
    for name, value in head._asdict().items():
        np.testing.assert_array_equal(getattr(loaded, name), np.float32(value[..., kept]))
    np.testing.assert_allclose(loaded(x), head(x), rtol=1e-5, atol=1e-6)


def test_a_convex_head_loads_as_one(tmp_path):
    save_head(tmp_path, make_head(), {})
    assert isinstance(load_head(tmp_path)[0], ConvexHead)


@pytest.mark.parametrize("name", GatedHead._fields)
def test_a_gated_head_that_is_not_finite_is_never_written(tmp_path, name):
    broken = np.full_like(getattr(make_gated_head(), name), np.inf)
    with pytest.raises(HeadFileError, match="NaN or infinity"):
        save_head(tmp_path / "head", make_gated_head()._replace(**{name: broken}), {})
    assert not (tmp_path / "head").exists()


def test_saving_prunes_zero_neurons_and_keeps_the_function(tmp_path):
    head, x = make_head(), np.random.default_rng(1).standard_normal((5, 3))
    save_head(tmp_path, head, {"seed": 3})
    loaded, metadata = load_head(tmp_path)
    assert loaded.theta1.shape == (3, 3)
    document = metadata.document
    assert (document["features"], document["neurons"], document["seed"]) == (3, 3, 3)
    np.testing.assert_allclose(loaded(x), head(x), rtol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.json", "head.safetensors"]


def test_a_head_that_is_not_finite_is_never_written(tmp_path):
    head = make_head()._replace(bias=np.array([0, np.nan, 0, 0]))
    with pytest.raises(HeadFileError, match="NaN or infinity"):
        save_head(tmp_path / "head", head, {})
    assert not (tmp_path / "head").exists()


def test_features_of_another_width_are_refused():
    with pytest.raises(ValueError, match="features have 4 columns, the head was made for 3"):
        make_head()(jnp.zeros((2, 4)))
    with pytest.raises(ValueError, match="features have 2 columns, the head was made for 3"):
        make_gated_head()(jnp.zeros((2, 2)))


def damage_missing(folder):
    (folder / "head.safetensors").unlink()


def damage_json(folder):
    (folder / "head.json").write_text("{")


def damage_text(folder):
    (folder / "head.json").write_bytes(b"\xff")


def damage_format(folder):
    (folder / "head.json").write_text(json.dumps({"format": "other"}))


def damage_tensors(folder):
    (folder / "head.safetensors").write_bytes(b"\x00" * 7)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_missing, "no head here"),
        (damage_json, r"head\.json: damaged .*; solve again"),
        (damage_text, r"head\.json: damaged .*; solve again"),
        (damage_format, "not a head of format"),
        (damage_tensors, r"head\.safetensors: damaged .*; solve again"),
    ],
)
def test_damaged_files_are_named(tmp_path, damage, message):
    save_head(tmp_path, make_head(), {})
    damage(tmp_path)
    with pytest.raises(HeadFileError, match=message):
        load_head(tmp_path)


def test_tensors_that_do_not_fit_are_refused(tmp_path):
    from safetensors.numpy import save_file

    save_head(tmp_path, make_head(), {})
    file = tmp_path / "head.safetensors"
    save_file({"theta1": np.zeros((3, 2)), "bias": np.zeros(3), "theta2": np.zeros(2)}, file)
    with pytest.raises(HeadFileError, match="shapes of its tensors do not fit"):
        load_head(tmp_path)
    save_file({"theta1": np.zeros((3, 2))}, file)
    with pytest.raises(HeadFileError, match=r"holds \['theta1'\]"):
        load_head(tmp_path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("theta1", (3, 2)),
        ("theta1", (3,)),
        ("bias", (1,)),
        ("theta2", (3, 1)),
        ("gates", (2, 3)),
        ("gates", (3,)),
        ("gate_bias", (4,)),
    ],
)
def test_tensors_of_a_gated_head_that_do_not_fit_are_refused(tmp_path, name, shape):
    from safetensors.numpy import load_file, save_file

    save_head(tmp_path, make_gated_head(), {})
    file = tmp_path / "head.safetensors"
    save_file({**load_file(file), name: np.zeros(shape, np.float32)}, file)
    with pytest.raises(HeadFileError, match="shapes of its tensors do not fit"):
        load_head(tmp_path)


def test_a_gated_head_without_a_tensor_is_refused(tmp_path):
    from safetensors.numpy import load_file, save_file

    save_head(tmp_path, make_gated_head(), {})
    file = tmp_path / "head.safetensors"
    arrays = load_file(file)
    del arrays["gate_bias"]
    save_file(arrays, file)
    with pytest.raises(HeadFileError, match=r"holds \['bias', 'gates', 'theta1', 'theta2'\], not"):
        load_head(tmp_path)
