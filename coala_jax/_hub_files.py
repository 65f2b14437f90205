"""Files of a repository of the Hugging Face hub: from its cache, fetched only when asked for.

``huggingface_hub`` does the work, so HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_ENDPOINT mean
what they mean there, and so do its tokens. It is imported when a repository is looked for.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from coala_jax._progress import quiet_in_a_pipe

CLIENT = "huggingface_hub"


def has_client() -> bool:
    """Whether ``huggingface_hub`` is installed."""
    return importlib.util.find_spec(CLIENT) is not None


def cache_alone(download: bool) -> bool:
    """Whether the cache alone is looked at: nothing is to be fetched, or nothing can be."""
    from huggingface_hub import constants

    return not download or constants.HF_HUB_OFFLINE


def snapshot_folder(
    hub_id: str, revision: str | None, wanted: Sequence[str], *, download: bool
) -> Path:
    """The folder of a repository in the cache; what it lacks of the wanted files is fetched.

    Args:
        hub_id: of a repository of models.
        revision: branch, tag or commit; None is its main branch.
        wanted: names of files; of those that the repository lacks nothing is said.
        download: whether anything may be fetched.

    Raises:
        Exception: of the client's own kinds, of which `not_found` makes a message.
    """
    from huggingface_hub import snapshot_download, utils

    with quiet_in_a_pipe(utils):
        return Path(
            snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=list(wanted),
                local_files_only=cache_alone(download),
            )
        )


def not_found(hub_id: str, revision: str | None, download: bool, error: Exception) -> str:
    """What to say where `snapshot_folder` fails: what was looked for, where, and the mend."""
    from huggingface_hub import constants

    which = hub_id if revision is None else f"{hub_id} at revision {revision!r}"
    if not cache_alone(download):
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return (
            f"{which}: no such folder, and it cannot be fetched from the hub; check id, revision, "
            f"network and, where it is gated, the login (`hf auth login`) ({reason})"
        )
    return (
        f"{which}: no such folder, and not in the hub's cache {constants.HF_HUB_CACHE}; if it is a "
        f"hub id, {how_to_fetch(download)}"
    )


def how_to_fetch(download: bool) -> str:
    """The mend where the cache, or the repository, lacks files."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "unset HF_HUB_OFFLINE to fetch it"
    if download:
        return "choose a repository or revision that has it"
    return "pass download=True (--download) to fetch it"
