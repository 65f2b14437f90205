"""Better gates from the solved network itself: `refine`.

An optimum lies inside the cones of its gates, so its own patterns say nothing new. Local descent on
the network's own objective (2) crosses them and arrives at a network that is no worse, whose
patterns are the next gates: in their program that network is feasible, so the next optimum is no
worse either, as long as all its neurons found a gate.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from coala_jax._inputs import PairArrays, prepare_features
from coala_jax._types import Config, Params, PreferenceFeatures
from coala_jax.convex._gates import distinct_gates
from coala_jax.convex._network import Network, network_from_weights
from coala_jax.convex._phase1 import Phase1Solution, cronos
from coala_jax.convex._program import RELU_HALVES, loss_targets
from coala_jax.convex._standardize import Standardization, standardize
from coala_jax.convex.losses import get_loss

_DESCENT_STEPS = 100
# A round that lowers the objective by less than this share is the last.
_LEAST_GAIN = 1e-3


def refine(
    params: Params,
    features: PreferenceFeatures,
    *,
    config: Config = Config(),  # noqa: B008 - frozen and hashable
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
    if config.model != "relu":
        raise ValueError(
            f"refine needs Config.model='relu', got {config.model!r}: the descent is one of the "
            "ReLU network's own objective"
        )
    solutions = [cronos(params, features, config=config, key=key)]
    if int(solutions[0].stats.active_neurons) == 0:
        return solutions
    strength = solutions[0].stats.group_lasso_strength
    fixed = params._replace(group_lasso=strength)
    pairs = prepare_features(features)
    absolute = dataclasses.replace(config, strength_unit="absolute")
    for _ in range(max_rounds):
        with jax.default_matmul_precision(config.precision):
            gates = _next_gates(solutions[-1], pairs, fixed, absolute)
        latest = cronos(fixed, features, config=absolute, gates=gates)
        before, after = (float(s.stats.primal_value) for s in (solutions[-1], latest))
        if not after <= before * (1 - _LEAST_GAIN):
            break
        solutions.append(latest)
    return solutions


@functools.partial(jax.jit, static_argnames="config")
def _next_gates(
    solution: Phase1Solution, pairs: PairArrays, params: Params, config: Config
) -> jax.Array:
    """First layer of the network after descent, largest neurons first, then the old gates: (P, D).

    Repeated patterns are left out.
    """
    certificate, loss = solution.certificate, get_loss(config.phase1_loss)
    standardization = Standardization(
        certificate.mean, certificate.scale, solution.stats.constant_features
    )
    x = standardize(jnp.concatenate([pairs.chosen, pairs.rejected]), standardization)
    labels, row_weight = loss_targets(loss, pairs, params.gamma)
    start = network_from_weights(certificate.weights, jnp.asarray(RELU_HALVES, x.dtype))

    def output(network: Network) -> jax.Array:
        rewards = jax.nn.relu(x @ network.first_layer) @ network.second_layer
        half = rewards.shape[0] // 2
        return rewards[:half] - rewards[half:] if loss.pairwise else rewards

    def network_objective(network: Network) -> jax.Array:
        """Objective (2): the loss and lambda_g / 2 times the squares of both layers."""
        squares = sum(jnp.sum(layer**2) for layer in network)
        value = loss.value(output(network), labels, row_weight)
        return value + params.group_lasso / 2 * squares

    network = _descend(network_objective, start)
    size = jnp.linalg.norm(network.first_layer, axis=0) * jnp.abs(network.second_layer)
    order = jnp.argsort(-size)
    # A zero neuron has no pattern: its gate is made one that selects no row, and is left out.
    nowhere = jnp.zeros_like(x[0]).at[-1].set(-1)
    moved = jnp.where(size[order, None] > 0, network.first_layer.T[order], nowhere)
    candidates = jnp.concatenate([moved, certificate.gates])
    return distinct_gates(candidates, certificate.gates.shape[0], x).vectors


def _descend(value: Callable[[Network], jax.Array], start: Network) -> Network:
    """The best network of some L-BFGS steps; a zero neuron stays zero."""
    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(value)

    def step(
        carry: tuple[Network, optax.OptState, Network, jax.Array], _: None
    ) -> tuple[tuple[Network, optax.OptState, Network, jax.Array], None]:
        network, state, best, least = carry
        here, slope = value_and_grad(network, state=state)
        update, state = optimizer.update(
            slope, state, network, value=here, grad=slope, value_fn=value
        )
        better = here < least
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), network, best)
        network = jax.tree.map(jnp.add, network, update)
        return (network, state, best, jnp.minimum(here, least)), None

    first = (start, optimizer.init(start), start, value(start))
    return lax.scan(step, first, length=_DESCENT_STEPS)[0][2]
