"""Text rows to frozen features, and the store that keeps them.

Reading features is here and needs numpy alone; making them (``extract``, ``build``) needs a model
and so flax and transformers.
"""

from coala_jax.features._errors import FeatureError
from coala_jax.features._export import from_dataset, to_dataset, write_npz
from coala_jax.features._identity import FeatureIdentity, require_same_backbone
from coala_jax.features._join import Part, join_parts
from coala_jax.features._load import load_features
from coala_jax.features._store import FeatureStore, open_store
from coala_jax.features._table import FeatureTable

__all__ = [
    "FeatureError",
    "FeatureIdentity",
    "FeatureStore",
    "FeatureTable",
    "Part",
    "from_dataset",
    "join_parts",
    "load_features",
    "open_store",
    "require_same_backbone",
    "to_dataset",
    "write_npz",
]
