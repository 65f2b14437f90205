"""Markdown counts and style control of Arena-Hard."""

import numpy as np
import pytest
from scipy.special import expit, logit

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation.arena_hard import Style, control_style
from coala_jax.evaluation.arena_hard._judgments import Battles
from coala_jax.evaluation.arena_hard._style import (
    ESTIMATE,
    markdown_counts,
    style_metadata,
    style_of,
)
from coala_jax.evaluation.arena_hard._style_control import (
    design_of,
    logit_interval,
    style_features,
)
from coala_jax.evaluation.arena_hard._style_fit import clustered_covariance, fit_strengths

BASE = "base"


def counts(text):
    found = markdown_counts(text)
    return tuple(sum(found[f"{name}_count"].values()) for name in ("header", "list", "bold"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# a\n## b\n###### c\n####### d\n#e\n ## f", (3, 0, 0)),
        ("1. a\n  2. b\n- c\n* d\n+ e\n-f\n3.g", (0, 5, 0)),
        ("**a** __b__ **c\nd**", (0, 0, 2)),
        ("**a*b** a**b**c", (0, 0, 1)),
        ("```\n# a\n- b\n**c**\n```\n# d", (1, 0, 0)),
        ("```a`b\n# c\n```", (1, 0, 0)),  # a backtick inside: no block
        ("# a\n```# a```", (0, 0, 0)),  # what a block holds is removed everywhere
        ("```\n```# a", (0, 0, 0)),  # and a block of a line break takes all of them
        ("", (0, 0, 0)),
    ],
)
def test_markdown_is_counted_as_the_benchmark_counts_it(text, expected):
    assert counts(text) == expected


def test_metadata_has_the_benchmarks_fields_and_reads_back():
    metadata = style_metadata("# a\n- **b**", 7)
    assert metadata == {
        "token_len": 7,
        "header_count": {"h1": 1, "h2": 0, "h3": 0, "h4": 0, "h5": 0, "h6": 0},
        "list_count": {"ordered": 0, "unordered": 1},
        "bold_count": {"**": 1, "__": 0},
    }
    assert style_of(metadata) == Style(7, 1, 1, 1)
    assert ESTIMATE.counts(["", "abc", "abcde", "ä" * 4]) == [0, 1, 2, 2]
    with pytest.raises(EvaluationError, match="header_count is None"):
        style_of({"token_len": 7})


def test_features_are_ratios_of_tokens_and_of_densities():
    model, base = np.array([[30, 2, 0, 5], [0, 0, 0, 0]]), np.array([[10, 1, 3, 5], [0, 0, 0, 0]])
    first, empty = style_features(model, base)
    assert first[0] == pytest.approx(20 / 40)
    density, against = 2 / 31, 1 / 11
    assert first[1] == pytest.approx((density - against) / (density + against + 1))
    assert first[2] == pytest.approx((0 - 3 / 11) / (3 / 11 + 1))
    assert not empty.any()
    assert style_features(base, model) == pytest.approx(-style_features(model, base))


def study(seed, questions=60, models=("a", "b", "c"), gamma=(0.8, -0.4, 0.3, 0.0), spread=0.7):
    """Two games a question and model, with an effect of the question that all games share."""
    rng = np.random.default_rng(seed)
    names = (*models, BASE)
    styles = {
        name: {
            f"q{number}": Style(
                *(int(value) for value in rng.integers([20, 0, 0, 0], [400, 9, 30, 20]))
            )
            for number in range(questions)
        }
        for name in names
    }
    strengths = dict(zip(models, np.linspace(-0.6, 0.8, len(models)), strict=True))
    effect = rng.normal(scale=spread, size=questions)
    uid, model, win, weight = [], [], [], []
    for name in models:
        for number in range(questions):
            key = f"q{number}"
            features = style_features(np.array([styles[name][key]]), np.array([styles[BASE][key]]))[
                0
            ] * (2, 20, 5, 10)
            chance = expit(strengths[name] + features @ gamma + effect[number])
            for _ in range(2):
                uid.append(key)
                model.append(name)
                win.append(0.5 if rng.random() < 0.1 else float(rng.random() < chance))
                weight.append(3.0 if win[-1] != 0.5 and rng.random() < 0.3 else 1.0)
    battles = Battles(
        np.array(uid, object), np.array(model, object), BASE, np.array(win), np.array(weight)
    )
    return battles, styles


def expanded(battles, styles):
    """Rows as the benchmark's script has them: one hot +1 and -1, z-scored features, copies."""
    rows = np.repeat(np.arange(len(battles.win)), battles.weight.astype(int))
    names = sorted({*battles.model, BASE})
    hot = np.zeros((len(rows), len(names)))
    hot[np.arange(len(rows)), [names.index(name) for name in battles.model[rows]]] = 1
    hot[:, names.index(BASE)] = -1
    raw = style_features(
        np.array([styles[battles.model[row]][battles.uid[row]] for row in rows], float),
        np.array([styles[BASE][battles.uid[row]] for row in rows], float),
    )
    return names, np.hstack([hot, (raw - raw.mean(0)) / raw.std(0, ddof=1)]), battles.win[rows]


def test_fit_is_that_of_torch_on_the_rows_of_the_benchmarks_script():
    torch = pytest.importorskip("torch")
    battles, styles = study(0)
    names, rows, win = expanded(battles, styles)
    rows, win = torch.tensor(rows), torch.tensor(win)
    weights = torch.full((rows.shape[1],), 0.5, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights],
        max_iter=500,
        tolerance_grad=1e-12,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(rows @ weights, win)
        loss.backward()
        return loss

    optimiser.step(closure)
    found = weights.detach().numpy()
    control = control_style(battles, styles)
    for score in control.scores:
        expected = expit(found[names.index(score.model)] - found[names.index(BASE)])
        assert score.score.mean == pytest.approx(expected, abs=1e-6)
    coefficients = [interval.mean for interval in control.coefficients.values()]
    assert coefficients == pytest.approx(found[len(names) :], abs=1e-6)


def test_fit_is_that_of_scikit_learn_without_a_penalty():
    linear_model = pytest.importorskip("sklearn.linear_model")
    battles, styles = study(1)
    names, design, _ = design_of(battles, styles)
    hot = np.eye(len(names))[design.place]
    rows = np.hstack([hot, design.features])
    both = np.vstack([rows, rows])
    labels = np.repeat([1, 0], len(rows))
    shares = np.concatenate([battles.weight * battles.win, battles.weight * (1 - battles.win)])
    model = linear_model.LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-10, max_iter=5000)
    model.fit(both[shares > 0], labels[shares > 0], sample_weight=shares[shares > 0])
    assert fit_strengths(design, battles.weight) == pytest.approx(model.coef_[0], abs=1e-5)


def test_answers_alike_in_style_leave_the_win_rate():
    battles, styles = study(2)
    styles = {name: styles[BASE] for name in styles}
    control = control_style(battles, styles)
    for score in control.scores:
        mine = battles.of(score.model)
        expected = mine.weight @ mine.win / mine.weight.sum()
        assert score.score.mean == pytest.approx(expected)
        assert score.equal_style.mean == pytest.approx(expected)
    assert np.isnan([interval.mean for interval in control.coefficients.values()]).all()


def test_closed_form_of_one_model_and_one_feature_of_two_values():
    """Longer answers win 3 of 4 games, as long ones 1 of 2: two cells, two parameters."""
    uid = np.array([f"q{number}" for number in range(8)], object)
    long = np.arange(8) < 4
    win = np.array([1, 1, 1, 0, 1, 1, 0, 0], float)
    battles = Battles(uid, np.array(["a"] * 8, object), BASE, win, np.ones(8))
    base = {key: Style(100, 0, 0, 0) for key in uid}
    mine = {
        key: Style(300 if longer else 100, 0, 0, 0) for key, longer in zip(uid, long, strict=True)
    }
    control = control_style(battles, {"a": mine, BASE: base})
    (score,) = control.scores
    assert score.equal_style.mean == pytest.approx(0.5)
    assert score.score.mean == pytest.approx(expit(logit(0.75) / 2))  # half of the games are longer
    spread = np.std([0.5] * 4 + [0.0] * 4, ddof=1)
    assert control.coefficients["length"].mean == pytest.approx(logit(0.75) / 0.5 * spread)
    assert np.isnan(control.coefficients["bold"].mean)


def test_copies_of_a_question_under_another_name_leave_the_score_and_narrow_the_interval():
    battles, styles = study(3)
    twice = Battles(
        np.concatenate([battles.uid, battles.uid + "'"]),
        *(np.concatenate([each, each]) for each in (battles.model,)),
        BASE,
        np.concatenate([battles.win] * 2),
        np.concatenate([battles.weight] * 2),
    )
    both = {
        name: mine | {f"{key}'": style for key, style in mine.items()}
        for name, mine in styles.items()
    }
    one, two = control_style(battles, styles), control_style(twice, both)
    for first, second in zip(one.scores, two.scores, strict=True):
        assert second.model == first.model
        assert second.score.mean == pytest.approx(first.score.mean, abs=2e-4)  # ddof of the spread
        ratio = (second.score.high - second.score.low) / (first.score.high - first.score.low)
        assert ratio == pytest.approx(np.sqrt(1 / 2), rel=0.02)


def test_names_do_not_matter_and_swapped_sides_turn_the_score_round():
    battles, styles = study(4, models=("a",))
    renamed = battles._replace(model=np.array(["z"] * len(battles.model), object))
    (score,), (other,) = (
        control_style(battles, styles).scores,
        control_style(renamed, {"z": styles["a"], BASE: styles[BASE]}).scores,
    )
    assert other[1:] == score[1:]
    swapped = battles._replace(win=1 - battles.win)
    (turned,) = control_style(swapped, {"a": styles[BASE], BASE: styles["a"]}).scores
    assert turned.equal_style.mean == pytest.approx(1 - score.equal_style.mean)
    assert turned.equal_style.low == pytest.approx(1 - score.equal_style.high)


def test_a_score_at_the_mean_style_depends_on_who_else_is_there():
    battles, styles = study(5, models=("a", "b"))
    styles["b"] = {key: Style(s.tokens * 9, *s[1:]) for key, s in styles["b"].items()}
    alone = control_style(battles.of("a"), styles).scores[0]
    among = next(s for s in control_style(battles, styles).scores if s.model == "a")
    assert abs(among.score.mean - alone.score.mean) > 0.02


def test_a_model_that_wins_all_has_no_interval_and_spoils_no_other():
    battles, styles = study(6, models=("a", "b"))
    won = np.where(battles.model == "b", 1.0, battles.win)
    control = control_style(battles._replace(win=won), styles)
    best, other = control.scores
    assert best.model == "b" and best.score.mean == pytest.approx(1, abs=1e-6)
    assert np.isnan([best.score.low, best.score.high, best.equal_style.low]).all()
    assert 0 < other.score.low < other.score.mean < other.score.high < 1


def test_what_cannot_be_fitted_is_named():
    battles, styles = study(7, questions=5)
    with pytest.raises(EvaluationError, match="no answers of a"):
        control_style(battles, {BASE: styles[BASE]})
    styles["a"].pop("q3")
    with pytest.raises(EvaluationError, match="question q3 is judged and has no answer"):
        control_style(battles, styles)
    one = battles.uid == "q0"
    single = Battles(
        battles.uid[one], battles.model[one], BASE, battles.win[one], battles.weight[one]
    )
    with pytest.raises(EvaluationError, match="1 questions"):
        control_style(single, styles)


class Fitted:
    """`control_style` without its 100 refits."""

    def __init__(self, battles, styles):
        _, design, alike = design_of(battles, styles)
        self.solution = fit_strengths(design, battles.weight)
        self.covariance = clustered_covariance(design, battles.weight, self.solution)
        self.questions, here = len(set(battles.uid)), np.eye(len(self.solution))[0]
        raw = style_features(
            np.array([styles[m][u] for m, u in zip(battles.model, battles.uid, strict=True)]),
            np.array([styles[BASE][u] for u in battles.uid]),
        )
        self.mean = battles.weight @ raw / battles.weight.sum()
        self.gamma = self.solution[-4:] * -alike[-4:] / self.mean  # a unit of the raw feature
        self.equal, self.at_mean = self.interval(here + alike), self.interval(here)

    def interval(self, contrast):
        return logit_interval(contrast, self.solution, self.covariance, self.questions)


@pytest.mark.slow
def test_clustered_intervals_cover_as_they_say():
    """1000 studies of 120 questions; the truth is the fit to 40,000 questions."""
    models = ("a", "b")
    truth = Fitted(*study(10_000, 40_000, models))
    equal, at_mean = [], []
    for seed in range(1000):
        fitted = Fitted(*study(seed, 120, models))
        expected = truth.equal.mean + truth.gamma @ fitted.mean
        equal.append(fitted.equal.low <= truth.equal.mean <= fitted.equal.high)
        at_mean.append(fitted.at_mean.low <= expected <= fitted.at_mean.high)
    assert 0.93 <= np.mean(equal) <= 0.97
    assert 0.93 <= np.mean(at_mean) <= 0.97
