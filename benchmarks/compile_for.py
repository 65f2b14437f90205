"""Compile for an H100 or for TPU v5e chips on a machine that has neither, and say what came out.

    python -m venv env && env/bin/pip install -e ".[text]" jax==0.10.2 jaxlib==0.10.2
    env/bin/pip install --no-deps jax-cuda13-pjrt==0.10.2 jax-cuda13-plugin==0.10.2 nvidia-cuda-nvcc
    env/bin/pip install libtpu==0.0.52
    PYTHONPATH=. env/bin/python benchmarks/compile_for.py                    # half an hour, 2 cores
    PYTHONPATH=. env/bin/python benchmarks/compile_for.py --targets h100 --programs "phase I"

Every program is compiled in a process of its own from shapes alone (`lowered_programs`). The tables
say of each: seconds to compile, memory of a device by XLA's analysis, collectives, and what one
pass of every loop launches and moves (`hlo_text`). ``--before FILE`` puts the counts of an earlier
JSON beside them. ``--rows compact --dtype bfloat16`` compiles Phase I of half-precision rows, and
``--p3 118000`` on as many pairs of width 4096 too, with 16 gates: problem P3.

What is compiled here is not what a card runs in every detail: without it XLA cannot try kernels
out, so that products and their launches may be others there (`--xla_gpu_autotune_level=0` asks for
these). The last tables are predictions from what makers state and from formulas; nothing ran.
"""

from __future__ import annotations

import argparse
import collections
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

# Nothing runs here.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from hlo_text import COLLECTIVES, LAUNCHES, OTHER, Exchange, Loop, all_exchanges, loops_of
from reporting import Measured, Recorder, figure, markdown, origin, parser_of
from step_costs import CARDS, Card, Size, least_seconds, step_bytes

# TPU's library asks a network for where it is unless it is told.
NO_HOST = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}
# Facts of the card, in the form of XLA's GpuTargetConfigProto.
H100 = """gpu_device_info { threads_per_block_limit: 1024 threads_per_warp: 32
shared_memory_per_block: 49152 shared_memory_per_core: 233472 threads_per_core_limit: 2048
core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
clock_rate_ghz: 1.98 device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
cuda_compute_capability { major: 9 } registers_per_core_limit: 65536
registers_per_block_limit: 65536 } platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 } device_description_str: "NVIDIA H100 80GB HBM3" """
P3 = Size(118_000, 4096, 16)
# Conjugate-gradient steps an ADMM step that the H200 took (`results/gpu_solver.md`): 582 of 350.
MEASURED_STEPS = 350
MEASURED_CG_STEPS = 582 / MEASURED_STEPS
# What a backbone should fit into, weights, cache and all.
BAR = 24e9
PACKAGES = ("jax-cuda13-plugin", "nvidia-cuda-nvcc", "libtpu")
DEFAULT_BATCH, DEFAULT_LENGTH, DEFAULT_NEW = 8, 1024, 256


class Chips(NamedTuple):
    """A target: XLA's platform, its topology, how many of its devices, their memory in bytes."""

    title: str
    platform: str
    topology: str
    count: int
    memory: float


TARGETS = {
    "h100": Chips("H100", "cuda", "1x1x1", 1, 80e9),
    "v5e": Chips("TPU v5e, one chip", "tpu", "v5e:2x2", 1, 16 * 2**30),
    "v5e-2x2": Chips("TPU v5e, 2 x 2", "tpu", "v5e:2x2", 4, 16 * 2**30),
}
OF_P3 = "phase I, "
# Loops that take most of the time: of ADMM, of conjugate gradients, of AdamW, of layers and tokens.
STEPS = ("cronos_solve", "cronos_steps", "solve_correction", "_train", "run_layers", "advance")
PROGRAMS = ("phase I", "phase II", "extraction", "decoding")
BACKBONES = ("extraction", "decoding")
SIZES = ("pairs", "width", "gates", "dtype", "model", "batch", "length", "new_tokens")


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark.

    Args:
        argv: the command line without the program; that of the process if None.
    """
    arguments = _arguments(argv)
    if arguments.worker:
        sys.stdout.write(json.dumps(compiled(arguments.targets[0], arguments)) + "\n")
        return
    recorder = make_recorder(arguments)
    for target in arguments.targets:
        for program in arguments.programs:
            identity = {"part": program, "target": target, "rows": arguments.rows or "default"}
            recorder.measure(identity, lambda t=target, p=program: _in_a_process(arguments, t, p))
    for pairs in arguments.p3:
        size = {"pairs": pairs, "width": P3.width, "gates": P3.gates}
        large = argparse.Namespace(**{**vars(arguments), **size})
        part = f"{OF_P3}{pairs} x {P3.width}"
        identity = {"part": part, "target": "h100", "rows": arguments.rows or "default"}
        recorder.measure(identity, lambda large=large: _in_a_process(large, "h100", "phase I"))
    sys.stdout.write(recorder.table())


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__, "compile-for")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--pairs", type=int, default=8192, help="n of both phases")
    parser.add_argument("--width", type=int, default=1024, help="d of both phases")
    parser.add_argument("--gates", type=int, default=16, help="P")
    parser.add_argument("--rows", help="Config.rows; that of `Config` if not given")
    parser.add_argument("--dtype", default="float32", help="of the features as they come")
    parser.add_argument("--model", default="llama-3.1-8b", help="of gpu_extraction.SHAPES")
    parser.add_argument("--batch", type=int, default=DEFAULT_BATCH, help="rows that run together")
    parser.add_argument("--length", type=int, default=DEFAULT_LENGTH, help="slots, or a prompt's")
    parser.add_argument("--new-tokens", type=int, default=DEFAULT_NEW, help="of a response")
    parser.add_argument("--p3", type=int, nargs="+", default=[], help="pairs of Phase I, d = 4096")
    parser.add_argument("--before", type=Path, help="JSON of an earlier run, to stand beside")
    parser.add_argument("--hlo", type=Path, help="folder for the texts of the programs")
    parser.add_argument("--budget", type=float, default=7200.0, help="seconds for everything")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _in_a_process(arguments: argparse.Namespace, target: str, program: str) -> Measured:
    """A program compiled by itself, so that a compiler which aborts takes no other with it."""
    given = {name: getattr(arguments, name) for name in (*SIZES, "rows", "hlo")}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value]
    command = [sys.executable, __file__, "--worker", "--targets", target, "--programs", program]
    done = subprocess.run(
        [*command, *options],
        env={**os.environ, **NO_HOST},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "Error" in line or "RESOURCE" in line]
        raise RuntimeError((lines or done.stderr.splitlines() or ["no word"])[-1][:300])
    return Measured(json.loads(done.stdout.splitlines()[-1]))


def compiled(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Figures of one program on one target."""
    from jax.experimental import topologies
    from lowered_programs import PROGRAMS as LOWERED
    from lowered_programs import Sizes, Target

    from coala_jax import Config

    chips, program = TARGETS[name], arguments.programs[0]
    if chips.platform == "cuda":
        _ptxas_of_pip_on_the_path()
        topology = topologies.get_topology_desc(
            name, "cuda", target_config=H100, topology=chips.topology
        )
    else:
        topology = topologies.get_topology_desc(chips.topology, "tpu")
    rows = {} if arguments.rows is None else {"rows": arguments.rows}
    config = Config(n_gates=arguments.gates, **rows)
    sizes = Sizes(
        pairs=arguments.pairs,
        width=arguments.width,
        dtype=arguments.dtype,
        config=config,
        model=arguments.model,
        batch=arguments.batch,
        length=arguments.length,
        new_tokens=arguments.new_tokens,
        model_parallel=chips.count,
    )
    target = Target(chips.platform, tuple(topology.devices[: chips.count]))
    lowered = LOWERED[program](target, sizes)
    start = time.perf_counter()
    done = lowered.compile()
    seconds = time.perf_counter() - start
    text, memory = done.as_text(), done.memory_analysis()
    if arguments.hlo:
        arguments.hlo.mkdir(parents=True, exist_ok=True)
        (arguments.hlo / f"{name}-{program.replace(' ', '-')}-{arguments.pairs}.txt").write_text(
            text
        )
    parts = ("argument", "output", "temp", "alias")
    return {
        "seconds": seconds,
        "device_kind": topology.devices[0].device_kind,
        **{f"{part}_bytes": getattr(memory, f"{part}_size_in_bytes") for part in parts},
        "exchanges": {kind: one._asdict() for kind, one in all_exchanges(text).items()},
        "loops": [_loop_fields(loop) for loop in loops_of(text)],
        "pairs": arguments.pairs,
        "width": arguments.width,
    }


def _ptxas_of_pip_on_the_path() -> None:
    """Find the assembler that a wheel of NVIDIA's brought, unless there is one."""
    if shutil.which("ptxas") is None:
        for file in importlib.metadata.files("nvidia-cuda-nvcc") or ():
            if file.name == "ptxas":
                folder = str(Path(str(file.locate())).parent)
                os.environ["PATH"] = folder + os.pathsep + os.environ["PATH"]


def _loop_fields(loop: Loop) -> dict[str, Any]:
    fields = loop._asdict()
    fields["launches"] = {**loop.launches.counts, "total": loop.launches.total}
    fields["bytes"] = loop.launches.bytes
    fields["exchanges"] = {kind: one._asdict() for kind, one in loop.exchanges.items()}
    return fields


def device_bytes(row: dict[str, Any]) -> int:
    """Memory of a device while a program runs: arguments, results that are not theirs, the rest."""
    parts = (row[f"{name}_bytes"] for name in ("argument", "output", "temp"))
    return sum(parts) - row["alias_bytes"]


def make_recorder(arguments: argparse.Namespace) -> Recorder:
    """What keeps the rows of a run."""
    fields: dict[str, Any] = {name: getattr(arguments, name) for name in SIZES}
    fields["row_format"] = arguments.rows or "as by default"
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    fields["compilers"] = found
    if arguments.before:
        fields["before"] = json.loads(arguments.before.read_text())["rows"]
    return Recorder(arguments, fields, tables)


def tables(result: dict[str, Any]) -> str:
    """Markdown of a result."""
    compilers = ", ".join(f"{name} {version}" for name, version in result["compilers"].items())
    head = (
        f"Compiled on {origin(result)} ({compilers}), nothing run. Both phases: {result['pairs']} "
        f"pairs of width {result['width']} in {result['dtype']}, {result['gates']} gates, rows "
        f"{result['row_format']}; "
        f"{result['model']} in bfloat16, {result['batch']} rows of {result['length']} slots, "
        f"responses of {result['new_tokens']}."
    )
    done = [row for row in result["rows"] if row["failure"] is None]
    before = {
        (row["part"], row["target"], *place): loop
        for row in result.get("before", [])
        if row["failure"] is None
        for place, loop in _places(row["loops"])
    }
    return "\n".join(
        [
            head,
            "",
            markdown("**Programs**", _OF_PROGRAMS, map(_program_cells, result["rows"])),
            markdown(
                "**One pass of a loop of steps** (before: of an earlier run; all are in the JSON)",
                _OF_LOOPS,
                (cells for row in done for cells in _loop_cells(row, before)),
            ),
            markdown(
                f"**Predicted: an ADMM step of P3** ({P3.pairs} pairs of width {P3.width}, "
                f"{P3.gates} gates, {MEASURED_CG_STEPS:.2f} conjugate-gradient steps in it), the "
                "larger of bytes over bandwidth and, by formula, operations over rate",
                _OF_STEPS,
                _step_cells(done),
            ),
        ]
    )


_OF_PROGRAMS = (
    "target",
    "program",
    "compile s",
    "arguments GB",
    "results GB",
    "temporaries GB",
    "a device GB",
    "collectives",
    "note",
)
_OF_LOOPS = (
    "target",
    "program",
    "loop of",
    "inside",
    "trips",
    *LAUNCHES,
    OTHER,
    "launches",
    "before",
    "MB",
    "before",
    "collectives",
)
_OF_STEPS = ("card", "step", "GB", "ms", "350 steps, s")


def _program_cells(row: dict[str, Any]) -> list[str]:
    chips = TARGETS[row["target"]]
    if row["failure"] is not None:
        return [chips.title, row["part"], *["-"] * 6, row["failure"]]
    whole = device_bytes(row)
    note = f"{'within' if whole <= BAR else 'over'} 24 GB" if row["part"] in BACKBONES else ""
    if whole > chips.memory:
        note = "more than the device has"
    parts = (row[f"{name}_bytes"] for name in ("argument", "output", "temp"))
    return [
        chips.title,
        row["part"],
        figure(row["seconds"], ".0f"),
        *(figure(part, ".3g", 1e9) for part in (*parts, whole)),
        exchanges_text(row["exchanges"]),
        note,
    ]


def _loop_cells(row: dict[str, Any], before: dict[Any, dict[str, Any]]) -> Iterable[list[str]]:
    for place, loop in _places(row["loops"]):
        if place[0] not in STEPS:
            continue
        earlier = before.get((row["part"], row["target"], *place), {})
        counts = loop["launches"]
        yield [
            TARGETS[row["target"]].title,
            row["part"],
            place[0],
            place[1] or "-",
            str(loop["trips"] or "-"),
            *(str(counts[kind]) for kind in (*LAUNCHES, OTHER)),
            str(counts["total"]),
            str(earlier.get("launches", {}).get("total", "-")),
            figure(loop["bytes"], ".1f", 1e6),
            figure(earlier.get("bytes"), ".1f", 1e6),
            exchanges_text(loop["exchanges"]),
        ]


def _places(loops: list[dict[str, Any]]) -> Iterable[tuple[tuple[str, str, int], dict[str, Any]]]:
    """Loops by what is the same in two versions: functions of theirs and around, and which one."""
    functions = {loop["name"]: loop["function"].partition(".<locals>")[0] for loop in loops}
    seen: collections.Counter[tuple[str, str]] = collections.Counter()
    for loop in loops:
        functions_of_both = functions[loop["name"]], functions.get(loop["inside"], "")
        yield (*functions_of_both, seen[functions_of_both]), loop
        seen[functions_of_both] += 1


def exchanges_text(exchanges: dict[str, dict[str, int]]) -> str:
    """For example ``4 all-reduce (66.2 kB)``; a dash for none."""
    found = {kind: Exchange(**exchanges[kind]) for kind in COLLECTIVES if kind in exchanges}
    parts = (f"{one.count} {kind} ({one.bytes / 1e3:.3g} kB)" for kind, one in found.items())
    return ", ".join(parts) or "-"


def _step_cells(rows: Iterable[dict[str, Any]]) -> Iterable[list[str]]:
    # By the rule of `coala_jax.convex._penalties`, all blocks share an inverse at this size.
    k = MEASURED_CG_STEPS
    programs = [row for row in rows if row["part"].startswith(OF_P3)]
    for card in CARDS:
        for kept, seconds in least_seconds(card, P3, k, by_block=False).items():
            row_bytes = 4 if kept == "float32" else 2
            moved = step_bytes(P3, k, by_block=False, row_bytes=row_bytes)
            yield _one_step(card, f"by formula, {kept}", moved, seconds)
        for row in programs:
            bytes_of = {place: loop["bytes"] for place, loop in _places(row["loops"])}
            step = bytes_of["cronos_steps", "cronos_solve", 0]
            moved = step + k * bytes_of["solve_correction", "cronos_steps", 0]
            title = f"as compiled, {row['part'].removeprefix(OF_P3)}, rows {row['rows']}"
            yield _one_step(card, title, moved, moved / card.bandwidth)


def _one_step(card: Card, title: str, moved: float, seconds: float) -> list[str]:
    times = figure(seconds, ".3g", 1e-3), figure(MEASURED_STEPS * seconds, ".2g")
    return [card.name, title, figure(moved, ".3g", 1e9), *times]


if __name__ == "__main__":
    main()
