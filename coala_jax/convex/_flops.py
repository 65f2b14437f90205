"""Floating-point operations of the ADMM steps, counted from what ran and not from time."""

from __future__ import annotations

from coala_jax.convex._program import HALVES, Model

# A multiplication and an addition.
MULTIPLY_ADD = 2


def admm_flops(
    iterations: int, cg_iterations: int, rows: int, width: int, gates: int, model: Model
) -> int:
    """Operations of the matrix products of ADMM steps and their conjugate gradients.

    With H halves of u (2 for ReLU, 1 for gated ReLU) a step has one product of X^T with H P blocks
    and one application of the inverses; a step of conjugate gradients one product of X with H P
    blocks, one of X^T with P, and one application of the inverses. Left out are what is linear in
    rows times gates (proxes, residuals), preparation, and certificates.

    Args:
        iterations: ADMM steps.
        cg_iterations: conjugate-gradient steps, all together.
        rows: m, two a pair.
        width: D, features and the bias.
        gates: P.
        model: ``relu`` or ``gated_relu``.

    Returns:
        The count; 2 for a multiplication with its addition.
    """
    halves = len(HALVES[model])
    block = MULTIPLY_ADD * rows * width * gates
    inverse = MULTIPLY_ADD * halves * gates * width**2
    step = halves * block + inverse
    cg_step = (halves + 1) * block + inverse
    return iterations * step + cg_iterations * cg_step
