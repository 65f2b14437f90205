"""The Python of docs/scoring.md runs as it stands, and all ways to a reward agree."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from coala_jax.decoding import export_stablehlo, export_torch

PAGE = Path(__file__).parents[2] / "docs" / "scoring.md"


def test_the_python_of_the_page_runs_and_its_rewards_agree(
    head_folder, checkpoint, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("torch")
    pytest.importorskip("flatbuffers")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    shutil.copytree(head_folder, "head")
    shutil.copytree(checkpoint, "DIR")
    export_torch("head", "reward_head")
    export_stablehlo("head", "reward.stablehlo")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    ours, by_torch, trainer, shape = capsys.readouterr().out.splitlines()
    (reward,) = np.fromstring(ours.strip("[]"), sep=" ")
    assert float(by_torch) == pytest.approx(reward, rel=1e-4, abs=1e-4)
    assert float(trainer.strip("[]")) == pytest.approx(reward, rel=1e-4, abs=1e-4)
    assert shape == "(3,)"
