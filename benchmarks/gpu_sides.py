"""A device and the CPU of its machine, and what is made on either: for gpu_checks.py."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from coala_jax import Config, Params, PreferenceFeatures, solve
from coala_jax._head import ConvexHead
from coala_jax.backbones import Backbone, load_backbone
from coala_jax.data import RowSet
from coala_jax.decoding import TextRewardModel
from coala_jax.features import ExtractSettings, extract_store
from coala_jax.features._settings import feature_identity
from coala_jax.quickstart import tutoring_rows
from coala_jax.quickstart._demo import embedded_backbone
from tools.tutoring_truth import plain_questions

TOLERANCE = 1e-3
# Tokens that run together on either device.
TOKEN_BUDGET = 8192
HEAD_NEURONS = 32


class Sizes(NamedTuple):
    """Of a run."""

    pairs: int
    width: int
    gates: int
    rows: int
    prompts: int
    new_tokens: int
    samples: int
    train_pairs: int
    eval_pairs: int


class Sides:
    """The device and the CPU, and what was made on either, once.

    Attributes:
        sizes: of the run.
        device: the default one.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes, self.device = sizes, jax.devices()[0]

    @functools.cached_property
    def cpu(self) -> jax.Device:
        """The CPU; jax has none where JAX_PLATFORMS leaves it out."""
        return jax.devices("cpu")[0]

    @functools.cached_property
    def features(self) -> PreferenceFeatures:
        """Made pairs: the chosen side is half a deviation ahead in the first column."""
        rng = np.random.default_rng(0)
        shape = (2, self.sizes.pairs, self.sizes.width)
        chosen, rejected = rng.standard_normal(shape).astype(np.float32)
        chosen[:, 0] += 0.5
        return PreferenceFeatures(chosen, rejected)

    @property
    def params(self) -> Params:
        """Solved until the gap, the cones and the residuals are within one tolerance."""
        within = {f"{name}_tolerance": TOLERANCE for name in ("gap", "violation", "residual")}
        return Params(**within, explained_minimum=0.0)

    def config(self, **options: Any) -> Config:
        """Of all solves, so that they share compilations."""
        plain = {"n_gates": self.sizes.gates, "max_iterations": 2000, "max_epochs": 200}
        return Config(**{**plain, **options})

    @functools.cache  # noqa: B019 - there is one of these
    def solution(self, device: jax.Device, config: Config) -> Any:
        """`solve` on a device, as numpy arrays."""
        with jax.default_device(device):
            found = solve(self.params, self.features, config=config, key=jax.random.key(0))
            return jax.tree.map(np.asarray, found)

    @functools.cache  # noqa: B019
    def backbone(self, device: jax.Device, dtype: str) -> Backbone:
        """The embedded one, its weights on a device."""
        with jax.default_device(device):
            return load_backbone(embedded_backbone(), dtype=dtype)

    @functools.cache  # noqa: B019
    def pooled(self, device: jax.Device, dtype: str, precision: str | None = None) -> np.ndarray:
        """Features of both sides of tutoring rows under a default precision of products."""
        rows = RowSet(tutoring_rows(0, self.sizes.rows, self.sizes.rows).train)
        settings = ExtractSettings(pooling="mean+last", token_budget=TOKEN_BUDGET)
        with (
            jax.default_device(device),
            jax.default_matmul_precision(precision),
            tempfile.TemporaryDirectory() as folder,
        ):
            backbone = self.backbone(device, dtype)
            table = extract_store(rows, backbone, Path(folder) / "store", settings=settings).table
            return np.concatenate([np.asarray(table.chosen), np.asarray(table.rejected)])

    def generated(
        self, device: jax.Device, make: Callable[[TextRewardModel, list[str]], Any]
    ) -> Any:
        """What a reward model on a device makes of prompts."""
        prompts = [question.prompt for question in plain_questions(0)][: self.sizes.prompts]
        with jax.default_device(device):
            backbone = self.backbone(device, "float32")
            identity = feature_identity(backbone, ExtractSettings(pooling="last"))
            head = _drawn_head(backbone.config.hidden_size)
            return make(TextRewardModel(backbone, head, identity), prompts)


def _drawn_head(width: int) -> ConvexHead:
    """A head whose rewards are of the size of one."""
    rng = np.random.default_rng(0)
    shapes = (width, HEAD_NEURONS), (HEAD_NEURONS,), (HEAD_NEURONS,), (width,)
    theta1, bias, theta2, center = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    return ConvexHead(theta1 / width**0.5, bias, theta2 / HEAD_NEURONS**0.5, center)
