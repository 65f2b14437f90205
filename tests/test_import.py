"""What `import coala_jax` pulls in."""

import subprocess
import sys

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


STATEMENTS = [
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
]


def run(code: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_solver_alone_has_its_commands():
    """Without any of the extras, whose absence is told when they are needed."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys({EXTRAS!r}))
import coala_jax.features
from coala_jax.cli._main import main
for command in ["--version"], ["solve", "--help"], ["export", "--help"]:
    try:
        main(command)
    except SystemExit as ended:
        assert not ended.code, command
"""
    printed = run(code)
    assert all(f"usage: coala-jax {name} " in printed for name in ("solve", "export"))


def test_importing_pulls_in_nothing_heavy():
    """One after another in one process: what a statement pulls in stays."""
    code = f"""
import sys
for statement in {STATEMENTS!r}:
    exec(statement)
    found = [name for name in {HEAVY + SERVER!r} if name in sys.modules]
    if found:
        print(statement, found)
"""
    assert run(code) == ""


def test_subpackages_are_names_of_the_package():
    code = "import coala_jax; print(coala_jax.features.group_table, coala_jax.decoding.best_of_n)"
    printed = run(code)
    assert "group_table" in printed and "best_of_n" in printed
