"""A head is used on the features that it was trained on, or not at all."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from coala_jax._head import HeadError
from coala_jax._head_files import HeadFileError
from coala_jax.backbones import load_backbone
from coala_jax.data import ResponseRow
from coala_jax.decoding import TextRewardModel, explain, rank, reward_function, score
from coala_jax.features import FeatureError
from coala_jax.features._responses import features_of_responses
from tests.helpers import random_head

ROWS = [
    ResponseRow("a", "response", "the student asks", "the tutor answers"),
    ResponseRow("b", "response", "the student asks", "no"),
]


def test_rewards_are_those_of_the_head_on_the_features_it_was_trained_on(model):
    rewards = score(model, ROWS)
    features = features_of_responses(ROWS, model.backbone, model.settings).features
    assert model.settings.pooling == "mean"
    assert rewards.rewards.dtype == np.float64
    np.testing.assert_allclose(rewards.rewards, model.head(features), atol=1e-6)
    assert rewards.rewards[0] != rewards.rewards[1]
    assert (rewards.prompt_cut, rewards.response_cut) == (0, 0)


@pytest.mark.parametrize(
    "use",
    [
        lambda backbone: score(backbone, []),
        lambda backbone: rank(backbone, "p", []),
        lambda backbone: explain(backbone, ROWS),
        reward_function,
    ],
)
def test_a_backbone_without_a_head_gives_no_rewards(backbone, use):
    with pytest.raises(HeadError, match=r"model must be a TextRewardModel, got Backbone: load one"):
        use(backbone)


def test_it_prints_as_its_parts_in_a_line(model):
    width, neurons = model.head.theta1.shape
    name = model.backbone.identity.name
    head = f"ConvexHead({width} -> {neurons} -> 1)"
    assert repr(model) == f"TextRewardModel({name!r}, {head}, beta={model.beta})"


def test_no_rows_have_no_rewards(model):
    assert score(model, []).rewards.shape == (0,)


def test_an_empty_response_is_scored_by_its_end_token(model):
    row = ResponseRow("a", "response", "the student asks", "")
    assert np.isfinite(score(model, [row]).rewards).all()


def test_every_difference_to_the_heads_backbone_is_named(head_folder, make_checkpoint, tmp_path):
    other = load_backbone(make_checkpoint(tmp_path / "other", seed=1), dtype="bfloat16")
    with pytest.raises(FeatureError, match="other is not the backbone of") as error:
        TextRewardModel.load(head_folder, other)
    message = str(error.value)
    assert "weights_sha256" in message and "compute_dtype 'float32', found 'bfloat16'" in message
    assert "tokenizer_sha256" not in message


def test_the_backbone_is_loaded_in_the_type_of_the_heads_features(head_folder, checkpoint):
    model = TextRewardModel.load(head_folder, checkpoint)
    assert model.backbone.module.dtype.name == model.identity.compute_dtype == "float32"


def change_account(folder, **identity):
    """Change what a head says of its features; None removes a field."""
    info = json.loads((folder / "head.json").read_text())
    info["identity"] = {
        name: value for name, value in {**info["identity"], **identity}.items() if value is not None
    }
    (folder / "head.json").write_text(json.dumps(info))


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ({"pooling": "mean+last"}, "takes 16 features, and its identity speaks of 32"),
        ({"layer": "-1,-2"}, r"speaks of 32 \(mean of layers \(-1, -2\)\)"),
        ({"layer": "-9"}, "head.json: head: layer"),
        ({"pooling": "median"}, "head.json: pooling"),
        ({"pooling": "attention"}, "needs a query and none is recorded"),
        ({"pooling": None}, "no text for pooling"),
    ],
)
def test_an_account_that_does_not_fit_is_refused(write_head, backbone, tmp_path, identity, message):
    change_account(write_head(tmp_path), **identity)
    with pytest.raises(HeadFileError, match=message):
        TextRewardModel.load(tmp_path, backbone)


def test_a_head_of_another_template_or_end_token_is_refused(write_head, backbone, tmp_path):
    change_account(write_head(tmp_path), end_token="<end>")
    with pytest.raises(FeatureError, match="end_token '<end>', found"):
        TextRewardModel.load(tmp_path, backbone)


@pytest.mark.parametrize("beta", [0, -1.0, "1", True, float("inf")])
def test_a_reward_scale_that_is_none_is_refused(write_head, backbone, tmp_path, beta):
    write_head(tmp_path, params={"beta": beta})
    with pytest.raises(HeadFileError, match=r"params\.beta is"):
        TextRewardModel.load(tmp_path, backbone)


def test_the_reward_scale_is_the_heads(write_head, backbone, tmp_path):
    assert TextRewardModel.load(write_head(tmp_path, params={"beta": 2}), backbone).beta == 2.0
    assert TextRewardModel.load(write_head(tmp_path, params=None), backbone).beta == 1.0


def test_a_head_that_is_not_finite_is_refused(write_head, backbone, tmp_path):
    file = write_head(tmp_path) / "head.safetensors"
    arrays = safetensors.numpy.load_file(file)
    arrays["theta1"][0, 0] = np.nan
    safetensors.numpy.save_file(arrays, file)
    with pytest.raises(HeadFileError, match="holds NaN or infinity"):
        TextRewardModel.load(tmp_path, backbone)


def test_a_head_in_memory_is_checked_as_one_on_disk_is(model):
    made = TextRewardModel(model.backbone, model.head, model.identity)
    assert (made.settings, made.beta) == (model.settings, 1.0)
    other = replace(model.backbone, identity=model.backbone.identity._replace(weights_sha256="0"))
    with pytest.raises(FeatureError, match="expected weights_sha256"):
        TextRewardModel(other, model.head, model.identity)
    with pytest.raises(HeadError, match="takes 8 features, and its identity speaks of 16"):
        replace(model, head=random_head(8))
    with pytest.raises(HeadError, match="identity is None, which says nothing of the backbone"):
        replace(model, identity=None)
    with pytest.raises(HeadError, match="beta is 0.0, not a finite number above 0"):
        replace(model, beta=0.0)


def test_a_reward_that_is_not_finite_names_its_row(model, overflowing):
    head = overflowing(model.head)
    message = r"rewards: 2 of 2 are not finite, the first is of a \(response\)"
    with pytest.raises(FeatureError, match=message):
        score(replace(model, head=head), ROWS)


def test_conversations_of_another_chat_template_are_refused(model):
    model.require_chat_template("")  # text is taken as it is
    with pytest.raises(FeatureError, match="trained on plain texts.*flatten"):
        model.require_chat_template("flatten(System, User, Assistant)")


def test_a_head_is_known_by_its_weights(model):
    head = model.head
    same = replace(model, head=head._replace(bias=head.bias.copy()))
    other = replace(model, head=head._replace(bias=head.bias + 1))
    assert model.head_sha256 == same.head_sha256 != other.head_sha256
