"""Rewards of texts: a head, the backbone it was made on, and rows to score."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from coala_jax.backbones import load_backbone
from coala_jax.data import ResponseRow, ResponseSet, read_responses
from coala_jax.features import FeatureError, FeatureIdentity, require_same_backbone
from coala_jax.features.chat import checkpoint_chat
from coala_jax.features.responses import features_of_responses
from coala_jax.features.settings import ExtractSettings, feature_identity
from coala_jax.files import write_text
from coala_jax.head import HeadFileError, load_head
from coala_jax.study.baselines import ordered


class Scores(NamedTuple):
    """Rewards of a file, one line a row of it.

    Attributes:
        lines: ``id`` and ``reward`` of a response; ``id``, ``chosen_reward``, ``rejected_reward``
            and ``reward_margin`` of a preference row.
        summary: counts, and the metrics of the preference rows where there are any.
    """

    lines: tuple[dict[str, Any], ...]
    summary: dict[str, Any]


def score_file(
    head_folder: str,
    model: str,
    data: str,
    *,
    adapter: str | None = None,
    revision: str | None = None,
    download: bool = False,
    dtype: str | None = None,
    mesh: Mesh | None = None,
    engine: str = "jax",
) -> Scores:
    """Score the responses of a file.

    Args:
        head_folder: of a head that knows its backbone.
        model: that backbone, a checkpoint folder or a hub id.
        data: a file of responses or preference rows, as ``read_responses`` takes it.
        adapter: as ``load_backbone`` takes it.
        revision: as ``load_backbone`` takes it.
        download: as ``load_backbone`` takes it.
        dtype: as ``load_backbone`` takes it; None takes the type the head's features were made in.
        mesh: as ``load_backbone`` takes it.
        engine: as ``load_backbone`` takes it.

    Raises:
        HeadFileError: no usable head.
        CheckpointError: no usable model.
        FeatureError: another model than the head's; what differs is named.
        DataError: no usable rows.
    """
    head, info = load_head(head_folder)
    identity = head_identity(head_folder, info)
    responses = read_responses(
        data, chat=lambda: checkpoint_chat(model, revision=revision, download=download)
    )
    backbone = load_backbone(
        model,
        dtype=dtype or identity.compute_dtype,
        adapter=adapter,
        revision=revision,
        download=download,
        mesh=mesh,
        engine=engine,
    )
    settings = ExtractSettings.from_identity(identity)
    if responses.chat_template:  # text alone is taken as it is
        settings = replace(settings, chat_template=responses.chat_template)
    try:
        require_same_backbone(identity, feature_identity(backbone, settings))
    except FeatureError as error:
        raise FeatureError(f"{model} is not the backbone of {head_folder}: {error}") from None
    features = features_of_responses(responses.rows, backbone, settings)
    rewards = np.asarray(head(features.features), np.float64)
    lines = tuple(_lines(responses.rows, rewards.tolist()))
    cut = {"prompt": features.prompt_cut, "response": features.response_cut}
    return Scores(lines, _summary(lines, responses, cut))


def head_identity(folder: str, info: dict[str, Any]) -> FeatureIdentity:
    """How the features of a head were made.

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


def _lines(rows: tuple[ResponseRow, ...], rewards: list[float]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for row, reward in zip(rows, rewards, strict=True):
        if row.side == "rejected":  # its chosen one stands right before it
            chosen = lines[-1]["chosen_reward"]
            lines[-1] |= {"rejected_reward": reward, "reward_margin": chosen - reward}
        else:
            name = "chosen_reward" if row.side == "chosen" else "reward"
            lines.append({"id": row.id, name: reward})
    return lines


def _summary(
    lines: tuple[dict[str, Any], ...], responses: ResponseSet, cut: dict[str, int]
) -> dict[str, Any]:
    pairs = [line for line in lines if "chosen_reward" in line]
    summary: dict[str, Any] = {
        "responses": len(responses.rows),
        "pairs": len(pairs),
        "rows": {"set_aside": responses.refused_counts, "cut": cut},
    }
    if pairs:
        chosen, rejected = (
            np.array([line[f"{side}_reward"] for line in pairs]) for side in ("chosen", "rejected")
        )
        summary["rewards/accuracies"] = float(ordered(chosen, rejected).mean())
        summary["rewards/margins"] = float((chosen - rejected).mean())
    return summary


def write_scores(path: Path, scores: Scores) -> None:
    """Write the lines as JSONL, whole or not at all."""
    write_text(path, "".join(json.dumps(line) + "\n" for line in scores.lines))
