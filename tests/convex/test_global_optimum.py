"""On tiny data with every gate enumerated, the program's optimum is the network's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from coala_jax import Config, Params, PreferenceFeatures, Status, cronos
from tests.helpers import enumerate_gates, rows_of

RESTARTS = 60
NEURONS = 16
STEPS = 4000


def best_of_direct_training(x: np.ndarray, y: np.ndarray, strength: float) -> float:
    """Lowest objective (2) over many restarts of Adam on both layers."""
    x, y = jnp.asarray(x), jnp.asarray(y)

    def objective(network):
        theta1, theta2 = network
        squares = jnp.sum(theta1**2) + jnp.sum(theta2**2)
        return 0.5 * jnp.sum((jax.nn.relu(x @ theta1) @ theta2 - y) ** 2) + 0.5 * strength * squares

    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, STEPS))

    def train(key):
        first, second = jax.random.split(key)
        network = (
            jax.random.normal(first, (x.shape[1], NEURONS)) / 2,
            jax.random.normal(second, (NEURONS,)) / 2,
        )

        def step(carry, _):
            network, state = carry
            updates, state = optimizer.update(jax.grad(objective)(network), state)
            return (optax.apply_updates(network, updates), state), None

        (network, _), _ = jax.lax.scan(step, (network, optimizer.init(network)), length=STEPS)
        return objective(network)

    return float(jnp.min(jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(1), RESTARTS))))


@pytest.mark.parametrize("seed", [0, 1])
def test_enumerated_gates_give_the_global_optimum_of_the_network(seed):
    rng = np.random.default_rng(seed)
    features = PreferenceFeatures(rng.standard_normal((4, 1)), rng.standard_normal((4, 1)))
    rows = rows_of(features)
    x = np.c_[(rows - rows.mean(0)) / rows.std(0), np.ones(8)]
    with jax.enable_x64(True):
        solution = cronos(
            Params(group_lasso=0.1, gap_tolerance=1e-6, violation_tolerance=1e-4),
            features,
            config=Config(max_iterations=20_000),
            gates=enumerate_gates(x),
        )
        assert int(solution.status) == Status.SOLVED
        y = np.tile([1.0, -1.0], 4)
        trained = best_of_direct_training(x, y, float(solution.stats.group_lasso_strength))
    # Certified: no restart may go below the bound, and the best one must reach the optimum.
    assert trained >= float(solution.stats.dual_bound) * (1 - 1e-9)
    assert trained == pytest.approx(float(solution.stats.primal_value), rel=1e-3)
