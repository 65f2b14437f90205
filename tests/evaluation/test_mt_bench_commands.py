"""`coala-jax evaluate mt-bench`: from answers to judgments to scores; errors in a line."""

import json
from contextlib import contextmanager

import pytest

from coala_jax.cli import _evaluate_mt_bench_judge
from coala_jax.cli._main import main
from coala_jax.evaluation._chat import Reply
from tests.evaluation.mt_bench_files import (
    pair_row,
    read_lines,
    single_row,
    write_benchmark,
    write_lines,
)
from tests.evaluation.stand_in_judge import Fails, Says, question_of, standing_in

ACCOUNT = {
    **{"model": "stand-in", "base_url": "nowhere", "cache": "none", "asked": 1, "cached": 0},
    **{"failed": 0, "retries": 0, "prompt_tokens": 9, "completion_tokens": 1, "price": None},
    **{"uncounted": 0, "cached_elsewhere": {}, "unreadable_cache_lines": 0, "sampling": []},
}


class StandIn:
    """A judge that grades by who answered."""

    model = "stand-in"

    def __call__(self, requests):
        return [Reply(self.verdict(request.messages[1][1])) for request in requests]

    def verdict(self, text):
        if "base" not in text:
            return "Rating: [[8]]"
        if "ours" not in text:
            return "Rating: [[5]]"
        return "[[A]]" if text.index("ours") < text.index("base") else "[[B]]"

    def account(self):
        return ACCOUNT


class Broken(StandIn):
    """A judge that cannot be reached about one answer, and says nothing of another."""

    def __call__(self, requests):
        _, _, *others = super().__call__(requests)
        return [Reply(None, error="timeout"), Reply("Well."), *others]


class Chatty(StandIn):
    """A judge that says something and no verdict."""

    def verdict(self, text):
        return "Both are lovely."


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ask_with(monkeypatch, StandIn())
    return write_benchmark(tmp_path)


def ask_with(monkeypatch, judge):
    @contextmanager
    def opened(arguments):
        yield judge

    monkeypatch.setattr(_evaluate_mt_bench_judge, "open_judge", opened)


def run(capsys, *words, code=0):
    assert main(["evaluate", "mt-bench", *words]) == code
    return capsys.readouterr()


JUDGE = ("judge", "ours.jsonl", "--data", "question.jsonl", "--judge", "stand-in")
FILES = ("--reference", "reference.jsonl", "--judge-prompts", "judge_prompts.jsonl")


def test_answers_are_graded_and_scored(folder, capsys):
    words = (*JUDGE[:2], "base.jsonl", *JUDGE[2:], *FILES, "--out", "single.jsonl", "--json")
    result = json.loads(run(capsys, *words).out)
    assert (result["judgments"], result["failed"], result["no_verdict"]) == (16, 0, 0)
    assert {each["file"] for each in result["prompts"].values()} == {"judge_prompts.jsonl"}
    assert len(result["prompts"]) == 4 and result["account"] == ACCOUNT
    score = ("score", "single.jsonl", "--data", "question.jsonl", "--answers", "ours.jsonl")
    result = json.loads(run(capsys, *score, "--out", "score.json", "--json").out)
    ours, base = result["models"]
    assert ours["both"] == {"mean": 8, "low": 8, "high": 8} and base["both"]["mean"] == 5
    assert ours["mean_characters"] == [11, 11] and base["mean_characters"] is None
    assert list(ours["categories"]) == ["writing", "math", "stem", "coding"]
    assert json.loads((folder / "score.json").read_text())["models"] == result["models"]
    shown = run(capsys, *score).out
    assert "warning: ours: the mean grade is the same for every question, and" in shown
    assert "ours: 8.00 (same for every question, no interval), 4 questions" in shown
    assert "4 questions, MT-Bench has 80; a mean over some" in shown
    assert "mean characters    11 and 11 by turn" in shown
    assert "writing            8.00 (one question alone, no interval)" in shown


def test_answers_are_compared_and_scored(folder, capsys):
    words = (*JUDGE, *FILES, "--baseline", "base.jsonl", "--out", "pair.jsonl")
    shown = run(capsys, *words).out
    assert "8 judgments, 0 of which failed" in shown
    assert "prompts of the judge: judge_prompts.jsonl" in shown
    score = ("score", "pair.jsonl", "--data", "question.jsonl", "--against", "base")
    (ours,) = json.loads(run(capsys, *score, "--json").out)["models"]
    assert (ours["wins"], ours["ties"], ours["losses"]) == (8, 0, 0)
    assert ours["adjusted"]["mean"] == 1 and ours["adjusted"]["low"] == pytest.approx(0.3976, 1e-3)
    answers = ("--answers", "ours.jsonl", "base.jsonl")
    shown = run(capsys, "score", "pair.jsonl", *answers).out
    assert "ours: adjusted win rate 100.0 [39.8, 100.0] (8 won, 0 tied, 0 lost)" in shown
    assert "base: adjusted win rate 0.0 [0.0, 60.2] (0 won, 0 tied, 8 lost)" in shown
    assert "same verdict in both orders: 100.0" in shown
    assert "shown first: 50.0 (same for every question, no interval) (of games" in shown
    assert "base: mean characters    11 and 11 by turn" in shown


def test_words_of_our_own_are_said_and_warned_of(folder, capsys):
    words = (*JUDGE, "--reference", "reference.jsonl", "--out", "single.jsonl")
    assert "prompts of the judge: coala-jax's own words" in run(capsys, *words).out
    assert read_lines(folder / "single.jsonl")[0]["judge"] == ["stand-in", "coala-jax/single-v2"]
    shown = run(capsys, "score", "single.jsonl").out
    assert "warning: 8 judgments were made in coala-jax's own words" in shown


@pytest.mark.parametrize("kind", [(), ("--baseline", "base.jsonl")])
def test_answers_that_were_not_judged_are_named(folder, capsys, kind):
    words = (*JUDGE, *kind, "--reference", "reference.jsonl", "--out", "judged.jsonl")
    run(capsys, *words)
    score = ("score", "judged.jsonl", "--answers", "ours.jsonl")
    assert "not those that the judge was shown" not in run(capsys, *score).out
    rows = read_lines(folder / "ours.jsonl")
    rows[2]["choices"][0]["turns"][1] += " edited"
    write_lines(folder / "ours.jsonl", rows)
    write_lines(folder / "other.jsonl", [{**row, "model_id": "other"} for row in rows])
    shown = run(capsys, *score, "other.jsonl").out
    assert "warning: 1 answers of ours are not those that the judge was shown" in shown
    assert "ours.jsonl: row 3" in shown
    assert "other.jsonl: answers of other, of which there is no judgment" in shown


def test_replies_that_are_missing_or_say_nothing_are_counted_and_left_out(
    folder, capsys, monkeypatch
):
    ask_with(monkeypatch, Broken())
    words = (*JUDGE, *FILES, "--out", "single.jsonl")
    shown = run(capsys, *words).out
    assert "8 judgments, 1 of which failed and 1 of which give no verdict" in shown
    assert "not read (no reply: 1, a reply without a verdict: 1), one of them: 'timeout'" in shown
    assert "See what the endpoint says, then run the same command again" in shown
    shown = run(capsys, "score", "single.jsonl").out
    assert "warning: ours: 1 of 8 judgments give no grade and are left out" in shown
    assert "warning: ours: 1 of 8 requests to the judge failed and are left out" in shown
    words = (*JUDGE, *FILES, "--baseline", "base.jsonl", "--out", "pair.jsonl")
    assert "8 judgments, 1 of which failed and 0" in run(capsys, *words).out
    shown = run(capsys, "score", "pair.jsonl").out
    assert "warning: 1 of 8 comparisons have a judgment without a verdict" in shown


@pytest.mark.parametrize("more", [(), ("--baseline", "base.jsonl")])
def test_a_judge_that_says_nonsense_is_an_error_that_shows_it(folder, capsys, monkeypatch, more):
    ask_with(monkeypatch, Chatty())
    said = run(capsys, *JUDGE, *FILES, *more, "--out", "judged.jsonl", code=2)
    (line,) = said.err.splitlines()
    assert "replies of the judge cannot be read" in line and "'Both are lovely.'" in line
    kept = "The replies are kept in judge-replies.jsonl, the judgments in judged.jsonl"
    assert line.endswith(kept) and not said.out
    assert len(read_lines(folder / "judged.jsonl")) == 8


def test_a_dry_run_counts_and_writes_nothing(folder, capsys):
    words = (*JUDGE, *FILES, "--baseline", "base.jsonl", "--out", "pair.jsonl", "--dry-run")
    shown = run(capsys, *words).out
    assert "16 requests" in shown and "nothing was sent" in shown
    assert not (folder / "pair.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*JUDGE, "--out", "single.jsonl"), "2 questions need a reference answer"),
        ((*JUDGE, *FILES, "--out", "ours.jsonl"), "--out ours.jsonl is what is read"),
        ((*JUDGE, *FILES, "--out", "reference.jsonl"), "--out reference.jsonl is what is read"),
        ((*JUDGE, *FILES, "--baseline", "ours.jsonl", "--out", "p.jsonl"), "answers of ours, as"),
        (("score", "nothing.jsonl"), "nothing.jsonl"),
        (("score", "ours.jsonl"), "ours.jsonl: row 1: has no score"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(folder, capsys, words, said):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    error = run(capsys, *words, code=2).err
    assert said in error and len(error.splitlines()) == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_models_with_other_numbers_of_judgments_are_warned_of(folder, capsys):
    rows = [single_row(81 + n, 1, model, 5 + n) for n in range(4) for model in ("ours", "base")]
    write_lines(folder / "single.jsonl", rows[:-1])
    shown = run(capsys, "score", "single.jsonl").out
    assert "warning: models have 3 to 4 judgments: their means are not over the same" in shown


def test_a_judge_that_sees_the_place_alone_is_warned_of(folder, capsys):
    models = ("ours", "base")
    rows = [pair_row(81 + n, 1, models, "model_1", "model_2") for n in range(4)]
    write_lines(folder / "pair.jsonl", rows)
    shown = run(capsys, "score", "pair.jsonl").out
    assert "warning: the verdict turned with the order in 100% of the questions" in shown
    assert "warning: ours: the adjusted win rate is the same for every question" in shown


def test_grades_whose_mean_is_that_of_every_question_are_not_called_alike(folder, capsys):
    rows = [single_row(81 + n, turn, "ours", 11 - 2 * turn) for n in range(2) for turn in (1, 2)]
    write_lines(folder / "single.jsonl", rows)
    shown = run(capsys, "score", "single.jsonl").out
    assert "ours: 8.00 (same for every question, no interval), 2 questions" in shown
    assert "the mean grade is the same for every question" in shown and "alike" not in shown


def test_grades_are_against_nobody(folder, capsys):
    write_lines(folder / "single.jsonl", [single_row(81, 1, "ours", 5)])
    error = run(capsys, "score", "single.jsonl", "--against", "base", code=2).err
    assert "--against is for comparisons" in error
    write_lines(folder / "pair.jsonl", [pair_row(81, 1, ("a", "b"), "tie", "tie")])
    assert (
        "nothing is compared with it"
        in run(capsys, "score", "pair.jsonl", "--against", "base", code=2).err
    )


def test_a_judge_on_an_endpoint_is_asked_again_for_what_it_failed_to_judge(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    write_benchmark(tmp_path)
    broken = ["truth adds 3"]  # the reference answer of one request

    def answer(body, number):
        asked = question_of(body)
        assert body["temperature"] == 0 and body["max_tokens"] == 2048
        assert body["messages"][0]["content"].startswith("Judge by single-")
        if any(text in asked for text in broken):
            return Fails(500)
        return Says("Rating: [[6]]")

    with standing_in(answer) as judge:
        words = (*JUDGE, *FILES, "--base-url", judge.url, "--retries", "0", "--out", "s.jsonl")
        shown = run(capsys, *words).out
        assert "8 judgments, 1 of which failed and 0 of which give no verdict" in shown
        assert "1 requests got no reply; run the same command again" in shown
        lines = read_lines(tmp_path / "s.jsonl")
        assert [line["score"] for line in lines] == [6] * 7 + [-1]
        assert lines[-1]["judgment"] == "$ERROR$" and len(judge.asked) == 8
        assert "asked with temperature 0, for at most 2,048 tokens a reply" in shown
        broken.clear()
        run(capsys, *words)
        assert len(judge.asked) == 9
    assert [line["score"] for line in read_lines(tmp_path / "s.jsonl")] == [6] * 8
