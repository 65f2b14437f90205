"""Extraction on one GPU: tokens a second, share of the card's matrix rate, memory, against torch.

    PYTHONPATH=. python benchmarks/gpu_extraction.py            # one card, 8 minutes
    PYTHONPATH=. python benchmarks/gpu_extraction.py --small    # any machine

Random weights in the shape of GPT-2 and Llama-3.1-8B are made on the device in bfloat16; batches of
random tokens in rows of 128 to 1024 slots run to the last layer, as extraction runs them, and are
pooled by their mean. FLOPs are counted by `coala_jax.backbones.pass_flops` and by the compiler,
whose analysis counts the body of the loop over layers once: `compiler` is its count to layer 0 and,
for every layer, what layer 1 adds. (On a CPU attention is a loop over rows, counted once as well;
jax's CUDA plugin counts nothing, and a dash stands there.) The card's bf16 rate is that of square
products measured in the same run. The output head, which no feature needs, is not made.

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
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Memory that jax preallocates is lost to torch. XLA reads it once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
from flax import nnx
from reporting import RESULTS, Measured, Recorder, best_seconds, figure, markdown, origin, parser_of

from coala_jax.backbones import TokenBatch
from coala_jax.backbones._attention import plain_batch
from coala_jax.backbones._families import FAMILIES
from coala_jax.backbones._flops import pass_flops

# Calls that are queued before waiting, so that launching one hides behind the one before.
CALLS = 5
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


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark.

    Args:
        argv: the command line without the program; that of the process if None.
    """
    arguments = _arguments(argv)
    shapes = SMALL if arguments.small else SHAPES
    kept = {"token_budget": arguments.token_budget, "memory_limit": MEMORY_LIMIT}
    recorder = Recorder(arguments, kept, _table)
    side = 256 if arguments.small else SIDE
    rate = recorder.measure({"part": "rate"}, measure_rate, side)
    for part, prepare in (("ours", prepare_ours), ("torch", prepare_torch)):
        for model, fields in shapes.items():
            identity = {"part": part, "model": model}
            _measure_model(recorder, arguments, identity, functools.partial(prepare, fields), rate)
    sys.stdout.write(recorder.table())


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    out = Path(os.environ.get("OUT", RESULTS))
    parser = parser_of(__doc__, "gpu_extraction", out)
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--token-budget", type=int, default=8192, help="slots that run together")
    parser.add_argument("--small", action="store_true", help="tiny models in the same layout")
    parser.add_argument("--budget", type=float, default=450.0, help="seconds for everything")
    return parser.parse_args(argv)


def _measure_model(
    recorder: Recorder,
    arguments: argparse.Namespace,
    identity: dict[str, Any],
    prepare: Callable[[], Callable[[int, int], dict[str, Any]]],
    rate: float | None,
) -> None:
    """All lengths of a model, its weights made before and let go of after."""

    def make() -> Measured:
        start = time.perf_counter()
        run = prepare()
        return Measured({"seconds": time.perf_counter() - start}, run)

    run = recorder.measure({**identity, "part": f"{identity['part']} weights"}, make)
    for length in arguments.lengths:
        rows = max(arguments.token_budget // length, 1)

        def measure(
            run: Callable[[int, int], dict[str, Any]], rows: int = rows, length: int = length
        ) -> Measured:
            figures = run(rows, length)
            reached = figures["flops"] / figures["seconds"]
            share = None if rate is None else reached / rate
            return Measured({**figures, "flops_per_second": reached, "share_of_rate": share})

        recorder.measure({**identity, "length": length, "rows": rows}, measure, run)
    del run
    gc.collect()


def measure_rate(side: int) -> Measured:
    """Square products in bfloat16."""
    matrix = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)
    product = jax.jit(jnp.matmul)
    seconds = best_seconds(lambda: product(matrix, matrix), calls=CALLS)
    flops = 2 * side**3
    figures = {"seconds": seconds, "flops": flops, "flops_per_second": flops / seconds}
    return Measured({**figures, "share_of_rate": 1.0}, flops / seconds)


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
        seconds = best_seconds(lambda: compiled(state, batch), calls=CALLS)
        return {
            "seconds": seconds,
            "compile_seconds": compile_seconds,
            "tokens_per_second": rows * length / seconds,
            "flops": pass_flops(config, rows, length),
            "compiler_flops": _compiler_flops(features, config, state, batch),
        }

    return measure


def _compiler_flops(features: Any, config: Any, state: Any, batch: TokenBatch) -> float | None:
    """By XLA, before it replaces products with library calls, of which it knows no count.

    None where the device's plugin does not count what is not compiled, as that of CUDA does not.
    """
    none, one = (features.lower(state, batch, layer).cost_analysis() for layer in (0, 1))
    if none is None or one is None:
        return None
    return float(none["flops"] + config.depth * (one["flops"] - none["flops"]))


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

        seconds = best_seconds(run, calls=CALLS, wait=wait)
        return {
            "seconds": seconds,
            "tokens_per_second": rows * length / seconds,
            "flops": pass_flops(config, rows, length),
            "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
        }

    return measure


def _table(result: dict[str, Any]) -> str:
    head = (
        f"{origin(result)}; bfloat16, {result['token_budget']} tokens together; "
        f"{result['seconds']:.0f} s in all. Share: of the rate of square products."
    )
    return markdown(head, COLUMNS, map(_cells, result["rows"]))


def _cells(row: dict[str, Any]) -> list[Any]:
    note = row["failure"] or ""
    peak = row.get("peak_bytes")
    if row["part"] == "ours" and peak is not None and peak > MEMORY_LIMIT:
        note = f"more than {MEMORY_LIMIT / 1e9:.0f} GB"
    figures = (
        figure(row.get("seconds"), ".4g"),
        figure(row.get("tokens_per_second"), ".4g"),
        figure(row.get("flops"), ".4g", 1e12),
        figure(row.get("compiler_flops"), ".4g", 1e12),
        figure(row.get("flops_per_second"), ".4g", 1e12),
        figure(row.get("share_of_rate"), ".2f"),
        figure(peak, ".3g", 1e9),
    )
    names = (row.get(name, "-") for name in ("part", "model", "length", "rows"))
    return [*names, *figures, note]


if __name__ == "__main__":
    main()
