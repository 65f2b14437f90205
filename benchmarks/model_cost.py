"""What a real model costs: extraction, plain and guided generation, against torch and in memory.

A part is a run of extraction.py or of guided_cost.py, whose processes are bound to so many cores;
there the contenders take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reporting import HERE, account, figure, markdown, origin
from resumed_parts import Parts

from coala_jax.backbones import load_backbone

CORES = (1, 2)
EXTRACTION, GENERATION = "extraction", "guided_cost"
BATCHES = (1, 8)
# A part of a model of some hundred million weights is some minutes.
PAIRS, EXTRACTION_REPEATS = 8, 3
STEPS, GENERATION_REPEATS = 16, 5
CANDIDATES = 5


def result_of(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The parts that there are, made as far as the time goes; None where there is none."""
    identity = load_backbone(arguments.model).identity
    pieces = {_name(*piece): _options(arguments.data, *piece) for piece in _pieces()}
    settings = {
        **{"task": "cost", "backbone": identity._asdict(), "candidates": CANDIDATES},
        **{"pairs": PAIRS, "extraction_repeats": EXTRACTION_REPEATS},
        **{"steps": STEPS, "generation_repeats": GENERATION_REPEATS},
    }
    parts = Parts(arguments.out, settings, arguments.end)
    found = {
        name: parts.made(name, lambda options=options: _result(arguments, options))
        for name, options in pieces.items()
    }
    made = [one for one in found.values() if one is not None]
    if not made:
        return None
    return account(
        command=arguments.command,
        backbone=identity._asdict(),
        measured=[{name: one[name] for name in ("date", "versions")} for one in made],
        **{
            script: [
                row
                for name, one in found.items()
                if one is not None and name.startswith(script)
                for row in one["rows"]
            ]
            for script in (EXTRACTION, GENERATION)
        },
        generation_peak_bytes={
            name: peak for one in made for name, peak in one.get("peak_bytes", {}).items()
        },
    )


def _pieces() -> Iterable[tuple[str, int, int | None]]:
    """Scripts, cores and rows that generate together, as far as there are cores."""
    for cores in (each for each in CORES if each <= (os.cpu_count() or 1)):
        yield EXTRACTION, cores, None
        for batch in BATCHES:
            yield GENERATION, cores, batch


def _name(script: str, cores: int, batch: int | None) -> str:
    """Of a part."""
    return f"{script}-{cores}-cores" + ("" if batch is None else f"-{batch}-rows")


def _options(data: Path, script: str, cores: int, batch: int | None) -> list[str]:
    """Of a script's run; those that name folders come later."""
    options = [f"{script}.py", "--cores", str(cores)]
    if batch is None:
        rows = "hh_helpful" if (data / "hh_helpful.jsonl.gz").is_file() else "tutoring"
        options += ["--sets", rows, "--rows", str(PAIRS), "--repeats", str(EXTRACTION_REPEATS)]
        return options
    options += ["--batches", str(batch), "--candidates", str(CANDIDATES)]
    options += ["--steps", str(STEPS), "--repeats", str(GENERATION_REPEATS)]
    # Memory is that of the most rows.
    return [*options, "--memory"] if (cores, batch) == (CORES[0], BATCHES[-1]) else options


def _result(arguments: argparse.Namespace, options: Sequence[str]) -> dict[str, Any]:
    """What a script's run has written."""
    script, *others = options
    if script == f"{EXTRACTION}.py":
        others += ["--data", str(arguments.data)]
    with tempfile.TemporaryDirectory() as folder:
        own = ["--model", str(arguments.model), "--out", folder, "--name", "part"]
        words = [sys.executable, str(HERE / script), *own, *others]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads((Path(folder) / "part.json").read_text("utf-8"))
    return found


def table(result: Mapping[str, Any]) -> str:
    """Both tables as Markdown."""
    model = f"{result['backbone']['name']} ({result['backbone']['model_type']})"
    dates = ", ".join(sorted({one["date"] for one in result["measured"]}))
    head = (
        f"Cost of {model}, float32, processes bound to so many cores, contenders in turns, the "
        f"median; measured {dates}. {origin(dict(result))}; `{result['command']}`."
    )
    extraction = markdown(
        "Extraction of last-layer features, mean pooling; peak memory in a process of its own.",
        ("cores", "rows", "contender", "tokens/s", "seconds over the best torch", "peak MB"),
        (
            [
                *(row["cores"], row["rows"], row["contender"]),
                f"{row['tokens_per_second']:.0f}",
                f"{row['ratio']:.2f}",
                figure(row["peak_bytes"], ".0f", 1e6),
            ]
            for row in result[EXTRACTION]
        ),
    )
    peaks = result["generation_peak_bytes"]
    generation = markdown(
        f"Generation: steps of rows that run together; guidance at every fifth token but for the "
        f"default; peak memory with {BATCHES[-1]} rows in a process of its own.",
        ("cores", "rows", "contender", "ms a step", "tokens/s", "over plain", "peak MB"),
        (
            [
                *(row["cores"], row["batch"], row["contender"]),
                f"{row['ms_a_step']:.1f}",
                f"{row['tokens_per_second']:.1f}",
                f"{row['ratio']:.2f}",
                figure(_peak(row, peaks), ".0f", 1e6),
            ]
            for row in result[GENERATION]
        ),
    )
    return "\n".join([head, "", extraction, generation])


def _peak(row: Mapping[str, Any], peaks: Mapping[str, float | None]) -> float | None:
    """That of a row of the table, where it was measured."""
    measured = (row["cores"], row["batch"]) == (CORES[0], BATCHES[-1])
    return peaks.get(row["contender"]) if measured else None
