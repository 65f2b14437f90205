"""What `test_devices` runs in processes of their own; each prints one JSON object.

python -m tests.features.devices mesh CHECKPOINTS OUT           on eight devices
python -m tests.features.devices part CHECKPOINT OUT PORT I N   one of N on loopback
"""

import json
import re
import shutil
import sys
from collections import Counter
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from coala_jax.backbones import TokenBatch, device_mesh, load_backbone
from coala_jax.backbones._attention import plain_batch
from coala_jax.backbones._sharding import mesh_of, row_sharding
from coala_jax.data import PreferenceRow, RowSet
from coala_jax.features import Part
from coala_jax.features._build import extract_store
from coala_jax.features._settings import ExtractSettings

# A row on each device: one shape, so one compilation, for every mesh.
SETTINGS = ExtractSettings(token_budget=64, shard_rows=4)
WORDS = ["the", "student", "asks", "the", "tutor", "answers"]
# Data times model, of each checkpoint; four do not divide the two key heads of the grouped one.
MESHES = {
    "gpt2": [(8, 1), (4, 2), (1, 2)],
    "grouped": [(4, 2), (2, 4)],
    "odd": [(4, 2)],
    "bert": [(8, 1), (1, 2)],
}
COLLECTIVE = r" (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("


def make_rows(n: int = 10) -> RowSet:
    """Pairs of few words."""
    rng = np.random.default_rng(0)
    texts = [[" ".join(rng.choice(WORDS, rng.integers(5, 9))) for _ in range(3)] for _ in range(n)]
    return RowSet(tuple(PreferenceRow(str(i), *three) for i, three in enumerate(texts)))


def on_a_mesh(checkpoints: Path, out: Path) -> dict:
    """Every checkpoint on every mesh, against one device."""
    report = {"devices": jax.device_count(), "refused": _refused(), "cases": []}
    for name, meshes in MESHES.items():
        alone = load_backbone(checkpoints / name)
        expected = extract_store(make_rows(), alone, out / name, settings=SETTINGS).table
        for data, model in meshes:
            mesh = device_mesh(data * model, model)
            backbone = load_backbone(checkpoints / name, mesh=mesh)
            folder = out / f"{name}-{data}x{model}"
            store = extract_store(make_rows(), backbone, folder, settings=SETTINGS)
            found = store.table
            report["cases"].append(
                {
                    "name": name,
                    "mesh": [data, model],
                    "error": max(
                        float(np.abs(getattr(found, side) - getattr(expected, side)).max())
                        for side in ("chosen", "rejected")
                    ),
                    "scale": float(np.abs(expected.chosen).max()),
                    "same_identity": found.identity == expected.identity,
                    "heights": [
                        shape[0] for e in store.manifest["shards"] for shape in e["shapes"]
                    ],
                    "recorded": [entry["devices"] for entry in store.manifest["shards"]],
                    "placement": _placement(backbone),
                    "collectives": _collectives(backbone),
                }
            )
    report["resumed"] = _resumed(checkpoints, out)
    one = extract_store(
        make_rows(),
        load_backbone(checkpoints / "gpt2", mesh=device_mesh(1)),
        out / "one",
        settings=SETTINGS,
    )
    report["one_device_is_no_mesh"] = _bytes(one.path) == _bytes(out / "gpt2")
    return report


def _placement(backbone) -> dict:
    """Of every parameter: its split axis, if any, all its bytes and those of each device."""
    placed = {}
    for path, leaf in nnx.to_flat_state(nnx.state(backbone.module, nnx.Param)):
        value = leaf[...]
        spec = [axis for axis, name in enumerate(value.sharding.spec) if name == "model"]
        each = {shard.data.nbytes for shard in value.addressable_shards}
        devices = len(value.addressable_shards)
        placed[".".join(map(str, path))] = [spec, value.ndim, value.nbytes, sorted(each), devices]
    return placed


def _collectives(backbone) -> dict:
    """How often the program of a pass communicates; a scanned layer counts once."""
    batch = plain_batch(jnp.zeros((8, 16), jnp.int32))
    placed: TokenBatch = jax.device_put(batch, row_sharding(mesh_of(backbone.module)))
    graph, state = nnx.split(backbone.module)
    run = jax.jit(lambda state, batch: nnx.merge(graph, state).states(batch).hidden[0])
    # A CPU goes through attention row by row and gathers the rows for it; what is counted here is
    # what the devices that there are several of would run.
    accelerators = mock.patch.object(
        jax.lax, "platform_dependent", lambda *arguments, default, **_: default(*arguments)
    )
    with accelerators:
        return Counter(re.findall(COLLECTIVE, run.lower(state, placed).compile().as_text()))


def _resumed(checkpoints: Path, out: Path) -> list:
    """Devices of each shard of a store that eight devices began and two went on with."""
    begun, partial = out / "gpt2-8x1", out / "resumed.partial"
    shutil.copytree(begun, partial)
    manifest = json.loads((partial / "manifest.json").read_text())
    manifest["shards"] = manifest["shards"][:1]
    (partial / "manifest.json").write_text(json.dumps(manifest))
    backbone = load_backbone(checkpoints / "gpt2", mesh=device_mesh(2, 2))
    store = extract_store(make_rows(), backbone, out / "resumed", settings=SETTINGS)
    return [entry["devices"] for entry in store.manifest["shards"]]


def _refused() -> list:
    messages = []
    for arguments in [(9,), (0,), (8, 3), (2, 4), (8, 0)]:
        try:
            device_mesh(*arguments)
        except ValueError as error:
            messages.append(str(error))
    return messages


def _bytes(folder: Path) -> dict:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def a_part(checkpoint: Path, out: Path, port: str, number: str, of: str) -> dict:
    """One process of several that jax knows of each other."""
    jax.distributed.initialize(f"127.0.0.1:{port}", int(of), int(number))
    part = Part.of_this_process()
    backbone = load_backbone(checkpoint, mesh=device_mesh())
    store = extract_store(make_rows(), backbone, out, settings=SETTINGS, part=part)
    return {"part": part, "path": str(store.path), "devices": jax.device_count()}


if __name__ == "__main__":
    kind, checkpoint, out, *rest = sys.argv[1:]
    run = {"mesh": on_a_mesh, "part": a_part}[kind]
    print(json.dumps(run(Path(checkpoint), Path(out), *rest)))
