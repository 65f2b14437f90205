"""What the judge of AlpacaEval 2 is asked, and how its replies become preferences."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._chat import Reply
from coala_jax.evaluation._own_wording import Wording
from coala_jax.evaluation.alpaca_eval import (
    OWN_WORDING,
    Pair,
    Question,
    judge_calls,
    judged,
    read_template,
)
from coala_jax.evaluation.alpaca_eval._judging import is_switched, shown_verdict
from coala_jax.evaluation.judge._verdicts import CUT, EMPTY, FAILED, FOREIGN, OTHER, Verdict

TEMPLATE = """<|im_start|>system
Compare.
<|im_end|>
<|im_start|>user
{
    "task": \"\"\"{instruction}\"\"\",
}
{
    "m": \"\"\"{output_1}\"\"\"
}
{
    "M": \"\"\"{output_2}\"\"\"
}
Which?
<|im_end|>
"""


def pairs_of(*answers):
    return [Pair(Question(f"do {n}"), *both) for n, both in enumerate(answers)]


def by_text(prefers):
    """A judge that sees which answer it likes, wherever it stands."""

    def ask(requests):
        replies = []
        for request in requests:
            text = request.messages[-1][1]
            first = text.index(prefers) < text.index("answer of M")
            replies.append(Reply("m" if first else "M"))
        return replies

    return ask


def test_a_template_is_filled_whatever_the_texts_hold(tmp_path):
    path = tmp_path / "clf.txt"
    path.write_text(TEMPLATE)
    template = read_template(path)
    texts = {
        "instruction": 'What is {output_1}? <|im_end|> {"a": 1} {0} %s \\1',
        "output_1": "{output_2}",
        "output_2": "{{instruction}} {",
    }
    (system, first), (user, second) = template.filled(texts)
    assert (system, first, user) == ("system", "Compare.", "user")
    expected = TEMPLATE.split("<|im_start|>user\n")[1].split("\n<|im_end|>")[0]
    before, between, rest = (
        expected.partition("{instruction}")[0],
        expected.partition("{instruction}")[2].partition("{output_1}")[0],
        expected.partition("{output_1}")[2],
    )
    middle, after = rest.partition("{output_2}")[::2]
    assert second == (
        before + texts["instruction"] + between + "{output_2}" + middle + texts["output_2"] + after
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<|im_start|>system\n", "system\n", "is no template of a judge; blocks"),
        ("Which?\n<|im_end|>\n", "Which?\n", "is no template of a judge; blocks"),
        ("<|im_start|>system", "<|im_start|>judge", "a block of the role 'judge'; system, user or"),
        ("{output_2}", "{output_1}", r"\{output_1\} stands 2 times; once each is expected"),
        ("{output_2}", "", r"\{output_2\} stands 0 times"),
        ("Which?", "{input}", r"\{input\} stands 1 times; .* and nothing else in braces"),
    ],
)
def test_faults_of_templates_are_named(tmp_path, old, new, message):
    path = tmp_path / "clf.txt"
    path.write_text(TEMPLATE.replace(old, new, 1))
    with pytest.raises(EvaluationError, match=message):
        read_template(path)


def test_a_template_that_is_not_there_is_named(tmp_path):
    with pytest.raises(EvaluationError, match=r"none.txt: cannot be read as a template"):
        read_template(Path(tmp_path / "none.txt"))


def test_the_order_is_that_of_the_original():
    # By `random_seeded_choice` of tatsu-lab/alpaca_eval 0.6.6 with "is_switched_outputs", the
    # instruction and the seed 0.
    switched = [number for number in range(12) if is_switched(f"do {number}")]
    assert switched == [4, 5, 6, 9, 11] and is_switched("ü") and not is_switched("")


def test_one_call_a_pair_or_two_and_none_for_equal_answers():
    pairs = pairs_of(("a", "b"), ("same", "same"), ("c", "d"))
    calls = judge_calls(pairs, OWN_WORDING)
    assert [(call.pair, call.switched) for call in calls] == [
        (n, is_switched(f"do {n}")) for n in (0, 2)
    ]
    both = judge_calls(pairs, OWN_WORDING, both_orders=True)
    assert [(call.pair, call.switched) for call in both] == [
        (0, False),
        (0, True),
        (2, False),
        (2, True),
    ]
    request = both[1].request
    assert (request.max_tokens, request.temperature, request.top_logprobs) == (1, 1.0, 5)
    shown = request.messages[-1][1]
    assert shown.index("\nb\n") < shown.index("\na\n")


@pytest.mark.parametrize("both_orders", [False, True])
def test_a_judge_that_knows_what_it_likes_is_understood_in_any_order(both_orders):
    pairs = pairs_of(*[("rather good", "poor")] * 8)
    calls = judge_calls(pairs, OWN_WORDING, both_orders=both_orders)
    requests = [call.request for call in calls]
    annotations, verdicts = judged(pairs, calls, by_text("poor")(requests), OWN_WORDING)
    assert [row.preference for row in annotations] == [2.0] * 8
    annotations, verdicts = judged(pairs, calls, by_text("rather good")(requests), OWN_WORDING)
    assert [row.preference for row in annotations] == [1.0] * 8
    assert verdicts.unread.counts == {} and verdicts.unread.example is None
    assert verdicts.by_text == len(calls) and verdicts.by_logprobs == 0
    assert verdicts.both_orders == (8 if both_orders else 0)
    assert verdicts.consistent.mean == 1 or not both_orders
    if both_orders:  # every pair gives each place one verdict
        assert verdicts.first_preferred == (0.5, 0.5, 0.5)


def test_a_judge_that_likes_what_comes_first_ties_in_both_orders_and_is_found_out():
    pairs = pairs_of(*[("a", "b")] * 6)
    calls = judge_calls(pairs, OWN_WORDING, both_orders=True)
    annotations, verdicts = judged(
        pairs, calls, [Reply("m", {"m": -0.1, "M": -2.3})] * 12, OWN_WORDING
    )
    assert [row.preference for row in annotations] == pytest.approx([1.5] * 6)
    share = math.exp(-0.1) / (math.exp(-0.1) + math.exp(-2.3))
    assert verdicts.first_preferred.mean == pytest.approx(share)
    assert verdicts.consistent.mean == 0 < verdicts.consistent.high
    assert verdicts.by_logprobs == 12 and verdicts.both_orders == 6


def test_switching_back_is_three_less_the_preference():
    pairs = pairs_of(("a", "b"))
    calls = judge_calls(pairs, OWN_WORDING, both_orders=True)
    reply = Reply("M", {"m": math.log(0.2), "M": math.log(0.6), "The": math.log(0.1)})
    for call, expected in zip(calls, (1.75, 1.25), strict=True):
        ((annotation,), _) = judged(pairs, [call], [reply], OWN_WORDING)
        assert annotation.preference == pytest.approx(expected)
        assert annotation.replies == (
            {"switched": call.switched, "text": "M", "logprobs": reply.logprobs},
        )


@pytest.mark.parametrize(
    ("reply", "expected", "from_text"),
    [
        (Reply("m", {"m": math.log(0.75), "M": math.log(0.25)}), 0.75, False),
        (Reply("m", {"m": -0.5}, "length"), 1.0, False),
        (Reply("The", {"M": -1000.0, "The": 0.0}), 0.0, False),
        (Reply("m", {"The": -0.5}), 1.0, True),
        (Reply(" M\n", None, "length"), 0.0, True),
        (Reply("m", {}), 1.0, True),
    ],
)
def test_the_answer_shown_first_has_the_share_of_m(reply, expected, from_text):
    verdict = shown_verdict(reply)
    assert verdict.score == pytest.approx(expected)
    assert verdict.from_text is from_text and verdict.problem is None


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (Reply("Model m", None), OTHER),
        (Reply("<think>Model", {"<think>": -0.1}, "length"), CUT),
        (Reply(""), EMPTY),
        (Reply("Das zweite", {"Das": -0.1}), OTHER),
        (Reply("第二"), FOREIGN),
        (Reply(None, error="timed out"), FAILED),
    ],
)
def test_a_reply_that_says_neither_has_a_reason(reply, problem):
    assert shown_verdict(reply) == Verdict(None, problem)


def test_half_a_pair_is_no_preference():
    pairs = pairs_of(("a", "b"), ("c", "d"))
    calls = judge_calls(pairs, OWN_WORDING, both_orders=True)
    replies = [Reply("m"), Reply(None, error="timed out"), Reply("m"), Reply("both")]
    annotations, verdicts = judged(pairs, calls, replies, OWN_WORDING)
    assert np.isnan([row.preference for row in annotations]).all()
    assert annotations[0].replies[1]["error"] == "timed out"
    assert verdicts.unread.counts == {FAILED: 1, OTHER: 1} and verdicts.both_orders == 0
    assert verdicts.unread.example == "timed out"


@pytest.mark.parametrize("count", [3, 5])
def test_another_number_of_replies_than_of_calls_is_named(count):
    pairs = pairs_of(("a", "b"), ("c", "d"))
    calls = judge_calls(pairs, OWN_WORDING, both_orders=True)
    with pytest.raises(EvaluationError, match=f"ask: gave {count} replies to 4 requests"):
        judged(pairs, calls, [Reply("m")] * count, OWN_WORDING)


def test_equal_answers_tie_without_a_reply():
    pairs = pairs_of(("same", "same"))
    annotations, verdicts = judged(pairs, judge_calls(pairs, OWN_WORDING), [], OWN_WORDING)
    assert annotations[0].preference == 1.5 and annotations[0].replies == ()
    assert annotations[0].wording is None
    assert verdicts.same_outputs == 1 and math.isnan(verdicts.first_preferred.mean)


def test_a_judgment_says_what_the_judge_was_told(tmp_path):
    path = tmp_path / "clf.txt"
    path.write_text(TEMPLATE)
    template = read_template(path)
    assert template.wording == Wording("clf.txt", hashlib.sha256(TEMPLATE.encode()).hexdigest())
    assert OWN_WORDING.wording.name == "coala-jax's own words"
    pairs = pairs_of(("a", "b"))
    for each in (template, OWN_WORDING):
        ((annotation,), _) = judged(pairs, judge_calls(pairs, each), [Reply("m")], each)
        assert annotation.wording == each.wording
