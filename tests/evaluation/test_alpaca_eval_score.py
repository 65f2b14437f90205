"""Win rates of AlpacaEval 2: against scikit-learn, closed forms, known truths and symmetries."""

import sys

import numpy as np
import pytest
import sklearn
from scipy.special import expit
from scipy.stats import sem
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import make_scorer
from sklearn.model_selection import GroupKFold

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation.alpaca_eval import (
    OWN_WORDING,
    GamedRows,
    LengthData,
    score,
    score_report,
    score_warnings,
    win_rate,
)
from coala_jax.evaluation.alpaca_eval._glm import (
    RANDOM_STATE,
    STRENGTHS,
    at_equal_lengths,
    choose_strength,
    design_of,
    fit_weights,
)
from coala_jax.evaluation.alpaca_eval._l1_newton import newton_fits
from coala_jax.evaluation.alpaca_eval._length_controlled import (
    comparison_of,
    is_extreme,
    length_controlled,
    resampled,
)
from coala_jax.evaluation.alpaca_eval._report import score_lines
from tests.evaluation.alpaca_studies import (
    WEIGHTS,
    annotations_of,
    drawn,
    questions_of,
    simulated,
)

# Points that liblinear's tolerance is worth.
TOLERANCE_POINTS = 0.02
SKLEARN = tuple(map(int, sklearn.__version__.split(".")[:2]))


def newton(design, strength, start=(0.0, 0.0, 0.0)):
    features, target, weight = design
    (found,) = newton_fits(features[None], target, weight[None], strength, np.array(start))
    return found


def test_win_rate_and_counts_are_those_of_the_original():
    preferences = np.array([1.0, 2.0, 1.5, 1.4999, 1.7, np.nan])
    found = win_rate(preferences)
    wins = preferences[:5] - 1
    assert found.win_rate == pytest.approx(100 * wins.mean())
    assert found.standard_error == pytest.approx(100 * sem(wins))
    assert (found.n_wins, found.n_wins_base, found.n_draws, found.n_total) == (2, 2, 1, 5)
    assert found.discrete_win_rate == pytest.approx(100 * (2 + 0.5) / 5)
    with pytest.raises(EvaluationError, match="none could be read"):
        win_rate(np.array([np.nan]))


def test_swapped_sides_have_the_rest_of_the_win_rate():
    preferences = simulated(60, 0).comparison.preference + 1
    one, other = win_rate(preferences), win_rate(3 - preferences)
    assert one.win_rate + other.win_rate == pytest.approx(100)
    assert one.interval.low + other.interval.high == pytest.approx(100)
    assert one.standard_error == pytest.approx(other.standard_error)


def continuous_log_loss(y_true, y_pred, true_prob, true_sample_weight):
    """The scorer of the original, on rows that stand twice."""
    target = np.where(y_true == 1, true_prob, 1 - true_prob)
    probability = np.clip(y_pred, 1e-15, 1 - 1e-15)
    losses = target * np.log(probability) + (1 - target) * np.log(1 - probability)
    return -np.mean(losses * true_sample_weight)


def original_fit(design):
    """Strength and weights by `fit_LogisticRegressionCV` of the original: its scikit-learn call."""
    features, target, weight = design
    words = {"l1_ratios": (1,), "use_legacy_attributes": False}
    if SKLEARN < (1, 8):
        words = {"penalty": "l1"}
    both = np.concatenate([target, 1 - target])
    weights = np.tile(weight, 2)
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scorer(
            continuous_log_loss, response_method="predict_proba", greater_is_better=False
        ).set_score_request(true_prob=True, true_sample_weight=True)
        model = LogisticRegressionCV(
            cv=GroupKFold(5),
            scoring=scorer,
            random_state=123,
            dual=False,
            solver="liblinear",
            fit_intercept=False,
            **words,
        ).set_fit_request(sample_weight=True)
        model.fit(
            np.vstack([features, features]),
            np.repeat([1, 0], len(target)),
            sample_weight=both * weights,
            groups=np.tile(np.arange(len(target)), 2),
            true_prob=both,
            true_sample_weight=weights,
        )
    return float(np.ravel(model.C_)[0]), model.coef_[0]


@pytest.mark.skipif(SKLEARN < (1, 9), reason="GroupKFold deals rows out by an unstable sort")
@pytest.mark.parametrize("seed", range(3))
def test_strength_and_weights_are_those_of_the_originals_call_of_scikit_learn(seed):
    study = simulated(90 + seed, seed, WEIGHTS * (1, 1, seed - 1))
    study.comparison.preference[::17] = np.nan
    study.data.gamed.preference[::23] = np.nan
    design = design_of(*study)
    strength, weights = original_fit(design)
    assert choose_strength(design) == strength and strength in STRENGTHS
    np.testing.assert_array_equal(fit_weights(design, strength), weights)


def test_rows_of_the_regression_are_those_of_the_formula():
    study = simulated(12, 3)
    longer = study.comparison.length_difference
    design = design_of(*study)
    np.testing.assert_allclose(design.features[24:, 0], np.tanh(longer / longer.std(ddof=1)))
    np.testing.assert_allclose(design.features[:24, 0], np.tanh(study.data.gamed.length_difference))
    np.testing.assert_array_equal(design.features[:, 1], np.tile(study.data.difficulty, 3))
    np.testing.assert_array_equal(design.features[:, 2], np.repeat([0, 0, 1], 12))
    np.testing.assert_allclose(design.weight, np.repeat([0.1, 0.1, 1.0], 12))


def test_a_row_that_counts_twice_is_a_row_that_stands_twice():
    study = simulated(8, 4)
    times = np.array([0.0, 3, 1, 1, 0, 2, 1, 0])
    weighted = design_of(*study, np.tile(times, 3)[None])
    at = np.repeat(np.arange(8), times.astype(int))
    comparison = type(study.comparison)(*(part[at] for part in study.comparison))
    gamed = GamedRows(*(part[np.concatenate([at, at + 8])] for part in study.data.gamed))
    repeated = design_of(comparison, LengthData(study.data.difficulty, gamed))
    np.testing.assert_allclose(
        newton(type(weighted)(weighted.features[0], weighted.target, weighted.weight[0]), 2.0),
        newton(repeated, 2.0),
        atol=1e-7,
    )


@pytest.mark.parametrize("strength", [0.01, 0.36, 2.78, 1e4])
def test_newton_fits_meet_the_conditions_of_the_optimum(strength):
    design = design_of(*simulated(70, 5))
    weights = newton(design, strength)
    residual = design.weight * (expit(design.features @ weights) - design.target)
    slope = strength * design.features.T @ residual
    active = weights != 0
    np.testing.assert_allclose(
        slope[active], -np.sign(weights[active]), atol=1e-5 * strength + 1e-5
    )
    assert (np.abs(slope[~active]) <= 1 + 1e-6).all()
    assert strength > 0.1 or not active.all()
    np.testing.assert_allclose(newton(design, strength, (1.0, -1.0, 2.0)), weights, atol=1e-6)


def test_newton_fits_agree_with_liblinear_where_it_is_asked_to_be_exact():
    design = design_of(*simulated(70, 6))
    exact = LogisticRegression(
        **({"penalty": "l1"} if SKLEARN < (1, 8) else {"l1_ratio": 1.0}),
        C=2.78,
        tol=1e-10,
        max_iter=100_000,
        solver="liblinear",
        fit_intercept=False,
        random_state=RANDOM_STATE,
    ).fit(
        np.vstack([design.features] * 2),
        np.repeat([1, 0], len(design.target)),
        sample_weight=np.concatenate([design.target, 1 - design.target])
        * np.tile(design.weight, 2),
    )
    np.testing.assert_allclose(newton(design, 2.78), exact.coef_[0], atol=1e-5)


def test_many_sets_are_fitted_as_each_alone():
    study = simulated(40, 7)
    times = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=6).astype(float)
    designs = design_of(*study, np.tile(times, 3))
    together = newton_fits(*designs, 2.78, np.zeros(3))
    for number, weights in enumerate(together):
        alone = type(designs)(designs.features[number], designs.target, designs.weight[number])
        np.testing.assert_allclose(newton(alone, 2.78), weights, atol=1e-7)


def test_known_weights_are_recovered():
    study = simulated(20_000, 8)
    found = length_controlled(*study, draws=2)
    np.testing.assert_allclose(found.weights, WEIGHTS, atol=0.05)
    truth = 100 * expit(WEIGHTS[1] * study.data.difficulty + WEIGHTS[2]).mean()
    assert found.win_rate == pytest.approx(truth, abs=0.7)
    predicted = at_equal_lengths(found.weights, study.data.difficulty)
    assert found.win_rate == pytest.approx(100 * predicted.mean())
    assert found.standard_error == pytest.approx(100 * sem(predicted))


def test_the_order_of_annotations_decides_nothing():
    study = simulated(50, 9)
    annotations = annotations_of(study.comparison)
    questions = questions_of(50)
    shuffled = annotations._replace(
        rows=[annotations.rows[place] for place in np.random.default_rng(1).permutation(50)]
    )
    one = score(annotations, questions, study.data, draws=20)
    other = score(shuffled, questions, study.data, draws=20)
    assert score_report(one) == score_report(other)
    expected = length_controlled(*study, draws=20)
    assert one.length_controlled.interval == pytest.approx(expected.interval, abs=1e-6)


def test_difficulties_belong_to_instructions_where_some_are_missing():
    study = simulated(50, 10)
    annotations = annotations_of(study.comparison)
    part = annotations._replace(rows=annotations.rows[7:])
    comparison = comparison_of(part, questions_of(50), study.data.difficulty)
    np.testing.assert_array_equal(comparison.difficulty, study.data.difficulty[7:])
    found = score(part, questions_of(50), study.data, draws=10)
    assert found.of_set == 50 and any(
        "43 of 50 instructions" in note for note in score_report(found)["warnings"]
    )


def test_a_small_part_of_the_set_has_an_interval():
    study = simulated(300, 23)
    part = type(study.comparison)(*(each[:6] for each in study.comparison))
    low, high = resampled(part, study.data, 2.78, WEIGHTS, draws=2000)
    assert 0 <= low < high <= 1


def with_equal_answers(annotations):
    rows = [
        row._replace(pair=row.pair._replace(output_2=row.pair.output_1)) for row in annotations.rows
    ]
    return annotations._replace(rows=rows)


def test_two_systems_of_one_name_are_not_the_baseline_against_itself():
    study = simulated(30, 11)
    low = study.comparison._replace(preference=np.full(30, 0.05))
    with pytest.raises(EvaluationError, match="both 'ours', and 30 of 30 answers differ; give the"):
        score(annotations_of(low, "ours", "ours"), questions_of(30), study.data, draws=5)


def test_the_baseline_against_itself_has_no_interval_at_equal_lengths():
    study = simulated(30, 11)
    same = study.comparison._replace(length_difference=np.zeros(30), preference=np.full(30, 0.5))
    found = score(with_equal_answers(annotations_of(same, "base")), draws=5)
    reported = score_report(found)
    assert reported["length_controlled"] == {
        "win_rate": 50,
        "published_standard_error": 0,
        **dict.fromkeys(("interval", "interval_by", "weights", "C", "draws", "seed")),
    }
    assert "50.00 %: set, not fitted" in score_lines(found)[1]
    assert score_lines(found)[-1] == (
        "intervals: 95 %; win rate: Wilson's, with Student's t over instructions"
    )
    assert not any("alike" in note for note in reported["warnings"])


def test_intervals_say_their_level_and_how_they_were_made():
    study = simulated(60, 14)
    plain = score(annotations_of(study.comparison), draws=20)
    controlled = score(annotations_of(study.comparison), questions_of(60), study.data, draws=30)
    assert score_lines(plain)[-1] == (
        "intervals: 95 %; win rate: Wilson's, with Student's t over instructions; at equal "
        "lengths: 20 resampled sets, refitted"
    )
    assert "30 resampled" in score_lines(controlled)[-1]
    by = score_report(controlled)["length_controlled"]["interval_by"]
    assert "with their gamed rows" in by
    assert "gamed" not in score_report(plain)["length_adjusted"]["interval_by"]
    assert score_report(plain)["win_rate_interval_by"].startswith("Wilson's")


def test_preferences_that_are_all_alike_say_nothing_of_others():
    study = simulated(30, 11)
    alike = study.comparison._replace(preference=np.full(30, 0.05))
    found = score(annotations_of(alike), draws=5)
    assert found.won.interval.low == pytest.approx(found.won.interval.high)
    assert any("all 30 preferences are alike" in note for note in score_warnings(found))
    assert "5.00 % (same for every question, no interval), standard" in "".join(score_lines(found))
    won = score(annotations_of(study.comparison._replace(preference=np.ones(30))), draws=5)
    # Clopper and Pearson: the lowest rate at which 30 wins of 30 are no rarer than 2.5 %.
    assert won.won.interval.low == pytest.approx(100 * 0.025 ** (1 / 30))
    assert any("alike: the interval at equal lengths says" in note for note in score_warnings(won))
    apart = score(annotations_of(study.comparison), draws=5)
    assert not any("alike" in note for note in score_warnings(apart))


def test_one_preference_has_no_interval():
    found = score(annotations_of(simulated(1, 3).comparison), draws=5)
    shown = "\n".join(score_lines(found))
    assert "one instruction alone, no interval" in shown and "nan" not in shown
    assert "95 %" not in shown
    assert score_report(found)["length_adjusted"] is None


def test_only_the_leaderboards_judge_and_baseline_give_its_rate():
    study = simulated(60, 14)
    theirs = annotations_of(study.comparison, baseline="gpt4_1106_preview")._replace(
        annotator="weighted_alpaca_eval_gpt4_turbo"
    )
    for annotations, ours in (
        (theirs, False),
        (theirs._replace(annotator="gpt-4o"), True),
        (theirs._replace(baseline="text_davinci_003"), True),
    ):
        notes = score_warnings(score(annotations, questions_of(60), study.data, draws=5))
        assert any("no rate here is the leaderboard's" in note for note in notes) is ours
        assert any("weight of length is borrowed" in note for note in notes) is ours
    plain = score_warnings(score(theirs._replace(annotator="gpt-4o"), draws=5))
    assert any("no rate here is the leaderboard's" in note for note in plain)
    assert not any("borrowed" in note for note in plain)


def test_judgments_in_our_own_words_are_not_presented_as_the_benchmarks():
    annotations = annotations_of(simulated(20, 2).comparison)
    rows = [row._replace(wording=OWN_WORDING.wording) for row in annotations.rows[:12]]
    found = score(annotations._replace(rows=[*rows, *annotations.rows[12:]]), draws=5)
    (note,) = (note for note in score_warnings(found) if "own words" in note)
    assert note.startswith("12 judgments were made in coala-jax's own words: not comparable")
    assert score_report(found)["judge_wording"] == [OWN_WORDING.wording._asdict()]


def test_annotations_and_data_of_another_set_are_named():
    study = simulated(20, 15)
    annotations = annotations_of(study.comparison)
    with pytest.raises(EvaluationError, match="5 of 20 answers are to no question of this set"):
        score(annotations, questions_of(15), draws=5)
    with pytest.raises(EvaluationError, match="data: 20 difficulties for 25 questions"):
        score(annotations, questions_of(25), study.data, draws=5)


def test_the_baseline_against_itself_wins_half():
    study = simulated(30, 11)
    same = study.comparison._replace(length_difference=np.zeros(30), preference=np.full(30, 0.5))
    for data, model in ((study.data, "base"), (None, "base"), (study.data, "another name")):
        annotations = with_equal_answers(annotations_of(same, model))
        found = score(annotations, questions_of(30), data, draws=10)
        assert found.won.win_rate == 50 and found.won.standard_error == 0
        assert found.won.n_draws == 30 and found.won.discrete_win_rate == 50
        assert found.length_controlled.win_rate == pytest.approx(50, abs=TOLERANCE_POINTS)


def test_swapped_sides_have_the_rest_of_the_length_controlled_win_rate():
    study = simulated(80, 12)
    gamed = study.data.gamed
    swapped = (
        study.comparison._replace(
            length_difference=-study.comparison.length_difference,
            preference=1 - study.comparison.preference,
        ),
        LengthData(
            study.data.difficulty,
            gamed._replace(
                length_difference=-gamed.length_difference, preference=1 - gamed.preference
            ),
        ),
    )
    one, other = (newton(design_of(*each), 2.78) for each in (study, swapped))
    np.testing.assert_allclose(one * (1, -1, -1), other, atol=1e-7)
    first, second = length_controlled(*study, draws=10), length_controlled(*swapped, draws=10)
    assert first.win_rate + second.win_rate == pytest.approx(100, abs=TOLERANCE_POINTS)


def test_longer_answers_of_equal_worth_gain_nothing_at_equal_lengths():
    weights = np.array([-1.5, 0.8, 0.0])  # of the baseline's characters less the model's
    rng = np.random.default_rng(13)
    study = simulated(4000, 13, weights, weights)
    longer = study.comparison.length_difference - 900
    lengths = np.tanh(longer / longer.std(ddof=1))
    logits = weights[0] * lengths + weights[1] * study.data.difficulty
    comparison = study.comparison._replace(
        length_difference=longer, preference=drawn(expit(logits), rng)
    )
    found = score(annotations_of(comparison), questions_of(4000), study.data, draws=200)
    assert found.won.win_rate > 70
    assert found.length_controlled.interval.low < 50 < found.length_controlled.interval.high


def test_without_gamed_rows_no_rate_is_called_length_controlled():
    study = simulated(60, 14)
    found = score(annotations_of(study.comparison), draws=20)
    assert found.length_controlled is None and found.of_set is None
    reported = score_report(found)
    assert reported["length_controlled_winrate"] is None
    assert any("needs df_gamed.csv" in note for note in reported["warnings"])
    assert reported["length_adjusted"]["weights"]["difficulty"] == 0
    features = np.column_stack(
        [
            np.tanh(
                study.comparison.length_difference / study.comparison.length_difference.std(ddof=1)
            ),
            np.ones(60),
        ]
    )
    (plain,) = newton_fits(
        features[None],
        study.comparison.preference,
        np.ones((1, 60)),
        found.length_adjusted.strength,
        np.zeros(2),
    )
    assert found.length_adjusted.win_rate == pytest.approx(
        100 * expit(plain[1]), abs=TOLERANCE_POINTS
    )


def test_without_scikit_learn_the_plain_win_rate_stays(monkeypatch):
    study = simulated(10, 24)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    found = score(annotations_of(study.comparison))
    assert found.length_adjusted is None and "install" in found.reason
    with pytest.raises(EvaluationError, match=r"needs scikit-learn; install it: .*\[evaluate\]"):
        score(annotations_of(study.comparison), questions_of(10), study.data)


def test_data_without_the_set_that_it_is_of_is_refused():
    study = simulated(10, 15)
    with pytest.raises(EvaluationError, match="questions: not given"):
        score(annotations_of(study.comparison), None, study.data)


def test_lengths_that_all_differ_by_one_number_are_named():
    study = simulated(20, 16)
    same = study.comparison._replace(length_difference=np.full(20, -7.0))
    with pytest.raises(EvaluationError, match="all answers differ from the baseline's by -7 char"):
        length_controlled(same, study.data)
    found = score(annotations_of(same), draws=5)
    assert found.length_adjusted is None
    assert any("-7 characters" in note for note in score_report(found)["warnings"])


def test_fewer_preferences_than_folds_are_named():
    study = simulated(20, 17)
    study.comparison.preference[4:] = np.nan
    with pytest.raises(EvaluationError, match="4 preferences could be read; .* needs 5 at least"):
        length_controlled(*study)
    reported = score_report(score(annotations_of(study.comparison), draws=5))
    assert reported["n_total"] == 4
    assert any("16 of 20 preferences could not be read" in each for each in reported["warnings"])
    assert any("no length-adjusted win rate" in each for each in reported["warnings"])


def test_a_regression_without_weights_is_no_finding():
    study = simulated(40, 1)
    # One fold holds all the wins, so that whatever the others say of it is wrong.
    study.comparison.preference[:] = np.where(np.arange(40) % 5, 0.2, 0.9)
    found = score(annotations_of(study.comparison), draws=5)
    assert not found.length_adjusted.weights.any()
    assert any("no finding" in note for note in score_report(found)["warnings"])


@pytest.mark.parametrize(
    ("before", "after", "extreme"),
    [
        (20, 9.9, True),  # below 20 - 10
        (20, 10.1, False),
        (60, 44.9, True),  # below 60 - 60 / 4
        (60, 45.1, False),
        (20, 40.1, True),  # above 20 + 80 / 4
        (20, 39.9, False),
        (80, 90.1, True),  # above 80 + 10
    ],
)
def test_a_move_is_extreme_by_the_originals_rule(before, after, extreme):
    assert is_extreme(before, after) is extreme


def test_an_extreme_move_is_said():
    study = simulated(300, 18, np.array([-3.0, 0.8, 0.0]), np.array([-3.0, 0.8, 0.0]))
    longer = study.comparison.length_difference - 1500
    logits = -3 * np.tanh(longer / longer.std(ddof=1)) + 0.8 * study.data.difficulty
    comparison = study.comparison._replace(length_difference=longer, preference=expit(logits))
    found = score(annotations_of(comparison), questions_of(300), study.data, draws=5)
    assert any("failure of the regression" in note for note in score_report(found)["warnings"])


def test_the_interval_is_the_quantiles_of_refits_at_the_chosen_strength():
    study = simulated(40, 19)
    design = design_of(*study)
    weights = newton(design, 2.78)
    low, high = resampled(*study, 2.78, weights, draws=30, seed=3)
    rng = np.random.default_rng(3)
    rates = []
    for times in rng.multinomial(40, np.full(40, 1 / 40), size=30).astype(float):
        features, target, weight = design_of(*study, np.tile(times, 3))
        drawn_weights = newton(type(design)(features, target, weight), 2.78)
        predicted = at_equal_lengths(drawn_weights, study.data.difficulty)
        rates.append(times @ predicted / times.sum())
    np.testing.assert_allclose((low, high), np.quantile(rates, [0.025, 0.975]), atol=1e-7)


@pytest.mark.slow
def test_intervals_cover_the_truth_in_93_to_97_of_100_studies():
    gamed_weights = np.array([-0.2, 0.4, 0.0])  # not the model's: the regression is a wrong one
    strength, studies, count = STRENGTHS[5], 1000, 200
    large = simulated(300_000, 20, gamed_weights=gamed_weights)
    weights = newton(design_of(*large), 1e4)
    controlled = at_equal_lengths(weights, large.data.difficulty).mean()
    plain = 100 * large.comparison.preference.mean()
    covered = np.zeros((studies, 2))
    for number in range(studies):
        study = simulated(count, 1000 + number, gamed_weights=gamed_weights)
        start = newton(design_of(*study), strength)
        low, high = resampled(*study, strength, start, draws=200, seed=number)
        interval = win_rate(study.comparison.preference + 1).interval
        covered[number] = low <= controlled <= high, interval.low <= plain <= interval.high
    shares = covered.mean(axis=0)
    assert (shares >= 0.93).all() and (shares <= 0.97).all(), shares
