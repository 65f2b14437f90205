"""A head for those who use torch and not this package: a module's source beside the weights."""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path

from coala_jax._files import write_files
from coala_jax._head_files import ACCOUNT, WEIGHTS, find_head, load_head

MODULE = "reward_head.py"
SOURCE = "_torch_reward_head.py"


def export_torch(
    head_folder: str | os.PathLike[str], out: str | os.PathLike[str], *, download: bool = False
) -> list[Path]:
    """Write ``reward_head.py`` and what it loads: a head of features, and a reward of texts.

    It needs torch and safetensors, and for texts transformers; nothing of this package.

    Args:
        head_folder: of the head, or its hub id.
        out: folder to write; made if missing, and of what it holds these files alone are replaced.
        download: fetch what the hub's cache lacks of an id.

    Returns:
        The module, the weights, and the account that says how the features are made.

    Raises:
        HeadFileError: no usable head.

    Example:
        >>> import numpy as np
        >>> from coala_jax import ConvexHead, save_head
        >>> from coala_jax.decoding import export_torch
        >>> head = ConvexHead(np.eye(4), np.zeros(4), np.array([1.0, 1, -1, -1]), np.zeros(4))
        >>> save_head("head", head, {})
        >>> [file.name for file in export_torch("head", "torch")]
        ['reward_head.py', 'head.safetensors', 'head.json']
    """
    folder = find_head(head_folder, download=download)
    load_head(folder)
    source = importlib.resources.files("coala_jax.decoding").joinpath(SOURCE).read_bytes()
    head = {name: (folder / name).read_bytes() for name in (WEIGHTS, ACCOUNT)}
    contents = {MODULE: source, **head}
    files = {Path(out) / name: content for name, content in contents.items()}
    write_files(files)
    return list(files)
