"""Win rates of a judge's comparisons: what is asked, what counts, and what bias does to them."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._benchmark_rows import Answer, Answers
from coala_jax.evaluation._chat import Reply
from coala_jax.evaluation.judge import grade_answers, judge_pairs, pair_report
from coala_jax.evaluation.judge._grading import grade_warnings
from coala_jax.evaluation.judge._pair_report import pair_warnings
from coala_jax.evaluation.judge._pairwise import (
    TEXT,
    TOKEN,
    Judged,
    PairOutcome,
    pair_requests,
)
from coala_jax.evaluation.judge._verdicts import CUT, FAILED, OTHER, Unread, Verdict

NOTHING_LOST = Unread({}, None)


def answers_of(system, texts):
    by = {name: Answer(name, (text,), system, f"{system}:{name}") for name, text in texts.items()}
    return Answers(system, by, f"{system}.json")


def systems(count, first="first", second="second"):
    """Questions, and an answer of each system to each."""
    questions = {f"q{n}": f"what is {n}?" for n in range(count)}
    return (
        questions,
        answers_of("one", {key: f"{first} {key}" for key in questions}),
        answers_of("two", {key: f"{second} {key}" for key in questions}),
    )


def outcome(name, scores, characters=(1, 1)):
    """A question with the first system's scores in both orders."""
    reply = Reply("said")
    verdicts = (Verdict(scores[0]), Verdict(1 - scores[1]))
    return PairOutcome(name, (reply, reply), verdicts, characters)


def report_of(*outcomes):
    return pair_report(Judged(outcomes, NOTHING_LOST))


def prefers(system):
    """A judge that finds the answer of a system wherever it stands."""

    def ask(requests):
        return [
            Reply("[[A]]" if text.index(system) < text.index(other) else "[[B]]")
            for request in requests
            for text in [request.messages[-1][1]]
            for other in ["first" if system == "second" else "second"]
        ]

    return ask


def test_both_orders_are_asked_and_nobody_is_told_who_wrote_what():
    questions, one, two = systems(2)
    requests = pair_requests(questions, one, two)
    assert len(requests) == 4
    for place, request in enumerate(requests):
        text = request.messages[-1][1]
        assert (text.index("first") < text.index("second")) == (place % 2 == 0)
        assert f"what is {place // 2}?" in text
        assert "one" not in text.split("# Your task")[0].split()
        assert "two" not in text.split()
    assert [role for role, _ in requests[0].messages] == ["system", "user"]


def test_a_judge_who_knows_the_better_system_gives_it_all_questions():
    for name, mean in (("first", 1.0), ("second", 0.0)):
        report = pair_report(judge_pairs(prefers(name), *systems(20)))
        assert report.win_rate.mean == report.discordant_as_ties.mean == mean
        # Clopper and Pearson's exact interval of 20 of 20.
        exact = stats.binomtest(int(20 * mean), 20).proportion_ci(method="exact")
        assert report.win_rate.low == pytest.approx(exact.low)
        assert report.win_rate.high == pytest.approx(exact.high)
        assert report.consistent.mean == 1 and report.first_place.mean == 0.5


def test_turning_the_systems_turns_the_result():
    rng = np.random.default_rng(0)
    replies = [Reply(f"[[{letter}]]") for letter in rng.choice(list("ABC"), 60)]
    questions, one, two = systems(30)
    turned = [replies[place ^ 1] for place in range(60)]
    ours = pair_report(judge_pairs(lambda _: replies, questions, one, two))
    theirs = pair_report(judge_pairs(lambda _: turned, questions, two, one))
    assert ours.win_rate.mean == pytest.approx(1 - theirs.win_rate.mean)
    assert ours.win_rate.low == pytest.approx(1 - theirs.win_rate.high)
    assert (ours.wins, ours.ties, ours.losses) == (theirs.losses, theirs.ties, theirs.wins)
    assert ours.first_place == theirs.first_place and ours.consistent == theirs.consistent


def test_both_rules_by_hand_for_every_pair_of_verdicts():
    # FastChat: a winner only where both orders name it. Means: both orders count alike.
    by_fastchat = {(1, 1): 1.0, (0, 0): 0.0}
    for scores in product((1, 0.5, 0), repeat=2):
        report = report_of(outcome("q", scores), outcome("r", (1, 1)), outcome("s", (0, 0)))
        assert report.win_rate.mean == pytest.approx((sum(scores) / 2 + 1) / 3)
        expected = by_fastchat.get(scores, 0.5)
        assert report.discordant_as_ties.mean == pytest.approx((expected + 1) / 3)
        agrees = scores[0] == scores[1]
        assert report.consistent.mean == pytest.approx((agrees + 2) / 3)
        first_place = (scores[0] + 1 - scores[1]) / 2
        assert report.first_place.mean == pytest.approx((first_place + 1) / 3)


def test_the_interval_is_wilsons_over_questions():
    scores = [(1, 1), (1, 0), (0.5, 1), (0, 0), (1, 0.5), (0.2, 0.9)]
    report = report_of(*(outcome(f"q{n}", each) for n, each in enumerate(scores)))
    means = np.mean(scores, axis=1)
    share = means.mean()
    # Of as many independent questions as have the same standard error.
    shrunk = (stats.t.ppf(0.975, len(means) - 1) * stats.sem(means)) ** 2 / (share * (1 - share))
    center = (share + shrunk / 2) / (1 + shrunk)
    half_width = np.sqrt(shrunk * share * (1 - share) + shrunk**2 / 4) / (1 + shrunk)
    found = (share, center - half_width, center + half_width)
    np.testing.assert_allclose(report.win_rate, found)


def test_equal_answers_are_ties_that_nobody_is_asked_about():
    questions, one, two = systems(3)
    same = dict(two.by_question) | {"q1": one.by_question["q1"]}
    two = two._replace(by_question=same)
    asked = []

    def ask(requests):
        asked.extend(requests)
        return [Reply("[[A]]"), Reply("[[B]]")] * 2

    report = pair_report(judge_pairs(ask, questions, one, two))
    assert len(asked) == 4
    assert (report.wins, report.ties, report.equal_answers) == (2, 1, 1)
    assert report.win_rate.mean == pytest.approx(2.5 / 3)
    assert report.consistent.mean == 1


def test_a_question_without_both_orders_is_left_out_whole():
    replies = [
        *(Reply("[[A]]"), Reply("[[B]]")),
        *(Reply("[[A]]"), Reply(None, error="HTTP 500")),
        *(Reply("no idea"), Reply("[[A]]")),
        *(Reply("[[B]]"), Reply("[[A]]")),
    ]
    judged = judge_pairs(lambda _: replies, *systems(4))
    report = pair_report(judged)
    assert (report.counted, report.left_out) == (2, 2)
    assert report.win_rate.mean == 0.5
    assert judged.unread.counts == {FAILED: 1, OTHER: 1}
    assert any("2 questions are left out" in note for note in pair_warnings(report))


def test_a_judge_that_cannot_be_read_gives_no_result_but_an_example():
    def mostly(bad, count=20):
        good = [Reply("[[C]]")] * (count - bad)
        return good + [Reply("Je ne sais pas", finish_reason="stop")] * bad

    assert judge_pairs(lambda _: mostly(10), *systems(10)).unread.counts == {OTHER: 10}
    with pytest.raises(EvaluationError, match="11 of 20 replies .* 'Je ne sais pas'. Take a judge"):
        judge_pairs(lambda _: mostly(11), *systems(10))
    cut = [Reply("Both answers", finish_reason="length")] * 2
    with pytest.raises(EvaluationError, match=f"{CUT}: 2.*Allow more tokens"):
        judge_pairs(lambda _: cut, *systems(1))
    foreign = [Reply("第一个答案更好")] * 2
    with pytest.raises(EvaluationError, match="another script.*第一个答案更好"):
        judge_pairs(lambda _: foreign, *systems(1))
    # Half can be read, but no question in both orders.
    halves = [Reply("[[A]]"), Reply("?")] * 5
    with pytest.raises(EvaluationError, match="none of 5 questions has two replies"):
        pair_report(judge_pairs(lambda _: halves, *systems(5)))


def test_length_stands_beside_the_win_rate():
    report = report_of(
        outcome("a", (1, 1), (10, 5)),
        outcome("b", (1, 0), (5, 10)),
        outcome("c", (0, 0), (5, 10)),
        outcome("d", (1, 1), (7, 7)),
    )
    assert report.characters == (27 / 4, 32 / 4)
    assert report.longer_wins == pytest.approx((1 + 0 + 0 + 0.5) / 4)
    assert report.prefers_longer.mean == pytest.approx((1 + 0.5 + 1) / 3)


def test_log_probabilities_give_verdicts_between_none_and_all():
    shares = {"A": 0.6, " A": 0.1, "B": 0.1, "the": 0.2}
    logprobs = {token: math.log(share) for token, share in shares.items()}
    replies = [Reply("A", logprobs), Reply("A", None)]
    judged = judge_pairs(lambda _: replies, *systems(1), TOKEN)
    (only,) = judged.outcomes
    assert only.scores == (pytest.approx(0.7 / 0.8), 0.0)
    report = pair_report(judged)
    assert report.from_text == 1
    assert any("1 verdicts were read from the text" in note for note in pair_warnings(report))
    neither = [Reply("the", {"the": -0.1})] * 2
    with pytest.raises(EvaluationError, match="2 of 2 replies .* without a verdict"):
        judge_pairs(lambda _: neither, *systems(1), TOKEN)
    (request, _) = pair_requests(*systems(1), TOKEN)
    assert (request.max_tokens, request.top_logprobs) == (1, 5)
    assert pair_requests(*systems(1), TEXT)[0].top_logprobs is None


def simulated(rng, questions, mean, *, concentration=2.0, place=0.0):
    """Outcomes of a judge who takes the first place with a probability, whatever stands there.

    Otherwise the first system wins a question with a probability drawn for the question, of the
    given mean; both orders of a question share it.
    """
    wins = rng.beta(concentration * mean, concentration * (1 - mean), questions)
    found = []
    for number, share in enumerate(wins):
        by_place = rng.random(2) < place
        by_answer = (rng.random(2) < share).astype(float)
        scores = np.where(by_place, (1.0, 0.0), by_answer)
        found.append(outcome(f"q{number}", tuple(scores.tolist())))
    return found


def test_a_judges_liking_for_the_first_place_is_measured_and_cancels():
    rng = np.random.default_rng(1)
    report = report_of(*simulated(rng, 4000, 0.7, place=0.4))
    # First place: all of 0.4, and half of the rest. The win rate is drawn to a half by as much.
    assert report.first_place.low < 0.4 + 0.6 * 0.5 < report.first_place.high
    assert report.win_rate.low < 0.4 * 0.5 + 0.6 * 0.7 < report.win_rate.high
    assert report.first_place.high - report.first_place.low < 0.04


def test_a_judge_that_sees_the_place_alone_says_nothing_and_that_is_said():
    report = pair_report(judge_pairs(lambda r: [Reply("[[A]]")] * len(r), *systems(10)))
    assert report.first_place.mean == 1 and report.consistent.mean == 0
    assert (report.wins, report.ties, report.losses) == (0, 10, 0)
    assert any("does not tell them apart" in note for note in pair_warnings(report))
    mostly = [outcome(f"q{n}", (1, 0)) for n in range(6)] + [outcome("w", (1, 1))]
    assert any("turned with the order in 86%" in note for note in pair_warnings(report_of(*mostly)))


@pytest.mark.parametrize(("questions", "mean", "place"), [(60, 0.6, 0.3), (100, 0.5, 0.0)])
def test_intervals_of_95_percent_hold_the_truth_in_as_many_studies(questions, mean, place):
    rng = np.random.default_rng(2)
    truth = place * 0.5 + (1 - place) * mean
    held = 0
    for _ in range(1000):
        found = report_of(*simulated(rng, questions, mean, place=place)).win_rate
        held += found.low <= truth <= found.high
    assert 930 <= held <= 970


def test_grades_are_read_and_their_mean_has_students_interval():
    questions, one, _ = systems(6)
    texts = ["[[7]]", "so [[8.5]] of 10", "Rating: [6]", "[[3]] then [[9]]", "[[11]]", "none"]
    found = grade_answers(lambda _: [Reply(text) for text in texts], questions, one)
    grades = [7, 8.5, 6, 9]
    assert [each.verdict.score for each in found.grades] == [*grades, None, None]
    low, high = stats.t.interval(0.95, 3, np.mean(grades), stats.sem(grades))
    assert found.mean == pytest.approx((np.mean(grades), low, high))
    assert found.counted == 4 and found.unread.counts == {OTHER: 2}
    with pytest.raises(EvaluationError, match="6 of 6 replies of the judge cannot be read"):
        grade_answers(lambda _: [Reply("fine")] * 6, questions, one)


def test_grades_that_follow_length_show_it():
    questions = {f"q{n}": "?" for n in range(8)}
    answers = answers_of("one", {key: "x" * (10 + n) for n, key in enumerate(questions)})
    found = grade_answers(
        lambda requests: [Reply(f"[[{1 + place}]]") for place in range(len(requests))],
        questions,
        answers,
    )
    assert found.length_correlation == pytest.approx(1.0)
    assert found.characters == 13.5
    flat = grade_answers(lambda requests: [Reply("[[5]]")] * 8, questions, answers)
    assert math.isnan(flat.length_correlation)
    assert grade_warnings(found) == []
    assert grade_warnings(flat) == ["all grades are alike: the interval says nothing"]
