"""What `import coala_jax` pulls in."""

import subprocess
import sys

import pytest

HEAVY = ["flax", "transformers", "datasets", "torch", "matplotlib", "tokenizers", "sklearn"]
SERVER = ["starlette", "uvicorn", "h11", "openai"]


@pytest.mark.parametrize(
    "statement",
    [
        "import coala_jax",
        "import coala_jax.features",
        # All commands need their parser, with the defaults of all options.
        "from coala_jax.cli._main import build_parser; build_parser()",
    ],
)
def test_importing_pulls_in_nothing_heavy(statement):
    code = f"import sys; {statement}; print([m for m in {HEAVY + SERVER!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
