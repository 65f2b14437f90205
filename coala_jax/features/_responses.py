"""Features of plain responses, for a head to score."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np

from coala_jax._progress import Progress
from coala_jax.backbones import Backbone
from coala_jax.data import ResponseRow
from coala_jax.features._extract import pooled_features, require_finite, require_known_ids
from coala_jax.features._settings import ExtractSettings
from coala_jax.features._tokens import encode_texts


class ResponseFeatures(NamedTuple):
    """Features of plain responses.

    Attributes:
        features: (n, d) float32.
        prompt_cut: how many rows lost prompt tokens to the context's length.
        response_cut: how many lost response tokens.
        token_budget: what they ran under, as `PooledFeatures` has it.
        first_alike: (n,) place of the first row with the same tokens, its own where it is that.
    """

    features: np.ndarray
    prompt_cut: int
    response_cut: int
    token_budget: int
    first_alike: Sequence[int]


def features_of_responses(
    rows: Sequence[ResponseRow],
    backbone: Backbone,
    settings: ExtractSettings,
    progress: Progress | None = None,
) -> ResponseFeatures:
    """Features of plain (prompt, response) rows, with a progress bar on a terminal.

    Args:
        rows: what to score.
        backbone: the frozen model.
        settings: as the head's features were made: ``ExtractSettings.from_identity``.
        progress: told of every batch, where it goes on beyond these rows; None shows a bar of them.

    Returns:
        (n, d) features in the order of the rows, and how many rows were cut.

    Raises:
        FeatureError: a feature that is not finite or a token that the model does not know, named
            by its row.
    """
    sequences = encode_texts(
        backbone.tokenizer,
        [row.prompt for row in rows],
        [row.response for row in rows],
        settings.template,
        backbone.config.max_length,
    )
    names = [f"{row.id} ({row.side})" for row in rows]
    require_known_ids(sequences, names, backbone.config.vocab_size)
    with nullcontext(progress) if progress else Progress(len(sequences), "score") as shown:
        pooled = pooled_features(backbone, sequences, settings, shown)
    require_finite(pooled.features, names)
    first: dict[tuple[int, ...], int] = {}
    return ResponseFeatures(
        pooled.features,
        prompt_cut=sum(sequence.prompt_cut for sequence in sequences),
        response_cut=sum(sequence.response_cut for sequence in sequences),
        token_budget=pooled.token_budget,
        first_alike=[first.setdefault(each.tokens, n) for n, each in enumerate(sequences)],
    )
