"""Shares of neurons: exact sums, both kinds of head, and the responses that move a neuron most."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax.cli._explain import account_fields, explanation_fields
from coala_jax.data import DataError, ResponseRow, stream_responses
from coala_jax.decoding import _explanation as explanation_module
from coala_jax.decoding import explain, neuron_shares
from coala_jax.decoding._explanation import explain_shares
from coala_jax.decoding._usable_rows import UsableRows
from coala_jax.features import FeatureError
from coala_jax.features._responses import features_of_responses
from tests.helpers import random_head

WIDTH = 12
ROWS = [
    {"id": f"r{i}", "prompt": "the student asks", "response": text}
    for i, text in enumerate(
        ["the tutor answers", "no", "a short answer", "a long answer", "no", "yes", "the tutor"]
    )
]
FEATURES = np.random.default_rng(1).normal(size=(40, WIDTH)).astype(np.float32)


def explained(head, features):
    return [explain_shares(shares) for shares in neuron_shares(head, features)]


@pytest.mark.parametrize("kind", ["relu", "gated", "relu and path", "gated and path"])
def test_shares_add_up_to_the_reward_exactly_and_the_reward_is_the_heads(kind):
    head = random_head(WIDTH, kind)
    rewards = np.asarray(head(FEATURES))
    for x, each, reward in zip(FEATURES, explained(head, FEATURES), rewards, strict=True):
        assert math.fsum(each.shares) == each.reward
        assert math.fsum(each.shares[::-1]) == each.reward  # in any order
        assert abs(each.reward - reward) <= 1e-5 * max(np.abs(each.shares).sum(), 1)
        assert (each.shares != 0).all()
        sizes = np.abs(each.shares)
        assert (sizes[:-1] >= sizes[1:]).all()
        # Against the formula of the head, in float64.
        centred = x.astype(np.float64) - head.center
        on = centred @ head.theta1 + head.bias
        if kind.startswith("relu"):
            on = np.maximum(on, 0)
        else:
            on = np.where(centred @ head.gates + head.gate_bias >= 0, on, 0)
        expected = on * head.theta2
        if head.linear is not None:
            expected = np.append(expected, centred @ head.linear)
        np.testing.assert_allclose(each.shares, expected[each.neurons], rtol=1e-4, atol=1e-5)
        assert np.flatnonzero(expected).tolist() == sorted(each.neurons)


def test_the_reward_survives_json():
    (each,) = explained(random_head(WIDTH), FEATURES[:1])
    row = ResponseRow("a", "response", "p", "r")
    read = json.loads(json.dumps(explanation_fields(row, each)))
    assert math.fsum(share["share"] for share in read["shares"]) == read["reward"] == each.reward


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=20))
def test_any_shares_add_up_exactly_and_are_ordered_by_size(shares):
    each = explain_shares(np.array(shares))
    assert math.fsum(each.shares) == each.reward
    assert sorted(map(abs, each.shares), reverse=True) == list(map(abs, each.shares))


def test_a_head_without_active_neurons_gives_nothing():
    head = random_head(WIDTH)._replace(bias=np.full(6, -1e6, np.float32))
    (each,) = explained(head, FEATURES[:1])
    assert each.reward == 0 and each.neurons.size == 0


def test_shares_that_are_not_finite_and_features_that_do_not_fit_are_refused():
    head = random_head(WIDTH)
    with pytest.raises(FeatureError, match="shares: that of neuron . in row 0 is not finite"):
        neuron_shares(head, FEATURES * np.float32(np.inf))
    with pytest.raises(ValueError, match="features have 3 columns, the head was made for 12"):
        neuron_shares(head, FEATURES[:, :3])


@pytest.fixture
def responses():
    return [ResponseRow(row["id"], "response", row["prompt"], row["response"]) for row in ROWS]


@pytest.fixture
def shares(model, responses):
    made = features_of_responses(responses, model.backbone, model.settings)
    return neuron_shares(model.head, made.features)


def test_the_responses_that_move_a_neuron_most_are_found(model, responses, shares, monkeypatch):
    monkeypatch.setattr(explanation_module, "CHUNK_RESPONSES", 3)  # they are kept across chunks
    found = explain(model, responses, ["r2", "r5"], neurons=2, examples=3)
    assert [row.id for row, _ in found.explanations] == ["r2", "r5"]
    assert found.responses == 7
    largest = np.abs(shares[[2, 5]]).max(axis=0)
    assert [each.neuron for each in found.neurons] == np.argsort(-largest)[:2].tolist()
    for account in found.neurons:
        column = shares[:, account.neuron]
        distinct = [i for i in range(7) if i != 4]  # r4 says what r1 says
        for moved, sign in ((account.raises, 1), (account.lowers, -1)):
            order = sorted(distinct, key=lambda i: -sign * column[i])
            expected = [f"r{i}" for i in order if sign * column[i] > 0][:3]
            assert [each.row.id for each in moved] == expected
        assert account.active == np.count_nonzero(column)
        assert account.mean_size == pytest.approx(np.abs(column).mean(), rel=1e-4)
        assert account.theta2 == float(model.head.theta2[account.neuron])
        assert len(json.dumps(account_fields(account))) > 0


def test_the_first_row_is_explained_unless_another_is_named(model):
    pair = {"id": "pair", "prompt": "the student", "chosen": "yes", "rejected": "no"}
    with UsableRows(model, stream_responses([pair, pair | {"id": "other"}])) as rows:
        found = explain(model, rows.responses())
    assert [(row.id, row.side) for row, _ in found.explanations] == [
        ("pair", "chosen"),
        ("pair", "rejected"),
    ]


@pytest.mark.parametrize(
    ("rows", "ids", "message"),
    [
        (ROWS, ["r1", "gone"], "no usable row has the id 'gone'; give the id of one"),
        ([{"prompt": "p", "response": ""}], [], "no usable row; set aside: empty response: 1"),
    ],
)
def test_nothing_to_explain_is_an_error(model, rows, ids, message):
    usable = UsableRows(model, stream_responses(rows))
    with pytest.raises(DataError, match=message), usable:
        explain(model, usable.responses(), ids)
