"""The files of a blind study: page, key and plan."""

import json
import re
import sys

import numpy as np
import pytest

from coala_jax.cli._main import main
from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._benchmark_rows import Answer
from coala_jax.evaluation.blind import Check, Design, Wording, make_study
from coala_jax.evaluation.blind._checks import BAD, GOOD, shuffled_checks
from coala_jax.evaluation.blind._coding import place_of
from coala_jax.evaluation.blind._page import embedded_study, script_json, study_page
from coala_jax.evaluation.blind._plan import read_plan
from coala_jax.evaluation.blind._study import systems_named
from tests.evaluation.blind_people import SECRET, answers_of, small_study, written_study


def test_the_page_says_nothing_of_systems_files_or_checks(tmp_path):
    files, study = written_study(tmp_path, systems=("coala", "dpo", "orpo"))
    html = files.page.read_text()
    for hidden in ("coala", "dpo", "orpo", "jsonl", GOOD, BAD, SECRET.hex(), '"q1"'):
        assert hidden not in html
    # Positions of an item's answers say nothing either: each system is at each of them.
    firsts = {
        study.key["items"][item["id"]]["systems"][item["codes"][0]] for item in study.page["items"]
    }
    assert {"coala", "dpo", "orpo"} <= firsts


def test_the_key_says_whose_every_answer_is(tmp_path):
    _, study = written_study(tmp_path)
    answers = {
        one.system: one for one in answers_of(("coala", "dpo"), [f"q{n}" for n in range(12)])
    }
    for item in study.page["items"]:
        key = study.key["items"][item["id"]]
        for code, text in zip(item["codes"], item["texts"], strict=True):
            assert key["characters"][code] == len(text)
            if not key["check"]:
                assert answers[key["systems"][code]].by_question[key["question"]].text == text
    for embedded, keyed in zip(study.page["places"], study.key["places"], strict=True):
        for (item, left, right), codes in zip(embedded, keyed, strict=True):
            shown = study.page["items"][item]
            assert codes == [shown["id"], shown["codes"][left], shown["codes"][right]]


def test_texts_that_would_end_the_script_are_embedded_safely():
    asked = {"q": "</script><script>alert(1)</script> \u2028 & <!--", "r": "\ud83c\udf3f plain"}
    answers = answers_of(("a", "b"), asked)
    hostile = Answer("q", ("</SCRIPT ><b>bold</b>\u202etxet",), "a", "here")
    answers[0] = answers[0]._replace(by_question={**answers[0].by_question, "q": hostile})
    study = make_study(asked, answers, Design(2, 2, 0, 0), secret=SECRET)
    html = study_page(study.page)
    assert html.count("</script>") == 2 and "alert(1)<" not in html and "\u2028" not in html
    page = embedded_study(html, "page.html")
    assert page == json.loads(json.dumps(study.page))
    assert page["items"][0]["prompt"] == asked["q"]
    assert script_json("</") == '"\\u003c/"'
    shown = [text for item in page["items"] for text in item["texts"]]
    assert any(
        "U+202E" in text and "txet" in text and "\u202e" not in text for text in shown
    )  # turns no text round


def test_the_page_loads_and_sends_nothing_elsewhere(tmp_path):
    files, _ = written_study(tmp_path, wording=Wording("<T>", "<Q>", "<C>\n\n&amp;", "<I>"))
    html = files.page.read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html).group(1)
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert "unsafe" not in policy and "base-uri 'none'" in policy
    assert not re.search(r"""(src|href)=["'](?!#)""", html)
    assert "<title>&lt;T&gt;</title>" in html and "<C>" not in html


def test_a_missing_template_engine_is_named_with_its_mend(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "coala_jax._templates", raising=False)
    with pytest.raises(EvaluationError, match=r"needs jinja2; install it: pip install"):
        study_page(small_study()[0].page)


def test_the_same_secret_draws_the_same_study_and_another_does_not():
    assert small_study()[0] == small_study()[0]
    asked = {f"q{n}": f"What is number {n}?" for n in range(12)}
    other = make_study(asked, answers_of(("coala", "dpo"), asked), Design(12, 8), secret=b"another")
    assert other.page["study"] != small_study()[0].page["study"]
    assert set(other.key["items"]).isdisjoint(small_study()[0].key["items"])


def test_equal_answers_are_counted_and_never_shown():
    asked = {f"q{n}": f"Number {n}?" for n in range(6)}
    answers = answers_of(("a", "b"), asked)
    same = Answer("q0", (f" {answers[0].by_question['q0'].text}\n",), "b", "here")
    answers[1] = answers[1]._replace(by_question={**answers[1].by_question, "q0": same})
    study = make_study(asked, answers, Design(2, 5, 1, 1), secret=SECRET)
    assert study.identical == 1
    assert "q0" not in {item["question"] for item in study.key["items"].values()}
    with pytest.raises(EvaluationError, match="5 prompts with answers that differ"):
        make_study(asked, answers, Design(2, 6, 1, 1), secret=SECRET)


def test_shuffled_checks_have_the_words_of_an_answer_in_another_order():
    texts = {"q": ["one two three four five six seven eight nine", "short"], "r": ["too short"]}
    (check,) = shuffled_checks({"q": "Q", "r": "R"}, texts, 1, np.random.default_rng(0))
    assert check.prompt == "Q" and check.good == texts["q"][0] != check.bad
    assert sorted(check.bad.split()) == sorted(check.good.split())
    with pytest.raises(EvaluationError, match="only 1 prompts"):
        shuffled_checks({"q": "Q", "r": "R"}, texts, 2, np.random.default_rng(0))


def test_checks_of_the_users_are_shown_as_they_are():
    checks = [Check("2 + 2?", "4", "a fish"), Check("3 + 3?", "6", "a bird")]
    study, _, _ = small_study(checks=2, systems=("a", "b"))
    asked = {f"q{n}": f"Number {n}?" for n in range(6)}
    study = make_study(
        asked, answers_of(("a", "b"), asked), Design(4, 6, 0, 2), secret=SECRET, checks=checks
    )
    assert [item["prompt"] for item in study.page["items"][-2:]] == ["2 + 2?", "3 + 3?"]
    for place in study.key["places"]:
        assert sum(study.key["items"][item]["check"] for item, _, _ in place) == 2


def test_codes_have_a_place_each_and_other_codes_are_drawn_one():
    study = small_study(places=40)[0]
    codes = study.page["codes"]
    assert len(set(codes)) == 40 and all(re.fullmatch("[2-9A-HJ-NP-Z]{6}", code) for code in codes)
    assert [place_of("s", code, codes, 40) for code in codes] == list(range(40))
    assert place_of("s", "WRONG1", codes, 40) is None
    drawn = [place_of("s", f"{number:024x}", [], 40) for number in range(4000)]
    assert np.bincount(drawn, minlength=40).min() > 60


def test_names_of_systems_in_texts_are_counted():
    page = {"items": [{"prompt": "Is DPO good?", "texts": ["I am dpo.", "dpos"]}]}
    assert systems_named(page, ["dpo", "sft"]) == {"dpo": 2}


def test_a_study_is_never_written_over(tmp_path):
    files, _ = written_study(tmp_path)
    key = files.key.read_bytes()
    assert files.key.stat().st_mode & 0o077 == 0
    with pytest.raises(EvaluationError, match="another --out"):
        written_study(tmp_path, prompts=13)
    assert files.key.read_bytes() == key


def test_a_plan_reads_as_it_was_written_and_its_faults_are_named(tmp_path):
    files, _ = written_study(tmp_path)
    plan = read_plan(files.plan)
    assert plan.wording["consent"] == plan.wording["checks"] == "coala-jax's own"
    assert plan.sha256 == json.loads(files.key.read_text())["plan_sha256"]
    assert files.plan.read_text() == plan.text
    fields = json.loads(files.plan.read_text())
    for change, said in (
        ({"format": "x"}, "no plan"),
        ({"level": 2.0}, "level"),
        ({"comparisons": [["coala", "gpt"]]}, "coala and gpt"),
        ({"more": 1}, "more"),
        ({"exclusions": {"most_failed_checks": -1}}, "most_failed_checks"),
        ({"exclusions": {"other": 1}}, "other"),
    ):
        files.plan.write_text(json.dumps({**fields, **change}))
        with pytest.raises(EvaluationError, match=said):
            read_plan(files.plan)


@pytest.fixture
def files(tmp_path):
    for system, lines in (("alpha", 6), ("beta", 6), ("short", 5)):
        rows = [
            {
                "id": n,
                "prompt": f"Number {n}?",
                "answer": f"{system} says {n}, and all of it is true {n}",
            }
            for n in range(lines)
        ]
        (tmp_path / f"{system}.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in rows))
    return tmp_path


def test_the_command_makes_a_study_and_says_what_may_give_it_away(files, capsys):
    names = ["--answers", f"alpha={files}/alpha.jsonl", "--answers", f"beta={files}/beta.jsonl"]
    command = ["evaluate", "blind", "make", *names, "--participants", "8", "--out"]
    assert main([*command, str(files / "study"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["pairs_a_person"] == 6 + 2 + 2
    assert set(said["systems_named"]) == {"alpha", "beta"}
    assert (files / "study" / "codes.txt").read_text().count("\n") == 8
    assert main([*command, str(files / "study")]) == 2
    assert "another --out" in capsys.readouterr().err


def test_by_default_people_judge_the_prompts_whose_answers_differ(files, capsys):
    rows = [json.loads(line) for line in (files / "alpha.jsonl").read_text().splitlines()]
    other = [{**row, "answer": f"no, {row['answer']}" if n > 1 else row["answer"]}
             for n, row in enumerate(rows)]  # fmt: skip
    (files / "other.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in other))
    names = ["--answers", f"alpha={files}/alpha.jsonl", "--answers", f"other={files}/other.jsonl"]
    command = ["evaluate", "blind", "make", *names, "--participants", "4", "--repeats", "0"]
    assert main([*command, "--checks", "0", "--out", str(files / "study")]) == 0
    shown = capsys.readouterr().out
    assert "4 pairs for each of 4 people" in shown and "with 4 prompts no p-value can be" in shown


def test_both_sides_of_generated_lines_are_systems(files, capsys):
    """What `coala-jax generate --data prompts.jsonl --out lines.jsonl` writes."""
    lines = [
        {
            "id": str(n),
            "plain": {"text": f"It is {n}, which everyone can see at once."},
            "guided": {"text": f"Count to {n} and say the last number aloud to yourself."},
        }
        for n in range(6)
    ]
    (files / "lines.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    command = ["evaluate", "blind", "make", "--participants", "8", "--out", str(files / "study")]
    for side in ("plain", "guided"):
        command += ["--answers", f"{side}={files}/lines.jsonl:{side}"]
    assert main(command) == 2
    assert "--questions" in capsys.readouterr().err
    assert main([*command, "--questions", str(files / "alpha.jsonl")]) == 0
    html = (files / "study" / "page.html").read_text()
    assert "Number 3?" in html and "Count to 3" in html and "lines.jsonl" not in html


def test_the_command_names_bad_input(files, capsys):
    def fails(*words):
        assert main(["evaluate", "blind", "make", "--participants", "4", *words,
                     "--out", str(files / "study")]) == 2  # fmt: skip
        return capsys.readouterr().err

    alpha, beta = f"alpha={files}/alpha.jsonl", f"beta={files}/beta.jsonl"
    assert "NAME=FILE" in fails("--answers", "alpha")
    assert "two or more" in fails("--answers", alpha)
    assert "1 of 6 questions" in fails("--answers", alpha, "--answers", f"s={files}/short.jsonl")
    assert "completion_url" in fails("--answers", alpha, "--answers", beta, "--completion-url", "x")
    other = files / "other.jsonl"
    other.write_text((files / "beta.jsonl").read_text().replace("Number 3?", "Number 4?"))
    assert "another question" in fails("--answers", alpha, "--answers", f"o={other}")
    assert "different names" in fails("--answers", alpha, "--answers", f"alpha={files}/beta.jsonl")
    empty, latin = files / "empty.txt", files / "latin.txt"
    empty.write_text(" \n\n ")
    latin.write_bytes("Einverständnis".encode("latin-1"))
    both = ("--answers", alpha, "--answers", beta)
    assert "empty.txt: holds no text" in fails(*both, "--consent", str(empty))
    assert "latin.txt: cannot be read" in fails(*both, "--instructions", str(latin))
    twice = ("--compare", "alpha:gamma")
    assert "alpha and gamma" in fails("--answers", alpha, "--answers", beta, *twice)
