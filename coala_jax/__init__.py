"""COALA in JAX: convex preference alignment on frozen features.

    features = coala_jax.PreferenceFeatures(chosen, rejected)
    solution = coala_jax.solve(coala_jax.Params(), features)

Text, backbones and the quickstart live in subpackages that need the `text` extra.
"""

from coala_jax._errors import CoalaError
from coala_jax._head import (
    ConvexHead,
    GatedHead,
    HeadError,
    HeadFileError,
    HeadMetadata,
    load_head,
    save_head,
)
from coala_jax._solve import solve
from coala_jax._types import (
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
from coala_jax._version import __version__
from coala_jax.convex import CertificateReport, certify, cronos, refine, regularization_path
from coala_jax.preference import finetune

__all__ = [
    "Certificate",
    "CertificateReport",
    "CoalaError",
    "Config",
    "ConvexHead",
    "GatedHead",
    "HeadError",
    "HeadFileError",
    "HeadMetadata",
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
