"""What went wrong with judges, endpoints and files of answers, each once."""

import json
import math
import re

import numpy as np
import pytest

from coala_jax.cli._main import main
from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._answer_formats import read_answer_file
from coala_jax.evaluation._benchmark_rows import BenchmarkRow
from coala_jax.evaluation._chat import Reply
from coala_jax.evaluation._order_effect import order_warnings
from coala_jax.evaluation._shown_answers import Shown, edited_notes, is_on_lines
from coala_jax.evaluation.alpaca_eval import Question, _l1_newton
from coala_jax.evaluation.alpaca_eval._length_data import order_notes
from coala_jax.evaluation.arena_hard._prompts import OWN_PROMPTS
from coala_jax.evaluation.judge import JudgeSettings, grade_answers, judge_pairs
from coala_jax.evaluation.judge._cache import HEADER, read_cache
from coala_jax.evaluation.judge._reading import read_completion
from coala_jax.evaluation.judge._verdicts import token_verdict
from coala_jax.evaluation.mt_bench import own_judge_prompts
from coala_jax.evaluation.reward_bench import read_reward_bench

QUESTIONS = {f"q{n}": f"What is {n}?" for n in range(4)}


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(path, name):
    rows = [{"id": key, "answer": f"{name} {key}", "model": name} for key in QUESTIONS]
    return read_answer_file(written(path / f"{name}.jsonl", rows)).answers


@pytest.mark.parametrize("end", ["\r", "\r\n", " \n"])
def test_white_space_at_the_end_of_a_key_is_none_of_it(end):
    settings = JudgeSettings(model="m", base_url="http://127.0.0.1/v1")
    assert settings.key({"OPENAI_API_KEY": f"sk-secret{end}"}) == "sk-secret"


@pytest.mark.parametrize("key", ["sk-sécret", "sk-\x00secret", "sk\nsecret"])
def test_a_key_that_no_header_may_have_is_refused_without_being_shown(key):
    settings = JudgeSettings(model="m", base_url="http://127.0.0.1/v1")
    with pytest.raises(EvaluationError, match="set the variable to the key alone") as error:
        settings.key({"OPENAI_API_KEY": key})
    assert "cret" not in str(error.value)


def test_an_address_with_a_query_is_refused_without_it_being_shown():
    settings = JudgeSettings(model="m", base_url="http://127.0.0.1/v1?api-key=hidden")
    with pytest.raises(EvaluationError, match="behind a") as error:
        settings.url()
    assert "hidden" not in str(error.value)


def test_a_password_in_an_address_is_not_in_the_result(tmp_path, capsys):
    one = written(tmp_path / "one.jsonl", [{"prompt": "Why?", "answer": "so"}])
    two = written(tmp_path / "two.jsonl", [{"prompt": "Why?", "answer": "because"}])
    words = ["evaluate", "judge", str(one), str(two), "--judge", "m", "--dry-run", "--json"]
    words += ["--base-url", "http://user:hunter2@host/v1", "--cache", str(tmp_path / "c.jsonl")]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "hunter2" not in said.out + said.err and "http://host/v1" in said.out


def test_a_judge_that_repeats_its_task_says_nothing(tmp_path):
    def ask(requests):
        return [Reply(request.messages[-1][1]) for request in requests]

    one, two = answers(tmp_path, "one"), answers(tmp_path, "two")
    with pytest.raises(EvaluationError, match="repeats what was asked"):
        judge_pairs(ask, QUESTIONS, one, two)
    with pytest.raises(EvaluationError, match="repeats what was asked"):
        grade_answers(ask, QUESTIONS, one)


def test_our_own_example_of_a_grade_is_not_taken_for_the_grade(tmp_path):
    def ask(requests):
        return [Reply("A middling answer would be [[5]]. This one is [[9]].") for _ in requests]

    assert grade_answers(ask, QUESTIONS, answers(tmp_path, "one")).mean.mean == 9


@pytest.mark.parametrize("value", [math.inf, 800.0, math.nan])
def test_log_probabilities_that_cannot_be_are_none(value):
    candidates = [{"token": "A", "logprob": value}, {"token": "B", "logprob": -1.0}]
    choice = {"message": {"content": "B"}, "logprobs": {"content": [{"top_logprobs": candidates}]}}
    reply = read_completion(json.dumps({"choices": [choice]}))
    assert reply.logprobs == {"B": -1.0} and token_verdict(reply).score == 0
    only = {**choice, "logprobs": {"content": [{"top_logprobs": candidates[:1]}]}}
    reply = read_completion(json.dumps({"choices": [only]}))
    assert reply.logprobs is None and token_verdict(reply).from_text


def test_content_in_parts_is_their_text():
    parts = [{"type": "text", "text": "for "}, {"type": "text", "text": "[[A]]"}]
    body = json.dumps({"choices": [{"message": {"content": parts}}]})
    assert read_completion(body).text == "for [[A]]"


@pytest.mark.parametrize(
    "line",
    [
        {"key": [], "base_url": "u", "reply": {"text": "a"}},
        {"key": "k", "base_url": "u", "reply": {"text": 5}},
    ],
)
def test_a_line_of_the_cache_that_holds_no_reply_is_counted(tmp_path, line):
    path = tmp_path / "cache.jsonl"
    path.write_bytes(HEADER + json.dumps(line).encode() + b"\n")
    assert read_cache(path).unreadable == 1


def test_a_missing_completion_is_not_taken_from_another_field(tmp_path):
    rows = [
        {"prompt": "Why?", "answer": "the truth", "completion": "said"},
        {"prompt": "How?", "answer": "the truth", "completion": None},
    ]
    with pytest.raises(EvaluationError, match="row 2: completion must be a text"):
        read_answer_file(written(tmp_path / "rows.jsonl", rows))


def test_outputs_are_not_written_over_what_is_read_or_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = {"id": "1", "prompt": "Why?", "plain": {"text": "a"}, "guided": {"text": "b"}}
    written(tmp_path / "both.jsonl", [line])
    judged = ["evaluate", "judge", "both.jsonl:plain", "both.jsonl:guided", "--judge", "m"]
    assert main([*judged, "--out", "both.jsonl"]) == 2
    assert "--out both.jsonl is what is read" in capsys.readouterr().err
    assert main([*judged, "--cache", "same.jsonl", "--out", "./same.jsonl"]) == 2
    assert "--out ./same.jsonl is what is read" in capsys.readouterr().err


def test_several_right_answers_outside_ties_are_refused(tmp_path):
    row = {"id": "1", "prompt": "Why?", "subset": "Factuality", "chosen": ["a", "b"]}
    path = written(tmp_path / "rows.jsonl", [{**row, "rejected": ["c", "d"]}])
    with pytest.raises(EvaluationError, match="chosen holds 2 answers; outside Ties one is right"):
        read_reward_bench(path)


def test_a_judge_that_sees_the_place_is_named():
    assert order_warnings(0.5) == [] and order_warnings(math.nan) == []
    (note,) = order_warnings(0.2)
    assert "turned with the order in 80% of the questions" in note


@pytest.mark.parametrize(("answer", "shown"), [("GOOD 0", True), ("GOOD", False), ("0", False)])
def test_a_part_of_an_answer_is_not_the_answer_that_was_shown(answer, shown):
    assert is_on_lines("<start>\nGOOD 0\n<end>", answer) == shown


def test_where_no_prompt_has_answers_on_lines_of_their_own_they_are_found_in_it():
    rows = [
        Shown("mine", f"A: answer {n}. B: none", f"answer {n}", "a", f"row {n}") for n in (1, 2)
    ]
    assert edited_notes(rows) == []
    (note,) = edited_notes([*rows, rows[0]._replace(answer="another", place="row 3")])
    assert note.startswith("1 answers of a are not") and "first row 3" in note


KNOWN = [
    *(each.template for each in own_judge_prompts("single").values()),
    *(each.template for each in own_judge_prompts("pairwise").values()),
    OWN_PROMPTS.template,
    # FastChat's, of one answer, of two and of two turns; Arena-Hard's.
    "[Question]\n{question}\n\n[The Start of Assistant's Answer]\n{answer}\n"
    "[The End of Assistant's Answer]",
    "[User Question]\n{question}\n\n[The Start of Assistant A's Answer]\n{answer_a}\n"
    "[The End of Assistant A's Answer]\n\n[The Start of Assistant B's Answer]\n{answer_b}\n"
    "[The End of Assistant B's Answer]",
    "<|The Start of Assistant A's Conversation with User|>\n\n### User:\n{question_1}\n\n"
    "### Assistant A:\n{answer_1}\n\n### User:\n{question_2}\n\n### Assistant A:\n{answer_2}\n\n"
    "<|The End of Assistant A's Conversation with User|>",
    "<|User Prompt|>\n{QUESTION}\n\n<|The Start of Assistant A's Answer|>\n{ANSWER_A}\n"
    "<|The End of Assistant A's Answer|>\n\n<|The Start of Assistant B's Answer|>\n{ANSWER_B}\n"
    "<|The End of Assistant B's Answer|>",
]


@pytest.mark.parametrize("template", KNOWN)
def test_answers_of_which_all_are_cut_are_found_by_the_template(template):
    places = re.findall(r"{(\w+)}", template)
    texts = {place: f"the {place}\n\nends here" for place in places}
    prompt = template.format_map(texts)
    whole = [
        Shown("form", prompt, text, "a", place)
        for place, text in texts.items()
        if place.lower().startswith("answer")
    ]
    assert whole and edited_notes(whole) == []
    for size in (5, len("the answer"), -len("\n\nends here"), -1):
        cut = [each._replace(answer=each.answer[:size]) for each in whole]
        (note,) = edited_notes(cut)
        assert note.startswith(f"{len(cut)} answers of a are not those")


def test_instructions_in_another_order_than_the_sets_are_named():
    parts = ["koala", "koala", "oasst", "vicuna"]
    assert order_notes([Question(f"i{n}", part) for n, part in enumerate(parts)]) == []
    (note,) = order_notes([Question(f"i{n}", part) for n, part in enumerate(parts[1:] + parts[:1])])
    assert "do not stand together" in note


def test_a_number_of_hundreds_of_digits_is_named():
    row = BenchmarkRow("rows.jsonl: row 3", {"score": 10**400, "fine": 3})
    assert row.number("fine") == 3.0
    with pytest.raises(EvaluationError, match="row 3: score is a number of 401 digits"):
        row.number("score")


def test_resampled_sets_that_do_not_settle_take_their_own_weights_alone(monkeypatch):
    monkeypatch.setattr(_l1_newton, "MOST_STEPS", 1)
    rng = np.random.default_rng(0)
    features, weight = rng.normal(size=(1, 40, 3)), np.ones((1, 40))
    target = (rng.random(40) < 0.5).astype(float)
    far = _l1_newton.newton_fits(features, target, weight, 100.0, np.full(3, 5.0))
    assert np.isnan(far).all()
    monkeypatch.undo()
    found = _l1_newton.newton_fits(features, target, weight, 100.0, np.full(3, 5.0))
    assert np.isfinite(found).all()
    monkeypatch.setattr(_l1_newton, "MOST_STEPS", 1)
    both = np.concatenate([features, features]), np.concatenate([weight, 0 * weight])
    near = _l1_newton.newton_fits(both[0], target, both[1], 100.0, found[0])
    assert np.isfinite(near[0]).all()
