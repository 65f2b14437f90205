"""Answers to benchmarks: what is asked and how, and that a run which died goes on alike."""

import json
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import jax
import pytest

from coala_jax.backbones import load_backbone
from coala_jax.decoding import Generation, GenerationConfig, guided_generate
from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation.answering import (
    Asked,
    Sampler,
    _answering,
    _conversing,
    answer_questions,
    converse,
    read_alpaca_eval,
    read_arena_hard,
    read_mt_bench,
)
from coala_jax.evaluation.answering._conversing import answer_room
from coala_jax.evaluation.arena_hard import read_answers as read_arena_answers
from coala_jax.evaluation.mt_bench import read_answers, read_questions
from coala_jax.features import FeatureError
from coala_jax.features._settings import ExtractSettings
from tests.evaluation.mt_bench_files import question_rows, read_lines, write_lines
from tests.helpers import load_with_opinions, random_reward_model

EMBEDDED = Path(str(resources.files("coala_jax.quickstart"))) / "backbone"
CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def backbone(make_checkpoint, tmp_path_factory):
    folder = make_checkpoint(tmp_path_factory.mktemp("models") / "tiny", n_positions=256)
    return load_with_opinions(folder)


@pytest.fixture(scope="module")
def talking(make_checkpoint, tmp_path_factory):
    """A backbone whose tokenizer has a chat template."""
    folder = make_checkpoint(tmp_path_factory.mktemp("models") / "talking", n_positions=256)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return load_backbone(folder)


@pytest.fixture(scope="module")
def model(backbone):
    return random_reward_model(backbone, ExtractSettings())


@pytest.fixture
def file(tmp_path):
    """Six questions of two turns."""
    return read_mt_bench(write_lines(tmp_path / "question.jsonl", question_rows(6)))


@pytest.fixture
def questions(file):
    return file.questions


def sampler(model, way="plain", *, temperature=None, seed=0, batch_size=2, samples=3, **options):
    config = GenerationConfig.from_options(**{"max_new_tokens": 6, **options})
    return Sampler(model, way, samples, config, temperature, seed, batch_size)


class Request(NamedTuple):
    prompt: str
    config: GenerationConfig
    key: tuple


@pytest.fixture
def asked(monkeypatch):
    """What `guided_generate` is asked, call by call; its answers are made up."""
    calls = []

    def make_up(model, prompts, config, key, **options):
        keys = [tuple(jax.random.key_data(each).tolist()) for each in key]
        calls.append([Request(*row) for row in zip(prompts, config, keys, strict=True)])
        return [made_up(f" answer {n} \n", reward=n % 3) for n in range(len(prompts))]

    monkeypatch.setattr(_conversing, "guided_generate", make_up)
    return calls


def made_up(text, reward):
    counts = {"evaluations": 1, "guided_steps": 0, "scored": 0, "near_ties": 0}
    return Generation(text, (5, 0), "stop", reward, prompt_tokens=9, **counts)


def test_the_second_prompt_holds_the_first_answer(backbone, questions, asked):
    made = converse(sampler(backbone), questions[:2])
    first, second = asked
    assert [each.answers[0].text for each in made] == ["answer 0", "answer 1"]
    assert first[0].prompt == "User: Why is 0?\nAssistant:"
    for row, conversation in zip(second, made, strict=True):
        one, two = conversation.question.turns
        said = conversation.answers[0].text
        assert row.prompt == f"User: {one}\nAssistant: {said}\nUser: {two}\nAssistant:"


def test_categories_have_their_temperatures_unless_one_is_given(backbone, questions, asked):
    converse(sampler(backbone), questions)
    assert [row.config.sampling.temperature for row in asked[0]] == [0.7, 0, 0.1, 0, 0.7, 0]
    asked.clear()
    converse(sampler(backbone, temperature=1.5), questions)
    assert {row.config.sampling.temperature for call in asked for row in call} == {1.5}


def test_the_head_has_a_say_in_guided_answers_alone(model, questions, asked):
    for way, scale in (("plain", 0), ("best-of-n", 0), ("guided", 4)):
        asked.clear()
        converse(sampler(model, way, scale=4.0), questions[:1])
        assert {row.config.sampling.scale for call in asked for row in call} == {scale}


def test_a_model_without_a_chat_template_is_stopped_where_the_user_would_go_on(
    backbone, talking, questions, asked
):
    converse(sampler(backbone, stop=("END",)), questions[:1])
    assert asked[0][0].config.sampling.stop == ("END", "\nUser:")
    asked.clear()
    converse(sampler(talking), questions[:1])
    assert asked[0][0].config.sampling.stop == ()


def test_a_chat_template_writes_the_conversation(talking, questions, asked):
    made = converse(sampler(talking), questions[:1])
    end = talking.tokenizer.end_token
    said = made[0].answers[0].text
    assert asked[0][0].prompt == f"<user>Why is 0?{end}<assistant>"
    assert asked[1][0].prompt == (
        f"<user>Why is 0?{end}<assistant>{said}{end}<user>And 0 more?{end}<assistant>"
    )


def test_a_head_of_plain_texts_is_asked_in_plain_lines(talking, questions, asked):
    converse(sampler(random_reward_model(talking, ExtractSettings())), questions[:1])
    assert asked[0][0].prompt == "User: Why is 0?\nAssistant:"


@pytest.mark.slow
def test_a_question_draws_alike_whatever_runs_beside_it(backbone, questions):
    def texts(batch, size):
        made = converse(sampler(backbone, temperature=1.0, batch_size=size), batch)
        return {each.question.key: [one.text for one in each.answers] for each in made}

    together = texts(questions, 4)
    assert together == texts(questions[::-1], 4)
    assert together["84"] == texts(questions[3:4], 1)["84"]
    assert len({tuple(answers) for answers in together.values()}) == len(together)


def test_turns_and_seeds_draw_otherwise(backbone, questions, asked):
    for seed in (0, 1):
        converse(sampler(backbone, seed=seed), questions)
    keys = [row.key for call in asked for row in call]
    assert len(keys) == len(set(keys)) == 24


def test_the_best_of_several_is_what_the_head_rewards_most(model, questions, asked):
    made = converse(sampler(model, "best-of-n", samples=5), questions[:2])
    first, second = asked
    # Of math, at temperature 0, all would be the same.
    assert [len(first), len(second)] == [6, 6] and len({row.key for row in first}) == 6
    # Rewards are 0, 1, 2, 0, 1 of the five, and 2 of the one.
    assert [each.answers[0].text for each in made] == ["answer 2", "answer 5"]
    assert "Assistant: answer 2" in second[0].prompt and "Assistant: answer 5" in second[5].prompt


@pytest.mark.slow
def test_the_best_of_real_samples_is_among_them(model, questions):
    made = converse(sampler(model, "best-of-n", temperature=1.0, samples=4), questions[:1])
    plain = GenerationConfig.from_options(
        max_new_tokens=6, temperature=1.0, stop=("\nUser:",), scale=0.0
    )
    key = _conversing.draw_key(0, questions[0], 0, 0)
    (first,) = guided_generate(model, ["User: Why is 0?\nAssistant:"], plain, [key])
    assert made[0].answers[0].reward >= first.reward - 1e-4


@pytest.mark.parametrize("died_after", [0, 1, 2])
def test_a_run_that_died_goes_on_and_ends_with_the_same_bytes(
    backbone, file, tmp_path, monkeypatch, died_after
):
    made = sampler(backbone, temperature=1.0)
    whole = answer_questions(made, file, "ours", tmp_path / "whole.jsonl")
    out, finished = tmp_path / "out.jsonl", []

    def dies(*arguments):
        if len(finished) == died_after:
            raise KeyboardInterrupt
        finished.append(arguments)
        return converse(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(_answering, "converse", dies)
        with pytest.raises(KeyboardInterrupt):
            answer_questions(made, file, "ours", out)
    assert not out.exists()
    said = []
    again = answer_questions(made, file, "ours", out, report=said.append)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert again == whole and again.questions == 6 and again.turns == 12
    assert said == (
        [f"{2 * died_after} questions are answered by an earlier run; going on there"]
        if died_after
        else []
    )
    assert not list(tmp_path.glob("*.partial*"))
    answers = read_answers(out, read_questions(tmp_path / "question.jsonl"))
    assert answers.system == "ours"


def test_a_run_that_was_asked_for_something_else_does_not_go_on(
    backbone, file, tmp_path, monkeypatch
):
    out, calls = tmp_path / "out.jsonl", []

    def dies(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return converse(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(_answering, "converse", dies)
        with pytest.raises(KeyboardInterrupt):
            answer_questions(sampler(backbone), file, "ours", out)
    with pytest.raises(FeatureError, match="seed was 0, is 1"):
        answer_questions(sampler(backbone, seed=1), file, "ours", out)
    few = file._replace(questions=file.questions[:4])
    with pytest.raises(FeatureError, match="questions was"):
        answer_questions(sampler(backbone), few, "ours", out)


def test_a_small_context_is_shared_by_the_answers(backbone, questions, asked):
    made = sampler(backbone, max_new_tokens=1024)
    room = answer_room(made, questions[0])
    assert 20 < room < 128
    (conversation,) = converse(made, questions[:1])
    assert conversation.shortened
    assert {row.config.sampling.max_new_tokens for call in asked for row in call} == {room}
    (conversation,) = converse(sampler(backbone, max_new_tokens=5), questions[:1])
    assert not conversation.shortened


def test_a_question_beyond_the_context_is_named_before_anything_runs(
    backbone, file, tmp_path, asked
):
    long = Asked("99", ("why? " * 300, "And?"), 0.1, "question.jsonl: row 7")
    longer = file._replace(questions=(*file.questions, long))
    with pytest.raises(EvaluationError, match="row 7: question 99 has .* context of 256"):
        answer_questions(sampler(backbone), longer, "ours", tmp_path / "out.jsonl")
    assert not asked and not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("way", ["guided", "best-of-n"])
def test_ways_that_need_a_head_are_refused_without_one(backbone, file, tmp_path, way):
    with pytest.raises(EvaluationError, match=f"way='{way}' needs a head"):
        answer_questions(sampler(backbone, way), file, "ours", tmp_path / "out.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["plain", "guided", "best-of-n"])
def test_the_embedded_backbone_answers_two_turns(file, tmp_path, way):
    model = random_reward_model(load_backbone(EMBEDDED), ExtractSettings())
    out = tmp_path / "out.jsonl"
    # More than its context of 512 has room for, as FastChat's 1024 are.
    most = 300 if way == "plain" else 24
    tally = answer_questions(
        sampler(model, way, max_new_tokens=most, batch_size=6), file, "ours", out
    )
    assert tally.questions == 6 and tally.turns == 12 and 0 < tally.tokens <= 12 * most
    assert tally.shortened == (6 if way == "plain" else 0)
    lines = read_lines(out)
    assert [str(line["question_id"]) for line in lines] == [each.key for each in file.questions]
    said = [text for line in lines for text in line["choices"][0]["turns"]]
    assert all("\nUser:" not in text and text == text.strip() for text in said)
    assert json.dumps(lines)


def test_answers_to_arena_hard_are_read_back_by_uid(backbone, tmp_path):
    rows = [{"uid": f"u{n}", "category": "hard_prompt", "prompt": f"Why is {n}?"} for n in range(3)]
    file = read_arena_hard(write_lines(tmp_path / "question.jsonl", rows))
    out = tmp_path / "ours.jsonl"
    tally = answer_questions(sampler(backbone), file, "ours", out)
    answers = read_arena_answers(out).answers
    assert answers.system == "ours" and list(answers.by_question) == ["u0", "u1", "u2"]
    assert tally.turns == 3


def test_answers_to_alpaca_eval_are_one_array_and_a_killed_run_goes_on(
    backbone, tmp_path, monkeypatch
):
    rows = [{"instruction": f"Why is {n}?", "dataset": "made up"} for n in range(4)]
    (tmp_path / "alpaca_eval.json").write_text(json.dumps(rows))
    file = read_alpaca_eval(tmp_path / "alpaca_eval.json")
    made, out = sampler(backbone, temperature=1.0), tmp_path / "ours.json"
    answer_questions(made, file, "ours", tmp_path / "whole.json")
    finished = []

    def dies(*arguments):
        if finished:
            raise KeyboardInterrupt
        finished.append(arguments)
        return converse(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(_answering, "converse", dies)
        with pytest.raises(KeyboardInterrupt):
            answer_questions(made, file, "ours", out)
    answer_questions(made, file, "ours", out)
    assert out.read_bytes() == (tmp_path / "whole.json").read_bytes()
    found = json.loads(out.read_text())
    assert [row["instruction"] for row in found] == [row["instruction"] for row in rows]
    assert {row["generator"] for row in found} == {"ours"} and found[0]["dataset"] == "made up"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"alpaca_eval.json", "ours.json", "whole.json"}


def test_questions_of_one_turn_have_the_temperature_of_the_settings(backbone, tmp_path, asked):
    rows = [{"uid": "u", "category": "hard_prompt", "prompt": "Why?"}] * 1
    file = read_arena_hard(write_lines(tmp_path / "question.jsonl", rows))
    for given, expected in ((None, 0.3), (0.9, 0.9)):
        asked.clear()
        config = GenerationConfig.from_options(max_new_tokens=6, temperature=0.3)
        converse(Sampler(backbone, "plain", 1, config, given, 0, 2), file.questions)
        assert [row.config.sampling.temperature for row in asked[0]] == [expected]
