"""Strengths chosen on left-out groups of responses: judged by the pairs of their members."""

import dataclasses

import numpy as np
import pytest

from coala_jax import GroupFeatures, Params, PreferenceFeatures, accuracy, select
from coala_jax._group_inputs import prepare_groups
from coala_jax.selection import SELECTED, Grid
from coala_jax.selection._judged_pairs import judged_pairs

SMALL = dataclasses.replace(SELECTED, n_gates=6, phase1_loss="listwise", advantage="standardized")
SHORT = Grid(strengths=(0.6, 0.3, 0.12), linear_ridges=(1.0, 0.1), ridges=(0.1,))


def draw(seed: int, groups: int, members: int = 4, interaction: float = 2.0) -> GroupFeatures:
    """Scores of x0 and, beyond a linear reward, of |x1| over |x2|."""
    x = np.random.default_rng(seed).standard_normal((groups, members, 4)).astype(np.float32)
    noise = 0.3 * np.random.default_rng(seed + 1).standard_normal((groups, members))
    scores = x[..., 0] + interaction * (np.abs(x[..., 1]) - np.abs(x[..., 2])) + noise
    return GroupFeatures(x, scores)


def test_pairs_of_members_share_the_weight_of_their_group():
    scores = np.array([[3.0, 1.0, 1.0, 9.0], [2.0, 2.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    mask = np.ones((3, 4), bool)
    mask[0, 3] = False
    given = GroupFeatures(np.zeros((3, 4, 1)), scores, mask=mask, weight=np.array([1.0, 3.0, 5.0]))
    judged = judged_pairs(prepare_groups(given))
    assert [tuple(map(int, pair)) for pair in zip(*judged[:1], *judged[2:], strict=True)] == [
        (0, 0, 1),
        (0, 0, 2),
        (1, 0, 3),
        (1, 1, 3),
        (1, 2, 3),
    ]
    # The third group says nothing; weights are over the mean of all three.
    np.testing.assert_allclose(judged.weight, [3 / 8, 3 / 8, 3 / 4, 3 / 4, 3 / 4], rtol=1e-6)
    rewards = np.arange(12.0).reshape(1, 3, 4) ** 2
    np.testing.assert_array_equal(judged.margins(rewards)[0], [-1, -4, 16 - 49, 25 - 49, 36 - 49])


@pytest.mark.slow
def test_an_interaction_is_found_from_groups():
    features = draw(0, 150)
    solution, choice = select(Params(), features, config=SMALL, grid=SHORT)
    solution.raise_for_status()
    assert choice.candidate.group_lasso < 1 and choice.folds == 5
    assert choice.odds.shape == choice.margins.shape == (150 * 6,)
    assert choice.groups[:6] == ("0",) * 6 and choice.groups[-1] == "149"
    unseen = draw(7, 500)
    found = float(accuracy(solution.head, unseen))
    # Left-out pairs told it, about.
    assert np.mean(choice.odds > 0) == pytest.approx(found, abs=0.05)
    assert found > 0.8


@pytest.mark.slow
def test_groups_of_two_choose_as_their_pairs_do():
    groups = draw(3, 120, members=2)
    order = np.argsort(-groups.scores, axis=1)
    responses = np.take_along_axis(groups.responses, order[..., None], 1)
    pairs = PreferenceFeatures(responses[:, 0], responses[:, 1])
    hard = Params(temperature=0.0)
    given = GroupFeatures(responses, np.tile([1.0, 0.0], (120, 1)))
    of_pairs = dataclasses.replace(SMALL, phase1_loss="bradley_terry")
    names = [str(i // 2) for i in range(120)]
    one = select(hard, given, names, config=SMALL, grid=SHORT).choice
    other = select(hard, pairs, names, config=of_pairs, grid=SHORT).choice
    assert one.candidate[:3] == other.candidate[:3] and one.groups == other.groups
    # Linear paths are solved out; networks to a residual, on paths that left-out pairs tell apart.
    for mine, known in zip(one.table, other.table, strict=True):
        near = 1e-6 if np.isinf(mine.group_lasso) else 0.02
        assert mine.log_loss == pytest.approx(known.log_loss, abs=near)
    assert np.corrcoef(one.margins, other.margins)[0, 1] > 0.99
