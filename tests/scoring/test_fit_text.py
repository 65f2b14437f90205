"""Rows to a reward of texts in one call, as TRL's users have them."""

import json

import numpy as np
import pytest

import coala_jax
from coala_jax._head_files import HeadFileError
from coala_jax.decoding import TextRewardModel, rank
from coala_jax.features import ExtractSettings
from coala_jax.features._distinct import SAME_TOKENS
from coala_jax.selection import SELECTED

WORDS = ("the", "tutor", "asks", "student", "answers", "a", "what", "does")
CONFIG = coala_jax.Config(**{**vars(SELECTED), "n_gates": 4})


def rows(number: int) -> list[dict]:
    """Pairs whose chosen response ends otherwise than the rejected one."""
    rng = np.random.default_rng(0)

    def text() -> str:
        return " ".join(rng.choice(WORDS, 5))

    return [
        {
            "prompt": f"the student asks {text()}",
            "chosen": f"{text()} the student answers",
            "rejected": f"{text()} what does a",
        }
        for _ in range(number)
    ]


@pytest.fixture(scope="module")
def fitted(backbone):
    # Of the last two nothing is left for the model to tell apart.
    same = {"prompt": "a", "chosen": "the same", "rejected": "the same"}
    data = [*rows(60), same, {**same, "rejected": "the same<|endoftext|>"}]
    estimator = coala_jax.RewardModel(config=CONFIG)
    settings = ExtractSettings(pooling="last")
    return coala_jax.fit_text(data, backbone, estimator=estimator, settings=settings)


def test_rows_become_a_reward_of_texts(fitted):
    assert [line.reason for line in fitted.set_aside] == ["chosen equals rejected", SAME_TOKENS]
    assert fitted.report().startswith("accuracy ")
    reward = fitted.reward_function()
    prompt, chosen, rejected = rows(1)[0].values()
    good, bad = reward([prompt] * 2, [chosen, rejected])
    assert good > bad
    ranking = rank(fitted.model, prompt, [rejected, chosen])
    margin = (good - bad) / fitted.estimator.temperature_
    assert ranking.probabilities[1, 0] == pytest.approx(1 / (1 + np.exp(-margin)), abs=1e-3)


def test_an_option_of_no_name_is_refused_before_anything_is_read():
    with pytest.raises(TypeError, match="fit_text has no argument 'poling'; beside its own it"):
        coala_jax.fit_text("missing.jsonl", "missing", poling="mean")


def test_what_is_saved_scores_texts_with_the_same_probabilities(fitted, backbone, tmp_path):
    fitted.save(tmp_path / "head")
    with pytest.raises(HeadFileError, match="give overwrite=True"):
        fitted.save(tmp_path / "head")
    loaded = TextRewardModel.load(tmp_path / "head", backbone)
    assert loaded.beta == pytest.approx(1 / fitted.estimator.temperature_)
    assert loaded.trained_on == fitted.model.trained_on
    assert rows(1)[0]["prompt"] in loaded.trained_on and "never asked" not in loaded.trained_on
    prompts, texts = ["the student asks"], ["the tutor answers"]
    found = coala_jax.decoding.reward_function(loaded)(prompts, texts)
    np.testing.assert_allclose(found, fitted.reward_function()(prompts, texts), rtol=1e-5)


@pytest.mark.parametrize("temperature", [0, -1.0, "warm", float("nan"), 1e-310, 10**400])
def test_a_temperature_that_cannot_be_is_named(fitted, backbone, tmp_path, temperature):
    fitted.save(tmp_path / "head")
    file = tmp_path / "head" / "head.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "temperature": temperature}))
    with pytest.raises(HeadFileError, match="temperature is"):
        TextRewardModel.load(tmp_path / "head", backbone)


@pytest.mark.slow
def test_a_store_keeps_the_features_and_a_dataset_is_taken(checkpoint, tmp_path):
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_list(rows(24))
    estimator = coala_jax.RewardModel(config=CONFIG, select=False)
    fitted = coala_jax.fit_text(dataset, checkpoint, estimator=estimator, store=tmp_path / "store")
    assert fitted.estimator is estimator
    assert (tmp_path / "store" / "manifest.json").is_file()
    again = coala_jax.fit_text(
        dataset,
        checkpoint,
        estimator=coala_jax.RewardModel(config=CONFIG, select=False),
        store=tmp_path / "store",
    )
    np.testing.assert_array_equal(again.estimator.head_.theta1, estimator.head_.theta1)
