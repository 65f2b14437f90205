"""The benchmark of rounds at a small size, and which questions it asks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEADS = 6


@pytest.fixture
def rounds(monkeypatch):
    for folder in (ROOT, ROOT / "benchmarks"):
        monkeypatch.syspath_prepend(str(folder))
    import rounds

    return rounds


def concepts_of(rows):
    return {row["concept"] for row in rows}


def test_settings_are_chosen_without_the_held_out_concepts(rounds):
    train, held_out = rounds.questions(0, 1000)
    fitted, judged = rounds.questions(1, 1000, development=True)
    assert len(train) + len(held_out) == 132 * 5
    assert not concepts_of(train) & concepts_of(held_out)
    assert not concepts_of(fitted) & concepts_of(judged)
    assert 0.2 < len(judged) / len(train) < 0.4
    assert concepts_of(fitted) | concepts_of(judged) == concepts_of(train)
    # The seed decides words and order alone.
    assert concepts_of(rounds.questions(1, 1000)[1]) == concepts_of(held_out)
    assert [row["id"] for row in rounds.questions(1, 1000)[0]] != [row["id"] for row in train]


def test_a_question_s_reward_is_the_rule_s(rounds):
    (row, *_), _ = rounds.questions(0, 1)
    concept = next(each for each in rounds.load_concepts() if each.name == row["concept"])
    told = {"concept": [concept.name] * 2, "aspect": [row["aspect"]] * 2}
    terms = concept.aspects[row["aspect"]].terms
    assert rounds.direct(["", ""], [" and ".join(terms), "nothing"], **told) == [1, 0]


@pytest.mark.slow
def test_rounds_and_heads_answer_the_same_questions(tmp_path):
    sizes = ("--rounds", "1", "--seeds", "0", "--samples", "4", "--questions", "6")
    words = [sys.executable, str(ROOT / "benchmarks" / "rounds.py"), *sizes, "--best-of", "2"]
    words += ["--work", str(tmp_path / "work"), "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((tmp_path / "rounds.json").read_text())
    rows = {(row["head"], row["way"]): row for row in result["rows"]}
    assert len(rows) == 1 + 2 * (1 + HEADS)
    assert all(row["groups"] == rows["before", "plain"]["groups"] for row in rows.values())
    assert all("/" in pair for pair in rows["before", "plain"]["groups"])  # of concepts of a field
    # The head of the round is that of its loss on the same answers.
    for way in ("guided", "best_of_n"):
        same = rows["head: listwise, standardized", way]["direct"]
        assert rows["round 0", way]["direct"] == same
    assert "| round 0 | guided |" in (tmp_path / "rounds.md").read_text()
