"""A plain ReLU network with the outputs of a gated one: `decompose_gated`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from coala_jax._head import ConvexHead
from coala_jax._inputs import prepare_features
from coala_jax._types import Certificate, PreferenceFeatures, float_dtype
from coala_jax.convex._gates import activation_patterns
from coala_jax.convex._linear_system import factorize
from coala_jax.convex._network import network_from_weights
from coala_jax.convex._program import RELU_HALVES, row_products
from coala_jax.convex._projection import interior_points, project_onto_cones, push_inside
from coala_jax.convex._standardize import Standardization, standardize, unstandardize_layer

_TOLERANCE = 1e-6
_MAX_ITERATIONS = 2000


def decompose_gated(features: PreferenceFeatures, certificate: Certificate) -> ConvexHead:
    """Write every gated weight u_i as v_i - w_i inside the cones (Mishkin et al. 2022, section 3).

    The ReLU network of (v, w) has the gated network's outputs on the features given, and its own
    elsewhere. Of all decompositions the one with the least ||v||^2 + ||w||^2 is approached; its
    group norms, and so its penalty, are larger than the gated network's.

    Args:
        features: the pairs that the gated solve saw.
        certificate: of a solve with `Config(model="gated_relu")`.

    Returns:
        A head with up to 2P neurons on raw features.

    Raises:
        TypeError, ValueError: features that do not fit, or a certificate of a ReLU solve, which
            needs no decomposition.
    """
    weights = jnp.asarray(certificate.weights, float_dtype())
    if weights.ndim != 3 or weights.shape[0] != 1:
        raise ValueError(
            f"certificate.weights must be (1, P, d + 1), of a gated solve; got {weights.shape}: a "
            "ReLU solve has its network in `head`"
        )
    pairs = prepare_features(features)
    width = pairs.chosen.shape[1]
    if weights.shape[2] != width + 1:
        raise ValueError(
            f"features have {width} columns, certificate.weights are for {weights.shape[2] - 1}: "
            "give the features that were solved"
        )
    mean, scale = (jnp.asarray(a, float_dtype()) for a in (certificate.mean, certificate.scale))
    standardization = Standardization(mean, scale, jnp.zeros((), jnp.int32))
    x = standardize(jnp.concatenate([pairs.chosen, pairs.rejected]), standardization)
    with jax.default_matmul_precision("highest"):
        halves = _decompose(x, jnp.asarray(certificate.gates, x.dtype), weights[0])
        network = network_from_weights(halves, jnp.asarray(RELU_HALVES, x.dtype))
        theta1, bias = unstandardize_layer(network.first_layer, standardization)
    return ConvexHead(theta1, bias, network.second_layer)


@jax.jit
def _decompose(x: jax.Array, gates: jax.Array, weights: jax.Array) -> jax.Array:
    """(v, w) with v - w = u and both inside: (P, D) -> (2, P, D).

    With v = u + w both lie inside where E X w >= max(0, -E X u), and ||v||^2 + ||w||^2 is twice
    ||w + u / 2||^2 up to a constant: w is a projection of -u / 2.
    """
    signs = 2 * activation_patterns(x, gates).astype(x.dtype) - 1
    system = factorize(x)
    floor = jnp.maximum(-signs * row_products(x, weights), 0)
    w = project_onto_cones(
        x,
        signs,
        system,
        -weights / 2,
        floor=floor,
        tolerance=_TOLERANCE,
        max_iterations=_MAX_ITERATIONS,
    ).weights
    halves = jnp.stack([weights + w, w])
    interior = interior_points(x, signs, system, gates)
    # The same push for both halves leaves their difference as it is.
    push = push_inside(x, signs, interior, halves) - halves
    largest = jnp.argmax(jnp.linalg.norm(push, axis=-1), axis=0)
    halves = halves + jnp.take_along_axis(push, largest[None, :, None], axis=0)
    return jnp.where(jnp.any(weights != 0, axis=-1, keepdims=True), halves, 0)
