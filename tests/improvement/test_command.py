"""`coala-jax improve`: a reward of the user's own module, a folder of rounds, errors in a line."""

import json
from importlib import resources
from pathlib import Path

import pytest

from coala_jax.cli._main import main

BACKBONE = Path(str(resources.files("coala_jax.quickstart"))) / "backbone"
REWARDS = """
def level(prompts, completions, level, **columns):
    return [text.count("e") * (1 + each) for text, each in zip(completions, level)]

def broken(prompts, completions, **columns):
    raise KeyError("answer")

size = 3
"""


@pytest.fixture
def words(tmp_path, monkeypatch):
    """A command line in a folder with rewards and prompts, but for ``--reward``."""
    monkeypatch.chdir(tmp_path)
    # Named by the test, since a module that was imported stays.
    name = f"rewards_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(REWARDS)
    rows = [{"prompt": f"Question {n}: what is a cell?", "level": n} for n in range(10)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = [
        "--samples",
        "4",
        "--rounds",
        "1",
        "--max-new-tokens",
        "16",
        "--eval-fraction",
        "0.4",
    ]
    source = ["--model", str(BACKBONE), "--data", "prompts.jsonl"]
    return ["improve", *source, "--out", "rounds", *options], name


@pytest.mark.slow
def test_rounds_from_a_function_of_a_file(words, capsys, tmp_path, trackio):
    command, module = words
    command += ["--report-to", "trackio"]
    assert main([*command, "--reward", f"{module}:level", "--json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert "coala-jax: round 0: plain answers" in said.err
    assert Path(result["head"]) == Path("rounds/round-000/head")
    assert (tmp_path / "rounds" / "round-000" / "head" / "head.json").exists()
    assert result["rounds"][0]["way"] == "plain" and result["rounds"][0]["reward"]["mean"] > 0
    ((step, figures),) = trackio.logged
    assert (step, figures["train/reward"]) == (0, result["rounds"][0]["reward"]["mean"])
    assert "held_out/guided" in figures and trackio.finished
    assert trackio.started[0]["config"]["reward"] == f"{module}:level"


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("level", "--reward level: give MODULE:FUNCTION"),
        ("nowhere.py:level", "nowhere:level is nowhere.py in "),
        ("no_such_module:f", "importing no_such_module raised ModuleNotFoundError"),
        ("{}:nothing", "has no function nothing"),
        ("{}:size", "has no function size"),
        ("{}:broken", "the reward function broken raised KeyError: 'answer'"),
    ],
)
def test_a_reward_that_cannot_be_is_an_error_of_one_line(words, capsys, reward, said):
    command, module = words
    assert main([*command, "--reward", reward.format(module)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("coala-jax: error: ") and said in error
