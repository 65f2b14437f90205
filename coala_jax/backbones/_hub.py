"""Checkpoints by their id on the Hugging Face hub, as `coala_jax._hub_files` finds their files.

A name that is a folder is a folder, and nothing is looked up for it.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from coala_jax._hub_files import cache_alone, how_to_fetch, not_found, snapshot_folder
from coala_jax._hub_ids import MODEL_ID
from coala_jax.backbones._checkpoint import CONFIG_NAME, checkpoint_folder
from coala_jax.backbones._errors import CheckpointError, some_of
from coala_jax.backbones._flax_msgpack import FLAX_NAME
from coala_jax.backbones._gguf import GGUF_SUFFIX, gguf_parts, is_gguf, shard_names
from coala_jax.backbones._license import CARD_NAME
from coala_jax.backbones._tokenizer import GENERATION_CONFIG_NAME, TOKENIZER_FILES
from coala_jax.backbones._weights import INDEX_NAME, WEIGHTS_NAME, weight_files

# The shards of a safetensors checkpoint; other safetensors of a repository are other models.
SHARD = re.compile(r"model-.*\.safetensors")
# Where transformers 5 keeps a chat template; its hash is in the identity of what was made with it.
CHAT_TEMPLATE_NAME = "chat_template.jinja"
# All that is read of a repository but its weights. No code, no pickle.
TEXT_FILES = (
    *(CONFIG_NAME, *TOKENIZER_FILES, CHAT_TEMPLATE_NAME, GENERATION_CONFIG_NAME),
    CARD_NAME,  # names the licence
)

# A GGUF file of a repository: `org/name:FILE.gguf`, which may lie in a folder of it.
GGUF_OF_ID = re.compile(rf"(?P<hub_id>{MODEL_ID.pattern}):(?P<file>\w[^:\\]*\{GGUF_SUFFIX})")


class Checkpoint(NamedTuple):
    """Where a checkpoint is, and what people call it.

    Attributes:
        folder: of the checkpoint; or a GGUF file, the first of several.
        name: of folder or file, or the id.
    """

    folder: Path
    name: str


def find_checkpoint(
    model: str | os.PathLike[str],
    *,
    revision: str | None = None,
    download: bool = False,
    weights: bool = True,
) -> Checkpoint:
    """The folder or file of a checkpoint that is named by a path or by a hub id.

    Args:
        model: a local folder or GGUF file, which is taken as it is, or an id (``org/name``), or a
            GGUF file of one (``org/name:FILE.gguf``).
        revision: branch, tag or commit of an id; None is its main branch.
        download: fetch what the cache lacks. Configuration, tokenizer and weights of one layout
            are: ``model.safetensors``, else its shards, else ``flax_model.msgpack``; of a GGUF
            model its files alone. Without it the cache alone is looked at and no connection is
            opened.
        weights: whether the weights of an id are needed; without them, configuration and tokenizer
            alone are fetched and asked for, and of several GGUF files the first.

    Returns:
        Folder or file, and name.

    Raises:
        CheckpointError: no such folder or file; an id that is not in the cache, or cannot be
            fetched; a revision of a folder or file. The message says what to do.
    """
    path = Path(model)
    if not path.exists():
        if match := GGUF_OF_ID.fullmatch(str(model)):
            folder = _snapshot(match["hub_id"], revision, download, weights, match["file"])
            return Checkpoint(folder, _named(model, revision))
        if MODEL_ID.fullmatch(str(model)) and not is_gguf(path):
            folder = _snapshot(str(model), revision, download, weights)
            return Checkpoint(folder, _named(model, revision))
    folder = _gguf_file(path, weights) if is_gguf(path) else checkpoint_folder(path)
    if revision is not None:
        raise CheckpointError(
            f"revision={revision!r}: {path} is a {'file' if is_gguf(path) else 'folder'}, only hub "
            "ids have revisions; leave it out"
        )
    return Checkpoint(folder, path.name if is_gguf(path) else folder.resolve().name)


def _gguf_file(path: Path, weights: bool) -> Path:
    """A local GGUF file; of several the first, which has all but the weights."""
    if weights or not path.is_file():
        return gguf_parts(path)[0]
    shard_names(path.name)  # raises for another part
    return path


def _named(model: str | os.PathLike[str], revision: str | None) -> str:
    return str(model) if revision is None else f"{model}@{revision}"


def _snapshot(
    hub_id: str, revision: str | None, download: bool, weights: bool, file: str = ""
) -> Path:
    """An id's folder in the hub's cache, or a GGUF file of it, fetched where that is asked for."""
    from huggingface_hub import HfApi

    try:
        wanted = _gguf_wanted(file, weights) if file else list(TEXT_FILES)
        if (weights or file) and not cache_alone(download):
            there = HfApi().list_repo_files(hub_id, revision=revision)
            if file:
                _require_gguf(wanted, there)
            else:
                wanted += _weights_of(there)
        folder = snapshot_folder(hub_id, revision, wanted, download=download)
        if file:
            held = folder.rglob(f"*{GGUF_SUFFIX}")
            _require_gguf(wanted, sorted(one.relative_to(folder).as_posix() for one in held))
            return folder / file
        found = checkpoint_folder(folder)
        if weights:
            weight_files(found)
    except CheckpointError as error:
        raise CheckpointError(f"{hub_id}: {error}; {how_to_fetch(download)}") from error
    except Exception as error:  # its HTTP client has errors of its own, and changes with versions
        raise CheckpointError(not_found(hub_id, revision, download, error)) from error
    return folder


def _gguf_wanted(file: str, weights: bool) -> list[str]:
    """The files of a GGUF model in a repository; the first has all but the weights."""
    if {"", ".", ".."} & {*file.split("/")}:
        raise CheckpointError(f"{file!r} leads out of the repository")
    return list(shard_names(file))[: None if weights else 1]


def _require_gguf(wanted: Sequence[str], there: Sequence[str]) -> None:
    """Raise where a file is not there, and name the GGUF files that are."""
    if lost := [name for name in wanted if name not in there]:
        others = some_of(name for name in there if name.endswith(GGUF_SUFFIX))
        found = f"; there are {others}" if others else ""
        raise CheckpointError(f"{some_of(lost)} is not there{found}")


def _weights_of(files: Sequence[str]) -> tuple[str, ...]:
    """The files of one layout of weights, at the top of a repository."""
    top = {file for file in files if "/" not in file}
    if WEIGHTS_NAME in top:
        return (WEIGHTS_NAME,)
    if INDEX_NAME in top:
        return (INDEX_NAME, *sorted(filter(SHARD.fullmatch, top)))
    if FLAX_NAME in top:
        return (FLAX_NAME,)
    others = some_of(name for name in files if name.endswith(GGUF_SUFFIX))
    mend = f"; of its GGUF files give one as ORG/NAME:FILE.gguf: {others}" if others else ""
    raise CheckpointError(
        f"the repository has neither {WEIGHTS_NAME} nor {INDEX_NAME} nor {FLAX_NAME}{mend}"
    )
