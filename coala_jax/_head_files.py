"""A head's folder: its weights, the account beside them, and their model card."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

from coala_jax._extras import how_to_install
from coala_jax._files import write_files
from coala_jax._head import KINDS, Head, HeadError, require_one_head
from coala_jax._hub_files import has_client, how_to_fetch, not_found, snapshot_folder
from coala_jax._hub_ids import HEAD_ID
from coala_jax._model_card import CARD, keeps_own_card, model_card

HEAD_FORMAT = "coala-jax-head/3"
# Before 3 there was no linear path.
_WITHOUT_LINEAR = "coala-jax-head/2"
# Heads of 0.1 have no centre: the product with it was in their biases, rounded.
_WITHOUT_CENTER = "coala-jax-head/1"
# Leaves that are one value a feature: pruning neurons leaves them as they are.
_BY_FEATURE = ("center", "linear")
# Of a head that does not record it: the scale of `coala_jax.Params`.
DEFAULT_BETA = 1.0
WEIGHTS, ACCOUNT = "head.safetensors", "head.json"
# The entry of ``head.json`` with the prompts that a head was trained on, as hashes.
TRAINED_ON = "trained_on_prompts"
# The entry that says what a head reads: whole responses, as every head does that says nothing, or
# their beginnings as they stand, without an end token.
SCORES = "scores"
RESPONSE, PREFIX = "response", "prefix"


class HeadFileError(HeadError):
    """A head's files are missing, unreadable or do not fit together."""


class HeadMetadata(NamedTuple):
    """What ``head.json`` says of a head.

    Attributes:
        identity: how its features were made, as `coala_jax.features.FeatureIdentity` has it; None
            where it was solved from bare arrays.
        params: of the solve, as `coala_jax.Params` has them; empty where none are recorded.
        document: all of the file.
    """

    identity: Mapping[str, Any] | None
    params: Mapping[str, Any]
    document: Mapping[str, Any]

    @property
    def scores(self) -> str:
        """What the head reads: ``response``, whole ones, or ``prefix``, beginnings of them.

        Raises:
            HeadError: something else.
        """
        return known_scores(self.document.get(SCORES, RESPONSE))

    @property
    def log_odds_scale(self) -> float:
        """What turns reward differences into log-odds: one over the temperature, else beta.

        Raises:
            HeadError: a temperature or a beta that cannot be.
        """
        known = "temperature" in self.document
        value = self.document["temperature"] if known else self.params.get("beta", DEFAULT_BETA)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # 1 / value must be a number too.
        if not is_number or not sys.float_info.min <= value <= sys.float_info.max:
            name = "temperature" if known else "params.beta"
            raise HeadError(f"{name} is {value!r}, not a finite number above 0; solve again")
        return 1 / value if known else float(value)


def known_scores(scores: object) -> str:
    """What a head reads; a `HeadError` where that is nothing that is known here."""
    if scores not in (RESPONSE, PREFIX):
        raise HeadError(f"{SCORES} is {scores!r}, expected {RESPONSE!r} or {PREFIX!r}; solve again")
    return str(scores)


def save_head(folder: str | os.PathLike[str], head: Head, info: Mapping[str, Any]) -> None:
    """Write `head.safetensors` (zero neurons pruned), `head.json` and a model card into a folder.

    In float32, or in float64 as a head of a solve under x64 is.

    Args:
        folder: created if missing; existing head files are replaced when the new ones are whole,
            but a `README.md` that this package has not written stays.
        head: one head, not a batch.
        info: JSON-serialisable account of how it was made, on what features, with what result.

    Raises:
        HeadError: a batch of heads.
        HeadFileError: the head holds NaN or infinity; such a head is never written.

    Example:
        >>> import numpy as np
        >>> from coala_jax import ConvexHead, load_head, save_head
        >>> head = ConvexHead(np.eye(4), np.zeros(4), np.array([1.0, 1, 0, -1]), np.zeros(4))
        >>> save_head("head", head, {"made_by": "hand"})
        >>> loaded, metadata = load_head("head")
        >>> loaded.theta1.shape, metadata.document["made_by"]
        ((4, 3), 'hand')
    """
    require_one_head(head)
    dtype = np.promote_types(np.asarray(head.theta1).dtype, np.float32)
    leaves = {name: leaf for name, leaf in head._asdict().items() if leaf is not None}
    arrays = {name: np.asarray(value, dtype) for name, value in leaves.items()}
    if not all(np.isfinite(value).all() for value in arrays.values()):
        raise HeadFileError(f"{folder}: the head holds NaN or infinity; it was not solved")
    keep = arrays["theta2"] != 0
    arrays = {
        name: value if name in _BY_FEATURE else np.ascontiguousarray(value[..., keep])
        for name, value in arrays.items()
    }
    path = Path(folder)
    width, neurons = arrays["theta1"].shape
    document = {"format": HEAD_FORMAT, "features": width, "neurons": neurons, **info}
    tensors = safetensors.numpy.save(arrays, {"format": HEAD_FORMAT})
    text = json.dumps(document, indent=2) + "\n"
    card = {} if keeps_own_card(path) else {path / CARD: model_card(document).encode()}
    write_files({path / WEIGHTS: tensors, path / ACCOUNT: text.encode(), **card})


def find_head(head: str | os.PathLike[str], *, download: bool = False) -> Path:
    """The folder of a head that is named by a path, or by its id on the Hugging Face hub.

    Args:
        head: a folder, or ``ORG/NAME`` or ``ORG/NAME@REVISION`` where there is no such folder; a
            revision is a branch, tag or commit. Of a repository the head's two files alone are
            read: safetensors and JSON.
        download: fetch what the hub's cache lacks of them; without it the cache alone is looked at
            and no connection is opened.

    Returns:
        The folder; one that there is not where the name is no id.

    Raises:
        HeadFileError: an id that is not in the cache or cannot be fetched, or whose repository has
            no head; the message says what to do.
    """
    path, named = Path(head), HEAD_ID.fullmatch(os.fspath(head))
    if path.exists() or named is None or not (download or has_client()):
        return path
    if not has_client():
        raise HeadFileError(
            f"{head}: no such folder, and to fetch a head from the hub huggingface_hub is needed; "
            f"{how_to_install('text')}"
        )
    hub_id, revision = named["hub_id"], named["revision"]
    try:
        folder = snapshot_folder(hub_id, revision, (WEIGHTS, ACCOUNT), download=download)
    except Exception as error:  # its HTTP client has errors of its own, and changes with versions
        raise HeadFileError(f"no head: {not_found(hub_id, revision, download, error)}") from error
    for name in (WEIGHTS, ACCOUNT):
        if not (folder / name).is_file():
            raise HeadFileError(f"{head}: no head, {name} is not there; {how_to_fetch(download)}")
    return folder


def load_head(
    folder: str | os.PathLike[str], *, download: bool = False
) -> tuple[Head, HeadMetadata]:
    """Read a head and the account beside it; one of format 1 has a centre of zeros.

    Args:
        folder: of the head, or its hub id, ``ORG/NAME`` or ``ORG/NAME@REVISION``.
        download: fetch what the hub's cache lacks of an id; without it nothing is fetched.

    Returns:
        The head with numpy leaves in the dtype of the file, and what `head.json` says of it.

    Raises:
        HeadFileError: a file is missing, unreadable, of another format or misshapen; an id that
            cannot be had.

    Example:
        >>> import numpy as np
        >>> from coala_jax import ConvexHead, load_head, save_head
        >>> head = ConvexHead(np.eye(4), np.zeros(4), np.array([1.0, 1, -1, -1]), np.zeros(4))
        >>> save_head("head", head, {"params": {"beta": 0.5}})
        >>> loaded, metadata = load_head("head")
        >>> bool(np.all(loaded.theta2 == head.theta2)), metadata.log_odds_scale
        (True, 0.5)
    """
    found = find_head(folder, download=download)
    weights, account = (found / name for name in (WEIGHTS, ACCOUNT))
    for file in (weights, account):
        if not file.is_file():
            raise HeadFileError(
                f"{folder}: no head here, {file.name} is missing; give the folder that `coala-jax "
                "solve` or `save` wrote"
            )
    arrays = _read(weights, safetensors.numpy.load_file)
    document = _read(account, lambda file: json.loads(file.read_text("utf-8")))
    version = document.get("format") if isinstance(document, dict) else None
    if version not in (HEAD_FORMAT, _WITHOUT_LINEAR, _WITHOUT_CENTER):
        raise HeadFileError(f"{account}: not a head of format {HEAD_FORMAT}")
    if version == _WITHOUT_CENTER and "theta1" in arrays:
        arrays["center"] = np.zeros(arrays["theta1"].shape[:1], arrays["theta1"].dtype)
    named = set(arrays) | {"linear"}
    for name, value in arrays.items():
        if value.dtype.kind != "f" or not np.isfinite(value).all():
            raise HeadFileError(
                f"{weights}: {name} holds NaN or infinity, or no floats; solve again"
            )
    kind = next((kind for kind in KINDS if set(kind._fields) == named), None)
    if kind is None:
        known = " or ".join(str(kind._fields) for kind in KINDS)
        raise HeadFileError(f"{weights}: holds {sorted(arrays)}, not {known}")
    head = kind(**arrays)
    shapes = {name: value.shape for name, value in arrays.items()}
    first = shapes["theta1"]
    fitting = {"theta1": first, "gates": first, "center": first[:1], "linear": first[:1]}
    if len(first) != 2 or any(
        shape != fitting.get(name, first[1:]) for name, shape in shapes.items()
    ):
        raise HeadFileError(f"{weights}: the shapes of its tensors do not fit")
    identity, params = document.get("identity"), document.get("params")
    return head, HeadMetadata(
        identity if isinstance(identity, dict) else None,
        params if isinstance(params, dict) else {},
        document,
    )


def _read(file: Path, load: Callable[[Path], Any]) -> Any:
    try:
        return load(file)
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise HeadFileError(
            f"{file}: damaged or unreadable ({error}); solve again to write the head anew"
        ) from error
