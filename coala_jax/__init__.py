"""COALA in JAX: convex preference alignment on frozen features.

    features = coala_jax.PreferenceFeatures(chosen, rejected)
    solution = coala_jax.solve(coala_jax.Params(), features)

Text, backbones and the quickstart live in subpackages that need the `text` extra.
"""

from coala_jax._version import __version__
from coala_jax.convex import CertificateReport, certify, cronos, refine, regularization_path
from coala_jax.head import ConvexHead, GatedHead, HeadFileError, load_head, save_head
from coala_jax.preference import finetune
from coala_jax.solve import solve
from coala_jax.types import (
    Certificate,
    Config,
    History,
    Params,
    Phase1History,
    Phase2History,
    PreferenceFeatures,
    RewardMetrics,
    Solution,
    SolveError,
    Stats,
    Status,
)

__all__ = [
    "Certificate",
    "CertificateReport",
    "Config",
    "ConvexHead",
    "GatedHead",
    "HeadFileError",
    "History",
    "Params",
    "Phase1History",
    "Phase2History",
    "PreferenceFeatures",
    "RewardMetrics",
    "Solution",
    "SolveError",
    "Stats",
    "Status",
    "__version__",
    "certify",
    "cronos",
    "finetune",
    "load_head",
    "refine",
    "regularization_path",
    "save_head",
    "solve",
]
