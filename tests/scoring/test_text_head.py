"""A head is used on the features that it was trained on, or not at all."""

import json

import numpy as np
import pytest
import safetensors.numpy

from coala_jax._head import HeadFileError
from coala_jax.backbones import load_backbone
from coala_jax.data import ResponseRow
from coala_jax.decoding._text_head import (
    head_sha256,
    load_text_head,
    open_text_head,
    require_chat_template,
    rewards_of_responses,
)
from coala_jax.features import FeatureError
from coala_jax.features._responses import features_of_responses

ROWS = [
    ResponseRow("a", "response", "the student asks", "the tutor answers"),
    ResponseRow("b", "response", "the student asks", "no"),
]


def test_rewards_are_those_of_the_head_on_the_features_it_was_trained_on(backbone, text_head):
    rewards = rewards_of_responses(backbone, text_head, ROWS)
    features = features_of_responses(ROWS, backbone, text_head.settings).features
    assert text_head.settings.pooling == "mean"
    assert rewards.rewards.dtype == np.float64
    np.testing.assert_allclose(rewards.rewards, text_head.head(features), atol=1e-6)
    assert rewards.rewards[0] != rewards.rewards[1]
    assert (rewards.prompt_cut, rewards.response_cut) == (0, 0)


def test_no_rows_have_no_rewards(backbone, text_head):
    assert rewards_of_responses(backbone, text_head, []).rewards.shape == (0,)


def test_an_empty_response_is_scored_by_its_end_token(backbone, text_head):
    row = ResponseRow("a", "response", "the student asks", "")
    assert np.isfinite(rewards_of_responses(backbone, text_head, [row]).rewards).all()


def test_every_difference_to_the_heads_backbone_is_named(head_folder, make_checkpoint, tmp_path):
    other = load_backbone(make_checkpoint(tmp_path / "other", seed=1), dtype="bfloat16")
    with pytest.raises(FeatureError, match="other is not the backbone of") as error:
        load_text_head(head_folder, other)
    message = str(error.value)
    assert "weights_sha256" in message and "compute_dtype 'float32', found 'bfloat16'" in message
    assert "tokenizer_sha256" not in message


def test_the_backbone_is_loaded_in_the_type_of_the_heads_features(head_folder, checkpoint):
    backbone, text_head = open_text_head(head_folder, checkpoint)
    assert backbone.module.dtype.name == text_head.identity.compute_dtype == "float32"


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
        ({"pooling": "mean+last"}, "takes 16 features, and head.json speaks of 32"),
        ({"layer": "-1,-2"}, r"speaks of 32 \(mean of layers \(-1, -2\)\)"),
        ({"layer": "-9"}, "head.json: layer"),
        ({"pooling": "median"}, "head.json: pooling"),
        ({"pooling": "attention"}, "needs a query and none is recorded"),
        ({"pooling": None}, "no text for pooling"),
    ],
)
def test_an_account_that_does_not_fit_is_refused(write_head, backbone, tmp_path, identity, message):
    change_account(write_head(tmp_path), **identity)
    with pytest.raises(HeadFileError, match=message):
        load_text_head(tmp_path, backbone)


def test_a_head_of_another_template_or_end_token_is_refused(write_head, backbone, tmp_path):
    change_account(write_head(tmp_path), end_token="<end>")
    with pytest.raises(FeatureError, match="end_token '<end>', found"):
        load_text_head(tmp_path, backbone)


@pytest.mark.parametrize("beta", [0, -1.0, "1", True, float("inf")])
def test_a_reward_scale_that_is_none_is_refused(write_head, backbone, tmp_path, beta):
    write_head(tmp_path, params={"beta": beta})
    with pytest.raises(HeadFileError, match=r"params\.beta is"):
        load_text_head(tmp_path, backbone)


def test_the_reward_scale_is_the_heads(write_head, backbone, tmp_path):
    assert load_text_head(write_head(tmp_path, params={"beta": 2}), backbone).beta == 2.0
    assert load_text_head(write_head(tmp_path, params=None), backbone).beta == 1.0


def test_a_head_that_is_not_finite_is_refused(write_head, backbone, tmp_path):
    file = write_head(tmp_path) / "head.safetensors"
    arrays = safetensors.numpy.load_file(file)
    arrays["theta1"][0, 0] = np.nan
    safetensors.numpy.save_file(arrays, file)
    with pytest.raises(HeadFileError, match="holds NaN or infinity"):
        load_text_head(tmp_path, backbone)


def test_a_reward_that_is_not_finite_names_its_row(backbone, text_head, overflowing):
    head = overflowing(text_head.head)
    message = r"rewards: 2 of 2 are not finite, the first is of a \(response\)"
    with pytest.raises(FeatureError, match=message):
        rewards_of_responses(backbone, text_head._replace(head=head), ROWS)


def test_conversations_of_another_chat_template_are_refused(text_head):
    require_chat_template(text_head, "")  # text is taken as it is
    with pytest.raises(FeatureError, match="trained on plain texts.*flatten"):
        require_chat_template(text_head, "flatten(System, User, Assistant)")


def test_a_head_is_known_by_its_weights(text_head):
    head = text_head.head
    assert head_sha256(head) == head_sha256(head._replace(bias=head.bias.copy()))
    assert head_sha256(head) != head_sha256(head._replace(bias=head.bias + 1))
