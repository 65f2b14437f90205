"""`coala-jax evaluate answer`: options reach the sampler, those without a say are named."""

import json

import pytest

from coala_jax.cli import _evaluate_answer
from coala_jax.cli._main import main
from coala_jax.evaluation.answering import AnswerTally
from tests.evaluation.mt_bench_files import question_rows, write_lines


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with four questions of MT-Bench."""
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "question.jsonl", question_rows(4))
    return tmp_path


def run(capsys, *words, code=0):
    assert main(["evaluate", *words]) == code
    return capsys.readouterr()


QUESTIONS = ("--benchmark", "mt-bench", "--data", "question.jsonl")
ANSWER = ("answer", "--model", "nowhere", *QUESTIONS, "--name", "ours")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*ANSWER, "--way", "guided", "--out", "a.jsonl"), "--way guided needs a head"),
        ((*ANSWER, "--way", "plain", "--n", "4", "--out", "a.jsonl"), "--n is of --way best-of-n"),
        (
            (
                "answer",
                "head",
                *ANSWER[1:],
                "--way",
                "best-of-n",
                "--scale",
                "2",
                "--out",
                "a.jsonl",
            ),
            "--scale is of --way guided",
        ),
        (
            (*ANSWER, "--way", "plain", "--lookahead", "2", "--out", "a.jsonl"),
            "--lookahead is of --way guided",
        ),
        ((*ANSWER, "--way", "plain", "--out", "a.txt"), "a.txt: answers to mt-bench are a .jsonl"),
        ((*ANSWER, "--way", "plain", "--out", "question.jsonl"), "question.jsonl is what is read"),
    ],
)
def test_options_without_a_say_are_named(folder, capsys, words, said):
    assert said in run(capsys, *words, code=2).err


def test_options_reach_the_sampler(folder, capsys, monkeypatch):
    from coala_jax.data._chat import PLAIN
    from coala_jax.evaluation import answering
    from coala_jax.evaluation.answering import _conversing

    seen = []

    def answered(sampler, file, name, out, *, report):
        seen.append((sampler, file.questions, name, out.name))
        return AnswerTally(4, 8, 80, 400, 1, 0, 0, 4.0)

    monkeypatch.setattr(_evaluate_answer, "_open", lambda arguments: "model")
    monkeypatch.setattr(_conversing, "chat_layout", lambda model: PLAIN)
    monkeypatch.setattr(answering, "answer_questions", answered)
    words = ("answer", "head", *ANSWER[1:], "--out", "a.jsonl", "--seed", "7", "--batch-size", "5")
    result = json.loads(run(capsys, *words, "--way", "best-of-n", "--n", "4", "--json").out)
    ((sampler, questions, name, out),) = seen
    assert (name, out, len(questions)) == ("ours", "a.jsonl", 4)
    assert (sampler.way, sampler.samples, sampler.seed, sampler.batch_size) == (
        "best-of-n",
        4,
        7,
        5,
    )
    sampling = sampler.config.sampling
    assert (sampling.max_new_tokens, sampling.top_p, sampling.top_k) == (1024, 1.0, 50)
    assert sampling.temperature == 0.7 and sampler.temperature is None
    assert result["mean_tokens"] == 10 and result["mean_reward"] == 0.5 and result["cut"] == 1
    shown = run(capsys, *words, "--way", "guided", "--scale", "2", "--max-new-tokens", "9").out
    sampling = seen[1][0].config.sampling
    assert (sampling.scale, sampling.max_new_tokens) == (2, 9)
    assert "4 questions, 8 answers of 10 tokens and 50 characters on average, mean reward" in shown
    assert "warning: 1 answers were cut where their tokens ran out" in shown
    assert "conversations were written by flatten(System, User, Assistant)" in shown
