"""Run the notebooks and store what they print and draw in them.

    python -m tools.run_notebooks           # all of notebooks/
    python -m tools.run_notebooks groups    # one of them

A notebook that fails, warns, or prints a path or an address of this machine stays as it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import matplotlib.font_manager  # noqa: F401 - builds the font cache, which is logged as a warning
import nbformat
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

from coala_jax._files import write_text

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
SECONDS = 1800
# A hash of the code whose outputs are stored, in the notebook's metadata.
OUTPUTS_OF = "outputs_of_code_sha256"
# Where an object has no words of its own Python prints where it lies.
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")


def code_sha256(notebook: nbformat.NotebookNode) -> str:
    """A hash of all code, by which stored outputs are known to be those of it."""
    sources = [cell.source for cell in code_cells(notebook)]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells of code, in their order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kernel_environment(folder: Path) -> dict[str, str]:
    """Variables that make `python3` this interpreter, whatever kernels the user has installed.

    Args:
        folder: for the files of jupyter; made.
    """
    write_kernel_spec(folder / "jupyter" / "kernels" / "python3")
    return {
        "JUPYTER_PATH": str(folder / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        # tqdm, which transformers imports, misses ipywidgets.
        "PYTHONWARNINGS": "ignore:IProgress not found",
    }


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells, outputs into the notebook; an error of a cell is raised.

    Args:
        notebook: changed.
        folder: in which it runs.
    """
    NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    notebook.metadata["language_info"] = {"name": "python"}  # without the version of this one
    notebook.metadata[OUTPUTS_OF] = code_sha256(notebook)


def faults(notebook: nbformat.NotebookNode, *own: Path) -> list[str]:
    """What must not be stored: lines on stderr, and paths and addresses of this machine.

    Args:
        notebook: with its outputs.
        own: folders whose paths are those of this machine.
    """
    found = []
    for number, cell in enumerate(code_cells(notebook), 1):
        for output in cell.outputs:
            text = json.dumps({k: v for k, v in output.items() if k != "metadata"})
            if output.get("name") == "stderr" or output.output_type == "error":
                found.append(f"cell {number} wrote to stderr: {text[:300]}")
            if ADDRESS.search(text) or any(str(path) in text for path in own):
                found.append(
                    f"cell {number} has a path or an address of this machine: {text[:300]}"
                )
    return found


def run(path: Path) -> list[str]:
    """Run a notebook in an empty folder and store its outputs, unless there are faults: these."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= kernel_environment(Path(folder))
        work = Path(folder) / "run"
        work.mkdir()
        execute(notebook, work)
        found = faults(notebook, ROOT, Path(folder), Path.home())
        found += [f"left behind: {left.name}" for left in work.iterdir()]
    if not found:
        write_text(path, nbformat.writes(notebook) + "\n")
    return found


def main() -> None:
    """Run those that are named, or all."""
    known = {path.stem: path for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"{', '.join(known)}; all unless named")
    names = parser.parse_args().names or list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no such notebook: {', '.join(unknown)}; there are {', '.join(known)}")
    bad = False
    for name in names:
        for fault in run(known[name]):
            print(f"{name}: {fault}", file=sys.stderr)
            bad = True
        print(f"{name}: {known[name].stat().st_size / 1000:.0f} kB")
    sys.exit(bad)


if __name__ == "__main__":
    main()
