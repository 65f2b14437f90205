"""Better gates from the solved network itself, for `refine_gates`.

An optimum lies inside the cones of its gates, so its own patterns say nothing new. Local descent on
the network's own objective (2) crosses them and arrives at a network that is no worse, whose
patterns are the next gates: in their program that network is feasible, so the next optimum is no
worse either, as long as all its neurons found a gate.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from coala_jax._errors import CoalaError
from coala_jax._group_inputs import Arrays, prepare_for
from coala_jax._inputs import prepare_params, require_kind
from coala_jax._solution import Certificate, Phase1Solution
from coala_jax._types import Config, Features, Params
from coala_jax.convex._gates import closed_unless, distinct_gates
from coala_jax.convex._network import Network, network_from_weights
from coala_jax.convex._phase1 import cronos
from coala_jax.convex._program import from_rows, path_output, path_penalty
from coala_jax.convex._rebuild import program_of
from coala_jax.convex._rows import whole_rows

_DESCENT_STEPS = 100
# A round that lowers the objective by less than this share is the last.
_LEAST_GAIN = 1e-3


def refinement_rounds(
    params: Params,
    features: Features,
    *,
    config: Config,
    key: jax.Array | None = None,
    max_rounds: int = 10,
) -> list[Phase1Solution]:
    """Solve, take the gates that the network moves to under local descent, solve again.

    The absolute group-lasso strength of the first solve stays, so that the objectives of all rounds
    are of one network problem. Runs rounds on the host: not under jit or vmap.

    Args:
        params: as for `cronos`.
        features: as for `cronos`.
        config: as for `cronos`; `model` must be `"relu"`.
        key: typed key of the first gates.
        max_rounds: largest number of rounds after the first solve.

    Returns:
        The solutions in order, each objective at least 0.1 % below the one before; the last is the
        best. Look at its status: a round that ran into the iteration cap counts by its objective.

    Raises:
        ValueError: a gated model.
    """
    require_kind("config", config, Config)
    if config.model != "relu":
        raise CoalaError(
            f"refine_gates needs Config.model='relu', got {config.model!r}: the descent is one of "
            "the ReLU network's own objective"
        )
    solutions = [cronos(params, features, config=config, key=key)]
    if int(solutions[0].stats.active_neurons) == 0:
        return solutions
    fixed = params._replace(group_lasso=solutions[0].stats.group_lasso_strength)
    absolute = dataclasses.replace(config, strength_unit="absolute")
    arrays = prepare_for(config, features)
    for _ in range(max_rounds):
        with jax.default_matmul_precision("highest"):
            gates = _next_gates(prepare_params(params), arrays, solutions[-1].certificate, config)
        latest = cronos(fixed, features, config=absolute, gates=gates)
        before, after = (float(s.stats.primal_value) for s in (solutions[-1], latest))
        if not after <= before * (1 - _LEAST_GAIN):
            break
        solutions.append(latest)
    return solutions


class _Model(NamedTuple):
    """A network and the linear path (d,) beside it, None without one."""

    network: Network
    linear: jax.Array | None


@functools.partial(jax.jit, static_argnames="config")
def _next_gates(
    params: Params, arrays: Arrays, certificate: Certificate, config: Config
) -> jax.Array:
    """First layer of the network after descent, largest neurons first, then the old gates: (P, D).

    Repeated patterns are left out.
    """
    program, gates, weights, linear, _ = program_of(params, arrays, certificate, config)
    x = whole_rows(program.features)

    def network_objective(model: _Model) -> jax.Array:
        """Objective (2): the loss and lambda_g / 2 times the squares of both layers.

        With a linear path, its ridge too.
        """
        network = model.network
        rewards = jax.nn.relu(x @ network.first_layer) @ network.second_layer
        output = from_rows(program, rewards) + path_output(program, model.linear)
        squares = sum(jnp.sum(layer**2) for layer in network)
        penalty = program.strength / 2 * squares + path_penalty(program, model.linear)
        return program.value(output) + penalty

    start = _Model(network_from_weights(weights, program.model), linear)
    network = _descend(network_objective, start).network
    size = jnp.linalg.norm(network.first_layer, axis=0) * jnp.abs(network.second_layer)
    order = jnp.argsort(-size)
    # A zero neuron has no pattern: its gate is made one that selects no row, and is left out.
    moved = closed_unless(size[order] > 0, network.first_layer.T[order])
    return distinct_gates(jnp.concatenate([moved, gates]), gates.shape[0], x).vectors


def _descend(value: Callable[[_Model], jax.Array], start: _Model) -> _Model:
    """The best model of some L-BFGS steps; a zero neuron stays zero."""
    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(value)

    def step(
        carry: tuple[_Model, optax.OptState, _Model, jax.Array], _: None
    ) -> tuple[tuple[_Model, optax.OptState, _Model, jax.Array], None]:
        model, state, best, least = carry
        here, slope = value_and_grad(model, state=state)
        update, state = optimizer.update(
            slope, state, model, value=here, grad=slope, value_fn=value
        )
        better = here < least
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), model, best)
        model = jax.tree.map(jnp.add, model, update)
        return (model, state, best, jnp.minimum(here, least)), None

    first = (start, optimizer.init(start), start, value(start))
    return lax.scan(step, first, length=_DESCENT_STEPS)[0][2]
