"""The commands of Arena-Hard, from answers to scores, against a judge on loopback."""

import json

import pytest

from coala_jax.cli._main import main
from coala_jax.evaluation._chat import ChatRequest
from tests.evaluation.arena_hard_files import (
    CATEGORIES,
    judge_for,
    judgment,
    make_benchmark,
    write_rows,
)
from tests.evaluation.stand_in_judge import Fails, Says, standing_in

JUDGE = "the-judge"


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    make_benchmark(tmp_path)
    return tmp_path


def told(body):
    """What the judge for ``mine`` says to a request."""
    messages = tuple((each["role"], each["content"]) for each in body["messages"])
    return judge_for("mine")([ChatRequest(messages, 1)])[0].text


def judge(url, *more):
    baselines = [
        word
        for name in CATEGORIES.values()
        for word in ("--baseline", f"model_answer/{name}.jsonl")
    ]
    words = ["judge", "model_answer/mine.jsonl", "--questions", "question.jsonl", *baselines]
    words += ["--judge", JUDGE, "--base-url", url, "--out", "model_judgment", "--json", *more]
    return main(["evaluate", "arena-hard", *words])


def result(capsys):
    return json.loads(capsys.readouterr().out)


def test_answers_are_judged_and_scored(bench, capsys):
    with standing_in(lambda body, number: Says(told(body))) as endpoint:
        assert judge(endpoint.url, "--dry-run") == 0
        assert result(capsys)["dry_run"]["requests"] == 12 and not endpoint.asked
        assert not (bench / "model_judgment").exists()
        assert judge(endpoint.url) == 0
        assert len(endpoint.asked) == 12
    judged = result(capsys)
    assert judged["games"] == 12 and judged["without_reply"] == judged["without_label"] == 0
    assert judged["system_prompt"] == judged["template"] == "coala-jax's own words"
    assert {each["name"] for each in judged["judge_wording"].values()} == {judged["template"]}
    assert judged["unread"] == {"counts": {}, "example": None}
    assert judged["judge"]["sampling"] == [{"temperature": 0, "max_tokens": 16000}]
    folder = bench / "model_judgment" / JUDGE
    assert [file.name for file in folder.iterdir()] == ["mine.jsonl"]
    words = ["--answers", "model_answer", "--questions", "question.jsonl", "--out", "scores.json"]
    assert main(["evaluate", "arena-hard", "score", str(folder), *words]) == 0
    lines = capsys.readouterr().out
    assert "hard_prompt, against o3-mini-2025-01-31 (= 50)" in lines
    assert "UTF-8 bytes / 4" in lines and lines.count("warning") == 1
    assert "warning: 6 judgments were made in coala-jax's own words" in lines
    scores = json.loads((bench / "scores.json").read_text())
    assert len(scores["sha256"]) == 4 and judged["sha256"].items() <= scores["sha256"].items()
    for category in CATEGORIES:
        (model,) = scores["categories"][category]["models"]
        assert model["elo"] is None  # of v0.1 alone
        assert model["win_rate"] == 100 and model["interval_95"][0] < 100
        # Both games of each of 3 questions: the interval is one of 3, not of 6.
        assert model["consistent"] == 100 and model["won_by_first"] == 50
        low, high = model["consistent_interval_95"]
        assert low == pytest.approx(100 * 0.025 ** (1 / 3)) and high == 100
        assert model["won_by_first_interval_95"] == [50, 50]
        assert model["tokens"] < model["baseline_tokens"] and model["longer"] == 0
    assert lines.count("the order of the answers") == 2
    assert lines.count(f"   50.0 {'same':>14}\n") == 2 and "same for every question" in lines


def test_a_run_that_was_refused_goes_on_where_it_was(bench, capsys):
    def refuses(body, number):
        return Fails(400, "too long") if number % 4 == 0 else Says(told(body))

    with standing_in(refuses) as endpoint:
        words = ("--category", "hard_prompt", "--parallel", "1", "--no-temperature")
        assert judge(endpoint.url, *words) == 0
    first = result(capsys)
    assert first["games"] == 6 and first["without_reply"] == 1
    assert first["unread"]["counts"] == {"no reply": 1}
    assert first["judge"]["sampling"] == [{"temperature": None, "max_tokens": 16000}]
    with standing_in(lambda body, number: Says(told(body))) as endpoint:
        assert judge(endpoint.url, "--category", "creative_writing", "--no-temperature") == 0
        assert len(endpoint.asked) == 6
        assert judge(endpoint.url, "--category", "hard_prompt", "--no-temperature") == 0
        assert len(endpoint.asked) == 7  # the one that was refused
    rows = (bench / "model_judgment" / JUDGE / "mine.jsonl").read_text().splitlines()
    games = [game for row in rows for game in json.loads(row)["games"]]
    assert len(rows) == 6 and all(game["score"] for game in games)


def test_a_judge_that_says_nonsense_is_an_error_that_shows_it(bench, capsys):
    with standing_in(lambda body, number: Says("Both are lovely.")) as endpoint:
        assert judge(endpoint.url) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert "12 of 12 replies of the judge cannot be read (a reply without a verdict: 12)" in line
    assert "'Both are lovely.'" in line and not said.out
    path = f"model_judgment/{JUDGE}/mine.jsonl"
    assert line.endswith(f"The replies are kept in judge-replies.jsonl, the games in {path}")
    assert len((bench / path).read_text().splitlines()) == 6


def test_replies_without_a_label_are_shown_with_a_hint(bench, capsys):
    def mostly(body, number):
        return Says("Both are lovely." if number < 4 else told(body))

    with standing_in(mostly) as endpoint:
        words = ["model_answer/mine.jsonl", "--questions", "question.jsonl", "--judge", JUDGE]
        for name in CATEGORIES.values():
            words += ["--baseline", f"model_answer/{name}.jsonl"]
        words += ["--base-url", endpoint.url, "--out", "model_judgment"]
        assert main(["evaluate", "arena-hard", "judge", *words]) == 0
    shown = capsys.readouterr().out
    assert "(a reply without a verdict: 3), one of them: 'Both are lovely.'" in shown
    assert "Take a judge that keeps to the form asked for" in shown


def test_style_is_held_fixed(bench, capsys):
    labels = [["A>B", "B>A"], ["B>A", "A>B"], ["A=B", "A>B"], ["A>B", "A>B"]]
    rows = [judgment(f"q{2 * n}", labels[n % 4], model="mine") for n in range(3)]
    write_rows(bench / "j" / "mine.jsonl", rows)
    assert (
        main(
            [
                "evaluate",
                "arena-hard",
                "score",
                "j",
                "--answers",
                "model_answer",
                "--style",
                "--json",
            ]
        )
        == 0
    )
    found = result(capsys)["categories"]["hard_prompt"]
    control = found["style_control"]
    # All answers are alike but for their length, which is the same in all games.
    assert control["models"][0]["score"] == pytest.approx(found["models"][0]["win_rate"])
    assert control["coefficients"]["length"]["value"] is None
    assert (
        main(["evaluate", "arena-hard", "score", "j", "--answers", "model_answer", "--style"]) == 0
    )
    assert "all models of the files fitted together" in capsys.readouterr().out


def test_faults_are_one_line_and_leave_no_file(bench, capsys):
    def fails(*words):
        assert main(["evaluate", "arena-hard", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    rows = [judgment(f"q{n}", ["A>B", "B>A"], model="mine") for n in (0, 2)]
    write_rows(bench / "j" / "mine.jsonl", rows)
    assert "give --answers too" in fails("score", "j", "--style")
    assert "is what is read" in fails("score", "j", "--out", "j/mine.jsonl")
    assert "is what is read" in fails("score", "j/mine.jsonl", "--out", "j/mine.jsonl")
    assert "no .jsonl file in it" in fails("score", "none")
    write_rows(
        bench / "few.jsonl",
        [{"uid": f"q{n}", "category": "hard_prompt", "prompt": "?"} for n in (0, 1)],
    )
    assert "judges question q2" in fails("score", "j", "--questions", "few.jsonl")
    words = ["judge", "model_answer/mine.jsonl", "--questions", "question.jsonl", "--judge", JUDGE]
    words += ["--out", "model_judgment", "--baseline", "model_answer/o3-mini-2025-01-31.jsonl"]
    assert "its baseline is gemini-2.0-flash-001" in fails(*words)
    assert not (bench / "model_judgment").exists()
