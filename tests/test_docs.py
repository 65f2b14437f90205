"""Every block of code in the README and the docs runs as it is printed, or says why it does not.

A comment before a block, which a reader of the page does not see, says what becomes of it:
`<!-- not run: reason -->`, or `<!-- file: name -->` for one that is a file of the later ones. A
page of commands that all take too long has `<!-- no block of this page is run: reason -->`.
"""

import csv
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S
)
NO_BLOCK = re.compile(r"^<!-- no block of this page is run: \S.*-->$", re.M)
CODE = ("python", "sh", "console")
SECONDS = 900
# Pages that solve and extract, which is compiling: the flags of tests/conftest.py make that short,
# and responses, of which other pages are full, slow.
COMPILES_MOST = ("README.md", "choosing.md", "extraction.md")
EXTRACT = "coala-jax extract --model DIR --data pairs.jsonl.gz --out store"
# Blocks of a page go on from each other: one process runs them all, in their order.
RUNNER = """
import json, subprocess, sys
names = {"__name__": "__main__"}
for language, place, code in json.load(open("blocks.json", encoding="utf-8")):
    print("block", place, flush=True)
    if language == "python":
        exec(compile(code, place, "exec"), names)
    else:
        command = ["bash", "-euo", "pipefail", "-c", code]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
"""


class Block(NamedTuple):
    """A fenced block: what its fence says, the comment before it, the line it begins in."""

    language: str
    mark: str
    code: str
    line: int

    @property
    def runs(self):
        return self.language in CODE and not self.mark.startswith("not run: ")

    @property
    def commands(self):
        """The code alone, without what a session shows of its output."""
        if self.language != "console":
            return self.code
        lines = self.code.splitlines()
        return "\n".join(line.removeprefix("$ ") for line in lines if line.startswith("$ "))


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            found["language"],
            found["mark"] or "",
            found["code"],
            text.count("\n", 0, found.start("code")) + 1,
        )
        for found in FENCE.finditer(text)
    ]


def is_run(page):
    if page.name == "functional.md":  # in tests/test_functional_page.py, which reads its output
        return False
    text = page.read_text(encoding="utf-8")
    return not NO_BLOCK.search(text) and any(block.runs for block in blocks_of(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page):
    text = page.read_text(encoding="utf-8")
    blocks = blocks_of(page)
    assert len(blocks) == len(re.findall(r"^```", text, re.M)) / 2
    for block in blocks:
        assert block.language in (*CODE, "json", "text"), f"{page.name}:{block.line}"
        if block.language == "text":
            assert not re.search(r"^\$? ?(coala-jax|python|pip) ", block.code, re.M), block.line
        known = r"not run: \S.*|file: \S+"
        assert not block.mark or re.fullmatch(known, block.mark), f"{page.name}:{block.line}"
        if block.language == "python":
            compile(block.code, f"{page.name}:{block.line}", "exec")


def anchors_of(page):
    """Names that a forge gives the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_to_files_and_headings(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"(?:\]\(|src=\")([^)\"\s]+)[)\"]", text):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors_of(target), f"{page.name}: {link}"


def rows_of(block, folder):
    from coala_jax.data import read_rows

    file = folder / "rows.jsonl"
    file.write_text(block.code, encoding="utf-8")
    return read_rows(file)


def test_the_rows_of_the_page_of_formats_are_rows(tmp_path):
    blocks = [block for block in blocks_of(ROOT / "docs" / "data.md") if block.language == "json"]
    pairs, unpaired, scored, rated, winner, others = blocks
    for block in (pairs, winner, others):
        for line in block.code.splitlines():
            (row,) = rows_of(block._replace(code=line), tmp_path).rows
            assert row.prompt and row.chosen != row.rejected
    for block in (unpaired, scored, rated):
        found = rows_of(block, tmp_path)
        assert len(found.rows) == 1 and "chosen" not in found.set_aside_counts


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """The folder of a small head of the quickstart, which the pages call out/quickstart."""
    from coala_jax.cli._main import main

    folder = tmp_path_factory.mktemp("quickstart") / "head"
    assert (
        main(["quickstart", "--train-pairs", "400", "--eval-pairs", "200", "--out", str(folder)])
        == 0
    )
    return folder


def write_lines(file, rows):
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "wt", encoding="utf-8") as written:
        written.write(lines)


@pytest.fixture
def folder(head, tmp_path):
    """Where a reader would be: a checkout, with the files that the pages speak of."""
    from coala_jax.data import write_rows
    from coala_jax.quickstart import tutoring_rows

    backbone = ROOT / "coala_jax" / "quickstart" / "backbone"
    for name in ("DIR", "models/gpt2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(backbone)
    (tmp_path / "coala_jax").symlink_to(ROOT / "coala_jax")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "quickstart").symlink_to(head)
    rows = tutoring_rows(0, 250, 20).train
    for name in ("pairs.jsonl", "pairs.jsonl.gz"):
        write_rows(tmp_path / name, rows)
    write_rows(tmp_path / "rows.jsonl", rows[:4])
    write_lines(tmp_path / "prompts.jsonl", ({"prompt": row.prompt} for row in rows[:2]))
    (tmp_path / "prompts.txt").write_text("What is osmosis?\n", encoding="utf-8")
    for name, sides in (("survey", ("chosen", "rejected")), ("answers", ("best", "other"))):
        with (tmp_path / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["question", *sides])
            table.writerows((row.prompt, row.chosen, row.rejected) for row in rows[:20])
    turns = ("What does a lever do?", "It trades force for distance.", "And a pulley?")
    roles = ("user", "assistant", "user", "assistant")
    messages = [
        {"role": role, "content": content}
        for role, content in zip(roles, (*turns, "It turns a pull around."), strict=True)
    ]
    said = {"messages": [*messages, *messages]}
    write_lines(tmp_path / "conversations.jsonl.gz", [said])
    return tmp_path


@pytest.mark.parametrize("page", filter(is_run, PAGES), ids=lambda page: page.name)
@pytest.mark.slow
def test_the_blocks_of_a_page_run(page, head, folder):
    blocks = blocks_of(page)
    if page.name == "scoring.md":
        pytest.importorskip("torch")
    for block in blocks:
        if block.mark.startswith("file: "):
            (folder / block.mark.removeprefix("file: ")).write_text(block.code, encoding="utf-8")
    if page.name == "choosing.md":  # which begins with a store
        blocks.insert(0, Block("sh", "", EXTRACT, 0))
    run = [(b.language, f"{page.name}:{b.line}", b.commands) for b in blocks if b.runs]
    (folder / "blocks.json").write_text(json.dumps(run), encoding="utf-8")
    environment = dict(os.environ)
    if page.name not in COMPILES_MOST:
        del environment["XLA_FLAGS"]
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["PYTHONPATH"] = str(ROOT)
    environment["HF_HUB_OFFLINE"] = "1"
    environment["COALA_JAX_COMPILE_CACHE"] = str(head.parent / "compiled")
    if page.name == "backbones.md":
        environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
