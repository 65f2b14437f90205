"""What a message tells people to install is there to be installed."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from coala_jax._extras import how_to_install
from coala_jax.cli._main import main

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]
# Its extra depends on what is missing: that is looked at by calling it.
MAIN = ROOT / "coala_jax" / "cli" / "_main.py"


def extras_named(file):
    """The arguments of a file's calls of `how_to_install`, as syntax."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("how_to_install"):
            yield from node.args


def test_every_extra_that_a_message_names_exists():
    files = [file for file in sorted((ROOT / "coala_jax").rglob("*.py")) if file != MAIN]
    named = {ast.literal_eval(name) for file in files for name in extras_named(file)}
    assert named and named <= set(EXTRAS)


@pytest.mark.parametrize(
    ("extra", "missing"),
    [
        (extra, name)
        for extra in ("serve", "text")
        for name in re.findall(r"^\w+(?=>=)", "\n".join(EXTRAS[extra]), re.MULTILINE)
    ],
)
def test_a_command_names_the_extra_that_has_what_is_missing(extra, missing, monkeypatch, capsys):
    def run(_):
        raise ModuleNotFoundError(name=missing)

    monkeypatch.setattr("coala_jax.cli._backbones.run", run)
    assert main(["backbones"]) == 2
    said = f"coala-jax: error: this command needs {missing}; install it: {how_to_install(extra)}\n"
    assert capsys.readouterr().err == said


def test_the_command_is_one_for_the_source_and_says_why():
    text = how_to_install("text", "torch")
    assert text.startswith("pip install '.[text,torch]' in the folder of coala-jax's source")
    assert "not on an index yet" in text


def test_no_page_and_no_message_installs_the_package_by_its_name():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    files = [*pages, *(ROOT / "coala_jax").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    by_name = re.compile(r"pip install [^\n]*coala[-_]jax(?!'s)\b")
    assert [str(file) for file in files if by_name.search(file.read_text("utf-8"))] == []
