"""The published figures of AlpacaEval 2, recomputed from the user's files.

They are of CC BY-NC data, which is not shipped: `COALA_ALPACA_EVAL` names a clone of
tatsu-lab/alpaca_eval with `alpaca_eval.json`, `df_gamed.csv` and `instruction_difficulty.csv` of
the hub set of that name at its top.
"""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from coala_jax.evaluation.alpaca_eval import (
    in_order_of,
    leaderboard_row,
    read_annotations,
    read_difficulty,
    read_length_data,
    read_questions,
    read_template,
    require_same_difficulty,
    score,
)
from coala_jax.evaluation.alpaca_eval._glm import (
    STRENGTHS,
    at_equal_lengths,
    design_of,
    fit_weights,
)
from coala_jax.evaluation.alpaca_eval._length_controlled import comparison_of

CLONE = os.environ.get("COALA_ALPACA_EVAL")
pytestmark = pytest.mark.skipif(CLONE is None, reason="COALA_ALPACA_EVAL names no clone")
JUDGE = "weighted_alpaca_eval_gpt4_turbo"
SOURCE = "src/alpaca_eval"
# Win rate and length-controlled win rate of the leaderboard.
PUBLISHED = {
    "gpt4_1106_preview": (50, 50),
    "Meta-Llama-3-8B-Instruct": (22.5699, 22.9188),
    "Mistral-7B-Instruct-v0.2": (14.7228, 17.1113),
    "Llama-3-Instruct-8B-SimPO": (40.5298, 44.6513),
    "mistral-orpo-beta": (12.5654, 14.7167),
    "vicuna-7b-v1.5": (4.79749, 7.61689),
    "gemma-2b-it": (3.40197, 5.43745),
    "gpt4_1106_preview_verbose": (64.3036, 51.5750),
    "gpt4_1106_preview_concise": (22.9202, 41.8966),
}
# Sums of tanh(length) and of difficulty times the preference over the gamed rows, recovered from
# the published weights of 50 models (shared/design/evaluation.md, section 3.5).
GAMED_SUMS = -182.71, 412.94


@pytest.fixture(scope="module")
def clone():
    return Path(CLONE)


@pytest.fixture(scope="module")
def questions(clone):
    return read_questions(clone / "alpaca_eval.json")


@pytest.fixture(scope="module")
def data(clone, questions):
    return read_length_data(clone / "df_gamed.csv", len(questions))


@pytest.fixture(scope="module")
def leaderboard(clone):
    path = clone / SOURCE / "leaderboards" / "data_AlpacaEval_2" / f"{JUDGE}_leaderboard.csv"
    return table(path)


def table(path):
    with path.open(newline="") as file:
        return {row.pop(""): row for row in csv.DictReader(file)}


def judged_models(clone, leaderboard):
    """Models of the leaderboard whose annotations are in the clone, in folders of any depth."""
    files = {
        path.parents[1].name: path for path in clone.glob(f"results/**/{JUDGE}/annotations.json")
    }
    return {name: path for name, path in files.items() if name in leaderboard}


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_leaderboard_is_the_one_that_was_published(leaderboard, model):
    row = leaderboard[model]
    found = float(row["win_rate"]), float(row["length_controlled_winrate"])
    assert found == pytest.approx(PUBLISHED[model], abs=1e-4)


def test_published_weights_give_the_published_rates(clone, questions, leaderboard):
    weights = table(
        clone / SOURCE / "metrics/weights" / JUDGE / "length_controlled_v1"
        "/baseline_gpt4_1106_preview.csv"
    )
    difficulty = read_difficulty(clone / "instruction_difficulty.csv", len(questions))
    apart = [
        100 * at_equal_lengths(np.array([*row.values()], float), difficulty).mean()
        - float(leaderboard[model]["length_controlled_winrate"])
        for model, row in weights.items()
        if model in leaderboard and leaderboard[model]["length_controlled_winrate"]
    ]
    apart = np.abs(apart)
    assert np.median(apart) < 1e-8 and apart.max() < 0.2


def test_gamed_rows_are_those_that_the_published_weights_were_fitted_with(clone, data):
    gamed = data.gamed
    features = np.column_stack([np.tanh(gamed.length_difference), data.difficulty[gamed.question]])
    np.testing.assert_allclose(gamed.preference @ features, GAMED_SUMS, atol=1)
    difficulty = read_difficulty(clone / "instruction_difficulty.csv", len(data.difficulty))
    require_same_difficulty("instruction_difficulty.csv", difficulty, data)


def test_annotations_give_the_published_rates(clone, questions, data, leaderboard):
    models = judged_models(clone, leaderboard)
    assert models
    apart, chosen = [], []
    for model, path in models.items():
        annotations = in_order_of(questions, read_annotations(path), partial=True)
        whole = len(annotations.rows) == len(questions)
        scored = score(annotations, questions, data, draws=2)
        found = leaderboard_row(scored)
        published = leaderboard[model]
        for column in ("win_rate", "standard_error", "discrete_win_rate", "n_wins", "n_draws"):
            assert found[column] == pytest.approx(float(published[column]), abs=1e-8), model
        if whole:  # those that lack rows were given other instructions' difficulties
            controlled = float(published["length_controlled_winrate"])
            assert found["avg_length"] == int(float(published["avg_length"])), model
            chosen.append(abs(found["length_controlled_winrate"] - controlled))
            apart.append(
                min(abs(rate - controlled) for rate in rates(annotations, questions, data))
            )
    # The folds that chose the published strength were dealt out by a sort that is not stable.
    assert np.median(apart) < 1e-3 and max(apart) < 0.02
    assert np.median(chosen) < 0.05 and max(chosen) < 0.5


def rates(annotations, questions, data):
    """The rate at every strength that is not so weak that all weights are near 0."""
    comparison = comparison_of(annotations, questions, data.difficulty)
    design = design_of(comparison, data)
    fits = (fit_weights(design, strength) for strength in STRENGTHS[4:])
    return [100 * at_equal_lengths(weights, comparison.difficulty).mean() for weights in fits]


def test_the_judges_own_template_is_read(clone):
    folder = clone / SOURCE / "evaluators_configs"
    template = read_template(folder / "alpaca_eval_clf_gpt4_turbo" / "alpaca_eval_clf.txt")
    assert [role for role, _ in template.messages] == ["system", "user"]
