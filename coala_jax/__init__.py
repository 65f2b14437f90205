"""COALA in JAX: convex preference alignment on frozen features.

`RewardModel` chooses its strengths and is what most need; `solve` is the pure function underneath,
on arrays of features; `fit_text` goes from preference rows to a reward of texts.

Text, backbones and the quickstart live in subpackages that need the `text` extra, and `fit_text`
needs it.
"""

from typing import TYPE_CHECKING

from coala_jax._errors import CoalaError
from coala_jax._estimator import RewardModel
from coala_jax._head import ConvexHead, GatedHead, HeadError
from coala_jax._head_files import HeadFileError, HeadMetadata, load_head, save_head
from coala_jax._intervals import Interval
from coala_jax._lazy import lazy_names
from coala_jax._shard_rows import shard_rows
from coala_jax._sharded_vmap import sharded_vmap
from coala_jax._solution import (
    Certificate,
    History,
    Phase1History,
    Phase1Solution,
    Phase1Stats,
    Phase2History,
    Phase2Solution,
    Phase2Stats,
    RewardMetrics,
    Solution,
    Stats,
)
from coala_jax._solve import refine_gates, solve
from coala_jax._status import SolveError, Status
from coala_jax._types import Config, GroupFeatures, Params, PreferenceFeatures
from coala_jax._verdict import Rival, Verdict
from coala_jax._version import __version__
from coala_jax.convex import (
    CertificateReport,
    certify,
    cronos,
    decompose_gated,
    regularization_path,
)
from coala_jax.losses import Loss
from coala_jax.preference import accuracy, evaluate, finetune
from coala_jax.selection import Choice, Selection, select

if TYPE_CHECKING:
    from coala_jax._fit_text import FittedText, fit_text
    from coala_jax.improvement import ImproveSettings, improve

__all__ = [
    "Certificate",
    "CertificateReport",
    "Choice",
    "CoalaError",
    "Config",
    "ConvexHead",
    "FittedText",
    "GatedHead",
    "GroupFeatures",
    "HeadError",
    "HeadFileError",
    "HeadMetadata",
    "History",
    "ImproveSettings",
    "Interval",
    "Loss",
    "Params",
    "Phase1History",
    "Phase1Solution",
    "Phase1Stats",
    "Phase2History",
    "Phase2Solution",
    "Phase2Stats",
    "PreferenceFeatures",
    "RewardMetrics",
    "RewardModel",
    "Rival",
    "Selection",
    "Solution",
    "SolveError",
    "Stats",
    "Status",
    "Verdict",
    "__version__",
    "accuracy",
    "certify",
    "cronos",
    "decompose_gated",
    "evaluate",
    "finetune",
    "fit_text",
    "improve",
    "load_head",
    "refine_gates",
    "regularization_path",
    "save_head",
    "select",
    "shard_rows",
    "sharded_vmap",
    "solve",
]

__getattr__ = lazy_names(
    __name__,
    {"_fit_text": ("FittedText", "fit_text"), "improvement": ("ImproveSettings", "improve")},
    subpackages=("backbones", "data", "decoding", "evaluation", "features", "serving"),
)
