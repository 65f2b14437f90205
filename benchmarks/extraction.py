"""Extraction against torch on a CPU: tokens a second, with and without shared prefixes.

    PYTHONPATH=. python benchmarks/extraction.py            # the measured table, 8 minutes
    PYTHONPATH=. python benchmarks/extraction.py --small    # any machine, a minute
    PYTHONPATH=. python benchmarks/extraction.py --model DIR --name extraction-NAME

Both extract mean-pooled features of the same token sequences from the same checkpoint in float32:
ours by `coala_jax.features._extract.pooled_features`; torch by transformers' ``AutoModel`` in
inference mode with scaled-dot-product attention, sequences sorted by length and padded on the right
to the longest of a batch under the same token budget. Torch gets no attention mask: behind its own
tokens a causal text has nothing to hide.

For each number of cores a process of its own is bound to them before jax and torch start. There the
contenders take turns, and the median counts. On two cores torch runs with one and with two threads.
The first pass of each, which compiles, is timed apart. Seconds are of the clock; ``cpu`` are the
processor's, which tell more where other processes want the cores. ``ratio`` is ours without sharing
over the best torch; bars: at most 1.05 on one core, at most 1 on two. Peak memory is the process's
resident set in a process of its own, on one core, that loads the model and runs one pass of the
longest texts there are.

Rows: the quickstart's tutoring pairs, and of ``--data`` what is there: ``hh_helpful``, and
dialogues of ``conversations`` by the Alternating Population Strategy, whose prompts are each
other's prefixes. Features of all contenders must agree to ``TOLERANCE``.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reporting import SHARED_FOLDER, account, figure, markdown, origin, parser_of, save, say

SETS = ("tutoring", "hh_helpful", "conversations")
EMBEDDED, LLAMA = "embedded", "llama"
CORES = (1, 2)
TOLERANCE = 1e-4
# 25M parameters with the embedded tokenizer's 2048 ids and an output head of its own.
LLAMA_CONFIG = {
    "model_type": "llama",
    "vocab_size": 2048,
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_hidden_layers": 10,
    "num_attention_heads": 6,
    "max_position_embeddings": 1024,
    "eos_token_id": 0,
}
SMALL_LLAMA_CONFIG = {
    **LLAMA_CONFIG,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
}
# The larger model takes this part of the rows, in as much time.
LLAMA_SHARE = 10
KIB = 1024


class Contender(NamedTuple):
    """A way to extract: its name, and a pass that gives the features and what it took."""

    name: str
    run: Callable[[], tuple[Any, dict[str, Any]]]


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark.

    Args:
        argv: the command line without the program; that of the process if None.
    """
    arguments = _arguments(argv)
    if arguments.worker:
        # Before jax and torch are imported, which count the cores once.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-arguments.worker["cores"] :])
        sys.stdout.write(json.dumps(_work(arguments)) + "\n")
        return
    rows: list[dict[str, Any]] = []
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        models = _models(arguments, Path(folder))
        for cores in (cores for cores in arguments.cores if cores <= len(os.sched_getaffinity(0))):
            for model, checkpoint in models.items():
                for data in arguments.sets or _sets(arguments.data):
                    job = {"cores": cores, "model": model, "rows": data}
                    say(", ".join(map(str, job.values())))
                    found = _start(arguments, job, checkpoint, "time")
                    peaks = {}
                    if cores == min(arguments.cores) and data == _memory_set(arguments):
                        peaks = {
                            name: _start(arguments, job, checkpoint, name)["peak_bytes"]
                            for name in ("ours", "torch")
                        }
                    rows += [
                        {**job, **row, "peak_bytes": peaks.get(row["contender"])} for row in found
                    ]
                    result = _result(arguments, rows, time.perf_counter() - start)
                    save(arguments, result, _table(result))
    sys.stdout.write(_table(result))


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__, "extraction")
    parser.add_argument("--rows", type=int, default=40, help="pairs; the Llama takes a tenth")
    parser.add_argument("--repeats", type=int, default=5, help="passes of each, the median counts")
    parser.add_argument("--token-budget", type=int, default=8192)
    parser.add_argument(
        "--data", type=Path, default=SHARED_FOLDER / "data", help="folder of .jsonl.gz files"
    )
    parser.add_argument("--model", type=Path, help="a checkpoint folder, in place of the two")
    parser.add_argument("--cores", type=int, nargs="+", default=list(CORES))
    parser.add_argument("--sets", nargs="+", choices=SETS, help="of rows (default: all there are)")
    parser.add_argument("--small", action="store_true", help="a few rows and a tiny Llama")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.small:
        arguments.rows, arguments.repeats = 4, 1
    return arguments


def _sets(folder: Path) -> list[str]:
    """The sets of rows that there are."""
    return [name for name in SETS if name == "tutoring" or (folder / f"{name}.jsonl.gz").is_file()]


def _memory_set(arguments: argparse.Namespace) -> str:
    """The set whose peak memory is measured: the one with the longest texts, where it is there."""
    sets = arguments.sets or _sets(arguments.data)
    return "hh_helpful" if "hh_helpful" in sets else sets[0]


def _models(arguments: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """Checkpoints by name; the Llama is made in a folder."""
    if arguments.model:
        return {arguments.model.resolve().name: arguments.model}
    from coala_jax.quickstart._demo import embedded_backbone

    llama = _write_llama(folder / LLAMA, small=arguments.small)
    return {EMBEDDED: embedded_backbone(), LLAMA: llama}


def _start(
    arguments: argparse.Namespace, job: dict[str, Any], checkpoint: Path, measure: str
) -> Any:
    """What a worker, a process of its own, gives for a job."""
    options = ["--rows", str(arguments.rows), "--repeats", str(arguments.repeats)]
    options += ["--token-budget", str(arguments.token_budget), "--data", str(arguments.data)]
    share = LLAMA_SHARE if job["model"] == LLAMA and not arguments.model else 1
    own = {"checkpoint": str(checkpoint), "share": share, "measure": measure}
    worker = json.dumps({**job, **own})
    finished = subprocess.run(
        [sys.executable, __file__, *options, "--worker", worker],
        check=True,
        stdout=subprocess.PIPE,
        stderr=None if measure == "time" else subprocess.DEVNULL,
        text=True,
    )
    return json.loads(finished.stdout.splitlines()[-1])


def _write_llama(folder: Path, *, small: bool) -> Path:
    """A random Llama with the embedded tokenizer."""
    import jax.numpy as jnp
    from flax import nnx

    from coala_jax.backbones import save_checkpoint
    from coala_jax.backbones._families import FAMILIES
    from coala_jax.quickstart._demo import embedded_backbone

    family = FAMILIES["llama"]
    config = family.read_config(SMALL_LLAMA_CONFIG if small else LLAMA_CONFIG)
    module = family.make(config, nnx.Rngs(0), jnp.float32)
    save_checkpoint(folder, module, config, jnp.float32)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(embedded_backbone() / name, folder / name)
    return folder


def _work(arguments: argparse.Namespace) -> Any:
    """In a worker: the rows of a job's table, or the peak of one contender."""
    job = arguments.worker
    contenders = _contenders(arguments, job)
    if job["measure"] != "time":
        next(one for one in contenders if one.name == job["measure"]).run()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
        return {"peak_bytes": peak}
    return _measure(contenders, arguments.repeats)


def _contenders(arguments: argparse.Namespace, job: dict[str, Any]) -> Sequence[Contender]:
    """Those of a job; torch is not loaded where the peak of ours is asked for."""
    from dataclasses import replace

    from coala_jax._progress import Progress
    from coala_jax.backbones import load_backbone
    from coala_jax.features._extract import pooled_features
    from coala_jax.features._settings import ExtractSettings
    from coala_jax.features._tokens import encode_texts

    folder = Path(job["checkpoint"])
    rows = _read_rows(job["rows"], arguments.data, max(arguments.rows // job["share"], 2))
    backbone = load_backbone(folder)
    settings = ExtractSettings(pooling="mean", token_budget=arguments.token_budget)
    sequences = encode_texts(
        backbone.tokenizer,
        [row.prompt for row in rows] * 2,
        [row.chosen for row in rows] + [row.rejected for row in rows],
        settings.template,
        backbone.config.max_length,
    )

    def ours(*, share: bool) -> tuple[Any, dict[str, Any]]:
        chosen = replace(settings, share_prefixes=share)
        found = pooled_features(backbone, sequences, chosen, Progress(len(sequences), "ours"))
        return found.features, {
            **found.counts._asdict(),
            "flops": found.flops,
            "shapes": len(found.shapes),
        }

    found = [
        Contender("ours", functools.partial(ours, share=False)),
        Contender("ours, shared", functools.partial(ours, share=True)),
    ]
    if job["measure"] == "ours":
        return found
    run = _torch_pass(folder, sequences, arguments.token_budget, backbone.config.hidden_size)
    for threads in range(1, job["cores"] + 1):
        name = "torch" if threads == job["cores"] else f"torch, {threads} thread"
        found.append(Contender(name, functools.partial(run, threads)))
    return found


def _read_rows(name: str, folder: Path, count: int) -> Sequence[Any]:
    """The first preference rows of a set."""
    from coala_jax.data import alternating_population, read_conversations, read_rows
    from coala_jax.quickstart._tutoring import tutoring_rows

    if name == "tutoring":
        return tutoring_rows(0, count, 2).train
    path = folder / f"{name}.jsonl.gz"
    if name == "hh_helpful":
        return read_rows(path).rows[:count]
    conversations = read_conversations(path).conversations[:count]
    return alternating_population(conversations).rows[:count]


def _torch_pass(
    folder: Path, sequences: Sequence[Any], token_budget: int, width: int
) -> Callable[[int], tuple[Any, dict[str, Any]]]:
    """A pass of torch with a number of threads."""
    import numpy as np
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    model.eval()
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index].tokens))

    def run(threads: int) -> tuple[Any, dict[str, Any]]:
        torch.set_num_threads(threads)
        features = np.empty((len(sequences), width), np.float32)
        start = slots = 0
        while start < len(order):
            longest = len(sequences[order[start]].tokens)
            part = order[start : start + max(token_budget // longest, 1)]
            start += len(part)
            tokens = np.zeros((len(part), longest), np.int64)
            response = np.zeros((len(part), longest, 1), np.float32)
            for row, index in enumerate(part):
                sequence = sequences[index]
                tokens[row, : len(sequence.tokens)] = sequence.tokens
                response[row, sequence.response_start : len(sequence.tokens)] = 1
            with torch.inference_mode():
                weight = torch.from_numpy(response)
                hidden = model(torch.from_numpy(tokens), use_cache=False).last_hidden_state
                features[part] = ((hidden * weight).sum(1) / weight.sum(1)).numpy()
            slots += tokens.size
        given = sum(len(sequence.tokens) for sequence in sequences)
        return features, {"given": given, "run": slots}

    return run


def _measure(contenders: Sequence[Contender], repeats: int) -> list[dict[str, Any]]:
    """Figures of contenders that take turns."""
    import numpy as np

    first, counts, features = {}, {}, {}
    for contender in contenders:
        start = time.perf_counter()
        features[contender.name], counts[contender.name] = contender.run()
        first[contender.name] = time.perf_counter() - start
    error = max(np.abs(found - features["ours"]).max() for found in features.values())
    if not error <= TOLERANCE:
        raise ValueError(f"features differ by {error:.2g}, more than {TOLERANCE}")
    clock: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    processor: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(repeats):
        for contender in contenders:
            start, cpu = time.perf_counter(), time.process_time()
            contender.run()
            clock[contender.name].append(time.perf_counter() - start)
            processor[contender.name].append(time.process_time() - cpu)
    seconds, cpu_seconds = (
        {name: statistics.median(values) for name, values in times.items()}
        for times in (clock, processor)
    )
    rows = []
    for name in seconds:
        given = counts[name]["given"]
        rows.append(
            {
                "contender": name,
                **counts[name],
                "seconds": seconds[name],
                "all_seconds": clock[name],
                "cpu_seconds": cpu_seconds[name],
                "first_seconds": first[name],
                # Of a first pass, what a later one does not take.
                "compile_seconds": max(first[name] - seconds[name], 0.0),
                "tokens_per_second": given / seconds[name],
                "ratio": seconds[name] / _best_torch(seconds),
                "cpu_ratio": cpu_seconds[name] / _best_torch(cpu_seconds),
                "speedup": seconds["ours"] / seconds[name],
                "largest_error": float(error),
            }
        )
    return rows


def _best_torch(seconds: dict[str, float]) -> float:
    return min(value for name, value in seconds.items() if name.startswith("torch"))


def _result(
    arguments: argparse.Namespace, rows: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    import importlib.metadata

    result = account(
        pairs=arguments.rows,
        repeats=arguments.repeats,
        token_budget=arguments.token_budget,
        load_average=os.getloadavg()[0],
        seconds=seconds,
        rows=rows,
    )
    result["versions"]["torch"] = importlib.metadata.version("torch")
    return result


def _table(result: dict[str, Any]) -> str:
    columns = ("cores", "model", "rows", "contender", "given", "distinct", "run", "seconds", "cpu")
    columns += ("tokens/s", "ratio", "cpu ratio", "speedup", "compile s", "peak MB")
    llama = any(row["model"] == LLAMA for row in result["rows"])
    fewer = f" (the Llama a {LLAMA_SHARE}th)" if llama else ""
    head = (
        f"Extraction, {origin(result)}, torch {result['versions']['torch']}, load "
        f"{result['load_average']:.1f}; {result['pairs']} pairs{fewer}, "
        f"median of {result['repeats']}, token budget {result['token_budget']}; "
        f"{result['seconds']:.0f} s in all. Ratio: to the best torch."
    )
    return markdown(head, columns, map(_cells, result["rows"]))


def _cells(row: dict[str, Any]) -> list[Any]:
    figures = (
        f"{row['seconds']:.3f}",
        f"{row['cpu_seconds']:.3f}",
        f"{row['tokens_per_second']:.0f}",
        f"{row['ratio']:.2f}",
        f"{row['cpu_ratio']:.2f}",
        f"{row['speedup']:.2f}",
        f"{row['compile_seconds']:.1f}",
        figure(row["peak_bytes"], ".0f", 1e6),
    )
    names = [row[name] for name in ("cores", "model", "rows", "contender", "given")]
    return [*names, row.get("distinct", "-"), row["run"], *figures]


if __name__ == "__main__":
    main()
