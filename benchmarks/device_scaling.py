"""One problem over 1, 2, 4 and 8 devices: memory a device, steps, and what devices exchange.

    PYTHONPATH=. python benchmarks/device_scaling.py
    PYTHONPATH=. python benchmarks/device_scaling.py --rows compact --name device-scaling-compact

The devices are those that XLA forces on a host, which share its cores and its memory: what is
measured is what the compiled program of each device reserves, not time. Every number of devices has
a process of its own. Writes a Markdown table and its JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from reporting import account, finish, markdown, origin, parser_of, say

MB = 1e6


def main() -> None:
    """Run the benchmark, or one of its processes."""
    parser = parser_of(__doc__, "device-scaling")
    parser.add_argument("--pairs", type=int, default=16_000, help="in all")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--gates", type=int, default=8)
    parser.add_argument(
        "--rows", default="full", choices=("full", "compact"), help="of Config; compact in bfloat16"
    )
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measured(arguments)))
        return
    found = []
    for devices in arguments.devices:
        say(f"{devices} devices")
        found.append(_in_a_process(devices))
    first = found[0]["bytes"] * found[0]["devices"]
    for row in found:
        row["share"] = row["bytes"] * row["devices"] / first
    kind = "bfloat16, compact" if arguments.rows == "compact" else "float32"
    problem = {name: getattr(arguments, name) for name in ("pairs", "width", "gates", "rows")}
    result = account(**problem, rows_of=found)
    table = markdown(
        f"{arguments.pairs} pairs of {arguments.width} features ({kind}), {arguments.gates} gates, "
        f"Bradley-Terry; {origin(result)}, forced host devices.",
        (
            "devices",
            "MB a device",
            "times devices, of one",
            "status",
            "steps",
            "conjugate-gradient steps",
            "objective",
            "all-reduces",
            "kB they bring",
            "other collectives: count, largest in kB",
        ),
        (
            (
                row["devices"],
                f"{row['bytes'] / MB:.1f}",
                f"{row['share']:.2f}",
                row["status"],
                row["steps"],
                row["cg_steps"],
                f"{row['objective']:.3f}",
                row["sums"],
                f"{row['sum_bytes'] / 1e3:.1f}",
                ", ".join(
                    f"{kind} {count}, {largest / 1e3:.1f}"
                    for kind, (count, _, largest) in row["others"].items()
                )
                or "-",
            )
            for row in found
        ),
    )
    finish(arguments, result, table)


def _in_a_process(devices: int) -> dict[str, Any]:
    flags = os.environ.get("XLA_FLAGS", "")
    flags += f" --xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, *sys.argv, "--child"],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Phase I of the problem with its rows over all devices of this process."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from hlo_text import all_exchanges

    from coala_jax import Config, Params, PreferenceFeatures, Status, cronos, shard_rows
    from coala_jax._group_inputs import prepare_for
    from coala_jax._inputs import prepare_params
    from coala_jax.convex._phase1 import _cronos

    rng = np.random.default_rng(0)
    sides = rng.standard_normal((2, arguments.pairs, arguments.width), np.float32)
    sides[0, :, :4] += 0.3
    dtype = jnp.bfloat16 if arguments.rows == "compact" else jnp.float32
    features = PreferenceFeatures(*(side.astype(dtype) for side in sides))
    if len(jax.devices()) > 1:
        features = shard_rows(features)
    config = Config(phase1_loss="bradley_terry", n_gates=arguments.gates, rows=arguments.rows)
    solution = cronos(Params(), features, config=config)
    arrays = prepare_for(config, features)
    with jax.default_matmul_precision("highest"):
        compiled = _cronos.lower(prepare_params(Params()), arrays, config, None, None).compile()
    memory = compiled.memory_analysis()
    exchanges = all_exchanges(compiled.as_text())
    sums = exchanges.pop("all-reduce", None)
    stats = solution.stats
    return {
        "devices": len(jax.devices()),
        "bytes": memory.argument_size_in_bytes + memory.temp_size_in_bytes,
        "status": Status(int(solution.status)).name,
        "steps": int(stats.iterations),
        "cg_steps": int(stats.cg_iterations),
        "objective": float(stats.primal_value),
        "sums": sums.count if sums else 0,
        "sum_bytes": sums.bytes if sums else 0,
        "others": {kind: list(each) for kind, each in exchanges.items()},
    }


if __name__ == "__main__":
    main()
