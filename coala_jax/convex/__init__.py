"""Phase I: the convex program (3) of COALA and CRONOS, the ADMM that solves it."""

from coala_jax.convex._certify import CertificateReport, certify
from coala_jax.convex._cronos import (
    CronosProblem,
    CronosState,
    cronos_init,
    cronos_problem,
    cronos_step,
)
from coala_jax.convex._decompose import decompose_gated
from coala_jax.convex._memory import memory_needed
from coala_jax.convex._path import regularization_path
from coala_jax.convex._phase1 import cronos
from coala_jax.convex._program import Program

__all__ = [
    "CertificateReport",
    "CronosProblem",
    "CronosState",
    "Program",
    "certify",
    "cronos",
    "cronos_init",
    "cronos_problem",
    "cronos_step",
    "decompose_gated",
    "memory_needed",
    "regularization_path",
]
