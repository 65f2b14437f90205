# SPDX-License-Identifier: Apache-2.0
"""A COALA reward head as a torch module. Needs torch and safetensors, and nothing else.

    head = RewardHead.load("head.safetensors")
    rewards = head(features)  # (..., d) -> (...)

The features are those of the backbone, layer and pooling that head.json names under "identity".
"""

from __future__ import annotations

import os

import torch
from safetensors.torch import load_file

RELU = {"theta1", "bias", "theta2"}
GATED = RELU | {"gates", "gate_bias"}


class RewardHead(torch.nn.Module):
    """Reward relu(c theta1 + bias) theta2 + c linear, c = x - center.

    With gates 1(c gates + gate_bias >= 0) stands for the relu, and without a linear path there is
    no c linear. Its tensors are buffers: they follow
    ``.to(...)`` and are not trained.
    """

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take the tensors of a head: theta1 (d, k), bias (k,), theta2 (k,), center (d,).

        And gates (d, k) with gate_bias (k,), linear (d,) where it has them. Heads of version 0.1
        have no center.

        Raises:
            ValueError: tensors that are not those of a head.
        """
        super().__init__()
        names = set(tensors) - {"center", "linear"}
        if names not in (RELU, GATED):
            raise ValueError(f"tensors: {sorted(tensors)} are not those of a head, {sorted(RELU)}")
        self.gated = names == GATED
        self.has_path = "linear" in tensors
        if "center" not in tensors:
            tensors = {**tensors, "center": torch.zeros_like(tensors["theta1"][:, 0])}
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RewardHead:
        """Read a head.safetensors."""
        return cls(load_file(path))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Rewards of raw features: (..., d) -> (...), computed in the head's own dtype.

        Raises:
            ValueError: features of another width.
        """
        theta1, theta2 = self.get_buffer("theta1"), self.get_buffer("theta2")
        if features.shape[-1] != theta1.shape[0]:
            raise ValueError(
                f"features have {features.shape[-1]} columns, the head was made for "
                f"{theta1.shape[0]}: use the backbone, layer and pooling that it was trained on"
            )
        centred = (features - self.get_buffer("center")).to(theta1.dtype)
        neurons = centred @ theta1 + self.get_buffer("bias")
        if self.gated:
            opened = centred @ self.get_buffer("gates") + self.get_buffer("gate_bias") >= 0
            neurons = torch.where(opened, neurons, torch.zeros_like(neurons))
        else:
            neurons = torch.relu(neurons)
        rewards = neurons @ theta2
        return rewards + centred @ self.get_buffer("linear") if self.has_path else rewards
