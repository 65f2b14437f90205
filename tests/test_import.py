"""What `import coala_jax` pulls in."""

import subprocess
import sys

import pytest

HEAVY = ["flax", "transformers", "datasets", "torch", "matplotlib", "tokenizers", "sklearn"]
SERVER = ["starlette", "uvicorn", "h11", "openai"]


@pytest.mark.parametrize("module", ["coala_jax", "coala_jax.features", "coala_jax.cli.main"])
def test_importing_pulls_in_nothing_heavy(module):
    code = f"import sys, {module}; print([m for m in {HEAVY + SERVER!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
