"""A head of beginnings, which guides texts in the making."""

from __future__ import annotations

import os
from typing import NamedTuple

from coala_jax._head import Head, HeadError
from coala_jax._head_files import PREFIX, HeadFileError, load_head
from coala_jax.backbones import Backbone
from coala_jax.decoding._head_fits import head_identity, require_fits
from coala_jax.features import FeatureError, FeatureIdentity
from coala_jax.features._identity import require_same_backbone
from coala_jax.features._settings import ExtractSettings


class ValueHead(NamedTuple):
    """A head of beginnings, which guides texts in the making.

    Attributes:
        head: the network.
        settings: layers and pooling that it reads; all else is as with the head that rewards.
    """

    head: Head
    settings: ExtractSettings

    def require_usable(self, rewards: ExtractSettings, backbone: Backbone) -> None:
        """Raise where it cannot guide beside a head of these settings.

        Raises:
            HeadError: its weights, its width or its layers, or attention of its own.
        """
        require_fits("value head", self.head, self.settings, backbone)
        own, theirs = ((one.query, one.layers) for one in (self.settings, rewards))
        if self.settings.query and own != theirs:
            raise HeadError(
                "value head: its attention pooling has another query or other layers than that of "
                "the head; extract for it with the layers and pooling of the head"
            )


def load_value_head(
    folder: str | os.PathLike[str], identity: FeatureIdentity, *, download: bool = False
) -> ValueHead:
    """A head of beginnings, for a head of this identity; found as `load_head` finds one.

    Raises:
        HeadFileError: no usable head, or one of whole responses.
        FeatureError: it was trained on features of another backbone, or of texts in other words.
    """
    head, metadata = load_head(folder, download=download)
    try:
        scores = metadata.scores
    except HeadError as error:
        raise HeadFileError(f"value_head={os.fspath(folder)!r}: {error}") from None
    if scores != PREFIX:
        raise HeadFileError(
            f"value_head={os.fspath(folder)!r}: a head of whole responses; one of beginnings comes "
            "from `coala-jax extract --prefixes K` and `coala-jax solve --prefixes`"
        )
    own = head_identity(folder, metadata)
    read = {name: getattr(own, name) for name in ("pooling", "layer", "query")}
    try:
        require_same_backbone(identity._replace(**read), own)
    except FeatureError as error:
        raise FeatureError(f"value_head={os.fspath(folder)!r}: {error}") from None
    return ValueHead(head, ExtractSettings.from_identity(own))
