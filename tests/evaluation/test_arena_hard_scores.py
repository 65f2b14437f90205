"""Win rates of Arena-Hard: by hand, against the original's arithmetic, coverage of intervals."""

import numpy as np
import pytest
from scipy.special import expit

from coala_jax._intervals import share_interval
from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation.arena_hard import Style, read_judgments, score_models
from coala_jax.evaluation.arena_hard._judgments import Battles, battles_of
from coala_jax.evaluation.arena_hard._scores import (
    elo_of,
    lengths_of,
    order_effect_of,
    published_interval,
)
from tests.evaluation.arena_hard_files import judgment, write_rows

TURNED = str.maketrans("AB", "BA")


def rows_of(tmp_path, *rows):
    return read_judgments([write_rows(tmp_path / "m.jsonl", rows)]).rows


def test_win_rate_by_hand(tmp_path):
    rows = rows_of(
        tmp_path,
        judgment("q0", ["A>>B", "B>A"]),  # lost three times, lost
        judgment("q1", ["B>A", "A>>B"]),  # won, won three times
        judgment("q2", ["A=B", "A>B"]),  # a tie, won
        judgment("q3", ["B>>A", None]),
    )
    (score,) = score_models(rows)
    assert score.win_rate.mean == pytest.approx((4 + 0.5 + 1) / (4 + 4 + 2))
    assert (score.questions, score.games, score.null) == (3, 6, 1)
    (old,) = score_models(rows, scoring="v0.1")
    assert old.win_rate.mean == pytest.approx((4 + 0.5 + 1 + 3) / (4 + 4 + 2 + 3))
    assert (old.questions, old.games) == (4, 7)
    assert score.order.consistent.mean == pytest.approx(2 / 3)  # q2: a tie and a win
    # Decided games: A, B; B, A; A.
    assert score.order.first.mean == pytest.approx(3 / 5)
    assert score.lengths is None


def test_the_best_comes_first_and_games_without_labels_are_no_score(tmp_path):
    rows = rows_of(
        tmp_path,
        judgment("q0", ["A>B", "B>A"], model="worse"),
        judgment("q0", ["B>A", "A>B"], model="better"),
        judgment("q0", ["B>A", None], model="unknown"),
    )
    assert [score.model for score in score_models(rows)] == ["better", "worse"]
    with pytest.raises(EvaluationError, match="no game of hard_prompt has a label"):
        score_models(rows[-1:])
    assert np.isnan(order_effect_of(rows[-1:])).all()


def random_rows(seed, count=40):
    rng = np.random.default_rng(seed)
    labels = ["A>>B", "A>B", "A=B", "B>A", "B>>A"]
    return [judgment(f"q{number}", list(rng.choice(labels, 2))) for number in range(count)]


def test_a_model_against_itself_is_at_50_and_swapped_games_change_nothing(tmp_path):
    one_sided = [judgment(f"q{number}", ["A>>B", "A>>B"]) for number in range(9)]
    (score,) = score_models(rows_of(tmp_path, *one_sided))
    assert score.win_rate.mean == 0.5
    assert (score.order.consistent.mean, score.order.first.mean) == (0, 1)
    rows = random_rows(0)
    swapped = [
        row
        | {
            "games": [
                game | {"score": game["score"].translate(TURNED)} for game in row["games"][::-1]
            ]
        }
        for row in rows
    ]
    first, second = (score_models(rows_of(tmp_path, *each))[0] for each in (rows, swapped))
    assert second.win_rate.mean == pytest.approx(first.win_rate.mean)
    assert second.win_rate == pytest.approx(first.win_rate)
    assert second.published == pytest.approx(first.published)


def test_names_and_order_of_rows_do_not_matter(tmp_path):
    rows = random_rows(1)
    renamed = [row | {"uid": f"x{row['uid']}", "model": "other"} for row in rows[::-1]]
    first, second = (score_models(rows_of(tmp_path, *each))[0] for each in (rows, renamed))
    assert second.win_rate == pytest.approx(first.win_rate)
    for one, other in zip(second.order, first.order, strict=True):
        assert one == pytest.approx(other)


def test_published_interval_is_that_of_resampled_games(tmp_path):
    """Copies of a game drawn apart from each other, as pandas' ``sample(frac=1)`` draws them."""
    battles = battles_of(rows_of(tmp_path, *random_rows(2)))
    copies = np.repeat(battles.win, battles.weight.astype(int))
    rng = np.random.default_rng(0)
    means = rng.choice(copies, size=(20_000, len(copies))).mean(axis=1)
    interval = published_interval(battles, 0.9)
    assert interval.mean == pytest.approx(copies.mean())
    assert interval[1:] == pytest.approx(np.quantile(means, [0.05, 0.95]), abs=0.01)


def test_elo_of_v01_is_the_logit_of_the_weighted_win_rate(tmp_path):
    """``compute_mle_elo``: every battle twice, a tie as a win each, one baseline, no penalty."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    rows = [row | {"model": f"m{number % 2}"} for number, row in enumerate(random_rows(3, 60))]
    rows = rows_of(tmp_path, *rows)
    battles = battles_of(rows, "v0.1")
    copies = np.repeat(np.arange(len(battles.win)), battles.weight.astype(int))
    win, model = battles.win[copies], battles.model[copies]
    hot = np.stack([np.full(len(win), -1.0), model == "m0", model == "m1"], axis=1) * np.log(10)
    labels = np.concatenate([win >= 0.5, win == 1.0])  # of a tie's two copies the first is won
    fit = linear_model.LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-10, max_iter=1000)
    fit.fit(np.vstack([hot, hot]), labels)
    elo = 400 * fit.coef_[0]
    assert {score.elo for score in score_models(rows)} == {None}
    for score in score_models(rows, scoring="v0.1"):
        expected = elo[1 + int(score.model[1])] - elo[0] + 1000
        assert score.elo == pytest.approx(expected, abs=0.01)
        assert 1 / (1 + 10 ** ((1000 - score.elo) / 400)) == pytest.approx(score.win_rate.mean)
    assert elo_of(0.5) == 1000 and elo_of(1.0) == np.inf and elo_of(0.0) == -np.inf


def test_lengths_stand_beside_the_win_rate(tmp_path):
    base = {"q0": Style(10, 0, 0, 0), "q1": Style(20, 0, 0, 0)}
    mine = {"q0": Style(30, 0, 0, 0), "q1": Style(20, 0, 0, 0)}
    assert lengths_of(["q0", "q1"], mine, base) == (25, 15, 0.75)
    rows = rows_of(tmp_path, *(judgment(f"q{number}", ["A=B", "A=B"]) for number in range(2)))
    styles = {"m": mine, "o3-mini-2025-01-31": base}
    (score,) = score_models(rows, styles=styles)
    assert score.lengths == (25, 15, 0.75)
    (alone,) = score_models(rows, styles={"m": mine})
    assert alone.lengths is None
    with pytest.raises(EvaluationError, match="question q1 is judged and has no answer"):
        score_models(rows, styles=styles | {"m": {"q0": mine["q0"]}})


def simulated(rng, questions=150, spread=1.5):
    """Two games a question that share its effect; clear ones are more often much better."""
    effect = np.repeat(rng.normal(0.3, spread, questions), 2)
    win = (rng.random(2 * questions) < expit(effect)).astype(float)
    weight = np.where(rng.random(2 * questions) < expit(np.abs(effect) - 1), 3.0, 1.0)
    uid = np.repeat(np.arange(questions).astype(str), 2)
    return Battles(uid.astype(object), np.full(2 * questions, "m", object), "b", win, weight)


def true_win_rate(spread=1.5):
    """E[w y] / E[w] by quadrature over the effect."""
    grid = np.linspace(-12, 12, 20_001)
    density = np.exp(-(((grid - 0.3) / spread) ** 2) / 2)
    weight = 1 + 2 * expit(np.abs(grid) - 1)
    return float(np.sum(density * weight * expit(grid)) / np.sum(density * weight))


def test_interval_by_question_covers_as_it_says_and_that_by_game_does_not():
    truth, rng = true_win_rate(), np.random.default_rng(0)
    clustered, by_game = [], []
    for _ in range(1000):
        battles = simulated(rng)
        ours = share_interval(battles.win, battles.uid.tolist(), battles.weight)
        theirs = published_interval(battles, 0.95)
        clustered.append(ours.low <= truth <= ours.high)
        by_game.append(theirs.low <= truth <= theirs.high)
    assert 0.93 <= np.mean(clustered) <= 0.97
    assert np.mean(by_game) < 0.85
