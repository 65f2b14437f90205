"""The licence of a checkpoint, as its own model card or GGUF file says."""

import re
from pathlib import Path

from coala_jax.backbones._gguf import gguf_metadata, is_gguf

CARD_NAME = "README.md"
# An identifier of the hub's list, which is that of SPDX in small letters and more.
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")


def checkpoint_license(path: Path) -> str:
    """The identifier of the licence that a checkpoint folder or GGUF file names; empty for none.

    A card that cannot be read says nothing: the licence decides nothing that is computed.
    """
    named = gguf_metadata(path).get("general.license") if is_gguf(path) else _of_card(path)
    text = str(named).strip().lower()
    return text if isinstance(named, str) and _IDENTIFIER.fullmatch(text) else ""


def _of_card(folder: Path) -> object:
    """``license`` of the front matter of a folder's model card."""
    from huggingface_hub import metadata_load

    if not (folder / CARD_NAME).is_file():
        return None
    try:
        fields = metadata_load(folder / CARD_NAME)
    except Exception:  # of YAML, of texts and of the client
        return None
    return fields.get("license") if isinstance(fields, dict) else None
