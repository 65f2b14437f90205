"""Rounds of improvement on the embedded backbone: what they learn, keep, refuse and survive."""

import dataclasses
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from coala_jax.backbones import load_backbone
from coala_jax.decoding import GenerationConfig, TextRewardModel
from coala_jax.improvement import ImproveError, ImproveSettings, improve
from coala_jax.improvement._asked import split_prompts
from coala_jax.selection import SELECTED

BACKBONE = Path(str(resources.files("coala_jax.quickstart"))) / "backbone"
SHORT = GenerationConfig.from_options(max_new_tokens=8)
SETTINGS = ImproveSettings(
    samples=4,
    rounds=2,
    generation=SHORT,
    solving=dataclasses.replace(SELECTED, phase1_loss="listwise", n_gates=4),
    batch_size=8,
    prompts_at_once=4,
)
PROMPTS = [f"Question {n}: what is a cell?" for n in range(6)]
UNSEEN = [f"Question {n}: why is it so?" for n in range(10, 14)]


def letters(prompts, completions, **columns):
    """A reward of the text alone: its share of the letter e."""
    return [text.count("e") / max(len(text), 1) for text in completions]


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(BACKBONE)


@pytest.fixture(scope="module")
def improved(backbone, tmp_path_factory):
    """A run of two rounds, and what the reward function was called with."""
    calls = []

    def reward(**given):
        calls.append(given)
        return letters(given["prompts"], given["completions"])

    folder = tmp_path_factory.mktemp("rounds")
    rows = [{"prompt": prompt, "level": n} for n, prompt in enumerate(PROMPTS)]
    settings = dataclasses.replace(SETTINGS, evaluated=("guided", "best_of_n"), patience=2)
    return (
        improve(backbone, rows, reward, folder, held_out=UNSEEN, settings=settings),
        calls,
        folder,
    )


@pytest.mark.slow
def test_a_round_is_a_folder_and_the_head_is_one_of_texts(improved, backbone):
    found, _, folder = improved
    assert [each.way for each in found.rounds] == ["plain", "guided"]
    assert {path.name for path in (folder / "round-001").iterdir()} >= {
        "features.npz",
        "head",
        "held-out-best_of_n.jsonl",
        "held-out-guided.jsonl",
        "rollouts-texts.jsonl",
        "rollouts.jsonl",
        "round.json",
    }
    lines = (folder / "round-001" / "rollouts.jsonl").read_text().splitlines()
    assert len(lines) == len(PROMPTS)
    for line in map(json.loads, lines):
        assert line["rewards"] == letters(None, line["answers"]) and len(line["answers"]) == 4
    # Answers of both rounds are one group a prompt.
    assert found.rounds[1].groups == len(PROMPTS)
    loaded = TextRewardModel.load(folder / "round-001" / "head", backbone)
    assert loaded.trained_on is not None and PROMPTS[0] in loaded.trained_on
    assert (
        found.model.head_sha256
        == TextRewardModel.load(folder / f"round-{found.best:03d}" / "head", backbone).head_sha256
    )
    assert found.report().count("\n") == 2 and "(best)" in found.report()
    assert f"held-out reward of {found.unseen} prompts" in found.report()
    assert ("so few tell little" in found.report()) == (found.unseen < 16)
    assert found.rounds[0].tokens > 0 and found.rounds[1].evaluations > found.rounds[0].tokens


@pytest.mark.slow
def test_the_reward_function_has_the_signature_of_trl(improved):
    _, calls, _ = improved
    first = calls[1]  # after the held-out prompts, which are answered plainly before all rounds
    assert first["prompts"][:5] == [PROMPTS[0]] * 4 + [PROMPTS[1]]
    assert first["level"][:5] == [0, 0, 0, 0, 1]
    assert len(first["completions"]) == len(first["completion_ids"]) == 16
    assert all(isinstance(text, str) for text in first["completions"])
    assert "level" not in calls[0]


@pytest.mark.slow
def test_what_is_there_is_not_made_again(improved, backbone):
    found, calls, folder = improved
    before, again = len(calls), []

    def reward(**given):
        again.append(given)
        return letters(given["prompts"], given["completions"])

    rows = [{"prompt": prompt, "level": n} for n, prompt in enumerate(PROMPTS)]
    settings = dataclasses.replace(SETTINGS, evaluated=("guided", "best_of_n"), patience=2)
    same = improve(backbone, rows, reward, folder, held_out=UNSEEN, settings=settings)
    assert not again and len(calls) == before
    assert same.report() == found.report()
    other = dataclasses.replace(settings, samples=5)
    with pytest.raises(ImproveError, match="holds rounds of another samples; give another out"):
        improve(backbone, rows, reward, folder, held_out=UNSEEN, settings=other)
    with pytest.raises(ImproveError, match="holds rounds of another reward; give another out"):
        improve(backbone, rows, letters, folder, held_out=UNSEEN, settings=settings)


def breaking(after, kind):
    """A reward function that is of no use after some calls."""
    calls = []

    def reward(prompts, completions, **columns):
        calls.append(len(completions))
        good = letters(prompts, completions)
        if len(calls) <= after:
            return good
        return {
            "raises": lambda: 1 / 0,
            "short": lambda: good[:-1],
            "nan": lambda: [float("nan"), *good[1:]],
            "words": lambda: ["good"] * len(good),
            "nothing": lambda: None,
        }[kind]()

    return reward


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        pytest.param(
            "raises",
            "round 0, prompts 4 to 5: the reward function reward raised ZeroDivisionError",
            marks=pytest.mark.slow,
        ),
        pytest.param("short", "reward gave 7 rewards for 8 completions", marks=pytest.mark.slow),
        pytest.param("nan", "reward gave nan for answer 0 to its prompt 0", marks=pytest.mark.slow),
        pytest.param(
            "words",
            "must give a list of numbers or None; could not convert",
            marks=pytest.mark.slow,
        ),
        pytest.param("nothing", "must give a list of numbers or None", marks=pytest.mark.slow),
    ],
)
def test_a_reward_function_that_breaks_loses_nothing(backbone, tmp_path, kind, words):
    """The first piece of four prompts was rewarded: it is not sampled or rewarded again."""
    with pytest.raises(ImproveError, match=words):
        improve(backbone, PROMPTS, breaking(2, kind), tmp_path, held_out=UNSEEN, settings=SETTINGS)
    texts = (tmp_path / "round-000" / "rollouts-texts.jsonl").read_bytes()
    calls = []

    def reward(prompts, completions, **columns):
        calls.append(prompts)
        return letters(prompts, completions)

    one = dataclasses.replace(SETTINGS, rounds=1)
    found = improve(backbone, PROMPTS, reward, tmp_path, held_out=UNSEEN, settings=one)
    assert (tmp_path / "round-000" / "rollouts-texts.jsonl").read_bytes() == texts
    assert calls[0][0] == PROMPTS[4] and len(found.rounds) == 1


@pytest.mark.slow
def test_rewards_that_say_nothing_are_named(backbone, tmp_path):
    def same(prompts, completions, **columns):
        return [1.0] * len(completions)

    with pytest.raises(ImproveError, match="round 0: features: nothing to learn: .*") as raised:
        improve(backbone, PROMPTS, same, tmp_path, held_out=UNSEEN, settings=SETTINGS)
    wrong = [tmp_path / "held-out-plain.jsonl", tmp_path / "round-000" / "rollouts.jsonl"]
    assert f"remove {wrong[0]} and {wrong[1]}" in str(raised.value)
    for path in wrong:
        path.unlink()

    def mended(prompts, completions, **columns):
        return letters(prompts, completions)

    mended.__name__ = "same"
    one = dataclasses.replace(SETTINGS, rounds=1)
    found = improve(backbone, PROMPTS, mended, tmp_path, held_out=UNSEEN, settings=one)
    assert found.plain.mean < 1  # that of `same` is 1


def test_prompts_that_are_the_same_but_for_case_are_held_out_together():
    rows = [f"{word} {number}?" for number in range(30) for word in ("What is", "what  IS")]
    train, unseen = split_prompts(rows, 0.3, 0)
    known = {each.prompt.lower().replace("  ", " ") for each in train}
    assert unseen and not known & {each.prompt.lower().replace("  ", " ") for each in unseen}


@pytest.mark.slow
def test_a_head_that_was_solved_is_not_solved_again(backbone, tmp_path, monkeypatch):
    """A run that died after it; answers of another head are not taken for its."""
    one = dataclasses.replace(SETTINGS, rounds=1)

    def run():
        return improve(backbone, PROMPTS, letters, tmp_path, held_out=UNSEEN, settings=one)

    found = run()
    folder = tmp_path / "round-000"
    (folder / "round.json").unlink()
    monkeypatch.setattr("coala_jax.improvement._improve.select", None)
    assert run().report() == found.report()
    request = folder / "held-out-guided.jsonl.request.json"
    request.write_text(request.read_text().replace('"head": "', '"head": "0'))
    (folder / "round.json").unlink()
    with pytest.raises(ImproveError, match="was made by another head, or of other prompts"):
        run()


@pytest.mark.slow
def test_an_interval_without_ends_is_read_again(backbone, tmp_path):
    def of_one(prompts, completions, **columns):
        found = letters(prompts, completions)
        known = [*PROMPTS, UNSEEN[0]]
        return [each if p in known else None for p, each in zip(prompts, found, strict=True)]

    one = dataclasses.replace(SETTINGS, rounds=1)
    reports = [
        improve(backbone, PROMPTS, of_one, tmp_path, held_out=UNSEEN, settings=one).report()
        for _ in range(2)
    ]
    assert reports[0] == reports[1] and "[unknown]" in reports[0]


@pytest.mark.slow
def test_none_is_no_reward(backbone, tmp_path):
    def some(prompts, completions, **columns):
        found = letters(prompts, completions)
        return [None if number % 4 == 3 else each for number, each in enumerate(found)]

    def nothing(prompts, completions, **columns):
        return [None] * len(completions)

    with pytest.raises(ImproveError, match="gave no reward at all"):
        improve(backbone, PROMPTS, nothing, tmp_path / "a", held_out=UNSEEN, settings=SETTINGS)
    one = dataclasses.replace(SETTINGS, rounds=1)
    found = improve(backbone, PROMPTS, some, tmp_path / "b", held_out=UNSEEN, settings=one)
    lines = (tmp_path / "b" / "round-000" / "rollouts.jsonl").read_text().splitlines()
    known = [reward for line in lines for reward in json.loads(line)["rewards"]]
    assert known.count(None) == 6
    assert found.rounds[0].reward.mean == pytest.approx(
        np.mean([each for each in known if each is not None])
    )


BAD = [
    ({"samples": 1}, "samples=1 must be at least 2"),
    ({"rounds": 0}, "rounds=0 must be at least 1"),
    ({"policy": "greedy"}, "policy='greedy' must be one of plain, guided, best_of_n"),
    ({"keep_rounds": 0}, "keep_rounds=0 must be at least 1, or None"),
    ({"evaluated": ()}, "evaluated=.. must name ways"),
    ({"solving": SELECTED}, "solving.phase1_loss='bradley_terry' must be a loss of groups"),
    (
        {"generation": GenerationConfig.from_options(temperature=0)},
        "temperature=0 gives 8 answers that are the same",
    ),
]


@pytest.mark.parametrize(("fields", "words"), BAD)
def test_settings_that_cannot_be_are_named(fields, words):
    with pytest.raises(ImproveError, match=words):
        ImproveSettings(**fields)


def test_prompts_that_cannot_be_are_named(backbone, tmp_path):
    def run(prompts, held_out=UNSEEN):
        improve(backbone, prompts, letters, tmp_path, held_out=held_out, settings=SETTINGS)

    with pytest.raises(TypeError, match="prompts must be a sequence of prompts, got str"):
        run("What?")
    with pytest.raises(ImproveError, match="prompts: row 0 has no prompt, but question"):
        run([{"question": "What?"}, {"prompt": "Why?"}])
    with pytest.raises(ImproveError, match="held_out: 1 of the prompts, the first is held_out 0"):
        run(PROMPTS, [PROMPTS[2].upper() + " ", "Another?"])
    with pytest.raises(ImproveError, match="column 'completions' is what reward functions are"):
        run([{"prompt": prompt, "completions": "a"} for prompt in PROMPTS])
    with pytest.raises(ImproveError, match="id 'a' stands twice"):
        run([{"prompt": prompt, "id": "a"} for prompt in PROMPTS])
    with pytest.raises(ImproveError, match="prompts: 1 prompts are too few; give more"):
        run(PROMPTS[:1])
    with pytest.raises(ImproveError, match="0 prompts, of 4 of which 0.2 are held out by a hash"):
        run(["Why?"] * 4, held_out=0.2)
    with pytest.raises(TypeError, match="reward_fn must be a function, got 'brevity'"):
        improve(backbone, PROMPTS, "brevity", tmp_path, held_out=UNSEEN, settings=SETTINGS)
    with pytest.raises(ImproveError, match="some are texts, some conversations"):
        run([*PROMPTS, [{"role": "user", "content": "Why?"}]])
    with pytest.raises(ImproveError, match="held_out=1.5 must be a share"):
        run(PROMPTS, 1.5)
