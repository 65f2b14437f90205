"""The head as a function and as files."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import ConvexHead, GatedHead, HeadFileError, load_head, save_head
from coala_jax._head_files import ACCOUNT, WEIGHTS
from tests.helpers import head_tensors


def make_head() -> ConvexHead:
    rng = np.random.default_rng(0)
    theta2 = np.array([1.0, 0.0, -2.0, 0.5])
    theta1, bias, center = (rng.standard_normal(shape) for shape in ((3, 4), 4, 3))
    return ConvexHead(theta1, bias, theta2, center)


def make_gated_head() -> GatedHead:
    rng = np.random.default_rng(2)
    gates, gate_bias = rng.standard_normal((3, 4)), rng.standard_normal(4)
    return GatedHead(**make_head()._asdict(), gates=gates, gate_bias=gate_bias)


def test_reward_is_relu_of_the_first_layer_times_the_second():
    head, x = make_head(), np.random.default_rng(1).standard_normal((5, 3))
    expected = np.maximum((x - head.center) @ head.theta1 + head.bias, 0) @ head.theta2
    np.testing.assert_allclose(head(x), expected, rtol=1e-5)
    assert head(x[0]).shape == ()
    assert head(x.reshape(5, 1, 3)).shape == (5, 1)


def test_a_gated_reward_is_the_first_layer_where_its_gate_is_open_times_the_second():
    head, x = make_gated_head(), np.random.default_rng(1).standard_normal((50, 3))
    centred = x - head.center
    layer, opened = centred @ head.theta1 + head.bias, centred @ head.gates + head.gate_bias >= 0
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
    head = GatedHead(*(np.array(a) for a in ([[2.0]], [3.0], [1.0], [[1.0]], [-1.0], [5.0])))
    np.testing.assert_array_equal(head(np.array([[6.0], [5.999], [7.0]])), [5.0, 0.0, 7.0])


def test_saving_a_gated_head_prunes_zero_neurons_and_keeps_the_function(tmp_path):
    head, x = make_gated_head(), np.random.default_rng(1).standard_normal((50, 3))
    save_head(tmp_path, head, {"seed": 3})
    loaded, metadata = load_head(tmp_path)
    assert isinstance(loaded, GatedHead)
    document = metadata.document
    assert (document["features"], document["neurons"], document["seed"]) == (3, 3, 3)
    kept = [0, 2, 3]
    for name, value in head_tensors(head).items():
        expected = value if name == "center" else value[..., kept]
        np.testing.assert_allclose(getattr(loaded, name), expected, rtol=1e-6)
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
    names = ["README.md", "head.json", "head.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_head_that_is_not_finite_is_never_written(tmp_path):
    head = make_head()._replace(bias=np.array([0, np.nan, 0, 0]))
    with pytest.raises(HeadFileError, match="NaN or infinity"):
        save_head(tmp_path / "head", head, {})
    assert not (tmp_path / "head").exists()


def write_old_head(folder, tensors) -> None:
    """As version 0.1 wrote it: the centre is in the bias."""
    from safetensors.numpy import save_file

    folder.mkdir()
    save_file({name: np.float32(value) for name, value in tensors.items()}, folder / WEIGHTS)
    (folder / ACCOUNT).write_text(json.dumps({"format": "coala-jax-head/1", "neurons": 4}))


@pytest.mark.parametrize("make", [make_head, make_gated_head])
def test_a_head_of_version_one_gives_the_rewards_that_it_gave(make, tmp_path):
    head, x = make(), np.random.default_rng(1).standard_normal((50, 3))
    tensors = head_tensors(head)
    del tensors["center"]
    write_old_head(tmp_path / "old", tensors)
    loaded, metadata = load_head(tmp_path / "old")
    assert type(loaded) is type(head) and metadata.document["neurons"] == 4
    np.testing.assert_array_equal(loaded.center, np.zeros(3, np.float32))
    layer = x @ head.theta1 + head.bias
    opened = x @ head.gates + head.gate_bias if "gates" in tensors else layer
    expected = np.where(opened >= 0, layer, 0) @ head.theta2
    np.testing.assert_allclose(loaded(x), expected, rtol=1e-5, atol=1e-6)
    save_head(tmp_path / "new", loaded, {})
    np.testing.assert_allclose(load_head(tmp_path / "new")[0](x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [make_head, make_gated_head])
def test_a_float64_head_is_saved_as_it_is(make, tmp_path):
    head = make()._replace(center=1e6 + np.random.default_rng(1).standard_normal(3))
    head = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), head)
    save_head(tmp_path, head, {})
    loaded, _ = load_head(tmp_path)
    used = head.theta2 != 0
    for name, leaf in head_tensors(head).items():
        expected = leaf if name == "center" else leaf[..., used]
        assert getattr(loaded, name).dtype == np.float64
        np.testing.assert_array_equal(getattr(loaded, name), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_centre_is_subtracted_before_anything_is_rounded(dtype):
    x = (1000 + 64 * np.random.default_rng(1).standard_normal((50, 3))).astype(jnp.dtype(dtype))
    head = jax.tree.map(np.float32, make_head()._replace(center=np.full(3, 1001.7)))
    centred = x.astype(np.float64) - head.center
    expected = np.maximum(centred @ head.theta1.astype(np.float64) + head.bias, 0) @ head.theta2
    np.testing.assert_allclose(head(x), expected, rtol=1e-5, atol=1e-4)


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
    shapes = {"theta1": (3, 2), "bias": 3, "theta2": 2, "center": 3}
    save_file({name: np.zeros(shape) for name, shape in shapes.items()}, file)
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
        ("center", (4,)),
        ("center", (3, 1)),
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
    left = r"holds \['bias', 'center', 'gates', 'theta1', 'theta2'\], not"
    with pytest.raises(HeadFileError, match=left):
        load_head(tmp_path)
