"""Scores and win rates: FastChat's rule, known answers, intervals that hold."""

import math
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation.mt_bench import (
    PairJudgment,
    SingleJudgment,
    model_scores,
    pair_scores,
    read_judgments,
)

# lmsys.org/blog/2023-06-22-leaderboard, under the names that the judgments have.
PUBLISHED = {
    "gpt-4": 8.99,
    "gpt-3.5-turbo": 7.94,
    "claude-v1": 7.90,
    "vicuna-33b-v1.3": 7.12,
    "vicuna-13b-v1.3": 6.39,
    "vicuna-7b-v1.3": 6.00,
    "mpt-7b-chat": 5.42,
    "alpaca-13b": 4.53,
}
KINDS = ("writing", "math", "stem")


def single(question, turn, model, score, failed=False):
    return SingleJudgment(str(question), turn, model, score, failed, "judge", "single-v1", "here")


def pair(question, turn, models, first, second):
    return PairJudgment(str(question), turn, models, first, second, "judge", "pair-v2", "here")


def random_singles(seed, models=("a", "b", "c"), questions=30):
    rng = np.random.default_rng(seed)
    scores = [-1, *range(1, 11), 7.5]
    return [
        single(n, turn, model, scores[rng.integers(len(scores))])
        for n in range(questions)
        for model in models
        for turn in (1, 2)
    ]


def random_pairs(seed, models=("a", "b", "c"), questions=30):
    rng = np.random.default_rng(seed)
    winners = ["model_1", "model_2", "tie", "error"]
    pairs = [(one, other) for n, one in enumerate(models) for other in models[n + 1 :]]
    return [
        pair(n, turn, names, *(winners[k] for k in rng.choice(4, 2, p=[0.4, 0.3, 0.2, 0.1])))
        for n in range(questions)
        for names in pairs
        for turn in (1, 2)
    ]


def shown_single(judgments):
    """`display_result_single`, row by row: first turn, second turn, average, by model."""
    sums = defaultdict(list)
    for each in judgments:
        if each.score != -1:
            sums[each.model, each.turn].append(each.score)
            sums[each.model, "average"].append(each.score)
    return {key: sum(values) / len(values) for key, values in sums.items()}


def shown_pairwise(judgments, baseline):
    """`display_result_pairwise`, row by row: win, loss, tie, by model."""
    table = defaultdict(lambda: [0, 0, 0])
    for each in judgments:
        if "error" in (each.first, each.second):
            continue
        if baseline is not None and baseline not in each.models:
            continue
        one, other = each.models
        if each.first == "tie" or each.first != each.second:
            table[one][2] += 1
            table[other][2] += 1
        else:
            winner, loser = (one, other) if each.first == "model_1" else (other, one)
            table[winner][0] += 1
            table[loser][1] += 1
    table.pop(baseline, None)
    return table


@pytest.mark.parametrize("seed", range(5))
def test_grades_are_those_of_show_result(seed):
    judgments = random_singles(seed)
    expected = shown_single(judgments)
    scores = model_scores(judgments)
    assert [each.model for each in scores] == sorted(
        ("a", "b", "c"), key=lambda model: -expected[model, "average"]
    )
    for each in scores:
        assert each.both.mean == pytest.approx(expected[each.model, "average"], rel=1e-14)
        for turn in (1, 2):
            assert each.turns[turn].mean == pytest.approx(expected[each.model, turn], rel=1e-14)
        left_out = [one for one in judgments if one.model == each.model and one.score == -1]
        assert (each.unreadable, each.judgments) == (len(left_out), 60)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("baseline", [None, "b"])
def test_win_rates_are_those_of_show_result(seed, baseline):
    judgments = random_pairs(seed)
    expected = shown_pairwise(judgments, baseline)
    scores = pair_scores(judgments, baseline=baseline)
    assert {each.model for each in scores.models} == set(expected)
    for each in scores.models:
        win, loss, tie = expected[each.model]
        count = win + loss + tie
        assert (each.wins, each.losses, each.ties) == (win, loss, tie)
        assert each.win_rate.mean == pytest.approx(win / count)
        assert each.loss_rate.mean == pytest.approx(loss / count)
        assert each.adjusted.mean == pytest.approx((win + 0.5 * tie) / count)
    adjusted = [each.adjusted.mean for each in scores.models]
    assert adjusted == sorted(adjusted, reverse=True)


def test_grades_of_categories_and_what_is_left_out_are_counted():
    categories = {str(n): KINDS[n % 3] for n in range(6)}
    judgments = [single(n, turn, "ours", n + turn) for n in range(6) for turn in (1, 2)]
    judgments[0] = single(0, 1, "ours", -1, failed=True)
    judgments[3] = single(1, 2, "ours", -1)
    judgments[5] = single(2, 2, "ours", 2023)
    (scores,) = model_scores(judgments, categories)
    assert (scores.failed, scores.unreadable, scores.outside) == (1, 1, 1)
    assert (scores.questions, scores.judgments) == (6, 12)
    assert scores.categories["writing"].mean == pytest.approx(np.mean([2, 4, 5]))
    assert scores.categories["math"].mean == pytest.approx(np.mean([2, 5, 6]))


def test_a_model_without_a_grade_has_none_and_no_nan():
    judgments = [single(n, 1, "ours", -1) for n in range(3)] + [single(0, 1, "base", 3)]
    base, ours = model_scores(judgments, {"0": "math", "1": "math", "2": "stem"})
    assert (ours.model, ours.both, ours.turns, ours.unreadable) == ("ours", None, {1: None}, 3)
    assert base.categories["stem"] is None and base.both.mean == 3


def test_both_turns_of_a_question_are_one_cluster():
    """With equal grades in both turns the interval is that of the questions alone."""
    rng = np.random.default_rng(3)
    grades = rng.integers(1, 11, 80)
    (scores,) = model_scores(
        [single(n, turn, "ours", int(grade)) for n, grade in enumerate(grades) for turn in (1, 2)]
    )
    reach = 1.990450 * grades.std(ddof=1) / np.sqrt(80)  # t of 79 degrees of freedom
    assert scores.both.high - scores.both.mean == pytest.approx(reach, rel=1e-6)
    assert scores.both == pytest.approx(scores.turns[1])


def test_a_judge_that_takes_the_first_answer_is_found_out():
    models = ("ours", "base")
    first = [pair(n, 1, models, "model_1", "model_2") for n in range(20)]
    scores = pair_scores(first)
    assert scores.order.consistent.mean == 0
    assert scores.order.first.mean == 1
    assert [each.adjusted.mean for each in scores.models] == [0.5, 0.5]
    fair = [pair(n, 1, models, "model_1", "model_1") for n in range(20)]
    scores = pair_scores(fair, baseline="base")
    assert scores.order.consistent.mean == 1
    assert scores.order.first.mean == 0.5
    (ours,) = scores.models
    # Nobody wins all of 20 for certain: the exact interval of as many questions.
    assert ours.adjusted == pytest.approx((1.0, 0.025 ** (1 / 20), 1.0))
    ties = [pair(n, 1, models, "tie", "tie") for n in range(20)]
    assert math.isnan(pair_scores(ties).order.first.mean)


def test_a_judged_question_without_a_category_is_named():
    with pytest.raises(EvaluationError, match="have no question 99, which here judges"):
        model_scores([single(1, 1, "ours", 5), single(99, 1, "ours", 5)], {"1": "math"})
    with pytest.raises(EvaluationError, match="have no question 99, which here judges"):
        pair_scores([pair(99, 1, ("ours", "base"), "tie", "tie")], {"1": "math"})


def test_comparisons_without_a_verdict_are_left_out_and_counted():
    models = ("ours", "base")
    rows = [pair(n, 1, models, "model_1", "model_1") for n in range(3)]
    rows.append(pair(3, 1, models, "error", "model_2"))
    scores = pair_scores(rows, {str(n): "math" for n in range(4)})
    assert (scores.comparisons, scores.left_out) == (3, 1)
    assert scores.models[0].categories["math"].mean == 1
    with pytest.raises(EvaluationError, match="none of 1 comparisons has a verdict"):
        pair_scores(rows[3:])
    with pytest.raises(EvaluationError, match="baseline='x': nothing is compared with it, but"):
        pair_scores(rows, baseline="x")


def simulated_grades(rng, kinds):
    """(80, 2) grades, and their expectation: questions of several kinds, each with its own law."""
    kind = rng.integers(len(kinds), size=80)
    steps = np.cumsum(kinds[kind], axis=1)
    return 1 + (rng.random((80, 2, 1)) > steps[:, None, :]).sum(axis=2)


def test_intervals_of_grades_cover_the_truth_in_95_of_100_studies():
    # Of a question both grades are much alike: turns that count as independent cover too little.
    kinds = np.random.default_rng(0).dirichlet(np.full(10, 0.1), size=6)
    truth = float(kinds.mean(axis=0) @ np.arange(1, 11))
    rng = np.random.default_rng(1)
    covered, alone, independent = 0, 0, 0
    for _ in range(1000):
        grades = simulated_grades(rng, kinds)
        judgments = [
            single(n, turn + 1, "ours", int(grades[n, turn])) for n in range(80) for turn in (0, 1)
        ]
        (scores,) = model_scores(judgments)
        covered += scores.both.low <= truth <= scores.both.high
        alone += scores.turns[2].low <= truth <= scores.turns[2].high
        independent += abs(grades.mean() - truth) <= 1.975 * grades.std(ddof=1) / np.sqrt(160)
    assert 930 <= covered <= 970 and 930 <= alone <= 970
    assert independent < 910


def test_intervals_of_win_rates_cover_the_truth_in_95_of_100_studies():
    """Wins, ties and losses of two turns whose question leans one way or the other."""
    laws = np.array([[0.6, 0.2, 0.2], [0.2, 0.3, 0.5], [0.3, 0.5, 0.2], [0.1, 0.1, 0.8]])
    truth = float(laws.mean(axis=0) @ [1, 0.5, 0])
    verdicts = [("model_1", "model_1"), ("model_1", "model_2"), ("model_2", "model_2")]
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(1000):
        steps = np.cumsum(laws[rng.integers(4, size=80)], axis=1)
        outcome = (rng.random((80, 2, 1)) > steps[:, None, :]).sum(axis=2)
        judgments = [
            pair(n, turn + 1, ("ours", "base"), *verdicts[outcome[n, turn]])
            for n in range(80)
            for turn in (0, 1)
        ]
        _, low, high = pair_scores(judgments, baseline="base").models[0].adjusted
        covered += low <= truth <= high
    assert 930 <= covered <= 970


@pytest.mark.skipif(
    "COALA_MT_BENCH" not in os.environ,
    reason="COALA_MT_BENCH names no folder with gpt-4_single.jsonl of lmsys/mt-bench",
)
def test_published_scores_come_of_the_published_judgments():
    (file,) = Path(os.environ["COALA_MT_BENCH"]).rglob("gpt-4_single.jsonl")
    scores = {each.model: each for each in model_scores(read_judgments(file).single)}
    found = {model: round(scores[model].both.mean, 2) for model in PUBLISHED}
    assert found == pytest.approx(PUBLISHED, abs=0.0051)
