"""What a message tells people to install is there to be installed."""

import re
import tomllib
from pathlib import Path

from coala_jax._extras import how_to_install

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]
CALL = re.compile(r"how_to_install\(([^)]*)\)")


def test_every_extra_that_a_message_names_exists():
    named = [
        name
        for file in sorted((ROOT / "coala_jax").rglob("*.py"))
        for call in CALL.findall(file.read_text("utf-8"))
        for name in re.findall(r"['\"](\w+)['\"]", call)
    ]
    assert len(named) >= 7
    assert set(named) <= set(EXTRAS)


def test_the_command_is_one_for_the_source_and_says_why():
    text = how_to_install("text", "torch")
    assert text.startswith("pip install '.[text,torch]' in the folder of coala-jax's source")
    assert "not on an index yet" in text


def test_no_page_and_no_message_installs_the_package_by_its_name():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    files = [*pages, *(ROOT / "coala_jax").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    by_name = re.compile(r"pip install [^\n]*coala[-_]jax(?!'s)\b")
    assert [str(file) for file in files if by_name.search(file.read_text("utf-8"))] == []
