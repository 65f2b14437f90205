"""What the devices of compiled programs send each other: read from what XLA dumps of them.

A process that runs on forced host devices, with XLA's dump in a folder of its own:

    XLA_FLAGS="--xla_force_host_platform_device_count=8 --xla_dump_to=DIR --xla_dump_hlo_as_text"
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
KINDS = ("all-gather", "all-reduce", "collective-permute", "all-to-all", "reduce-scatter")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(.*?op_name=\"([^\"]*)\"")
_SHAPE = re.compile(r"\w+\[([\d,]*)\]")


class Collective(NamedTuple):
    """One of a program: its kind, the elements of its largest array, where it comes from."""

    kind: str
    elements: int
    name: str


def collectives_of(program: str) -> list[Collective]:
    """Those of a program's text after XLA's optimisation."""
    found = []
    for shapes, kind, name in _COLLECTIVE.findall(program):
        sizes = [
            int(np.prod([int(size) for size in shape.split(",") if size]))
            for shape in _SHAPE.findall(shapes)
        ]
        found.append(Collective(kind, max(sizes), name))
    return found


class Dumped:
    """Collectives of the programs that were compiled since it was last asked.

    Args:
        folder: `--xla_dump_to` of this process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._seen = folder, set()
        self.new()

    def new(self) -> list[Collective]:
        files = set(self._folder.glob("*after_optimizations.txt")) - self._seen
        self._seen |= files
        return [each for file in sorted(files) for each in collectives_of(file.read_text())]


def on_forced_devices(module: str, devices: int, dumps: Path | None = None, *words: str) -> dict:
    """What a module prints as JSON when it runs in a process of so many host devices.

    Its arguments are the folder of XLA's dumps, where there is one, and the words.
    """
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    if dumps is not None:
        flags += f" --xla_dump_to={dumps} --xla_dump_hlo_as_text"
    done = subprocess.run(
        [sys.executable, "-m", module, *([] if dumps is None else [str(dumps)]), *words],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
