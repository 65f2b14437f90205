"""Prompts of judges: our own and a file's, filled without a look at what the texts say."""

import json

import pytest

from coala_jax._files import file_sha256
from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation.judge import read_judge_prompts
from coala_jax.evaluation.judge._prompts import (
    COMPARE,
    COMPARE_IN_A_TOKEN,
    GRADE,
    PAIRWISE,
    SINGLE,
    choose_judge_prompt,
)

ROWS = [
    {
        "name": "pair",
        "type": "pairwise",
        "system_prompt": "Judge.",
        "prompt_template": "{question}|{answer_a}|{answer_b}|{{json}}",
        "output_format": "[[A]]",
    },
    {"name": "math", "prompt_template": "{question}{answer_a}{answer_b}{ref_answer_1}"},
    {"name": "single", "system_prompt": None, "prompt_template": "{question}: {answer}"},
]
ODD = "{answer_b} {0} {{x}} %s \\1 \\g<0> {question!r} [[A]] }{"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "judge_prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_texts_of_answers_stay_as_they_are(file):
    prompt = read_judge_prompts(file)["pair"]
    values = {"question": ODD, "answer_a": "a", "answer_b": ODD}
    assert prompt.messages(values) == (
        ("system", "Judge."),
        ("user", f"{ODD}|a|{ODD}|{{json}}"),
    )
    (*_, (_, text)) = COMPARE.messages(values)
    assert text.count(ODD) == 2


def test_a_prompt_without_a_system_message_sends_none(file):
    prompt = read_judge_prompts(file)["single"]
    assert prompt.messages({"question": "q", "answer": "a"}) == (("user", "q: a"),)


def test_the_prompt_that_fits_is_found_and_accounted_for(file):
    pair = choose_judge_prompt(file, None, PAIRWISE)
    assert pair.name == "pair" == choose_judge_prompt(file, "pair", PAIRWISE).name
    assert pair.account()["file_sha256"] == file_sha256(file)
    assert choose_judge_prompt(file, None, SINGLE).name == "single"
    assert (
        COMPARE.account()["name"] == "coala-jax's own words" and COMPARE.account()["file"] is None
    )
    hashes = {each.account()["text_sha256"] for each in (COMPARE, COMPARE_IN_A_TOKEN, GRADE, pair)}
    assert len(hashes) == 4


def test_prompts_that_do_not_fit_are_named(file, tmp_path):
    with pytest.raises(EvaluationError, match="no prompt 'other'; it has pair, math, single"):
        choose_judge_prompt(file, "other", PAIRWISE)
    with pytest.raises(EvaluationError, match=r"prompt 'math' has not the placeholders .*; pair\)"):
        choose_judge_prompt(file, "math", PAIRWISE)
    several = tmp_path / "several.jsonl"
    rows = [ROWS[0], {**ROWS[0], "name": "pair-2"}]
    several.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(EvaluationError, match=r"2 prompts have .*pair, pair-2"):
        choose_judge_prompt(several, None, PAIRWISE)
    several.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:1] * 2))
    with pytest.raises(EvaluationError, match="row 2: a prompt 'pair' stood there before"):
        read_judge_prompts(several)
    with pytest.raises(EvaluationError, match=r"'math' wants \{ref_answer_1\}; here are"):
        read_judge_prompts(file)["math"].messages({"question": "", "answer_a": "", "answer_b": ""})
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"name": "x", "template": "y"}\n')
    with pytest.raises(EvaluationError, match="row 1: has no prompt_template; it has name, temp"):
        read_judge_prompts(wrong)


def test_our_own_wording_asks_for_what_is_read():
    assert all(f"[[{letter}]]" in COMPARE.template for letter in "ABC")
    assert "[[5]]" in GRADE.template and "1" in GRADE.template and "10" in GRADE.template
    assert "[[" not in COMPARE_IN_A_TOKEN.template
