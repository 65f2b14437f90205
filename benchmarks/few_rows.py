"""Products of few rows with large weights on a CPU: turned round against as they are written.

    PYTHONPATH=. python benchmarks/few_rows.py

Random float32 weights (out, in), milliseconds of wall time, the fastest of runs in turns on one
core. Writes a Markdown table and its JSON.
"""

from __future__ import annotations

import math
import os
import time
from typing import Any

from reporting import account, finish, markdown, origin, parser_of, say

# (out, in): projections of Gemma 3 270M, of a model of a billion weights, and a vocabulary.
SHAPES = ((2048, 640), (640, 2048), (8192, 2048), (262_144, 640))


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__, "few-rows")
    parser.add_argument("--rows", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64, 128])
    parser.add_argument("--repeats", type=int, default=21, help="of each, the fastest counts")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # before jax starts its threads
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows = [
        _compare(shape, count, arguments.repeats) for shape in SHAPES for count in arguments.rows
    ]
    result = account(repeats=arguments.repeats, rows=rows)
    table = markdown(
        f"ms, the fastest of {arguments.repeats} in turns, one core; {origin(result)}.",
        ("weights", "rows", "as written", "turned", "ratio"),
        (
            [
                *(f"{row['out']} by {row['in']}", row["rows"]),
                *(f"{row['written']:.3f}", f"{row['turned']:.3f}"),
                f"{row['turned'] / row['written']:.2f}",
            ]
            for row in rows
        ),
    )
    finish(arguments, result, table)


def _compare(shape: tuple[int, int], rows: int, repeats: int) -> dict[str, Any]:
    import jax
    import numpy as np

    from coala_jax.backbones._ops import _of_few_rows, _of_rows

    weight, x = (
        jax.random.normal(jax.random.key(number), (count, shape[1]))
        for number, count in enumerate((shape[0], rows))
    )
    ways = {"written": jax.jit(_of_rows), "turned": jax.jit(_of_few_rows)}
    one, other = (jax.device_get(way(x, weight)) for way in ways.values())  # compiles
    np.testing.assert_allclose(one, other, atol=1e-5 * math.sqrt(shape[1]))
    fastest = dict.fromkeys(ways, math.inf)
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            jax.block_until_ready(way(x, weight))
            fastest[name] = min(fastest[name], 1e3 * (time.perf_counter() - start))
    row = {"out": shape[0], "in": shape[1], "rows": rows, **fastest}
    say(row)
    return row


if __name__ == "__main__":
    main()
