# SPDX-License-Identifier: Apache-2.0
"""A COALA reward head as a torch module, and the reward of a text by it.

    reward = load_reward(model_folder)  # of texts; needs transformers beside torch and safetensors
    reward(prompt, response)  # a float

    head = RewardHead.load("head.safetensors")  # of features; needs torch and safetensors
    rewards = head(features)  # (..., d) -> (...)

head.json beside this file says under "identity" how features are made: the backbone by its hashes,
the layer, the pooling, what stands around prompt and response. `load_reward` reads all of it there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

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


States = torch.Tensor
# (tokens, width) states of a text, where its response starts, and a query: -> (width,).
POOLINGS: dict[str, Callable[[States, int, States], States]] = {
    "mean": lambda states, start, query: states[start:].mean(0),
    "last": lambda states, start, query: states[-1],
    "attention": lambda states, start, query: (
        torch.softmax(states[start:] @ query, 0) @ states[start:]
    ),
    "text_mean": lambda states, start, query: states.mean(0),
    "first": lambda states, start, query: states[0],
}
# What head.json calls a tokenizer's chat template, and how texts are read.
WRITTEN = "sha256:"
AS_GIVEN, STRIPPED = "", "responses stripped, control tokens as text"
# Files whose hashes head.json has.
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
)
# What the configurations of families call the longest text.
LONGEST = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


def load_reward(
    model_folder: str | os.PathLike[str],
    head_folder: str | os.PathLike[str] = Path(__file__).parent,
    *,
    check_weights: bool = True,
) -> TextReward:
    """The reward of texts, a function of prompt and response.

    Args:
        model_folder: the backbone that the head was trained on, a checkpoint folder.
        head_folder: holds head.json and head.safetensors; that of this file if none is given.
        check_weights: refuse weights of other hashes than head.json has. Without, they are yours to
            answer for: an adapter that you have merged, another format of the same weights.

    Raises:
        ValueError: a head of bare arrays or of beginnings of responses, of a kind that is not known
            here, or of another backbone.
    """
    from transformers import AutoModel, AutoTokenizer

    head_folder, model_folder = Path(head_folder), Path(model_folder)
    account = json.loads((head_folder / "head.json").read_text("utf-8"))
    identity = account.get("identity")
    if (scores := account.get("scores", "response")) != "response":
        raise ValueError(
            f"head.json says that the head scores {scores!r}, and this is the reward of whole "
            "responses; use RewardHead.load on features of what it scores"
        )
    if not identity:
        raise ValueError(
            "head.json says nothing of a backbone: the head was solved from bare arrays and takes "
            "features alone; use RewardHead.load"
        )
    _require_known(identity)
    _require_same("tokenizer", _tokenizer_sha256(model_folder), identity)
    if check_weights:
        _require_same("weights", _weights_sha256(model_folder), identity)
    tokenizer = AutoTokenizer.from_pretrained(model_folder, local_files_only=True)
    model = AutoModel.from_pretrained(model_folder, local_files_only=True)
    model = model.to(getattr(torch, identity.get("compute_dtype", "float32"))).eval()
    return TextReward(RewardHead.load(head_folder / "head.safetensors"), model, tokenizer, identity)


class TextReward:
    """The reward of a response to a prompt, its features made as head.json says."""

    def __init__(
        self, head: RewardHead, model: Any, tokenizer: Any, identity: dict[str, str]
    ) -> None:
        """Take what `load_reward` has loaded and checked."""
        self.head, self.model, self.tokenizer = head.to(model.device), model, tokenizer
        self.identity = identity
        (self.end,) = tokenizer.convert_tokens_to_ids([identity["end_token"]])
        whole, bare = (self._ids("a", add_special_tokens=special) for special in (True, False))
        self.start = whole[:1] if whole[:1] != bare[:1] else []

    def __call__(self, prompt: str, response: str) -> float:
        """The reward of one response to one prompt, both as text.

        Raises:
            ValueError: the head was trained on conversations, of which `of_tokens` takes the
                tokens; or a text holds the name of a control token.
        """
        if self.identity.get("chat_template", "").startswith(WRITTEN):
            raise ValueError(
                "the head was trained on conversations that the tokenizer's chat template wrote, "
                "and these are plain texts: give of_tokens what apply_chat_template makes"
            )
        if self.identity.get("text_rule", AS_GIVEN) == STRIPPED:
            response = self._stripped(response)
            self._require_no_control_token(prompt, response)
        before = self._ids(self.identity["prompt_template"].replace("{prompt}", prompt))
        after = self._ids(self.identity["response_template"].replace("{response}", response))
        if self.start and before[:1] == self.start:
            before = before[1:]
        # Of what does not fit the oldest of the prompt go first, then the last of the response.
        room = self._longest() - len(self.start) - 1
        after = after[:room]
        before = [*self.start, *before[max(len(before) + len(after) - room, 0) :]]
        return self.of_tokens([*before, *after, self.end], len(before))

    @torch.no_grad()
    def of_tokens(self, tokens: Sequence[int], response_start: int) -> float:
        """The reward of a text as token ids, its response beginning at token `response_start`."""
        ids = torch.tensor([list(tokens)], device=self.model.device)
        hidden = self.model(
            ids, attention_mask=torch.ones_like(ids), output_hidden_states=True
        ).hidden_states
        name = self.identity.get("layer", "last")
        states = [hidden[int(n)][0].float() for n in name.replace("last", "-1").split(",")]
        pooled = [
            POOLINGS[pooling](layer, response_start, query)
            for layer, query in zip(states, self._queries(states), strict=True)
            for pooling in self.identity["pooling"].split("+")
        ]
        return float(self.head(torch.cat(pooled)))

    def _queries(self, states: list[States]) -> States:
        """(layers, width) queries of attention pooling; of no columns where there are none."""
        content = bytearray(base64.b64decode(self.identity.get("query", "")))
        if not content:
            return torch.empty(len(states), 0)
        values = torch.frombuffer(content, dtype=torch.float32)
        return values.to(states[0].device).reshape(len(states), -1)

    def _ids(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"])

    def _longest(self) -> int:
        config = self.model.config.get_text_config()
        named = (getattr(config, name, None) for name in LONGEST)
        longest = next((value for value in named if value is not None), None)
        if longest is None:
            raise ValueError(
                f"the configuration of model_type {config.model_type!r} has none of "
                f"{', '.join(LONGEST)}: write the most tokens of a text to config.json as one of "
                "them, or give of_tokens the tokens"
            )
        # RoBERTa numbers positions from the one behind its padding token.
        first = config.pad_token_id + 1 if config.model_type == "roberta" else 0
        return int(longest) - first

    def _stripped(self, response: str) -> str:
        """A response without white space at its edges, and without an end token of its own."""
        end, response = self.identity["end_token"], response.strip()
        while response.endswith(end):
            response = response.removesuffix(end).rstrip()
        return response

    def _require_no_control_token(self, *texts: str) -> None:
        known = self.tokenizer.added_tokens_decoder.values()
        for token in (str(token) for token in known if token.special):
            if token.strip() and any(token in text for text in texts):
                raise ValueError(
                    f"a text holds {token!r}, which this tokenizer would take for a control token "
                    "and coala-jax takes for text: leave it out, or score with coala-jax"
                )


def _require_known(identity: dict[str, str]) -> None:
    """Raise where features are made in a way that is not written here."""
    for pooling in identity["pooling"].split("+"):
        if pooling not in POOLINGS:
            raise ValueError(f"pooling {pooling!r} is none of {', '.join(POOLINGS)}")
    rule = identity.get("text_rule", AS_GIVEN)
    if rule not in (AS_GIVEN, STRIPPED):
        raise ValueError(f"text_rule {rule!r} is not known here: export the head again")


def _require_same(name: str, found: str, identity: dict[str, str]) -> None:
    expected = identity[f"{name}_sha256"]
    if found != expected:
        raise ValueError(
            f"{name} of the model folder have SHA-256 {found}, the head was trained with "
            f"{expected} (backbone {identity['backbone']!r}): give that folder"
        )


def _tokenizer_sha256(folder: Path) -> str:
    return _of_lines(path for name in TOKENIZER_FILES if (path := folder / name).is_file())


def _weights_sha256(folder: Path) -> str:
    """Of the file alone where there is one; of names and hashes where there are shards."""
    names, index = ["model.safetensors"], folder / "model.safetensors.index.json"
    if not (folder / names[0]).is_file():
        if not index.is_file():
            raise ValueError(f"{folder}: no {names[0]} in it, nor {index.name}: give a checkpoint")
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    files = [folder / name for name in names]
    return _file_sha256(files[0]) if len(files) == 1 else _of_lines(files)


def _of_lines(paths: Iterable[Path]) -> str:
    lines = "".join(f"{path.name} {_file_sha256(path)}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
