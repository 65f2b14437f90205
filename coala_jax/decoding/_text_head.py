"""A head that scores text: with the way its features are made, checked against a backbone."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from coala_jax._head import Head, HeadFileError, load_head
from coala_jax._progress import Progress
from coala_jax.backbones import Backbone, load_backbone
from coala_jax.backbones._stack import layer_indices
from coala_jax.data import ResponseRow
from coala_jax.features import FeatureError, FeatureIdentity
from coala_jax.features._identity import require_same_backbone
from coala_jax.features._responses import features_of_responses
from coala_jax.features._settings import ExtractSettings, feature_identity

# Of a head that does not record it: the scale of `coala_jax.Params`.
DEFAULT_BETA = 1.0


class TextHead(NamedTuple):
    """A head and how the features it was trained on are made.

    Attributes:
        head: the network on those features.
        settings: template, layers, pooling and chat template that make them again.
        identity: of the features, as the head recorded it.
        beta: the reward scale that the Bradley-Terry loss of Phase II had (eq 7).
    """

    head: Head
    settings: ExtractSettings
    identity: FeatureIdentity
    beta: float = DEFAULT_BETA


class ResponseRewards(NamedTuple):
    """Rewards of responses.

    Attributes:
        rewards: (n,) float64, of the head's float32.
        prompt_cut: how many rows lost prompt tokens to the context's length.
        response_cut: how many lost response tokens.
        token_budget: the features' batches ran under it; None where there were no rows.
    """

    rewards: np.ndarray
    prompt_cut: int
    response_cut: int
    token_budget: int | None


def head_identity(folder: str | os.PathLike[str], info: dict[str, Any]) -> FeatureIdentity:
    """How the features of a head were made.

    Args:
        folder: for messages.
        info: the content of its ``head.json``.

    Raises:
        HeadFileError: the head does not say.
    """
    fields = info.get("identity")
    if not isinstance(fields, dict):
        raise HeadFileError(
            f"{folder}/head.json: says nothing of the backbone (it was solved from bare arrays); "
            "only a head solved from a feature store, or from an export of one, can score texts"
        )
    try:
        return FeatureIdentity.from_dict(fields)
    except FeatureError as error:
        raise HeadFileError(f"{folder}/head.json: {error}") from None


def load_text_head(folder: str | os.PathLike[str], backbone: Backbone) -> TextHead:
    """Read a head that was trained on features of this backbone.

    Args:
        folder: of the head.
        backbone: what will make the features.

    Returns:
        The head, with the settings that make its features on this backbone.

    Raises:
        HeadFileError: no usable head, one that is not finite, or one that does not say how its
            features were made.
        FeatureError: another backbone, tokenizer, type or end token than the head's; every
            difference is named.
    """
    head, info = load_head(folder)
    identity = head_identity(folder, info)
    try:
        settings = ExtractSettings.from_identity(identity)
    except (FeatureError, ValueError) as error:
        raise HeadFileError(f"{folder}/head.json: {error}") from None
    try:
        require_same_backbone(identity, feature_identity(backbone, settings))
    except FeatureError as error:
        name = backbone.identity.name
        raise FeatureError(f"{name} is not the backbone of {folder}: {error}") from None
    _require_usable(folder, head, settings, backbone)
    return TextHead(head, settings, identity, _beta(folder, info))


def open_text_head(
    folder: str | os.PathLike[str],
    model: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    **options: Any,
) -> tuple[Backbone, TextHead]:
    """Load a head and the backbone it was made on.

    Args:
        folder: of the head.
        model: that backbone, a checkpoint folder or a hub id.
        dtype: as ``load_backbone`` takes it; None takes the type the head's features were made in.
        options: the others of ``load_backbone``.

    Raises:
        HeadFileError, FeatureError: as `load_text_head` does.
        CheckpointError, ValueError: as ``load_backbone`` does.
    """
    identity = head_identity(folder, load_head(folder)[1])  # before the weights are read
    backbone = load_backbone(model, dtype=dtype or identity.compute_dtype, **options)
    return backbone, load_text_head(folder, backbone)


def head_sha256(head: Head) -> str:
    """A hash of a head's arrays, by which a later run knows that it is the same one."""
    digest = hashlib.sha256()
    for name, value in head._asdict().items():
        array = np.ascontiguousarray(value)
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()


def require_chat_template(text_head: TextHead, chat_template: str) -> None:
    """Raise where conversations became text otherwise than those the head was trained on.

    Args:
        text_head: the head.
        chat_template: of the rows, as a ``RowSet`` records it; empty where they are text, which is
            taken as it is.

    Raises:
        FeatureError: names both templates.
    """
    known = text_head.identity.chat_template
    if chat_template and chat_template != known:
        trained = f"conversations written by {known}" if known else "plain texts"
        raise FeatureError(
            f"chat template: the head was trained on {trained}, and these conversations are "
            f"written by {chat_template}; give texts as it knows them, without --chat"
        )


def rewards_of_responses(
    backbone: Backbone,
    text_head: TextHead,
    rows: Sequence[ResponseRow],
    progress: Progress | None = None,
) -> ResponseRewards:
    """Rewards of (prompt, response) rows.

    Args:
        backbone: the one that the head was loaded with.
        text_head: from `load_text_head`.
        rows: what to score; none give no rewards.
        progress: told of every batch; None shows a bar of its own on a terminal.

    Returns:
        (n,) rewards in the order of the rows, and how many rows were cut.

    Raises:
        FeatureError: a feature or a reward that is not finite, or a token that the model does not
            know; named by its row.
    """
    if not rows:
        return ResponseRewards(np.empty(0, np.float64), 0, 0, None)
    made = features_of_responses(rows, backbone, text_head.settings, progress)
    rewards = np.asarray(text_head.head(made.features), np.float64)
    bad = np.flatnonzero(~np.isfinite(rewards))
    if bad.size:
        row = rows[bad[0]]
        raise FeatureError(
            f"rewards: {bad.size} of {len(rows)} are not finite, the first is of {row.id} "
            f"({row.side}); the head's weights overflow on this text: solve it again with a "
            "larger ridge"
        )
    return ResponseRewards(rewards, made.prompt_cut, made.response_cut, made.token_budget)


def reward_of_text(backbone: Backbone, text_head: TextHead, prompt: str, response: str) -> float:
    """The reward of one response, without a progress bar.

    Raises:
        FeatureError: as `rewards_of_responses` does.
    """
    row = ResponseRow("response", "response", prompt, response)
    with Progress(1, "score", hidden=True) as progress:
        return float(rewards_of_responses(backbone, text_head, [row], progress).rewards[0])


def _beta(folder: str | os.PathLike[str], info: dict[str, Any]) -> float:
    """The reward scale that a head's account records."""
    params = info.get("params")
    beta = params.get("beta", DEFAULT_BETA) if isinstance(params, dict) else DEFAULT_BETA
    if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 < beta < math.inf:
        raise HeadFileError(
            f"{folder}/head.json: params.beta is {beta!r}, not a finite number above 0; solve "
            "again to write the head anew"
        )
    return float(beta)


def _require_usable(
    folder: str | os.PathLike[str], head: Head, settings: ExtractSettings, backbone: Backbone
) -> None:
    """Raise where a head's arrays cannot be those that its account speaks of."""
    if not all(np.isfinite(value).all() for value in head):
        raise HeadFileError(
            f"{folder}/head.safetensors: holds NaN or infinity; solve again to write the head anew"
        )
    if settings.needs_query:
        raise HeadFileError(
            f"{folder}/head.json: its pooling {settings.pooling!r} needs a query and none is "
            "recorded; solve again from the feature store"
        )
    try:
        layer_indices(settings.layers, backbone.config.depth)
    except ValueError as error:
        raise HeadFileError(f"{folder}/head.json: {error}") from None
    width = settings.width(backbone.config.hidden_size)
    if head.theta1.shape[0] != width:
        raise HeadFileError(
            f"{folder}: head.safetensors takes {head.theta1.shape[0]} features, and head.json "
            f"speaks of {width} ({settings.pooling} of layers {settings.layers}); the two files "
            "are of different heads"
        )
