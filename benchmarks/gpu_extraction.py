"""Extraction on one GPU: tokens a second, share of the card's matrix rate, memory, against torch.

    PYTHONPATH=. python benchmarks/gpu_extraction.py            # one card, 8 minutes
    PYTHONPATH=. python benchmarks/gpu_extraction.py --small    # any machine

Not run on a GPU yet: no card was to be had when this was written; it runs at small sizes on a CPU.

Random weights in the shape of GPT-2 and Llama-3.1-8B are made on the device in bfloat16; batches of
random tokens in rows of 128 to 1024 slots run to the last layer, as extraction runs them, and are
pooled by their mean. FLOPs are counted by `coala_jax.backbones.pass_flops` and by the compiler,
whose analysis counts the body of the loop over layers once: `compiler` is its count to layer 0 and,
for every layer, what layer 1 adds. (On a CPU attention is a loop over rows, counted once as well.)
The card's bf16 rate is that of square products measured in the
same run. The output head, which no feature needs, is not made.

Torch runs transformers' model of the same shape with scaled-dot-product attention, without a mask,
where a torch that knows the device is installed; after all of ours, whose weights are let go of.
The peak of the device's memory is the highest that jax has had so far; on a GPU jax must not
preallocate all of it beside torch, which `main` sees to. A part that fails, or for which the rest
of the budget is too short, stays in the table with its reason; table and JSON are written after
every part, under ``$OUT`` where that is set.
"""

from __future__ import annotations

import argparse
import functools
import gc
import math
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Memory that jax preallocates is lost to torch. XLA reads it once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
from flax import nnx

from coala_jax._files import write_text
from coala_jax._json import json_text
from coala_jax._machine import device, versions
from coala_jax.backbones import TokenBatch
from coala_jax.backbones._attention import plain_batch
from coala_jax.backbones._flops import pass_flops
from coala_jax.backbones._registry import FAMILIES

RESULTS = Path(os.environ.get("OUT", Path(__file__).resolve().parent / "results"))
# Calls that are queued before waiting, so that launching one hides behind the one before.
CALLS = 5
# Short measurements are repeated, and the fastest counts.
REPEATS = 3
# A part may take this many times as long as the longest of its kind did.
GROWTH = 2.0
# Side of the square products whose rate is the card's: 2 s^3 operations of 400 MB, far past launch.
SIDE = 8192
MEMORY_LIMIT = 24e9
# Hugging Face's config.json of each, without what a pass does not use.
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {"model_type": "gpt2", "n_positions": 1024},
    "llama-3.1-8b": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        # The head would be made of its own; tied, there is none.
        "tie_word_embeddings": True,
    },
}
SMALL: dict[str, dict[str, Any]] = {
    "gpt2": {**SHAPES["gpt2"], "vocab_size": 64, "n_embd": 64, "n_layer": 2, "n_head": 2},
    "llama-3.1-8b": {
        **SHAPES["llama-3.1-8b"],
        "vocab_size": 64,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}
COLUMNS = (
    "part",
    "model",
    "length",
    "rows",
    "seconds",
    "tokens/s",
    "TFLOP",
    "compiler",
    "TFLOP/s",
    "share",
    "peak GB",
    "note",
)


class Recorder:
    """Rows of the table, written after each: what fails or no longer fits says so in its row."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.rows: list[dict[str, Any]] = []
        self.rate: float | None = None
        self._arguments = arguments
        self._start = time.perf_counter()
        self._longest: dict[str, float] = {}

    def measure(self, identity: dict[str, Any], function: Callable[[], dict[str, Any]]) -> None:
        """Add the row of a part: its identity, its figures, or why there are none."""
        kind = f"{identity['part']} {identity.get('model')}"
        left = self._arguments.budget - (time.perf_counter() - self._start)
        needed = GROWTH * self._longest.get(kind, 0.0)
        figures: dict[str, Any] = {}
        failure = None
        if left <= needed:
            failure = f"not run: {max(left, 0):.0f} s of the budget left, {needed:.0f} s needed"
        else:
            start = time.perf_counter()
            try:
                figures = function()
            except Exception as error:  # whatever it was, the other parts are still worth having
                failure = _reason(error)
            self._longest[kind] = max(time.perf_counter() - start, self._longest.get(kind, 0.0))
        if "flops" in figures:
            figures["flops_per_second"] = figures["flops"] / figures["seconds"]
            if identity["part"] == "rate":
                self.rate = figures["flops_per_second"]
            if self.rate is not None:
                figures["share_of_rate"] = figures["flops_per_second"] / self.rate
        row = {**identity, **figures, "failure": failure}
        row.setdefault("peak_bytes", _peak_bytes())
        self.rows.append(row)
        print(", ".join(map(str, (*identity.values(), failure or "done"))), file=sys.stderr)
        path = self._arguments.out / self._arguments.name
        write_text(path.with_name(f"{path.name}.json"), json_text(self.result()))
        write_text(path.with_name(f"{path.name}.md"), self.table())

    def result(self) -> dict[str, Any]:
        """All that is kept."""
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "device": device(),
            "versions": versions(),
            "token_budget": self._arguments.token_budget,
            "memory_limit": MEMORY_LIMIT,
            "seconds": time.perf_counter() - self._start,
            "rows": self.rows,
        }

    def table(self) -> str:
        """The rows so far as Markdown."""
        result = self.result()
        head = (
            f"{result['date']}, {result['device']}, jax {result['versions']['jax']}; bfloat16, "
            f"{result['token_budget']} tokens together; {result['seconds']:.0f} s in all. Share: "
            "of the rate of square products.\n"
        )
        lines = [_cells(COLUMNS), _cells(["---"] * len(COLUMNS)), *map(_line, self.rows)]
        return "\n".join([head, *lines, ""])


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark.

    Args:
        argv: the command line without the program; that of the process if None.
    """
    arguments = _arguments(argv)
    shapes = SMALL if arguments.small else SHAPES
    recorder = Recorder(arguments)
    side = 256 if arguments.small else SIDE
    recorder.measure({"part": "rate"}, functools.partial(measure_rate, side))
    for part, prepare in (("ours", prepare_ours), ("torch", prepare_torch)):
        for model, fields in shapes.items():
            _measure_model(recorder, arguments, part, model, functools.partial(prepare, fields))
    sys.stdout.write(recorder.table())


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--token-budget", type=int, default=8192, help="slots that run together")
    parser.add_argument("--small", action="store_true", help="tiny models in the same layout")
    parser.add_argument("--budget", type=float, default=450.0, help="seconds for everything")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--name", default="gpu_extraction", help="of the files under --out")
    return parser.parse_args(argv)


def _measure_model(
    recorder: Recorder,
    arguments: argparse.Namespace,
    part: str,
    model: str,
    prepare: Callable[[], Callable[[int, int], dict[str, Any]]],
) -> None:
    """All lengths of a model, its weights made before and let go of after."""
    passes: list[Callable[[int, int], dict[str, Any]]] = []

    def make() -> dict[str, Any]:
        start = time.perf_counter()
        passes.append(prepare())
        return {"seconds": time.perf_counter() - start}

    recorder.measure({"part": f"{part} weights", "model": model}, make)
    for length in arguments.lengths:
        rows = max(arguments.token_budget // length, 1)

        def run(rows: int = rows, length: int = length) -> dict[str, Any]:
            if not passes:
                raise RuntimeError("not run: no weights")
            return passes[0](rows, length)

        recorder.measure({"part": part, "model": model, "length": length, "rows": rows}, run)
    passes.clear()
    gc.collect()


def measure_rate(side: int) -> dict[str, Any]:
    """Square products in bfloat16."""
    matrix = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)
    product = jax.jit(jnp.matmul)
    seconds = _best_seconds(lambda: product(matrix, matrix), jax.block_until_ready)
    return {"seconds": seconds, "flops": 2 * side**3}


def prepare_ours(fields: dict[str, Any]) -> Callable[[int, int], dict[str, Any]]:
    """Random weights on the device; gives what measures a pass of some rows."""
    family = FAMILIES[fields["model_type"]]
    config = family.read_config(fields)
    graph = nnx.graphdef(nnx.eval_shape(lambda: family.make(config, nnx.Rngs(0), jnp.bfloat16)))

    @jax.jit
    def weights() -> Any:
        return nnx.state(family.make(config, nnx.Rngs(0), jnp.bfloat16), nnx.Param)

    state = jax.block_until_ready(weights())

    @functools.partial(jax.jit, static_argnums=2)
    def features(state: Any, batch: TokenBatch, layer: int) -> jax.Array:
        (hidden,) = nnx.merge(graph, state).states(batch, layers=(layer,)).hidden
        return hidden.mean(1, dtype=jnp.float32)

    def measure(rows: int, length: int) -> dict[str, Any]:
        tokens = jax.random.randint(jax.random.key(1), (rows, length), 0, config.vocab_size)
        batch = plain_batch(tokens)
        start = time.perf_counter()
        compiled = features.lower(state, batch, config.depth).compile()
        compile_seconds = time.perf_counter() - start
        none, one = (_compiler_flops(features, state, batch, layer) for layer in (0, 1))
        seconds = _best_seconds(lambda: compiled(state, batch), jax.block_until_ready)
        return {
            "seconds": seconds,
            "compile_seconds": compile_seconds,
            "tokens_per_second": rows * length / seconds,
            "flops": pass_flops(config, rows, length),
            "compiler_flops": none + config.depth * (one - none),
        }

    return measure


def _compiler_flops(features: Any, state: Any, batch: TokenBatch, layer: int) -> float:
    """By XLA, before it replaces products with library calls, of which it knows no count."""
    return float(features.lower(state, batch, layer).cost_analysis()["flops"])


def prepare_torch(fields: dict[str, Any]) -> Callable[[int, int], dict[str, Any]]:
    """As `prepare_ours`, of transformers' model."""
    import torch
    from transformers import AutoConfig, AutoModel

    on_gpu = jax.devices()[0].platform == "gpu"
    if on_gpu and not torch.cuda.is_available():
        raise RuntimeError("this torch has no CUDA")
    place = torch.device("cuda" if on_gpu else "cpu")
    settings = AutoConfig.for_model(**fields)
    with place:
        model = AutoModel.from_config(
            settings, dtype=torch.bfloat16, attn_implementation="sdpa"
        ).eval()
    config = FAMILIES[fields["model_type"]].read_config(fields)

    def wait(result: Any) -> None:
        if on_gpu:
            torch.cuda.synchronize()

    def measure(rows: int, length: int) -> dict[str, Any]:
        tokens = torch.randint(0, config.vocab_size, (rows, length), device=place)

        def run() -> Any:
            with torch.inference_mode():
                hidden = model(tokens, use_cache=False).last_hidden_state
                return hidden.mean(1, dtype=torch.float32)

        seconds = _best_seconds(run, wait)
        return {
            "seconds": seconds,
            "tokens_per_second": rows * length / seconds,
            "flops": pass_flops(config, rows, length),
            "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
        }

    return measure


def _best_seconds(run: Callable[[], Any], wait: Callable[[Any], Any]) -> float:
    """Seconds of a call: the fastest of some series, after one that compiles."""
    wait(run())
    best = math.inf
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(CALLS):
            result = run()
        wait(result)
        best = min(best, (time.perf_counter() - start) / CALLS)
    return best


def _peak_bytes() -> int | None:
    """Most device memory in use so far, where the backend counts it."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def _reason(error: Exception) -> str:
    """The first line of what went wrong, fit for a cell."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".replace("|", "/")


def _line(row: dict[str, Any]) -> str:
    note = row["failure"] or ""
    peak = row.get("peak_bytes")
    if row["part"] == "ours" and peak is not None and peak > MEMORY_LIMIT:
        note = f"more than {MEMORY_LIMIT / 1e9:.0f} GB"
    figures = (
        _text(row.get("seconds"), ".4g"),
        _text(row.get("tokens_per_second"), ".4g"),
        _text(row.get("flops"), ".4g", 1e12),
        _text(row.get("compiler_flops"), ".4g", 1e12),
        _text(row.get("flops_per_second"), ".4g", 1e12),
        _text(row.get("share_of_rate"), ".2f"),
        _text(peak, ".3g", 1e9),
    )
    names = (row.get(name, "-") for name in ("part", "model", "length", "rows"))
    return _cells([*names, *figures, note])


def _text(value: float | None, spec: str, unit: float = 1.0) -> str:
    return "-" if value is None else format(value / unit, spec)


def _cells(cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
