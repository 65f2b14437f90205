"""`RewardModel`: containers, scikit-learn's conventions, reports and files."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.utils.validation import check_is_fitted

from coala_jax import (
    CoalaError,
    HeadFileError,
    Params,
    PreferenceFeatures,
    RewardModel,
    Status,
    accuracy,
)
from coala_jax._estimator import NotFittedError
from coala_jax.data import PromptFingerprint
from coala_jax.selection import SELECTED

WIDTH = 3
FAST = dataclasses.replace(SELECTED, n_gates=4)


def draw(seed: int, pairs: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """A noisy preference for the first feature."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, pairs, WIDTH)).astype(np.float32)
    swap = (a[:, 0] - b[:, 0] + 0.5 * rng.logistic(size=pairs) < 0)[:, None]
    return np.where(swap, b, a), np.where(swap, a, b)


@pytest.fixture(scope="module")
def model():
    return RewardModel(config=FAST).fit(*draw(0), groups=[f"p{i // 2}" for i in range(80)])


def test_a_fitted_model_scores_unseen_pairs_and_gives_probabilities(model):
    chosen, rejected = draw(1, 500)
    score = model.score(chosen, rejected)
    assert score > 0.65
    assert score == pytest.approx(
        float(accuracy(model.head_, PreferenceFeatures(chosen, rejected)))
    )
    odds = model.decision_function(chosen, rejected)
    margins = model.rewards(chosen) - model.rewards(rejected)
    np.testing.assert_allclose(odds, margins / model.temperature_, rtol=1e-5, atol=1e-6)
    probabilities = model.predict_proba(chosen, rejected)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-odds)))
    np.testing.assert_array_equal(model.predict(chosen, rejected), probabilities[:, 1] > 0.5)
    # Left-out folds have made them probabilities: sharper or flatter ones cost more.
    losses = [np.logaddexp(0, -odds * factor).mean() for factor in (0.5, 1.0, 2.0)]
    assert losses[1] < min(losses[0], losses[2])
    assert Status(int(model.solution_.status)) == Status.SOLVED


def test_containers_give_the_same_model(model):
    pd = pytest.importorskip("pandas")
    chosen, rejected = draw(0)
    groups = pd.Series([f"p{i // 2}" for i in range(80)])
    others = RewardModel(config=FAST).fit(chosen.tolist(), pd.DataFrame(rejected), groups=groups)
    np.testing.assert_array_equal(others.rewards(chosen), model.rewards(chosen))


def test_tensors_of_torch_are_taken(model):
    torch = pytest.importorskip("torch")
    chosen, _ = draw(0)
    tensor = torch.tensor(chosen, requires_grad=True)
    np.testing.assert_array_equal(model.rewards(tensor), model.rewards(chosen))
    half = model.rewards(tensor.bfloat16())
    np.testing.assert_allclose(half, model.rewards(chosen), atol=0.1)


@pytest.mark.slow
def test_clone_and_cross_validation_by_group_work():
    model = RewardModel(params=Params(gamma=0.1), config=FAST, select=False, random_state=3)
    twin = clone(model)
    assert twin is not model
    assert {**twin.get_params(), "params": None} == {**model.get_params(), "params": None}
    chosen, rejected = draw(2)
    groups = np.arange(80) // 4
    scores = cross_val_score(twin, chosen, rejected, groups=groups, cv=GroupKFold(4))
    assert scores.shape == (4,)
    assert scores.mean() > 0.6
    assert model.set_params(random_state=4).random_state == 4
    with pytest.raises(CoalaError, match="gates is no parameter of RewardModel"):
        model.set_params(gates=4)


def test_it_is_fitted_once_fit_has_run(model):
    check_is_fitted(model)
    for ask in (
        lambda: RewardModel().rewards(np.ones((2, WIDTH))),
        lambda: RewardModel().report(),
        lambda: RewardModel().save("never"),
    ):
        with pytest.raises(NotFittedError, match=r"call fit\(chosen, rejected\)"):
            ask()
    assert repr(RewardModel()) == "RewardModel(select=True, random_state=0)"
    assert "GatedHead of 3 features" in repr(model)


def test_a_report_speaks_of_left_out_pairs_or_of_those_given(model):
    text = model.report()
    assert text.startswith("accuracy 0.")
    assert "on left-out groups of the training pairs; chance 0.500, linear probe 0." in text
    assert "Solution(status=SOLVED" in text
    unseen = draw(3, 300)
    verdict = model.verdict(*unseen)
    assert verdict.accuracy.mean == pytest.approx(model.score(*unseen))
    assert verdict.accuracy.low < verdict.accuracy.mean < verdict.accuracy.high
    assert verdict.warnings == ()
    assert verdict.log_loss.high < np.log(2)


def test_unseen_pairs_of_one_group_have_no_interval_and_say_so(model):
    unseen = draw(3, 30)
    verdict = model.verdict(*unseen, groups=["one prompt"] * 30)
    assert np.isnan(verdict.accuracy.low)
    (warning,) = [each for each in verdict.warnings if "no interval" in each]
    assert "all of them belong together" in warning
    lines = model.report(*unseen, groups=["one prompt"] * 30)
    assert "[unknown] on" in lines and "nan" not in lines.splitlines()[0]


@pytest.mark.slow
def test_a_model_of_noise_says_so():
    rng = np.random.default_rng(0)
    model = RewardModel(config=FAST).fit(*rng.standard_normal((2, 60, WIDTH)))
    verdict = model.verdict(*rng.standard_normal((2, 200, WIDTH)))
    assert any("reaches chance" in warning for warning in verdict.warnings)
    assert "warning: " in model.report(*rng.standard_normal((2, 200, WIDTH)))


def test_a_loaded_model_reports_on_pairs_that_are_given(model, tmp_path):
    model.save(tmp_path / "head")
    card, accuracy = (tmp_path / "head" / "README.md").read_text(), model.verdict().accuracy.mean
    assert "| on training pairs that the folds left out, with 95 % intervals | |" in card
    assert f"| accuracy | {accuracy:.3f} \\[" in card
    loaded = RewardModel.load(tmp_path / "head")
    report = loaded.report(*draw(2, 200))
    assert report.startswith("accuracy 0.") and "nan" not in report and "trained on" not in report
    with pytest.raises(CoalaError, match="no pairs were left out by folds; give chosen"):
        loaded.report()


def test_a_side_or_groups_alone_are_refused(model):
    chosen, rejected = draw(2, 20)
    with pytest.raises(CoalaError, match="chosen is missing"):
        model.report(None, rejected)
    with pytest.raises(CoalaError, match="chosen is missing"):
        model.verdict(groups=range(20))
    with pytest.raises(CoalaError, match="group of each of the 20 pairs; got 3"):
        model.verdict(chosen, rejected, groups=range(3))


@pytest.mark.parametrize("select", [True, False])
def test_groups_are_read_once_and_counted(select):
    chosen, rejected = draw(3, 60)
    model = RewardModel(config=FAST, select=select)
    fitted = model.fit(chosen, rejected, groups=(number // 2 for number in range(60)))
    if select:
        low, high = fitted.verdict().accuracy[1:]
        again = RewardModel(config=FAST).fit(chosen, rejected, groups=np.arange(60) // 2)
        assert (low, high) == tuple(again.verdict().accuracy[1:])
    with pytest.raises(CoalaError, match="group of each of the 60 pairs; got 59"):
        model.fit(chosen, rejected, groups=range(59))


@pytest.mark.slow
def test_a_verdict_on_folds_is_as_honest_as_one_on_new_pairs():
    """On noise the choice alone made one in six intervals lie above chance."""
    above = 0
    for seed in range(20):
        chosen, rejected = np.random.default_rng(seed).standard_normal((2, 120, 4))
        found = RewardModel(config=FAST, random_state=seed).fit(chosen, rejected).verdict()
        above += found.accuracy.low > 0.5
    assert above <= 2


def test_copies_of_a_pair_belong_together_without_being_told():
    sides = np.random.default_rng(0).standard_normal((2, 40, 4))
    copied = [np.repeat(side, 4, axis=0) for side in sides]
    alone = RewardModel(config=FAST).fit(*copied)
    told = RewardModel(config=FAST).fit(*copied, groups=np.repeat(np.arange(40), 4))
    assert alone.verdict().accuracy.mean < 0.7 and told.verdict().accuracy.mean < 0.7
    # Nor do they make an interval narrower: 40 pairs speak, not 160.
    interval = alone.verdict().accuracy
    assert interval.high - interval.low > 0.2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, c, r: m.score(np.where(c > 2, np.nan, c), r), "chosen is NaN or infinite in"),
        (lambda m, c, r: m.predict_proba(c, np.full_like(r, np.inf)), "rejected is NaN or inf"),
        (lambda m, c, r: m.rewards([[None] * WIDTH]), "features is NaN or infinite in 1 of 1"),
        (
            lambda m, c, r: m.score(c, r, np.zeros(len(c))),
            "sample_weight must be",
        ),
        (
            lambda m, c, r: m.score(c, r, -np.ones(len(c))),
            "sample_weight must be",
        ),
        (
            lambda m, c, r: m.fit(c, r, sample_weight=np.full(len(c), np.nan)),
            "sample_weight must be",
        ),
        (lambda m, c, r: m.fit(c, r, margin=np.full(len(c), np.nan)), "NaN"),
        (lambda m, c, r: m.fit(c, r, groups=[None] * len(c)), "got None for pair 0"),
        (lambda m, c, r: m.fit(c, r, groups=[float("nan")] * len(c)), "got nan for pair 0"),
        (lambda m, c, r: m.fit(c, r, groups="a" * len(c)), "groups must be a sequence .* got str"),
        (lambda m, c, r: m.fit(c, r, groups=set(range(len(c)))), "got set"),
        (lambda m, c, r: m.fit(c, r, groups=7), "got int"),
        (lambda m, c, r: clone(m).set_params(random_state=None).fit(c, r), "random_state must be"),
        (lambda m, c, r: clone(m).set_params(random_state=2**70).fit(c, r), "random_state must be"),
        (
            lambda m, c, r: clone(m).set_params(params=Params(beta=0.0)).fit(c, r),
            "INVALID_PARAMETER|0",
        ),
    ],
)
def test_what_no_head_may_come_of_is_refused(call, message):
    chosen, rejected = draw(4, 60)
    model = RewardModel(config=FAST, select=False).fit(chosen, rejected)
    with pytest.raises((CoalaError, TypeError), match=message):
        call(model, chosen, rejected)


def test_columns_and_rows_of_data_frames_must_agree():
    pandas = pytest.importorskip("pandas")
    chosen, rejected = (pandas.DataFrame(side, columns=list("abc")) for side in draw(5, 60))
    other = ["c", "b", "a"]
    model = RewardModel(config=FAST, select=False).fit(chosen, rejected)
    assert model.score(chosen, rejected) == model.score(chosen.to_numpy(), rejected.to_numpy())
    with pytest.raises(CoalaError, match="same columns in the same order"):
        model.fit(chosen, rejected[other])
    with pytest.raises(CoalaError, match="same index in the same order"):
        model.fit(chosen, rejected.sample(frac=1, random_state=0))
    with pytest.raises(CoalaError, match="chosen must have the columns that were fitted"):
        model.score(chosen[other], rejected[other])
    with pytest.raises(CoalaError, match="features must have the columns that were fitted"):
        model.rewards(chosen[other])


def test_a_loaded_model_is_saved_with_what_it_was_saved_with(model, tmp_path):
    prompts = PromptFingerprint.of_hashes(["0" * 64]).text
    model.save(tmp_path / "one", identity={"model": "m"}, trained_on=prompts)
    RewardModel.load(tmp_path / "one").save(tmp_path / "two")
    one, two = (json.loads((tmp_path / name / "head.json").read_text()) for name in ("one", "two"))
    assert one == two and one["trained_on_prompts"] == prompts
    assert one["config"]["n_gates"] == FAST.n_gates and one["config"]["linear_path"] is True
    with pytest.raises(CoalaError, match="fingerprint of prompts must be base64"):
        model.save(tmp_path / "three", trained_on="junk!")


def test_parameters_change_together_or_not_at_all(model):
    other = clone(model)
    with pytest.raises(CoalaError, match="foo is no parameter"):
        other.set_params(random_state=4, foo=1)
    assert other.random_state == model.random_state


def test_few_groups_are_said():
    rng = np.random.default_rng(0)
    chosen, rejected = rng.standard_normal((2, 120, 3))
    model = RewardModel().fit(chosen + 0.5, rejected, groups=np.arange(120) % 6)
    assert "fewer than 20 groups, too few to choose a network on" in model.report()
    assert "chosen: a linear reward (no network), linear ridge" in model.report()
    assert "linear probe" in model.report() and "fewer than 20" in model.report(chosen, rejected)


def test_without_folds_a_verdict_needs_pairs_and_a_report_says_so():
    chosen, rejected = draw(4, 30)
    model = RewardModel(params=Params(group_lasso=0.5), config=FAST, select=False)
    model.fit(chosen, rejected, sample_weight=np.ones(30), margin=[0.1] * 30)
    assert (model.choice_, model.temperature_) == (None, 1.0)
    with pytest.raises(CoalaError, match="give chosen and rejected features of pairs that"):
        model.verdict()
    first, last = model.report().splitlines()
    assert first.startswith("no verdict: no pairs were left out by folds; give chosen")
    assert last == repr(model.solution_)
    assert model.report(*draw(5, 30)).startswith("accuracy")


def test_a_saved_model_scores_as_it_did_and_is_not_overwritten(model, tmp_path):
    chosen, rejected = draw(6, 20)
    model.save(tmp_path / "head")
    loaded = RewardModel.load(tmp_path / "head")
    np.testing.assert_allclose(
        loaded.predict_proba(chosen, rejected), model.predict_proba(chosen, rejected), rtol=1e-5
    )
    with pytest.raises(HeadFileError, match="a head is there; give overwrite=True"):
        model.save(tmp_path / "head")
    model.save(tmp_path / "head", overwrite=True)
    document = json.loads((tmp_path / "head" / "head.json").read_text())
    assert document["temperature"] == model.temperature_
    document["temperature"] = "warm"
    (tmp_path / "head" / "head.json").write_text(json.dumps(document))
    with pytest.raises(HeadFileError, match="temperature is 'warm'"):
        RewardModel.load(tmp_path / "head")


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        (("good", "bad"), "chosen must be .* got text: coala_jax.fit_text takes texts"),
        ((["good"], ["bad"]), "chosen must be .* such as 'good'"),
        ((csr_array(np.ones((3, 2))), np.ones((3, 2))), r"sparse matrix: give chosen\.toarray\(\)"),
        (([[1.0, 2.0], [3.0]], [[1.0]]), "chosen must be .*numbers"),
        ((np.ones(3), np.ones(3)), r"chosen must be .*; got shape \(3,\)"),
        ((np.ones((4, 2)), np.ones((3, 2))), r"got \(4, 2\) and \(3, 2\)"),
        ((PreferenceFeatures(np.ones((3, 2)), np.ones((3, 2))), None), "give its two sides"),
        ((None, np.ones((3, 2))), "chosen must be"),
    ],
)
def test_what_does_not_fit_is_named(sides, message):
    with pytest.raises((TypeError, ValueError), match=message):
        RewardModel(config=FAST).fit(*sides)
