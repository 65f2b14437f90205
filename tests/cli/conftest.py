"""A tiny solved head, and a cache so that every program is compiled once."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from coala_jax.cli._main import main

# The width and the parts of the quickstart below: both run the same compiled programs.
PAIRS, WIDTH, GROUP_SIZE = 60, 16, 3
TRAIN_PAIRS, EVAL_PAIRS = 51, 9
CONSTANT_COLUMN = 2
# Enough ridge for Phase II to end within few epochs.
FAST = ["--n-gates", "3", "--ridge", "0.1", "--max-epochs", "300"]


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Persistent compilation cache for these tests alone."""
    values = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("xla")),
        "jax_persistent_cache_min_compile_time_secs": 0.5,
    }
    before = {name: getattr(jax.config, name) for name in values}
    for name, value in values.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def make_arrays() -> dict[str, np.ndarray]:
    """Pairs that a head can learn, with one constant column."""
    rng = np.random.default_rng(0)
    prompt = rng.normal(size=(PAIRS, WIDTH))
    arrays = {
        "chosen": prompt + rng.normal(0.6, 1.0, (PAIRS, WIDTH)),
        "rejected": prompt + rng.normal(0.0, 1.0, (PAIRS, WIDTH)),
    }
    for array in arrays.values():
        array[:, CONSTANT_COLUMN] = 1.0
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    arrays["id"] = np.array([f"row-{number}" for number in range(PAIRS)])
    return arrays


@pytest.fixture(scope="session")
def groups_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Groups of three rows each."""
    path = tmp_path_factory.mktemp("groups") / "groups.json"
    path.write_text(json.dumps({f"row-{i}": f"g{i // GROUP_SIZE}" for i in range(PAIRS)}))
    return path


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., str]:
    """Write an .npz, with arrays replaced or, where None, left out."""

    def write(**changes: np.ndarray | None) -> str:
        arrays = {k: v for k, v in {**make_arrays(), **changes}.items() if v is not None}
        path = tmp_path / "features.npz"
        np.savez(path, **arrays)
        return str(path)

    return write


@pytest.fixture(scope="session")
def solved(tmp_path_factory: pytest.TempPathFactory, groups_file: Path) -> Path:
    """The folder of a head that `coala-jax solve` wrote."""
    folder = tmp_path_factory.mktemp("solved")
    np.savez(folder / "features.npz", **make_arrays())
    words = ["solve", str(folder / "features.npz"), "--groups", str(groups_file)]
    assert main([*words, "--out", str(folder / "head"), *FAST]) == 0
    return folder / "head"


@pytest.fixture
def broken_wandb(put_client: Callable[..., object]) -> None:
    """A client of a tracker that refuses to begin."""

    def init(**_: object) -> None:
        raise ValueError("no login")

    put_client("wandb", init=init)


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """The folder of a quickstart on few pairs and a tiny random backbone."""
    out = tmp_path_factory.mktemp("quickstart") / "run"
    words = ["--train-pairs", str(TRAIN_PAIRS), "--eval-pairs", str(EVAL_PAIRS)]
    words += ["--model", str(checkpoint), "--pooling", "mean", *FAST]
    code = main(["quickstart", *words, "--out", str(out)])
    assert code in (0, 3)  # a random backbone promises nothing
    return out
