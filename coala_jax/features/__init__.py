"""Text rows to frozen features, and the store that keeps them.

Reading features needs numpy alone. Making them needs a model, and so flax and transformers: these
names are found when they are asked for.

Example:
    >>> from importlib import resources
    >>> from coala_jax.backbones import load_backbone
    >>> from coala_jax.data import ResponseRow, read_rows, write_rows
    >>> from coala_jax.features import ExtractSettings, Part, checkpoint_chat, extract_store
    >>> from coala_jax.features import features_of_responses, join_parts, open_store
    >>> from coala_jax.quickstart import tutoring_rows
    >>> folder = resources.files("coala_jax.quickstart") / "backbone"
    >>> backbone = load_backbone(folder)
    >>> triplets = tutoring_rows(0, train_pairs=4, eval_pairs=1).train
    >>> chat = lambda: checkpoint_chat(folder)  # how messages would become text
    >>> rows = read_rows(write_rows("pairs.jsonl", triplets), chat=chat)
    >>> settings = ExtractSettings(pooling="mean", shard_rows=2)
    >>> store = extract_store(rows, backbone, "store", settings=settings)
    >>> store.table.chosen.shape
    (4, 128)
    >>> open_store("store").table.ids == store.table.ids
    True
    >>> parts = [  # as two processes would
    ...     extract_store(rows, backbone, "joined", settings=settings, part=Part(number, 2)).path
    ...     for number in range(2)]
    >>> bool((join_parts(parts, "joined").table.chosen == store.table.chosen).all())
    True
    >>> responses = [ResponseRow(row.id, "chosen", row.prompt, row.chosen) for row in rows.rows]
    >>> features_of_responses(responses, backbone, settings).features.shape
    (4, 128)
"""

from typing import TYPE_CHECKING

from coala_jax._lazy import lazy_names
from coala_jax.features._errors import FeatureError
from coala_jax.features._export import from_dataset, to_dataset, write_npz
from coala_jax.features._groups import GroupTable, group_table
from coala_jax.features._identity import FeatureIdentity
from coala_jax.features._join import Part, join_parts
from coala_jax.features._load import load_features
from coala_jax.features._prefixes import PairPrefixes
from coala_jax.features._store import FeatureStore, open_store
from coala_jax.features._table import FeatureTable, prefix_pairs

if TYPE_CHECKING:
    from coala_jax.features._build import extract_store
    from coala_jax.features._chat import checkpoint_chat
    from coala_jax.features._responses import ResponseFeatures, features_of_responses
    from coala_jax.features._settings import ExtractSettings
    from coala_jax.features._tokens import TextTemplate

__all__ = [
    "ExtractSettings",
    "FeatureError",
    "FeatureIdentity",
    "FeatureStore",
    "FeatureTable",
    "GroupTable",
    "PairPrefixes",
    "Part",
    "ResponseFeatures",
    "TextTemplate",
    "checkpoint_chat",
    "extract_store",
    "features_of_responses",
    "from_dataset",
    "group_table",
    "join_parts",
    "load_features",
    "open_store",
    "prefix_pairs",
    "to_dataset",
    "write_npz",
]
__getattr__ = lazy_names(
    __name__,
    {
        "_build": ["extract_store"],
        "_chat": ["checkpoint_chat"],
        "_responses": ["ResponseFeatures", "features_of_responses"],
        "_settings": ["ExtractSettings"],
        "_tokens": ["TextTemplate"],
    },
)
