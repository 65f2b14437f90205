"""Texts through the frozen backbone: settings, identity, and pooled features in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tqdm import tqdm

from coala_jax.backbones import Backbone
from coala_jax.data import ResponseRow
from coala_jax.features.batching import Batch, plan_batches
from coala_jax.features.errors import FeatureError
from coala_jax.features.identity import FeatureIdentity
from coala_jax.features.pooling import pool, pooling_parts
from coala_jax.features.tokens import TextTemplate, TokenSequence, encode_texts

# Types that numpy reads back by itself; bfloat16 is none of them.
STORE_TYPES = ("float32", "float16")


@dataclass(frozen=True)
class ExtractSettings:
    """How text becomes features.

    Attributes:
        pooling: ``mean``, ``last`` or ``mean+last``, over the response and its end token.
        template: what stands around prompt and response.
        dtype: type on disk, ``float32`` or ``float16``.
        token_budget: padded tokens that run together. The attention scores of a batch take
            4 bytes times heads times budget times length: 8192 keeps GPT-2 small at 1024 positions
            under half a gigabyte.
        shard_rows: rows of a shard of the store, the most that a killed run loses.
    """

    pooling: str = "mean+last"
    template: TextTemplate = TextTemplate()
    dtype: str = "float32"
    token_budget: int = 8192
    shard_rows: int = 1024

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            FeatureError: names the field, its value and what it may be.
        """
        pooling_parts(self.pooling)
        self.template.check()
        if self.dtype not in STORE_TYPES:
            raise FeatureError(f"dtype={self.dtype!r} must be one of {', '.join(STORE_TYPES)}")
        for name in ("token_budget", "shard_rows"):
            if getattr(self, name) < 1:
                raise FeatureError(f"{name} must be at least 1, got {getattr(self, name)}")

    @classmethod
    def from_identity(cls, identity: FeatureIdentity) -> "ExtractSettings":
        """The settings that make features of this identity again."""
        template = TextTemplate(identity.prompt_template, identity.response_template)
        return cls(pooling=identity.pooling, template=template)


class ResponseFeatures(NamedTuple):
    """Features of plain responses.

    Attributes:
        features: (n, d) float32.
        prompt_cut: how many rows lost prompt tokens to the context's length.
        response_cut: how many lost response tokens.
    """

    features: np.ndarray
    prompt_cut: int
    response_cut: int


def feature_identity(backbone: Backbone, settings: ExtractSettings) -> FeatureIdentity:
    """By what the features of this backbone and these settings are known."""
    name, model_type, config, weights, tokenizer = backbone.identity
    return FeatureIdentity(
        backbone=name,
        model_type=model_type,
        config_sha256=config,
        weights_sha256=weights,
        tokenizer_sha256=tokenizer,
        prompt_template=settings.template.prompt,
        response_template=settings.template.response,
        end_token=backbone.tokenizer.end_token,
        pooling=settings.pooling,
    )


def features_of_responses(
    rows: Sequence[ResponseRow], backbone: Backbone, settings: ExtractSettings
) -> ResponseFeatures:
    """Features of plain (prompt, response) rows, with a progress bar on a terminal.

    Args:
        rows: what to score.
        backbone: the frozen model.
        settings: as the head's features were made: ``ExtractSettings.from_identity``.

    Returns:
        (n, d) features in the order of the rows, and how many rows were cut.

    Raises:
        FeatureError: a feature that is not finite, named by its row.
    """
    sequences = encode_texts(
        backbone.tokenizer,
        [row.prompt for row in rows],
        [row.response for row in rows],
        settings.template,
        backbone.config.max_length,
    )
    with progress_bar(len(sequences), "score") as bar:
        features = pooled_features(backbone, sequences, settings, bar.update)
    require_finite(features, [f"{row.id} ({row.side})" for row in rows])
    return ResponseFeatures(
        features,
        prompt_cut=sum(sequence.prompt_cut for sequence in sequences),
        response_cut=sum(sequence.response_cut for sequence in sequences),
    )


def pooled_features(
    backbone: Backbone,
    sequences: Sequence[TokenSequence],
    settings: ExtractSettings,
    advance: Callable[[int], object],
) -> np.ndarray:
    """Run sequences through the backbone and pool each.

    Args:
        backbone: the frozen model.
        sequences: (n,) token sequences that fit its context.
        settings: pooling and token budget.
        advance: called with the number of sequences done, batch by batch.

    Returns:
        (n, d) float32; d is the hidden size times the number of poolings.
    """
    width = backbone.config.hidden_size * len(pooling_parts(settings.pooling))
    features = np.empty((len(sequences), width), np.float32)
    lengths = [len(sequence.tokens) for sequence in sequences]
    for batch in plan_batches(lengths, settings.token_budget, backbone.config.max_length):
        padded = _padded(batch, sequences, backbone.tokenizer.pad_id)
        pooled = _forward(backbone.module, *padded, pooling=settings.pooling)
        features[list(batch.indices)] = np.asarray(pooled)[: len(batch.indices)]
        advance(len(batch.indices))
    return features


def require_finite(features: np.ndarray, names: Sequence[str]) -> None:
    """Raise where a row of features is not finite.

    Args:
        features: (n, d).
        names: (n,) what to call the rows.

    Raises:
        FeatureError: names the first row and how many there are.
    """
    bad = np.flatnonzero(~np.isfinite(features).all(1))
    if bad.size:
        mend = ", or keep float32" if features.dtype == np.float16 else " for NaN and infinity"
        raise FeatureError(
            f"features: {bad.size} of {len(names)} rows are not finite in {features.dtype}, the "
            f"first is {names[bad[0]]}; check the checkpoint{mend}"
        )


def progress_bar(total: int, title: str) -> tqdm:
    """A progress bar on stderr, silent where that is no terminal."""
    return tqdm(total=total, desc=title, unit="seq", disable=None, leave=False)


def _padded(
    batch: Batch, sequences: Sequence[TokenSequence], pad_id: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Tokens (rows, length), and every row's length and response start, (rows,).

    Rows that only fill the shape have one token of padding: no attention row is empty.
    """
    tokens = np.full((batch.rows, batch.length), pad_id, np.int32)
    lengths = np.ones(batch.rows, np.int32)
    starts = np.zeros(batch.rows, np.int32)
    for row, index in enumerate(batch.indices):
        sequence = sequences[index]
        tokens[row, : len(sequence.tokens)] = sequence.tokens
        lengths[row], starts[row] = len(sequence.tokens), sequence.response_start
    return jnp.asarray(tokens), jnp.asarray(lengths), jnp.asarray(starts)


@nnx.jit(static_argnames="pooling")
def _forward(
    module: nnx.Module, tokens: jax.Array, lengths: jax.Array, starts: jax.Array, *, pooling: str
) -> jax.Array:
    """(rows, d) pooled features of a padded batch."""
    position = jnp.arange(tokens.shape[1])
    real = position < lengths[:, None]
    hidden = module(tokens, real)
    return pool(hidden, real & (position >= starts[:, None]), pooling)
