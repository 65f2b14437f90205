"""A plain ReLU network with the outputs of a gated one: `decompose_gated`."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax._errors import CoalaError
from coala_jax._group_inputs import prepare_for
from coala_jax._head import ConvexHead
from coala_jax._solution import Certificate
from coala_jax._types import Config, Features, GroupFeatures, Params
from coala_jax.convex._linear_system import factorize
from coala_jax.convex._network import network_from_weights
from coala_jax.convex._program import Program
from coala_jax.convex._projection import cones_of, project_with_row_penalties, push_inside
from coala_jax.convex._rebuild import program_of
from coala_jax.convex._standardize import unstandardize_layer, unstandardize_path

_TOLERANCE = 1e-6
_MAX_ITERATIONS = 2000


def decompose_gated(features: Features, certificate: Certificate) -> ConvexHead:
    """Write every gated weight u_i as v_i - w_i inside the cones (Mishkin et al. 2022, section 3).

    The ReLU network of (v, w) has the gated network's outputs on the features given, and its own
    elsewhere. Of all decompositions the one with the least ||v||^2 + ||w||^2 is approached; its
    group norms, and so its penalty, are larger than the gated network's.

    Args:
        features: the pairs, or groups, that the gated solve saw.
        certificate: of a solve with `Config(model="gated_relu")`.

    Returns:
        A head with up to 2P neurons on raw features.

    Raises:
        TypeError, ValueError: features that do not fit, or a certificate of a ReLU solve, which
            needs no decomposition.

    Example:
        >>> import coala_jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> features = coala_jax.PreferenceFeatures(chosen, rejected)
        >>> config = coala_jax.Config(model="gated_relu")
        >>> phase1 = coala_jax.cronos(coala_jax.Params(), features, config=config)
        >>> head = coala_jax.decompose_gated(features, phase1.certificate)
        >>> bool(np.allclose(head(chosen), phase1.head(chosen), atol=1e-3))
        True
    """
    shape = np.shape(certificate.weights)
    if len(shape) != 3 or shape[0] != 1:
        raise CoalaError(
            f"certificate.weights must be (1, P, d + 1), of a gated solve; got {shape}: a "
            "ReLU solve has its network in `head`"
        )
    # The loss, and so what else it reads, has no part in it.
    loss = "group_squared" if isinstance(features, GroupFeatures) else "squared"
    linear_path = certificate.linear is not None
    config = Config(model="gated_relu", phase1_loss=loss, linear_path=linear_path)
    arrays = prepare_for(config, features)
    width = arrays.width
    if shape[2] != width + 1:
        raise CoalaError(
            f"features have {width} columns, certificate.weights are for {shape[2] - 1}: "
            "give the features that were solved"
        )
    with jax.default_matmul_precision("highest"):
        rebuilt = program_of(Params(), arrays, certificate, config)
        halves = _decompose(rebuilt.program, rebuilt.gates, rebuilt.weights[0])
        network = network_from_weights(halves, "relu")
        theta1, bias = unstandardize_layer(network.first_layer, rebuilt.standardization)
        linear = unstandardize_path(rebuilt.linear, rebuilt.standardization)
    center = rebuilt.standardization.center
    return ConvexHead(theta1, bias, network.second_layer, center, linear)


@jax.jit
def _decompose(program: Program, gates: jax.Array, weights: jax.Array) -> jax.Array:
    """(v, w) with v - w = u and both inside: (P, D) -> (2, P, D).

    With v = u + w both lie inside where E X w >= max(0, -E X u), and ||v||^2 + ||w||^2 is twice
    ||w + u / 2||^2 up to a constant: w is a projection of -u / 2.
    """
    program = dataclasses.replace(program, model="relu")
    cones = cones_of(program, factorize(program.features, program.mesh), gates)
    floor = jnp.maximum(-cones.products(weights), 0)
    w = project_with_row_penalties(
        cones,
        -weights[None] / 2,
        floor=floor,
        tolerance=_TOLERANCE,
        max_iterations=_MAX_ITERATIONS,
    ).weights[0]
    halves = jnp.stack([weights + w, w])
    # The same push for both halves leaves their difference as it is.
    push = push_inside(cones, halves) - halves
    largest = jnp.argmax(jnp.linalg.norm(push, axis=-1), axis=0)
    halves = halves + jnp.take_along_axis(push, largest[None, :, None], axis=0)
    return jnp.where(jnp.any(weights != 0, axis=-1, keepdims=True), halves, 0)
