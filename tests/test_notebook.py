"""Notebooks hold the outputs of their own code, and give them again when they run."""

import gc
import itertools
import re
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from tools.run_notebooks import (
    NOTEBOOKS,
    OUTPUTS_OF,
    code_cells,
    code_sha256,
    execute,
    faults,
    kernel_environment,
)

NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
MOST_BYTES = 400_000
MOST_LINES = 15
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?|[-+]?\bnan\b")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#([^)]+))?\)")
# What a notebook prints may depend on rounding, such as texts that are sampled: cells say so.
VARIES = "varies"


@pytest.fixture(params=NAMES)
def path(request):
    return NOTEBOOKS / f"{request.param}.ipynb"


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def printed(cell):
    """What a cell prints, without its numbers and spaces."""
    texts = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    return NUMBER.sub("#", "".join(texts.split()))


def pictures(cell):
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def test_stored_outputs_are_those_of_the_stored_code(path, notebook):
    nbformat.validate(notebook)
    assert path.stat().st_size < MOST_BYTES
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata[OUTPUTS_OF] == code_sha256(notebook), "run `make notebooks`"
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert faults(notebook, Path("/home"), Path("/root"), Path("/tmp"), Path("/Users")) == []
    assert any(map(printed, cells)) and any(map(pictures, cells))


def test_a_reader_finds_the_way(path, notebook):
    text = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    levels = [len(mark) for mark in re.findall(r"^(#+) ", "\n".join(text), re.M)]
    assert notebook.cells[0].source.startswith("# ") and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert "\n**" in notebook.cells[0].source and "?**\n" in notebook.cells[0].source
    assert "## What to read next" in text[-1] and notebook.cells[-1].source == text[-1]
    assert "](../docs/" in text[-1]
    for target, anchor in LINK.findall("\n".join(text)):
        page = path.parent / target
        assert page.is_file(), target
        headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
        slugs = [re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in headings]
        assert not anchor or anchor in slugs, f"{target}#{anchor}"
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= MOST_LINES, cell.source


def test_what_must_not_be_stored_is_named():
    said = [("stderr", "a warning"), ("stdout", "<f at 0x7f00aa11>"), ("stdout", "in /own/folder")]
    outputs = [v4.new_output("stream", name=name, text=text) for name, text in said]
    notebook = v4.new_notebook(cells=[v4.new_code_cell(outputs=[each]) for each in outputs])
    assert len(faults(notebook, Path("/own"))) == 3
    assert len(faults(notebook)) == 2


# The jupyter stack leaves sockets and event loops to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::RuntimeWarning:(zmq|tornado|jupyter_client|nbclient|asyncio).*",
    "ignore::UserWarning:(zmq|tornado|jupyter_client|nbclient|traitlets).*",
)
@pytest.mark.slow
def test_it_runs_without_a_warning_and_says_what_is_stored(notebook, tmp_path, monkeypatch):
    """Its own assertions hold; words are those that are stored, figures may differ by machine."""
    stored = [(printed(cell), pictures(cell)) for cell in code_cells(notebook)]
    for name, value in kernel_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "run"
    folder.mkdir()
    execute(notebook, folder)
    gc.collect()  # so that what is left open is not blamed on a later test

    assert faults(notebook, tmp_path) == []
    assert list(folder.iterdir()) == []
    for cell, (words, count) in zip(code_cells(notebook), stored, strict=True):
        assert pictures(cell) == count
        if VARIES not in cell.metadata.get("tags", []):
            assert printed(cell) == words
