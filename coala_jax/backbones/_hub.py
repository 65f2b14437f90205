"""Checkpoints by their id on the Hugging Face hub: from its cache, fetched only when asked for.

``huggingface_hub`` does the work, so HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_ENDPOINT mean
what they mean there. A name that is a folder is a folder, and nothing is looked up for it.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from coala_jax._hub_ids import MODEL_ID
from coala_jax._progress import quiet_in_a_pipe
from coala_jax.backbones._checkpoint import CONFIG_NAME, checkpoint_folder
from coala_jax.backbones._errors import CheckpointError
from coala_jax.backbones._flax_msgpack import FLAX_NAME
from coala_jax.backbones._tokenizer import GENERATION_CONFIG_NAME, TOKENIZER_FILES
from coala_jax.backbones._weights import INDEX_NAME, WEIGHTS_NAME, weight_files

# The shards of a safetensors checkpoint; other safetensors of a repository are other models.
SHARD = re.compile(r"model-.*\.safetensors")
# Where transformers 5 keeps a chat template; its hash is in the identity of what was made with it.
CHAT_TEMPLATE_NAME = "chat_template.jinja"
# All that is read of a repository but its weights. No code, no pickle.
TEXT_FILES = (CONFIG_NAME, *TOKENIZER_FILES, CHAT_TEMPLATE_NAME, GENERATION_CONFIG_NAME)


class Checkpoint(NamedTuple):
    """Where a checkpoint is, and what people call it."""

    folder: Path
    name: str


def find_checkpoint(
    model: str | os.PathLike[str],
    *,
    revision: str | None = None,
    download: bool = False,
    weights: bool = True,
) -> Checkpoint:
    """The folder of a checkpoint that is named by a path or by a hub id.

    Args:
        model: a local folder, which is taken as it is, or an id (``org/name``).
        revision: branch, tag or commit of an id; None is its main branch.
        download: fetch what the cache lacks. Configuration, tokenizer and weights of one layout
            are: ``model.safetensors``, else its shards, else ``flax_model.msgpack``. Without it
            the cache alone is looked at and no connection is opened.
        weights: whether the weights of an id are needed; without them, configuration and tokenizer
            alone are fetched and asked for.

    Returns:
        Folder and name.

    Raises:
        CheckpointError: no such folder; an id that is not in the cache, or cannot be fetched; a
            revision of a folder. The message says what to do.
    """
    path = Path(model)
    if not path.exists() and MODEL_ID.fullmatch(str(model)):
        folder = _snapshot(str(model), revision, download, weights)
        return Checkpoint(folder, str(model) if revision is None else f"{model}@{revision}")
    folder = checkpoint_folder(path)
    if revision is not None:
        raise CheckpointError(
            f"revision={revision!r}: {path} is a folder, only hub ids have revisions; leave it out"
        )
    return Checkpoint(folder, folder.resolve().name)


def _snapshot(hub_id: str, revision: str | None, download: bool, weights: bool) -> Path:
    """The folder of an id in the hub's cache, fetched first where that is asked for."""
    from huggingface_hub import HfApi, constants, snapshot_download, utils

    local = not download or constants.HF_HUB_OFFLINE
    try:
        wanted = list(TEXT_FILES)
        if weights and not local:
            wanted += _weights_of(HfApi().list_repo_files(hub_id, revision=revision))
        with quiet_in_a_pipe(utils):
            folder = snapshot_download(
                hub_id, revision=revision, allow_patterns=wanted, local_files_only=local
            )
        found = checkpoint_folder(Path(folder))
        if weights:
            weight_files(found)
    except CheckpointError as error:
        raise CheckpointError(f"{hub_id}: {error}; {_mend(download)}") from error
    except Exception as error:  # its HTTP client has errors of its own, and changes with versions
        raise CheckpointError(_not_found(hub_id, revision, download, error)) from error
    return Path(folder)


def _weights_of(files: Sequence[str]) -> tuple[str, ...]:
    """The files of one layout of weights, at the top of a repository."""
    top = {file for file in files if "/" not in file}
    if WEIGHTS_NAME in top:
        return (WEIGHTS_NAME,)
    if INDEX_NAME in top:
        return (INDEX_NAME, *sorted(filter(SHARD.fullmatch, top)))
    if FLAX_NAME in top:
        return (FLAX_NAME,)
    raise CheckpointError(
        f"the repository has neither {WEIGHTS_NAME} nor {INDEX_NAME} nor {FLAX_NAME}"
    )


def _not_found(hub_id: str, revision: str | None, download: bool, error: Exception) -> str:
    from huggingface_hub import constants

    which = hub_id if revision is None else f"{hub_id} at revision {revision!r}"
    if download and not constants.HF_HUB_OFFLINE:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return (
            f"{which}: no such folder, and it cannot be fetched from the hub; check id, revision, "
            f"network and, where it is gated, the login (`hf auth login`) ({reason})"
        )
    return (
        f"{which}: no such folder, and not in the hub's cache {constants.HF_HUB_CACHE}; if it is a "
        f"hub id, {_mend(download)}"
    )


def _mend(download: bool) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "unset HF_HUB_OFFLINE to fetch it"
    if download:
        return "choose a repository or revision that has it"
    return "pass download=True (--download) to fetch it"
