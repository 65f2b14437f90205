"""What `import coala_jax` pulls in."""

import subprocess
import sys

import pytest

HEAVY = [
    *("flax", "transformers", "datasets", "torch", "matplotlib", "tokenizers", "sklearn", "gguf"),
]
COMMANDS = [
    *("solve", "extract", "generate", "serve", "explain", "data_get", "data_inspect"),
    "evaluate_reward_bench",
    *(f"evaluate_blind_{name}" for name in ("make", "serve", "analyse", "size")),
]
SERVER = ["starlette", "uvicorn", "h11", "openai"]


# What `pip install .` does not bring.
EXTRAS = [
    *HEAVY,
    *SERVER,
    "tqdm",
    "jinja2",
    "huggingface_hub",
    "pyarrow",
    "zstandard",
    "flatbuffers",
]


@pytest.mark.parametrize("command", [["--version"], ["solve", "--help"], ["export", "--help"]])
def test_the_solver_alone_has_its_commands(command):
    """Without any of the extras, whose absence is told when they are needed."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({EXTRAS!r})); import coala_jax.features; "
        f"from coala_jax.cli._main import main; main({command!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "statement",
    [
        "import coala_jax",
        "import coala_jax.features",
        "from coala_jax.evaluation.reward_bench import read_scores, reward_bench",
        "import coala_jax.cli._main as cli; cli.build_parser()",
        # A command's module knows the defaults of all of its options.
        *(
            f"from coala_jax.cli import _{name}; from coala_jax.cli._parser import OneLineParser; "
            f"_{name}.add_options(OneLineParser())"
            for name in COMMANDS
        ),
    ],
)
def test_importing_pulls_in_nothing_heavy(statement):
    code = f"import sys; {statement}; print([m for m in {HEAVY + SERVER!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_subpackages_are_names_of_the_package():
    code = "import coala_jax; print(coala_jax.features.group_table, coala_jax.decoding.best_of_n)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "group_table" in done.stdout and "best_of_n" in done.stdout
