"""`coala-jax evaluate judge` and `grade`, from files of answers to figures and back."""

import json
import re

import pytest

from coala_jax.cli._main import main
from coala_jax.evaluation.judge import _endpoint
from tests.evaluation.stand_in_judge import Fails, Raw, Says, question_of, standing_in

KEY = "sk-secret-0123456789"
COUNT = 12


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(_endpoint, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def files(tmp_path):
    """Answers of two systems, in formats of two benchmarks."""
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.jsonl"
    ours.write_text(
        json.dumps(
            [
                {"instruction": f"q{n}", "output": f"good {n} {{answer_b}}", "generator": "ours"}
                for n in range(COUNT)
            ]
        )
    )
    theirs.write_text(
        "".join(
            json.dumps({"prompt": f"q{n}", "response": f"bad {n}", "model": "theirs"}) + "\n"
            for n in range(COUNT)
        )
    )
    return ours, theirs


@pytest.fixture
def run(tmp_path, files, capsys):
    """Run a command against a stand-in: ``run(judge, *options)`` gives code, stdout and stderr."""

    def ran(judge, *options, command="judge", cache="replies.jsonl"):
        words = ["evaluate", command, *map(str, files[: 2 if command == "judge" else 1])]
        words += ["--judge", "m", "--base-url", judge.url, "--cache", str(tmp_path / cache)]
        code = main([*words, *options])
        printed = capsys.readouterr()
        assert KEY not in printed.out + printed.err
        return code, printed.out, printed.err

    return ran


def fair(body, _):
    """A judge that finds the good answer."""
    shown = re.findall(r"# Answer [AB]\n(good|bad)", question_of(body))
    return Says("[[A]]" if shown[0] == "good" else "[[B]]")


def test_a_pair_of_files_gives_a_win_rate_and_lines_of_verdicts(run, tmp_path):
    out = tmp_path / "verdicts.jsonl"
    with standing_in(fair) as judge:
        code, text, _ = run(judge, "--out", str(out), "--prices", "1", "2")
        assert code == 0 and len(judge.asked) == 2 * COUNT
        assert "win rate of ours against theirs: 100.0 %" in text
        # 10 answers of 17 and 2 of 18 characters, 10 of 5 and 2 of 6.
        assert "mean length: 17 characters against 5; the rule 'the longer wins' gives 100" in text
        code, text, _ = run(judge, "--json")
        assert len(judge.asked) == 2 * COUNT
    found = json.loads(text)
    assert found["win_rate"]["mean"] == 1 and found["consistent"]["mean"] == 1
    assert found["first_place"]["mean"] == 0.5 and found["longer_wins"] == 1
    assert found["judge"]["cached"] == 2 * COUNT and found["judge"]["asked"] == 0
    assert [each["system"] for each in found["systems"]] == ["ours", "theirs"]
    assert found["prompt"]["name"] == "coala-jax's own words"
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["question"] for line in lines] == [f"q{n}" for n in range(COUNT)]
    for line in lines:
        assert line["score"] == 1.0 and [game["reply"] for game in line["games"]]
        assert [each["sha256"] for each in line["systems"]] == [
            each["sha256"] for each in found["systems"]
        ]


def test_a_changed_answer_is_asked_about_anew(run, files):
    with standing_in(fair) as judge:
        run(judge)
        rows = json.loads(files[0].read_text())
        rows[3]["output"] = "good, and edited"
        files[0].write_text(json.dumps(rows))
        code, _, _ = run(judge)
        assert code == 0 and len(judge.asked) == 2 * COUNT + 2


def test_a_dry_run_counts_and_sends_nothing(run, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with standing_in(fair) as judge:
        code, text, _ = run(judge, "--dry-run", "--json", "--prices", "1000000", "2000000")
        assert code == 0 and judge.asked == [] and not (tmp_path / "replies.jsonl").exists()
        before = json.loads(text)["dry_run"]
        assert (before["requests"], before["to_ask"], before["cached"]) == (24, 24, 0)
        assert before["completion_tokens_at_most"] == 24 * 1024
        run(judge)
        characters = sum(len(each["content"]) for body in judge.asked for each in body["messages"])
        assert before["prompt_tokens_estimate"] == -(-characters // 4)
        price = before["prompt_tokens_estimate"] + 2 * 24 * 1024
        assert before["price_estimate"] == pytest.approx(price)
        code, text, _ = run(judge, "--dry-run")
        assert "to ask: 0" in text and "nothing was sent" in text


def test_grades_of_one_file(run, tmp_path):
    out = tmp_path / "grades.jsonl"
    grade = lambda body, _: Says(f"[[{4 + int(question_of(body).split()[2][1:]) % 2}]]")  # noqa: E731
    with standing_in(grade) as judge:
        code, text, _ = run(judge, "--json", "--out", str(out), command="grade")
    found = json.loads(text)
    assert code == 0 and found["mean"]["mean"] == 4.5 and found["counted"] == COUNT
    assert [json.loads(line)["grade"] for line in out.read_text().splitlines()] == [4, 5] * 6
    with standing_in(grade) as judge:
        _, text, _ = run(judge, "--name", "mine", command="grade")
        assert "mean grade of mine: 4.50" in text and judge.asked == []
        assert f"{COUNT} cached replies were given by" in text  # another server's port


def test_a_judge_that_talks_is_an_error_that_shows_it_and_keeps_what_it_said(run, tmp_path):
    with standing_in(lambda *_: Says("Les deux se valent.")) as judge:
        code, text, said = run(judge)
    assert (code, text) == (2, "")
    assert "24 of 24 replies" in said and "Les deux se valent." in said
    assert len((tmp_path / "replies.jsonl").read_text().splitlines()) == 25


def test_what_could_not_be_read_is_counted_beside_the_result(run):
    def mostly(body, number):
        if "q3" in question_of(body):
            return Says("I would say that", finish="length")
        return Fails(500) if "q4" in question_of(body) else fair(body, number)

    with standing_in(mostly) as judge:
        code, text, _ = run(judge, "--retries", "0")
    assert code == 0
    assert "questions: 10 counted, 2 left out" in text
    assert "not read (a reply that was cut at max_tokens: 2, no reply: 2), one of them" in text
    assert "2 requests got no reply; run the same command again" in text


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (Fails(401, f"bad key {KEY}"), "bad key [key]; the key is not accepted"),
        (Raw("<html>", kind="text/html"), "is no API"),
        (Fails(404, "no model m"), "no such model or route"),
    ],
)
def test_an_endpoint_that_serves_nobody_is_one_line(run, answer, part):
    with standing_in(lambda *_: answer) as judge:
        code, text, said = run(judge)
    assert (code, text, said.count("\n")) == (2, "", 1)
    assert part in said


def test_prompts_of_a_file_are_sent_and_named(run, tmp_path):
    prompts = tmp_path / "judge_prompts.jsonl"
    row = {
        "name": "mine",
        "system_prompt": "S",
        "prompt_template": "{question}/{answer_a}/{answer_b}",
    }
    prompts.write_text(json.dumps(row) + "\n")
    with standing_in(lambda *_: Says("[[A]]")) as judge:
        code, text, _ = run(judge, "--prompts", str(prompts), "--prompt", "mine", "--json")
        asked = {body["messages"][1]["content"] for body in judge.asked}
        assert {body["messages"][0]["content"] for body in judge.asked} == {"S"}
    assert (
        code == 0
        and "q0/good 0 {answer_b}/bad 0" in asked
        and "q0/bad 0/good 0 {answer_b}" in asked
    )
    found = json.loads(text)
    assert found["prompt"]["name"] == "mine" and found["prompt"]["file_sha256"]
    assert found["first_place"]["mean"] == 1 and "does not tell them apart" in found["warnings"][0]


def test_verdicts_by_log_probabilities(run):
    def likely(body, number):
        assert (body["max_tokens"], body["top_logprobs"]) == (1, 5)
        first = fair(body, number).text[2]
        return Says(first, probabilities={first: 0.8, "B" if first == "A" else "A": 0.2})

    with standing_in(likely) as judge:
        code, text, _ = run(judge, "--verdict", "token", "--json")
    assert code == 0 and json.loads(text)["win_rate"]["mean"] == pytest.approx(0.8)
    assert json.loads(text)["from_text"] == 0
    with standing_in(lambda body, n: Says(fair(body, n).text[2])) as judge:
        _, text, _ = run(judge, "--verdict", "token", cache="other.jsonl")
    assert "24 verdicts were read from the text" in text


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--key-variable", KEY], "must be the name of an environment variable"),
        (["--prompt", "x"], "--prompt names one of a file"),
        (["--parallel", "0"], "'0' is not an integer of at least 1"),
        (["--names", "a", "a"], "both files are answers of 'a'"),
        (["--out", "verdicts.txt"], "expected a name that ends in .jsonl"),
        (["--questions", "no/such.jsonl"], "no such file"),
    ],
)
def test_options_that_cannot_be_used(run, options, part, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with standing_in(fair) as judge:
        code, text, said = run(judge, *options)
        assert (code, text, judge.asked) == (2, "", [])
    assert part in said


def test_a_cache_that_is_the_answers_is_not_written_over(run, files, tmp_path):
    before = files[1].read_bytes()
    with standing_in(fair) as judge:
        code, _, said = run(judge, cache="theirs.jsonl")
    assert code == 2 and "is no cache of replies" in said and files[1].read_bytes() == before


def test_without_the_client_the_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with standing_in(fair) as judge:
        code, _, said = run(judge)
    assert code == 2 and "pip install '.[judge]'" in said


def test_the_key_is_in_no_file(run, tmp_path):
    with standing_in(lambda body, n: Says(f"{KEY} {fair(body, n).text}")) as judge:
        run(judge, "--out", str(tmp_path / "v.jsonl"))
    written = [path.read_text() for path in tmp_path.iterdir()]
    assert len(written) == 4 and all(KEY not in text for text in written)
    assert "[key]" in "".join(written)
