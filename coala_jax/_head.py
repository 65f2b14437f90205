"""The reward heads: two-layer networks on raw backbone features, and their files."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from coala_jax._errors import CoalaError
from coala_jax._extras import how_to_install
from coala_jax._files import write_files
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


class HeadError(CoalaError):
    """A head that cannot be used."""


class HeadFileError(HeadError):
    """A head's files are missing, unreadable or do not fit together."""


class ConvexHead(NamedTuple):
    """Reward head relu(c theta1 + bias) theta2 + c linear, c = x - center (eq 2); a pytree.

    The centre is subtracted and not folded into the bias: the product with it is large where a
    column's mean is many times its spread, and its rounding would be the reward.

    Attributes:
        theta1: (d, k) first layer, the scale of the features folded in.
        bias: (k,) first-layer bias.
        theta2: (k,) second layer. A zero neuron has zeros in all three.
        center: (d,) where the features are centred; zeros in a head of no centre.
        linear: (d,) weights of the linear path; None in a head without one.

    Arrays of one floating dtype: of the solver where `solve` gave them, of the file, in numpy,
    where `load_head` did.

    Raises:
        CoalaError: where it is called, features of another width than d.

    Example:
        >>> import numpy as np
        >>> from coala_jax import ConvexHead
        >>> head = ConvexHead(np.eye(4), np.zeros(4), np.array([1.0, 1, -1, -1]), np.zeros(4))
        >>> head(np.array([[1.0, -2, 3, 0], [2, 2, 0, 0]])).tolist()
        [-2.0, 4.0]
        >>> head.neurons(np.array([1.0, -2, 3, 0])).tolist()
        [1.0, 0.0, 3.0, 0.0]
    """

    theta1: jax.Array | np.ndarray
    bias: jax.Array | np.ndarray
    theta2: jax.Array | np.ndarray
    center: jax.Array | np.ndarray
    linear: jax.Array | np.ndarray | None = None

    def neurons(self, features: jax.Array | np.ndarray) -> jax.Array:
        """First-layer outputs of raw features: (..., d) -> (..., k)."""
        return jax.nn.relu(_layer(_centred(features, self), self.theta1, self.bias))

    def __call__(self, features: jax.Array | np.ndarray) -> jax.Array:
        """Rewards of raw features: (..., d) -> (...). Computed in the head's own dtype."""
        return _reward(self, features)


class GatedHead(NamedTuple):
    """Reward head (1(c gates + gate_bias >= 0) * (c theta1 + bias)) theta2 + c linear.

    A gated neuron (Mishkin et al. 2022) is switched by its gate and not by its own sign, so its
    weights are not those of a ReLU network; `coala_jax.decompose_gated` makes one of them.

    Attributes:
        theta1, bias, theta2: as a `ConvexHead` has them.
        gates: (d, k) gate vectors, the scale of the features folded in.
        gate_bias: (k,) their offsets.
        center, linear: as a `ConvexHead` has them; c = x - center.

    Raises:
        CoalaError: where it is called, features of another width than d.

    Example:
        >>> import numpy as np
        >>> from coala_jax import GatedHead
        >>> zeros = np.zeros(4)
        >>> head = GatedHead(np.eye(4), zeros, np.ones(4), -np.eye(4), zeros, zeros)
        >>> head(np.array([1.0, -2, 3, 0])).tolist()  # open where the feature is below 0
        -2.0
    """

    theta1: jax.Array | np.ndarray
    bias: jax.Array | np.ndarray
    theta2: jax.Array | np.ndarray
    gates: jax.Array | np.ndarray
    gate_bias: jax.Array | np.ndarray
    center: jax.Array | np.ndarray
    linear: jax.Array | np.ndarray | None = None

    def neurons(self, features: jax.Array | np.ndarray) -> jax.Array:
        """First-layer outputs of raw features, 0 behind a closed gate: (..., d) -> (..., k)."""
        centred = _centred(features, self)
        opened = _layer(centred, self.gates, self.gate_bias) >= 0
        return jnp.where(opened, _layer(centred, self.theta1, self.bias), 0)

    def __call__(self, features: jax.Array | np.ndarray) -> jax.Array:
        """Rewards, as those of a `ConvexHead`."""
        return _reward(self, features)


Head: TypeAlias = ConvexHead | GatedHead
KINDS = (ConvexHead, GatedHead)


# The entry of ``head.json`` with the prompts that a head was trained on, as hashes.
TRAINED_ON = "trained_on_prompts"
# The entry that says what a head reads: whole responses, as every head does that says nothing, or
# their beginnings as they stand, without an end token.
SCORES = "scores"
RESPONSE, PREFIX = "response", "prefix"


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


def _centred(features: jax.Array | np.ndarray, head: Head) -> jax.Array:
    """Features less the head's centre, in the dtype of its weights: (..., d) -> (..., d)."""
    width = head.theta1.shape[-2]
    if features.shape[-1] != width:
        raise CoalaError(
            f"features have {features.shape[-1]} columns, the head was made for {width}: "
            "use the backbone, layer and pooling that it was trained on"
        )
    # The wider dtype of the two subtracts: what is left may be small beside the features.
    centred = jnp.asarray(features) - jnp.asarray(head.center)
    return centred.astype(jnp.asarray(head.theta1).dtype)


def _reward(head: Head, features: jax.Array | np.ndarray) -> jax.Array:
    rewards = _product(head.neurons(features), head.theta2)
    return rewards if head.linear is None else rewards + linear_reward(head, features)


def linear_reward(head: Head, features: jax.Array | np.ndarray) -> jax.Array:
    """What the linear path of a head that has one adds to the reward: (..., d) -> (...)."""
    assert head.linear is not None
    return _product(_centred(features, head), head.linear)


def reward_terms(head: Head, features: jax.Array | np.ndarray) -> jax.Array:
    """What `term_weights` add up to the reward: the neurons, then the linear path if there is one.

    (..., d) -> (..., k) or (..., k + 1).
    """
    neurons = head.neurons(features)
    if head.linear is None:
        return neurons
    return jnp.concatenate([neurons, linear_reward(head, features)[..., None]], axis=-1)


def term_weights(head: Head) -> jax.Array:
    """theta2, and 1 for a linear path: (k,) or (k + 1,)."""
    theta2 = jnp.asarray(head.theta2)
    return theta2 if head.linear is None else jnp.append(theta2, jnp.ones_like(theta2, shape=()))


def with_term_weights(head: Head, weights: jax.Array) -> Head:
    """The head whose terms are weighted so: (k,) or (k + 1,)."""
    if head.linear is None:
        return head._replace(theta2=weights)
    return head._replace(theta2=weights[:-1], linear=head.linear * weights[-1])


def _layer(
    centred: jax.Array, weights: jax.Array | np.ndarray, bias: jax.Array | np.ndarray
) -> jax.Array:
    """Centred weights + bias: (..., d), (d, k), (k,) -> (..., k)."""
    return _product(centred, weights) + bias


def _product(rows: jax.Array, weights: jax.Array | np.ndarray) -> jax.Array:
    """A matrix product that GPUs do not round to TF32."""
    return jnp.matmul(rows, jnp.asarray(weights), precision=jax.lax.Precision.HIGHEST)


def require_one_head(head: Head) -> None:
    """Raise where it is no head, or one of a sweep's, with leading axes."""
    if not isinstance(head, KINDS):
        raise TypeError(
            f"head must be a ConvexHead or a GatedHead, as `solution.head` is; got "
            f"{type(head).__name__}"
        )
    if np.ndim(head.theta2) != 1:
        raise HeadError(
            f"head: its theta2 is {np.shape(head.theta2)}, a batch of heads; take one of them, "
            "jax.tree.map(lambda leaf: leaf[k], head)"
        )


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
