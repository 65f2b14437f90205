"""The Python of docs/scoring.md runs as it stands, and all ways to a reward agree."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from coala_jax.data import ResponseRow
from coala_jax.decoding import export_stablehlo, export_torch, score

PAGE = Path(__file__).parents[2] / "docs" / "scoring.md"


def test_the_python_of_the_page_runs_and_its_rewards_agree(
    head_folder, checkpoint, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("torch")
    pytest.importorskip("flatbuffers")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    head = Path("out/quickstart")
    shutil.copytree(head_folder, head)
    shutil.copytree(checkpoint, "DIR")
    export_torch(head, "reward_head")
    export_stablehlo(head, "reward.stablehlo")
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"(<!-- not run[^\n]*\n)?```python\n(.*?)```", page, re.DOTALL)
    names: dict = {}
    for mark, block in blocks:
        if not mark:
            exec(compile(block, str(PAGE), "exec"), names)
    ours, by_torch, trainer, shape = capsys.readouterr().out.splitlines()
    (reward,) = np.fromstring(ours.strip("[]"), sep=" ")
    assert float(by_torch) == pytest.approx(reward, rel=1e-4, abs=1e-4)
    # A trainer's completion begins with a space, which does not count; this one is shorter.
    model, (prompt,) = names["model"], names["prompts"]
    row = ResponseRow("r", "response", prompt, "Software that translates a whole source program.")
    (shorter,) = score(model, [row]).rewards
    assert float(trainer.strip("[]")) == pytest.approx(shorter, rel=1e-4, abs=1e-4)
    assert shape == "(3,)"
