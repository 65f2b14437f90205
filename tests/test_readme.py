"""The code that people copy runs: the README's Python and the example of `solve`."""

import doctest
import importlib
import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_research_code_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(README), "exec"), {"__name__": "readme"})
    gap, explained = map(float, capsys.readouterr().out.splitlines()[0].split())
    assert gap <= 1e-2
    assert explained >= 0.9
    assert sorted(file.name for file in (tmp_path / "head").iterdir()) == [
        "head.json",
        "head.safetensors",
    ]


def test_the_example_of_solve_runs():
    # By name: `coala_jax.solve` is the function, not the module.
    outcome = doctest.testmod(importlib.import_module("coala_jax.solve"))
    assert outcome.attempted > 0
    assert outcome.failed == 0
