"""The notebook runs from top to bottom, without a warning, and is committed without outputs."""

import gc
from pathlib import Path

import matplotlib.font_manager  # noqa: F401 - builds the font cache, which is logged as a warning
import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "two_arrays.ipynb"
SECONDS = 300


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture
def running_interpreter_is_the_kernel(tmp_path, monkeypatch):
    """`python3` names this interpreter, whatever kernels the user has installed."""
    write_kernel_spec(tmp_path / "jupyter" / "kernels" / "python3")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MPLBACKEND", raising=False)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_no_outputs_are_committed(notebook):
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None


# The jupyter stack leaves sockets and event loops to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::RuntimeWarning:(zmq|tornado|jupyter_client|nbclient|asyncio).*",
    "ignore::UserWarning:(zmq|tornado|jupyter_client|nbclient|traitlets).*",
)
@pytest.mark.usefixtures("running_interpreter_is_the_kernel")
@pytest.mark.slow
def test_it_runs_without_a_warning_and_draws_its_figure(notebook, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    del client
    gc.collect()  # so that what is left open is not blamed on a later test

    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    printed = [output for output in outputs if output.output_type == "stream"]
    assert [output.text for output in printed if output.name == "stderr"] == []
    assert not [output.text for output in printed if "warning" in output.text.lower()]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
    assert list(folder.iterdir()) == []
