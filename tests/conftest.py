"""Fixtures that more than one folder of tests uses."""

import gc
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace

# Compiling is most of what tests of tiny shapes do: without optimisation it takes half as long, by
# the older emitters, where a jaxlib still has them, half of that, and without passes that these
# programs gain nothing from two thirds of what is left. XLA reads the flags once, so they stand
# before anything that imports jax; one that it does not know ends the process.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    " --xla_disable_hlo_passes=simplify-while-loops,while-loop-invariant-code-motion"
    ",while-loop-constant-sinking,cpu-parallel-task-assigner,hlo-verifier"
    + (
        " --xla_cpu_use_fusion_emitters=false"
        if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11)
        else ""
    ),
)
# Places in the source, of which no test reads any, are not looked up for every operation.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# No test reads or writes the user's own cache.
os.environ["COALA_JAX_COMPILE_CACHE"] = "off"

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow; that is no fault of the code under test. The same examples every time, so
# that a run that fails here fails everywhere.
settings.register_profile(
    "house", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


def pytest_collection_finish() -> None:
    """What imports and collection left is looked through for garbage no more.

    Tracing makes many short-lived objects, and by default the collector goes through all that is
    alive after every few thousand of them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)


@pytest.fixture
def put_client(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Put a module in place of a tracker's client: ``put_client(name, **members)``."""

    def put(name: str, **members: object) -> ModuleType:
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)  # installed, to who looks for it
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return put


@pytest.fixture
def trackio(put_client: Callable[..., ModuleType]) -> SimpleNamespace:
    """What a stand-in for trackio was told; it prints, as the real one does."""
    told = SimpleNamespace(started=[], logged=[], finished=False)

    def init(**options: object) -> None:
        print("* Trackio project initialized")
        told.started.append(options)

    def log(figures: dict[str, float], step: int | None = None) -> None:
        assert not told.finished
        told.logged.append((step, figures))

    put_client("trackio", init=init, log=log, finish=lambda: vars(told).update(finished=True))
    return told


# Half of what Linux lets a process have: every compiled program takes some, and with too many XLA
# aborts the process.
MOST_MEMORY_MAPS = 30_000


@pytest.fixture(autouse=True, scope="module")
def few_memory_maps():
    """Programs are forgotten between files of tests where a process holds very many."""
    yield
    maps = Path("/proc/self/maps")
    if "jax" in sys.modules and maps.exists():
        with maps.open("rb") as lines:
            held = sum(1 for _ in lines)
        if held > MOST_MEMORY_MAPS:
            sys.modules["jax"].clear_caches()


@pytest.fixture(scope="session")
def make_checkpoint() -> Callable[..., Path]:
    """Write a tiny random GPT-2 folder: ``make_checkpoint(folder, seed=0, **config_fields)``."""
    import jax.numpy as jnp
    from flax import nnx

    from coala_jax.backbones import save_checkpoint
    from coala_jax.backbones._families._gpt2 import GPT2, GPT2Config
    from tests.helpers import write_tokenizer

    def make(folder: Path, seed: int = 0, **fields: object) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        size = write_tokenizer(folder)
        sizes = {"n_positions": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, **fields}
        config = GPT2Config(vocab_size=size, eos_token_id=0, **sizes)
        module = GPT2(config, rngs=nnx.Rngs(seed))
        return save_checkpoint(folder, module, config, jnp.float32)

    return make


@pytest.fixture(scope="session")
def checkpoint(
    make_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A tiny random GPT-2 folder; tests must not change it."""
    return make_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny-gpt2")
