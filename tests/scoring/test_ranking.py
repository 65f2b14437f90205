"""The order of responses, ties, and what the probability of a pair is."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax import CoalaError
from coala_jax.cli._rank import ranking_line
from coala_jax.data import DataError, ResponseRow, stream_responses
from coala_jax.decoding import preference_probabilities, rank, rank_rewards, score
from coala_jax.decoding._ranking import group_by_prompt, rank_groups
from coala_jax.decoding._usable_rows import UsableRows


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=6), st.floats(1e-3, 1e3))
def test_probabilities_are_those_of_bradley_terry(rewards, beta):
    probability = preference_probabilities(rewards, beta)
    assert ((probability >= 0) & (probability <= 1)).all()
    np.testing.assert_allclose(probability + probability.T, 1, rtol=1e-15)
    for i, one in enumerate(rewards):
        for j, other in enumerate(rewards):
            if abs(beta * (one - other)) < 700:
                expected = 1 / (1 + np.exp(-beta * (one - other)))
                np.testing.assert_allclose(probability[i, j], expected, rtol=1e-12)


def test_equal_rewards_share_a_rank_and_the_order_of_the_file():
    ranking = rank_rewards([1.0, 3.0, 1.0, 1.0 + 1e-5, -2.0])
    assert [(each.rank, each.position) for each in ranking.ranked] == [
        (1, 1),
        (2, 3),
        (3, 0),
        (3, 2),
        (5, 4),
    ]
    assert (ranking.ties, ranking.near_ties) == (1, 2)
    assert ranking.probabilities[0, 2] == 0.5
    rows = [ResponseRow(f"r{i}", "response", "p", f"text {i}") for i in range(5)]
    line = ranking_line(rows, ranking)
    assert line["id"] == "r0" and [each["id"] for each in line["ranking"]][:2] == ["r1", "r3"]
    assert len(line["pairs"]) == 10
    assert all(pair["probability"] >= 0.5 for pair in line["pairs"])
    assert line["pairs"][0] == {
        "first": 1,
        "second": 3,
        "probability": float(ranking.probabilities[1, 3]),
    }


def test_a_ranking_of_an_array_can_be_written_as_json():
    rewards = [1.0, 3.0, 1.0]
    ranking = rank_rewards(np.array(rewards, np.float32))
    assert ranking.ranked == rank_rewards(rewards).ranked
    assert json.loads(json.dumps(ranking.ranked)) == [[1, 1, 3.0], [2, 0, 1.0], [2, 2, 1.0]]
    assert type(ranking.ties) is type(ranking.near_ties) is int


def test_the_scale_of_the_head_is_in_the_probability():
    for beta in (1.0, 2.0):
        ranking = rank_rewards([0.5, 0.0], beta)
        assert ranking.probabilities[0, 1] == pytest.approx(1 / (1 + np.exp(-beta / 2)))


def test_rows_of_a_prompt_are_grouped_wherever_they_stand_and_lists_by_row():
    stream = stream_responses(
        [
            {"id": "a", "prompt": "p", "response": "1"},
            {"id": "b", "prompt": "q", "response": "2"},
            {"id": "c", "prompt": "p", "chosen": "3", "rejected": "4"},
            {"id": "d", "prompt": "p", "responses": ["5", "6"]},
        ]
    )
    groups = group_by_prompt([row for rows in stream.entries for row in rows])
    assert [(each[0].id, [row.response for row in each]) for each in groups] == [
        ("a", ["1", "3", "4"]),
        ("b", ["2"]),
        ("d", ["5", "6"]),
    ]


def test_responses_are_ranked_by_the_reward_of_the_head(model):
    rows = [
        ResponseRow(f"r{i}", "response", "the student asks", text)
        for i, text in enumerate(["no", "the tutor answers", "a short answer", "no"])
    ]
    (ranking,) = rank_groups(model, group_by_prompt(rows))
    expected = score(model, rows).rewards
    found = {each.position: each.reward for each in ranking.ranked}
    np.testing.assert_allclose([found[i] for i in range(4)], expected, rtol=1e-4, atol=1e-6)
    rewards = [each.reward for each in ranking.ranked]
    assert rewards == sorted(rewards, reverse=True)
    assert found[0] == found[3] and ranking.ties == 1  # equal texts tie to the last bit
    alone = rank(model, "the student asks", [row.response for row in rows])
    assert alone.ranked == ranking.ranked


def test_a_prompt_with_one_response_has_no_pairs(model):
    rows = [ResponseRow("a", "response", "p", "r")]
    (ranking,) = rank_groups(model, [rows])
    line = ranking_line(rows, ranking)
    assert line["pairs"] == [] and line["ranking"][0]["rank"] == 1
    assert ranking.probabilities.tolist() == [[0.5]]


def test_nothing_to_rank_is_an_error(model):
    stream = stream_responses([{"prompt": "p", "responses": []}])
    with (
        pytest.raises(DataError, match=r"no usable row; set aside: empty responses: 1"),
        UsableRows(model, stream) as rows,
    ):
        rank_groups(model, group_by_prompt(rows.responses()))


def test_rewards_without_order_and_texts_without_a_list_are_refused(model):
    with pytest.raises(CoalaError, match=r"rewards: \[1.0, nan\] are not all finite"):
        rank_rewards([1.0, float("nan")])
    with pytest.raises(TypeError, match=r"responses must be a list, got one text"):
        rank(model, "a prompt", "a response")
