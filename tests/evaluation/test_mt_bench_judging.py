"""What judges are asked, in FastChat's order and words, and the judgments that come of it."""

import pytest

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._chat import Reply
from coala_jax.evaluation.mt_bench import (
    judgment_lines,
    own_judge_prompts,
    pair_matches,
    read_answers,
    read_judge_prompts,
    read_judgments,
    read_questions,
    read_references,
    single_matches,
)
from coala_jax.evaluation.mt_bench._judging import requests_of, unread_replies
from tests.evaluation.mt_bench_files import (
    answer_rows,
    read_lines,
    replying,
    write_benchmark,
    write_lines,
)


@pytest.fixture
def folder(tmp_path):
    return write_benchmark(tmp_path)


def read(folder, kind):
    questions = read_questions(folder / "question.jsonl")
    references = read_references(folder / "reference.jsonl", questions)
    prompts = read_judge_prompts(folder / "judge_prompts.jsonl", kind)
    ours, base = (read_answers(folder / f"{name}.jsonl", questions) for name in ("ours", "base"))
    return questions, ours, base, references, prompts


def singles(folder):
    questions, ours, base, references, prompts = read(folder, "single")
    return single_matches(questions, [ours, base], references, prompts)


def pairs(folder):
    questions, ours, base, references, prompts = read(folder, "pairwise")
    return pair_matches(questions, [ours], base, references, prompts)


def order_of_fastchat(folder, models):
    """(question, turn, models) as make_match of gen_judgment.py goes through them."""
    questions = read_lines(folder / "question.jsonl")
    math = [each for each in questions if each["category"] in ("math", "reasoning", "coding")]
    default = [each for each in questions if each not in math]
    return [
        (question["question_id"], turn, model)
        for turn in (1, 2)
        for part in (default, math)
        for question in part
        for model in models
    ]


def test_grades_are_asked_for_in_fastchats_order_with_its_prompts(folder):
    matches = singles(folder)
    found = [(each.question.id, each.turn, each.models[0]) for each in matches]
    assert found == order_of_fastchat(folder, ["ours", "base"])
    said = {
        (each.question.id, each.turn): each.requests[0].messages[1][1]
        for each in matches
        if each.models == ("ours",)
    }
    assert said[81, 1] == "{single-v1} Why is 0?|ours says 0"
    assert said[82, 1] == "{single-math-v1} Why is 1?|truth says 1|ours says 1"
    assert said[81, 2] == ("{single-v1-multi-turn} Why is 0?|ours says 0|And 0 more?|ours adds 0")
    assert said[84, 2] == (
        "{single-math-v1-multi-turn} Why is 3?|truth says 3|And 3 more?|truth adds 3|"
        "ours says 3|ours adds 3"
    )


def test_pairs_are_asked_about_in_both_orders(folder):
    matches = pairs(folder)
    found = [(each.question.id, each.turn, each.models) for each in matches]
    assert found == order_of_fastchat(folder, [("ours", "base")])
    asked = {
        (each.question.id, each.turn): [request.messages[1][1] for request in each.requests]
        for each in matches
    }
    assert asked[82, 1] == [
        "{pair-math-v1} Why is 1?|truth says 1|ours says 1|base says 1",
        "{pair-math-v1} Why is 1?|truth says 1|base says 1|ours says 1",
    ]
    assert asked[81, 2] == [
        "{pair-v2-multi-turn} Why is 0?|And 0 more?|" + answers
        for answers in (
            "ours says 0|base says 0|ours adds 0|base adds 0",
            "base says 0|ours says 0|base adds 0|ours adds 0",
        )
    ]


def test_a_question_of_one_turn_is_judged_once(tmp_path):
    folder = write_benchmark(tmp_path)
    rows = read_lines(folder / "question.jsonl")
    rows[0]["turns"].pop()
    write_lines(folder / "question.jsonl", rows)
    assert [each.turn for each in singles(folder) if each.question.id == 81] == [1, 1]


def test_judgments_are_fastchats_rows(folder, tmp_path):
    matches = singles(folder)
    ask = replying(lambda request: "fine [[8]]" if "ours" in request.messages[1][1] else "no idea")
    lines = judgment_lines(matches, ask(requests_of(matches)), "stand-in")
    assert list(lines[0]) == [
        *("question_id", "model", "user_prompt", "judgment", "score", "judge", "turn", "tstamp")
    ]
    assert lines[0]["judge"] == ["stand-in", "single-v1"]
    assert {(line["model"], line["score"]) for line in lines} == {("ours", 8), ("base", -1)}
    questions = read_questions(folder / "question.jsonl")
    again = read_judgments(write_lines(tmp_path / "own.jsonl", lines), questions)
    assert again.judge == "stand-in" and len(again.single) == 16


def test_who_won_is_told_by_the_order_of_the_game(folder, tmp_path):
    """A judge that always takes what is shown first, one that knows better, and one that fails."""
    matches = pairs(folder)

    def winners(text):
        lines = judgment_lines(matches, replying(text)(requests_of(matches)), "stand-in")
        return {(line["g1_winner"], line["g2_winner"]) for line in lines}, lines

    assert winners(lambda request: "[[A]]")[0] == {("model_1", "model_2")}
    assert winners(lambda request: "[[C]]")[0] == {("tie", "tie")}
    assert winners(lambda request: "neither")[0] == {("error", "error")}

    def ours_is_better(request):
        text = request.messages[1][1]
        return "[[A]]" if text.index("ours") < text.index("base") else "[[B]]"

    found, lines = winners(ours_is_better)
    assert found == {("model_1", "model_1")}
    again = read_judgments(
        write_lines(tmp_path / "own.jsonl", lines), read_questions(folder / "question.jsonl")
    )
    assert {each.models for each in again.pairs} == {("ours", "base")}


def test_a_judge_that_gives_nothing_leaves_fastchats_mark(folder):
    matches = singles(folder)
    replies = [Reply(None, error="timeout")] * len(matches)
    lines = judgment_lines(matches, replies, "stand-in")
    assert {(line["judgment"], line["score"]) for line in lines} == {("$ERROR$", -1)}


@pytest.mark.parametrize("more", [-1, 1])
@pytest.mark.parametrize("matches_of", [singles, pairs])
def test_another_number_of_replies_than_of_requests_is_an_error(folder, matches_of, more):
    matches = matches_of(folder)
    with pytest.raises(EvaluationError, match=f"gave {16 + more} replies to 16 requests"):
        judgment_lines(matches, [Reply("[[8]]")] * (16 + more), "stand-in")


def test_what_cannot_be_read_is_counted_by_why(folder):
    """By the rules of the kind: a letter is no grade, and a grade no winner; 2023 counts as one."""
    said = [
        Reply("[[A]]"),
        Reply("[[8]]"),
        Reply("[[2023]]"),
        Reply(f"[[{'9' * 21}]]"),
        Reply(""),
        Reply("on and on", finish_reason="length"),
        Reply(None, error="timeout"),
        Reply("どちらも良い"),
    ]
    shared = {
        "no reply": 2,
        "an empty reply": 2,
        "a reply that was cut at max_tokens": 2,
        "a reply in another script": 2,
    }
    # A run of digits is no text of another script, for it has no letters.
    grades = unread_replies(singles(folder), said * 2)
    assert grades.counts == {"a reply without a verdict": 4, **shared}
    assert grades.example == "[[A]]"
    winners = unread_replies(pairs(folder), said * 2)
    assert winners.counts == {"a reply without a verdict": 6, **shared}
    assert winners.example == "[[8]]"


def test_a_judge_that_repeats_its_task_gives_no_grade(folder):
    """Our own task, as FastChat's, shows a grade as an example."""
    questions, ours, _, references, _ = read(folder, "single")
    matches = single_matches(questions, [ours], references, own_judge_prompts("single"))
    echoes = [Reply(f"[[9]] {each.messages[-1][1]}") for each in requests_of(matches)]
    assert {line["score"] for line in judgment_lines(matches, echoes, "j")} == {-1}
    assert unread_replies(matches, echoes).counts == {"a reply that repeats what was asked": 8}


def test_two_models_of_one_name_are_an_error(folder, tmp_path):
    questions, ours, _, references, prompts = read(folder, "single")
    other = read_answers(write_lines(tmp_path / "other.jsonl", answer_rows("ours")), questions)
    with pytest.raises(EvaluationError, match=r"other.jsonl: answers of ours, as .*ours.jsonl has"):
        single_matches(questions, [ours, other], references, prompts)
    with pytest.raises(EvaluationError, match="give the models names of their own"):
        pair_matches(questions, [ours], other, references, prompts)
