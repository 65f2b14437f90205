"""Pools of a large vocabulary: `largest` by parts against `jax.lax.top_k` of all ids.

    PYTHONPATH=. python benchmarks/large_pools.py

Random float32 logits, 51 of them asked for, milliseconds of wall time, medians of runs in turns.
Writes a Markdown table and its JSON.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from reporting import account, finish, markdown, origin, parser_of, say

COUNT = 51  # a pool of 50, and one that tells how near the edge is


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__, "large-pools")
    parser.add_argument("--ids", type=int, nargs="+", default=[32_000, 262_144])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=31, help="of each, the median counts")
    arguments = parser.parse_args()
    rows = [
        _compare(ids, count, arguments.repeats) for ids in arguments.ids for count in arguments.rows
    ]
    result = account(count=COUNT, repeats=arguments.repeats, rows=rows)
    table = markdown(
        f"The {COUNT} largest, ms, the median of {arguments.repeats} in turns; {origin(result)}.",
        ("ids", "rows", "top_k of all", "by parts"),
        ((r["ids"], r["rows"], f"{r['whole']:.2f}", f"{r['parts']:.2f}") for r in rows),
    )
    finish(arguments, result, table)


def _compare(ids: int, rows: int, repeats: int) -> dict[str, Any]:
    import jax
    import numpy as np

    from coala_jax.decoding._candidates import largest

    logits = jax.random.normal(jax.random.key(0), (rows, ids))
    ways = {
        "whole": jax.jit(lambda values: jax.lax.top_k(values, COUNT)),
        "parts": jax.jit(lambda values: largest(values, COUNT)),
    }
    found = [jax.device_get(way(logits)) for way in ways.values()]  # compiles
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            jax.block_until_ready(way(logits))
            times[name].append(1e3 * (time.perf_counter() - start))
    made = {name: statistics.median(each) for name, each in times.items()}
    row = {"ids": ids, "rows": rows, **made}
    say(row)
    return row


if __name__ == "__main__":
    main()
