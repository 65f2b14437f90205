"""Seconds and memory to read, check and split a million short preference rows.

    python benchmarks/data.py                       # benchmarks/results/data.md and .json
    python benchmarks/data.py --rows 100000 --formats jsonl parquet

The rows are generated: prompts of some 60 characters, each asked twice, responses of some 120, one
row in a thousand broken. Every format runs in a process of its own, whose peak memory counts all of
it: interpreter, file buffers, rows, split.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
ROWS = 1_000_000
ROWS_OF_A_PROMPT = 2
BROKEN_EVERY = 1000
EVAL_FRACTION = 0.1
# What the project promises for a million rows on two cores.
MOST_SECONDS, MOST_MEBIBYTES = 60, 2048
WORDS = ("why", "does", "a", "proof", "by", "induction", "need", "its", "base", "case", "when")


def make_rows(count: int) -> Iterator[dict[str, Any]]:
    """Rows, the same ones every time."""
    draw = random.Random(0)

    def text(words: int) -> str:
        return " ".join(draw.choices(WORDS, k=words))

    prompt = ""
    for number in range(count):
        if number % ROWS_OF_A_PROMPT == 0:
            prompt = f"{text(11)} ({number})?"
        chosen = "" if number % BROKEN_EVERY == 0 else text(24)
        yield {
            "id": f"row-{number}",
            "prompt": prompt,
            "chosen": chosen,
            "rejected": f"{text(24)} no",
            "margin": float(number % 5),
        }


def write_jsonl(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """One object a line, gzipped where the name says so."""
    lines = (json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        with gzip.open(path, "wt", compresslevel=1) as packed:
            packed.writelines(lines)
    else:
        with path.open("w") as file:
            file.writelines(lines)


def write_json(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """One array."""
    with path.open("w") as file:
        for number, row in enumerate(rows):
            file.write(("," if number else "[") + json.dumps(row))
        file.write("]")


def write_csv(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """A header and a line a row."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        for number, row in enumerate(rows):
            if number == 0:
                writer.writerow(row)
            writer.writerow(row.values())


def write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Row groups of 10,000."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema(
        [(name, pyarrow.string()) for name in ("id", "prompt", "chosen", "rejected")]
        + [("margin", pyarrow.float64())]
    )
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        part: list[dict[str, Any]] = []
        for row in rows:
            part.append(row)
            if len(part) == 10_000:
                writer.write_table(pyarrow.Table.from_pylist(part, schema))
                part = []
        if part:
            writer.write_table(pyarrow.Table.from_pylist(part, schema))


WRITERS: dict[str, Callable[[Path, Iterator[dict[str, Any]]], None]] = {
    "jsonl": write_jsonl,
    "jsonl.gz": write_jsonl,
    "json": write_json,
    "csv": write_csv,
    "parquet": write_parquet,
}


def measure(path: str) -> dict[str, Any]:
    """Read, check and split one file; run in a process of its own."""
    from coala_jax.data import read_rows, split_by_prompt

    start = time.perf_counter()
    row_set = read_rows(path)
    read = time.perf_counter()
    parts = split_by_prompt(row_set.rows, EVAL_FRACTION, seed=0)
    end = time.perf_counter()
    return {
        "rows": len(row_set.rows),
        "set_aside": row_set.set_aside_counts,
        "train": len(parts.train),
        "eval": len(parts.eval),
        "read_seconds": read - start,
        "split_seconds": end - read,
        "seconds": end - start,
        # Linux counts it in KiB.
        "peak_mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run(formats: list[str], count: int) -> list[dict[str, Any]]:
    """Measure every format on a file that is made and removed."""
    results = []
    for name in formats:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"rows.{name}"
            WRITERS[name](path, make_rows(count))
            words = [sys.executable, __file__, "--measure", str(path)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            result = {"format": name, "bytes": path.stat().st_size, **json.loads(done.stdout)}
        print(line(result), flush=True)
        results.append(result)
    return results


def line(result: dict[str, Any]) -> str:
    """A row of the table."""
    return (
        f"| {result['format']} | {result['rows']:,} | {result['bytes'] / 2**20:.0f} | "
        f"{result['read_seconds']:.1f} | {result['split_seconds']:.1f} | "
        f"{result['seconds']:.1f} | {result['peak_mebibytes']:.0f} |"
    )


HEADER = """| format | rows | MiB on disk | read and check, s | split, s | together, s | peak MiB |
|---|---|---|---|---|---|---|"""


def main() -> int:
    """Measure and write the table; fails where the promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--formats", nargs="+", choices=tuple(WRITERS), default=list(WRITERS))
    parser.add_argument("--measure", metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return 0
    print(HEADER)
    results = run(arguments.formats, arguments.rows)
    if arguments.rows == ROWS:
        from coala_jax._files import write_text
        from coala_jax._json import json_text

        write_text(RESULTS / "data.json", json_text({"rows": ROWS, "results": results}))
        table = "\n".join([HEADER, *map(line, results)])
        write_text(RESULTS / "data.md", f"# A million short preference rows\n\n{table}\n")
    kept = all(
        each["seconds"] < MOST_SECONDS and each["peak_mebibytes"] < MOST_MEBIBYTES
        for each in results
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
