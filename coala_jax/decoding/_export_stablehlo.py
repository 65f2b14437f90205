"""A head as a StableHLO function by `jax.export`: features to rewards, without this package.

    exported = jax.export.deserialize(bytearray(Path("reward.stablehlo").read_bytes()))
    rewards = exported.call(features)  # (n, d) float32 -> (n,) float32, n >= 1

needs jax and flatbuffers. The format is jax's own and no pickle; jax keeps it readable for six
months at least (https://docs.jax.dev/en/latest/export/export.html#compatibility-guarantees).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from coala_jax._errors import CoalaError
from coala_jax._extras import how_to_install
from coala_jax._files import write_files
from coala_jax._head_files import HeadFileError, load_head

FORMAT = "coala-jax-stablehlo/1"
# All that jax lowers to by itself: one file serves every machine.
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
NOTE_SUFFIX = ".json"
NEEDED = f"StableHLO needs flatbuffers; install it: {how_to_install('export')}"


def note_path(path: str | os.PathLike[str]) -> Path:
    """Where the note beside an exported function stands."""
    file = Path(path)
    return file.with_name(file.name + NOTE_SUFFIX)


def export_stablehlo(
    head_folder: str | os.PathLike[str], out: str | os.PathLike[str], *, download: bool = False
) -> Path:
    """Write a head as an exported function, and beside it a note in JSON of what it is.

    Args:
        head_folder: of the head, or its hub id.
        out: the file to write; the note is ``OUT.json``. Both are whole or not there.
        download: fetch what the hub's cache lacks of an id.

    Returns:
        The file.

    Raises:
        HeadFileError: no usable head.
        ValueError: flatbuffers is not installed.

    Example:
        >>> import numpy as np
        >>> from coala_jax import ConvexHead, save_head
        >>> from coala_jax.decoding import export_stablehlo, load_stablehlo
        >>> head = ConvexHead(np.eye(4), np.zeros(4), np.array([1.0, 1, -1, -1]), np.zeros(4))
        >>> save_head("head", head, {})
        >>> rewards, note = load_stablehlo(export_stablehlo("head", "head.stablehlo"))
        >>> rewards(np.array([[1.0, -2, 3, 0]], np.float32)).tolist()
        [-2.0]
    """
    head, metadata = load_head(head_folder, download=download)
    width = head.theta1.shape[0]
    features = jax.ShapeDtypeStruct((*export.symbolic_shape("n"), width), jnp.float32)
    function = jax.jit(lambda features: head(features))
    exported = export.export(function, platforms=PLATFORMS)(features)
    try:
        content = bytes(exported.serialize())
    except ImportError as error:
        raise CoalaError(NEEDED) from error
    file = Path(out)
    note = {
        "format": FORMAT,
        "sha256": hashlib.sha256(content).hexdigest(),
        "features": width,
        "input": f"(n, {width}) float32",
        "output": "(n,) float32",
        "platforms": list(PLATFORMS),
        "jax": jax.__version__,
        "calling_convention": exported.calling_convention_version,
        "head": metadata.document,
    }
    text = (json.dumps(note, indent=2) + "\n").encode()
    write_files({file: content, note_path(file): text})
    return file


def load_stablehlo(
    path: str | os.PathLike[str],
) -> tuple[Callable[[np.ndarray | jax.Array], jax.Array], Mapping[str, Any]]:
    """Read what `export_stablehlo` wrote.

    Args:
        path: the file; its note must stand beside it.

    Returns:
        A function of (n, d) features to (n,) float32 rewards, and the note. The function raises
        ValueError for features of another width.

    Raises:
        HeadFileError: a file is missing, damaged, or of another format.
        ValueError: flatbuffers is not installed.
    """
    file, note_file = Path(path), note_path(path)
    try:
        content, note = file.read_bytes(), json.loads(note_file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise HeadFileError(
            f"{file}: cannot be read with its note {note_file.name} ({error}); export the head "
            "again"
        ) from error
    if not isinstance(note, dict) or note.get("format") != FORMAT:
        raise HeadFileError(f"{note_file}: not a note of format {FORMAT}; export the head again")
    if hashlib.sha256(content).hexdigest() != note.get("sha256"):
        raise HeadFileError(f"{file}: its bytes are not those of its note; export the head again")
    try:
        exported = export.deserialize(bytearray(content))
    except ImportError as error:
        raise CoalaError(NEEDED) from error
    except Exception as error:  # what the reader raises at a version it does not know varies
        raise HeadFileError(
            f"{file}: this jax ({jax.__version__}) cannot read it ({error}); export the head again"
        ) from error
    width = note["features"]

    def rewards(features: np.ndarray | jax.Array) -> jax.Array:
        if features.ndim != 2 or features.shape[1] != width:
            raise CoalaError(
                f"features have shape {tuple(features.shape)}, expected (n, {width}): use the "
                "backbone, layer and pooling that the head was trained on"
            )
        if not len(features):  # a symbolic size of jax is 1 at least
            return jnp.zeros(0, jnp.float32)
        made: jax.Array = exported.call(jnp.asarray(features, jnp.float32))
        return made

    return rewards, note
