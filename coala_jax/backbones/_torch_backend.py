"""Any other causal model, run by transformers' ``AutoModel`` in torch behind the same interface.

For checkpoints whose family is not among ours: slower, on torch's devices, without shared prefixes
and without a key-value cache. Features of the two engines are told apart by the model type of their
identity. Torch is imported here alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from coala_jax._errors import CoalaError
from coala_jax._extras import how_to_install
from coala_jax.backbones._attention import KeyValueCache, States, TokenBatch
from coala_jax.backbones._checkpoint import read_config
from coala_jax.backbones._config_fields import SIZE
from coala_jax.backbones._errors import CheckpointError
from coala_jax.backbones._family import BackboneModule
from coala_jax.backbones._flax_msgpack import FLAX_NAME
from coala_jax.backbones._gguf import is_gguf
from coala_jax.backbones._stack import LAST, layer_indices
from coala_jax.backbones._weights import weight_files

if TYPE_CHECKING:
    import torch

ENGINE = "torch"
# Where configurations say what `TorchConfig` wants; the first that is there counts.
FIELD_NAMES: Mapping[str, tuple[str, ...]] = {
    "vocab_size": ("vocab_size",),
    "hidden_size": ("hidden_size", "n_embd", "d_model", "word_embed_proj_dim"),
    "depth": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "max_length": ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
}


class TextSlots(NamedTuple):
    """Where a text stands in a batch: its row, first slot and the slot behind its last."""

    row: int
    start: int
    end: int


@dataclass(frozen=True)
class TorchConfig:
    """Sizes of a model that torch runs.

    Attributes:
        vocab_size: rows of the token embedding.
        hidden_size: width of the hidden states.
        depth: number of layers.
        max_length: longest sequence.
        matrix_weights: weights in the matrices of a layer, on average.
        attention_width: query heads times the width of a head, taken for the hidden size.
        fields: the ``config.json``.
    """

    vocab_size: int
    hidden_size: int
    depth: int
    max_length: int
    matrix_weights: int
    attention_width: int
    fields: Mapping[str, Any] = field(hash=False)

    def to_dict(self) -> dict[str, Any]:
        """The Hugging Face ``config.json`` as a dictionary."""
        return dict(self.fields)


class TorchModule(BackboneModule):
    """A torch model that is called from a compiled pass, text by text.

    ``causal`` is False: texts share no tokens, since not every model takes a mask of trees.
    """

    causal = False

    def __init__(self, model: torch.nn.Module, config: TorchConfig):
        """Wrap a model in evaluation mode."""
        self.model = model
        self.config = config

    @property
    def dtype(self) -> np.dtype:
        """The floating type of the weights."""
        return jnp.dtype(str(next(self.model.parameters()).dtype).removeprefix("torch."))

    def states(
        self,
        batch: TokenBatch,
        cache: KeyValueCache | None = None,
        layers: Sequence[int] = LAST,
        *,
        keep: bool = False,
    ) -> States:
        """Hidden states of texts, one or more a row, without branches; float32.

        Raises:
            ValueError: a cache, or one asked for.
        """
        if cache is not None or keep:
            raise CoalaError("cache: the torch engine keeps no keys and values; run whole texts")
        wanted = layer_indices(layers, self.config.depth)
        shape = (len(wanted), *batch.tokens.shape, self.config.hidden_size)

        def run(tokens: np.ndarray, ends: np.ndarray) -> np.ndarray:
            return _run_batch(self.model, np.asarray(tokens), np.asarray(ends), wanted, shape)

        ready = jax.ShapeDtypeStruct(shape, jnp.float32)
        return States(tuple(jax.pure_callback(run, ready, batch.tokens, batch.ends)))


def load_torch_module(folder: Path, dtype: DTypeLike) -> tuple[TorchModule, TorchConfig]:
    """Load a checkpoint folder into torch: safetensors alone, and no code of the checkpoint.

    Args:
        folder: a checkpoint folder.
        dtype: floating type of weights and computation: float32, float16 or bfloat16.

    Raises:
        CheckpointError: torch or transformers' class is missing, a size is not in ``config.json``,
            no safetensors, or transformers cannot load it.
    """
    if is_gguf(folder):
        raise CheckpointError(
            f"{folder}: the torch engine reads safetensors, not GGUF; use engine='jax'"
        )
    try:
        import torch
    except ModuleNotFoundError:
        raise CheckpointError(
            f"engine 'torch' needs torch; install it: {how_to_install('text', 'torch')}"
        ) from None
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import AutoModel
    from transformers.utils import logging

    if weight_files(folder)[0].name == FLAX_NAME:
        raise CheckpointError(f"{folder}: the torch engine reads safetensors, not {FLAX_NAME}")
    fields = read_config(folder)
    sizes = {name: _size(folder, fields, name) for name in FIELD_NAMES}
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = AutoModel.from_pretrained(
            folder,
            dtype=getattr(torch, jnp.dtype(dtype).name),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except Exception as error:  # transformers and its checks of fields raise of many kinds
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder}: transformers cannot load it ({reason})") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    model.eval().requires_grad_(False)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    weights = sum(weight.numel() for weight in model.parameters() if weight.ndim > 1)
    config = TorchConfig(
        vocab_size=sizes["vocab_size"],
        hidden_size=sizes["hidden_size"],
        depth=sizes["depth"],
        max_length=sizes["max_length"],
        matrix_weights=(weights - sizes["vocab_size"] * sizes["hidden_size"]) // sizes["depth"],
        attention_width=sizes["hidden_size"],
        fields=fields,
    )
    return TorchModule(model, config), config


def find_texts(tokens: np.ndarray, ends: np.ndarray) -> dict[tuple[int, ...], list[TextSlots]]:
    """The texts of a batch without branches, each with all places where it stands.

    A slot of padding is a text of one token by these numbers, so padding is one text.

    Args:
        tokens: (batch, length) ids.
        ends: (batch, length) slot behind each text's last token, ``slot + 1`` at padding.
    """
    places: dict[tuple[int, ...], list[TextSlots]] = {}
    for row in range(ends.shape[0]):
        start = 0
        while start < ends.shape[1]:
            end = int(ends[row, start])
            text = tuple(tokens[row, start:end].tolist())
            places.setdefault(text, []).append(TextSlots(row, start, end))
            start = end
    return places


def _size(folder: Path, fields: Mapping[str, Any], name: str) -> int:
    for key in FIELD_NAMES[name]:
        if SIZE.fits(fields.get(key)):
            return int(fields[key])
    raise CheckpointError(
        f"{folder}: no {' or '.join(FIELD_NAMES[name])} in its config.json, which the torch engine "
        "needs"
    )


def _run_batch(
    model: torch.nn.Module,
    tokens: np.ndarray,
    ends: np.ndarray,
    wanted: Sequence[int],
    shape: tuple[int, ...],
) -> np.ndarray:
    """(layers, batch, length, width) hidden states of all slots; texts of like lengths together."""
    hidden = np.empty(shape, np.float32)
    places = find_texts(tokens, ends)
    waiting = sorted(places, key=len)
    while waiting:
        longest = len(waiting[-1])
        alike = [text for text in waiting if len(text) > longest // 2]
        del waiting[len(waiting) - len(alike) :]
        for text, states in zip(alike, _run_texts(model, alike, wanted), strict=True):
            for row, start, end in places[text]:
                hidden[:, row, start:end] = states
    return hidden


def _run_texts(
    model: torch.nn.Module, texts: Sequence[tuple[int, ...]], wanted: Sequence[int]
) -> list[np.ndarray]:
    """(layers, length, width) hidden states of every text, padded on the right to the longest."""
    import torch

    lengths = [len(text) for text in texts]
    tokens = np.zeros((len(texts), max(lengths)), np.int64)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = text
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    device = next(model.parameters()).device
    with torch.inference_mode():
        output = model(
            input_ids=torch.from_numpy(tokens).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
            output_hidden_states=True,
            use_cache=False,
        )
    layers = [output.hidden_states[layer].float().cpu().numpy() for layer in wanted]
    return [
        np.stack([states[row, :length] for states in layers]) for row, length in enumerate(lengths)
    ]
