"""The programs of this package, lowered for devices that need not be there: from shapes alone.

Rows of both phases lie on all devices; rows of a batch of extraction or decoding on those of the
axis ``data`` and a backbone's parameters on those of ``model``, as in use. Nothing is computed, and
no weight is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from gpu_extraction import SHAPES
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from coala_jax import Config, ConvexHead, Params, PreferenceFeatures
from coala_jax._group_inputs import prepare_for
from coala_jax._inputs import prepare_params
from coala_jax._row_mesh import RowMesh
from coala_jax.backbones._families import FAMILIES
from coala_jax.backbones._sharding import DATA, MODEL, parameter_sharding, row_sharding
from coala_jax.convex._phase1 import _cronos
from coala_jax.decoding._candidates import SamplingArrays
from coala_jax.decoding._config import Guidance, Sampling
from coala_jax.decoding._running_pool import Reading, RunningReward
from coala_jax.decoding._state import Plan, PromptBatch, begin
from coala_jax.decoding._step import advance
from coala_jax.features._extract import _forward
from coala_jax.features._packing import TOKENS_PER_LEAF, Batch
from coala_jax.preference._finetune import _finetune

ROWS = "rows"


class Sizes(NamedTuple):
    """How large the programs are.

    Attributes:
        pairs: n of both phases.
        width: d of their features.
        dtype: of the features as they come.
        config: of the solver.
        model: of `gpu_extraction.SHAPES`.
        batch: rows that run together, of extraction and of decoding.
        length: slots of a row of extraction, and of a prompt.
        new_tokens: of a response.
        model_parallel: devices that hold the backbone together.
    """

    pairs: int
    width: int
    dtype: str
    config: Config
    model: str
    batch: int
    length: int
    new_tokens: int
    model_parallel: int


class Target(NamedTuple):
    """What programs are lowered for: a platform as XLA names it, and devices of it."""

    platform: str
    devices: tuple[Any, ...]

    def mesh(self, *axes: str, last: int | None = None) -> Mesh:
        """All devices along one axis, or ``last`` of them along the second of two."""
        shape = (-1,) if last is None else (-1, last)
        types = (AxisType.Auto,) * len(axes)
        return Mesh(np.array(self.devices, object).reshape(shape), axes, axis_types=types)


def phase1(target: Target, sizes: Sizes) -> jax.stages.Lowered:
    """`coala_jax.cronos`."""
    params, arrays = _solver_inputs(target, sizes)
    with jax.default_matmul_precision("highest"):
        return _lowered(target, _cronos, params, arrays, sizes.config, None, None)


def phase2(target: Target, sizes: Sizes) -> jax.stages.Lowered:
    """`coala_jax.finetune` of the head that Phase I has."""
    params, arrays = _solver_inputs(target, sizes)
    whole = NamedSharding(target.mesh(ROWS), PartitionSpec())
    shapes = jax.eval_shape(lambda: _cronos(*_zeros((params, arrays)), sizes.config, None, None))
    head, key = _placed((shapes.head, jax.eval_shape(jax.random.key, 0)), whole)
    with jax.default_matmul_precision("highest"):
        return _lowered(target, _finetune, params, head, arrays, None, sizes.config, key)


def extraction(target: Target, sizes: Sizes) -> jax.stages.Lowered:
    """One batch of `coala_jax.features`: hidden states of the last layer, and their mean."""
    mesh = target.mesh(DATA, MODEL, last=sizes.model_parallel)
    graph, state, _ = _backbone(sizes.model, mesh, has_head=False)
    slots = jax.ShapeDtypeStruct((sizes.batch, sizes.length), jnp.int32)
    leaves = jax.ShapeDtypeStruct((sizes.batch, sizes.length // TOKENS_PER_LEAF), jnp.int32)
    batch = _placed(Batch(*[slots] * 3, *[leaves] * 3), row_sharding(mesh))

    def run(state: Any, batch: Batch) -> jax.Array:
        module = nnx.merge(graph, state)
        pooled: jax.Array = _forward(module, batch, None, pooling="mean", layers=(-1,))
        return pooled

    return _lowered(target, jax.jit(run), state, batch)


def decoding(target: Target, sizes: Sizes) -> jax.stages.Lowered:
    """Steps of `coala_jax.decoding` with the default guidance, until all rows are done."""
    mesh = target.mesh(DATA, MODEL, last=sizes.model_parallel)
    by_row, whole = row_sharding(mesh), NamedSharding(mesh, PartitionSpec())
    graph, state, config = _backbone(sizes.model, mesh, has_head=True)
    guidance = Guidance()
    plan = Plan(
        pool=Sampling().top_k,
        new_tokens=sizes.new_tokens,
        candidates=guidance.num_candidates or Sampling().top_k,
        guidance=dataclasses.replace(guidance, num_candidates=None),
        end_id=0,
        end_ids=(0,),
        penalised=False,
        traced=False,
    )
    neurons = 2 * sizes.config.n_gates
    numbers = jax.ShapeDtypeStruct((config.hidden_size, neurons), jnp.float32)
    one_a_neuron = jax.ShapeDtypeStruct((neurons,), jnp.float32)
    center = jax.ShapeDtypeStruct((config.hidden_size,), jnp.float32)
    head = ConvexHead(numbers, one_a_neuron, one_a_neuron, center)
    reward = _placed(RunningReward(head, None, Reading("mean", (-1,))), whole)

    def start(state: Any, reward: RunningReward) -> Any:
        rows = jnp.zeros(sizes.batch, jnp.int32)
        numbers = jnp.zeros(sizes.batch, jnp.float32)
        keys = jax.random.split(jax.random.key(0), sizes.batch)
        options = SamplingArrays(keys, numbers, numbers, rows, numbers, numbers, rows)
        prompts = PromptBatch(jnp.zeros((sizes.batch, sizes.length), jnp.int32), rows)
        capacity = plan.slots(sizes.length + sizes.new_tokens)
        return begin(
            nnx.merge(graph, state), reward, prompts, rows, options, plan=plan, capacity=capacity
        )

    rows = jax.eval_shape(start, state, reward)
    # Keys and values have their layers before their rows.
    by_layer = NamedSharding(mesh, PartitionSpec(None, DATA))
    cache = rows.cache._replace(
        keys=_placed(rows.cache.keys, by_layer), values=_placed(rows.cache.values, by_layer)
    )
    rest = _placed(rows, by_row)
    rows = rest._replace(
        cache=rest.cache._replace(keys=cache.keys, values=cache.values),
    )
    steps = _placed(jax.ShapeDtypeStruct((), jnp.int32), whole)

    def run(state: Any, reward: RunningReward, rows: Any, steps: jax.Array) -> Any:
        return advance(nnx.merge(graph, state), reward, rows, steps, plan=plan)

    return _lowered(target, jax.jit(run, donate_argnums=2), state, reward, rows, steps)


PROGRAMS: Mapping[str, Callable[[Target, Sizes], jax.stages.Lowered]] = {
    "phase I": phase1,
    "phase II": phase2,
    "extraction": extraction,
    "decoding": decoding,
}


def _solver_inputs(target: Target, sizes: Sizes) -> tuple[Any, Any]:
    """Parameters and prepared pairs, the rows of these split over all devices."""
    mesh = target.mesh(ROWS)
    side = jax.ShapeDtypeStruct((sizes.pairs, sizes.width), sizes.dtype)
    params, arrays = jax.eval_shape(
        lambda features: (prepare_params(Params()), prepare_for(sizes.config, features)),
        PreferenceFeatures(side, side),
    )
    params = _placed(params, NamedSharding(mesh, PartitionSpec()))
    arrays = _placed(arrays, NamedSharding(mesh, PartitionSpec(ROWS)))
    several = RowMesh(mesh, (ROWS,)) if len(target.devices) > 1 else None
    return params, dataclasses.replace(arrays, mesh=several)


def _backbone(name: str, mesh: Mesh, *, has_head: bool) -> tuple[Any, Any, Any]:
    """Graph, shapes of the parameters in bfloat16 and configuration of a model."""
    fields = {**SHAPES[name], "tie_word_embeddings": not has_head}
    family = FAMILIES[fields["model_type"]]
    config = family.read_config(fields)
    module = nnx.eval_shape(lambda: family.make(config, nnx.Rngs(0), jnp.bfloat16))
    graph, state = nnx.split(module)
    splits = family.splits(config)
    placed = []
    for path, leaf in nnx.to_flat_state(state):
        split = splits.get(tuple(str(part) for part in path))
        sharding = parameter_sharding(mesh, split, len(leaf.shape))
        shape = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
        placed.append((path, leaf.replace(shape)))
    return graph, nnx.from_flat_state(placed), config


def _lowered(target: Target, function: Any, *arguments: Any) -> jax.stages.Lowered:
    traced = function.trace(*arguments)
    lowered: jax.stages.Lowered = traced.lower(lowering_platforms=(target.platform,))
    return lowered


def _placed(tree: Any, sharding: NamedSharding) -> Any:
    """Shapes that lie somewhere."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def _zeros(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree)
