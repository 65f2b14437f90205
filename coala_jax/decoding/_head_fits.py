"""Whether a head's files and weights are those of features that a backbone makes."""

from __future__ import annotations

import os

import jax
import numpy as np

from coala_jax._head import Head, HeadError
from coala_jax._head_files import HeadFileError, HeadMetadata
from coala_jax.backbones import Backbone
from coala_jax.backbones._stack import layer_indices
from coala_jax.features import FeatureError, FeatureIdentity
from coala_jax.features._settings import ExtractSettings

BARE = (
    "says nothing of the backbone (it was solved from bare arrays); only a head solved from a "
    "feature store, or from an export of one, can score texts"
)


def head_identity(folder: str | os.PathLike[str], metadata: HeadMetadata) -> FeatureIdentity:
    """How the features of a head were made, as its files say.

    Raises:
        HeadFileError: they do not.
    """
    if metadata.identity is None:
        raise HeadFileError(f"{folder}/head.json: {BARE}")
    try:
        return FeatureIdentity.from_dict(metadata.identity)
    except FeatureError as error:
        raise HeadFileError(f"{folder}/head.json: {error}") from None


def require_fits(name: str, head: Head, settings: ExtractSettings, backbone: Backbone) -> None:
    """Raise where a head cannot read what a backbone makes under these settings.

    Args:
        name: of the head, for errors.
        head: the network.
        settings: of its features.
        backbone: makes them.

    Raises:
        HeadError: weights that are not finite or of another width, a layer that there is not, or
            attention without its query.
    """
    if not all(np.isfinite(value).all() for value in jax.tree.leaves(head)):
        raise HeadError(f"the {name} holds NaN or infinity; solve again")
    if settings.needs_query:
        raise HeadError(
            f"{name}: pooling {settings.pooling!r} needs a query and none is recorded; solve again "
            "from the feature store"
        )
    try:
        layer_indices(settings.layers, backbone.config.depth)
    except ValueError as error:
        raise HeadError(f"{name}: {error}") from None
    width, takes = settings.width(backbone.config.hidden_size), head.theta1.shape[0]
    if takes != width:
        raise HeadError(
            f"the {name} takes {takes} features, and its identity speaks of {width} "
            f"({settings.pooling} of layers {settings.layers}); they are of different heads"
        )
