"""LoRA adapters (Hu et al. 2022) in the layout of PEFT, merged into the weights they adapt.

An adapter is a folder with ``adapter_config.json`` and ``adapter_model.safetensors``. A layer's
weight W becomes W + s B A, with s = alpha / r, or alpha / sqrt(r) where the adapter is
rank-stabilised (Kalajdzievski 2023). The sum is taken in float32.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coala_jax._files import file_sha256
from coala_jax._json import read_json_object
from coala_jax.backbones._errors import CheckpointError, some_of
from coala_jax.backbones._family import Family
from coala_jax.backbones._stored_tensor import StoredTensor, for_reads, same_values
from coala_jax.backbones._weights import safetensors_tensors

ADAPTER_CONFIG_NAME = "adapter_config.json"
ADAPTER_WEIGHTS_NAME = "adapter_model.safetensors"
# What PEFT puts before the names of the model that was adapted.
ADAPTED_PREFIX = "base_model.model."
# What PEFT may put into names: the adapter's own name, the wrapper of a module trained whole, and
# that of a module whose own weight is saved beside its factors.
WRAPPINGS = re.compile(r"\.(default|modules_to_save|base_layer)(?=\.|$)")
PAIR = re.compile(
    r"(?P<module>.+)\.lora_(?:(?P<side>[AB])\.weight|embedding_(?P<embedding_side>[AB]))"
)
MATRIX_AXES = 2

# Fields that decide the merged weights, with PEFT's defaults.
DEFAULTS: Mapping[str, Any] = {
    "r": 8,
    "lora_alpha": 8,
    "rank_pattern": {},
    "alpha_pattern": {},
    "use_rslora": False,
    # Of no account: the family knows how its weights lie, and PEFT saves what it was for the module
    # it wrapped last. It stays in the hash of adapters.
    "fan_in_fan_out": False,
    "target_modules": None,
    "exclude_modules": None,
    "layers_to_transform": None,
    "layers_pattern": None,
    "modules_to_save": None,
}
# Ways to start that leave the base as it was; the others (pissa, olora, loftq, ...) change it, and
# the adapter then belongs to weights that are not in the checkpoint.
HARMLESS_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
# Fields that say how the adapter was trained or where it came from. Any other field that is set
# may change what the adapter computes, and is refused.
IGNORED_FIELDS = (
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_dropout",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
)


class LoraPair(NamedTuple):
    """The two factors of a layer's change and what they are multiplied by.

    Attributes:
        down: A, (r, in).
        up: B, (out, r).
        scale: s.
        embedding: of an embedding, (in, out), whose tokens are in.
    """

    down: StoredTensor
    up: StoredTensor
    scale: float
    embedding: bool


class Adapter(NamedTuple):
    """An adapter whose settings are known and whose weights are not read.

    Attributes:
        folder: where it is.
        fields: those of ``DEFAULTS``.
        pairs: by the name of the weight in the adapted model.
        replaced: tensors that were saved whole, by their name in the adapted model.
    """

    folder: Path
    fields: Mapping[str, Any]
    pairs: Mapping[str, LoraPair]
    replaced: Mapping[str, StoredTensor]


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter's settings and the header of its weights.

    Args:
        folder: of the adapter.

    Returns:
        The adapter, for `merge_adapter`.

    Raises:
        CheckpointError: no adapter, a kind or a field that is not supported, factors of another
            rank than the settings say; the fields and tensors are named.
    """
    path = folder / ADAPTER_CONFIG_NAME
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: no adapter, it holds no {ADAPTER_CONFIG_NAME}; give a PEFT adapter's folder"
        )
    fields = _supported_fields(path, read_json_object(path, CheckpointError))
    weights = folder / ADAPTER_WEIGHTS_NAME
    if not weights.is_file():
        raise CheckpointError(
            f"{folder}: {ADAPTER_WEIGHTS_NAME} is not in it; pickled adapters are never opened: "
            "save it as safetensors"
        )
    sides: dict[tuple[str, bool], dict[str, StoredTensor]] = {}
    replaced: dict[str, StoredTensor] = {}
    strange = []
    for name, tensor in safetensors_tensors(weights).items():
        plain = WRAPPINGS.sub("", name.removeprefix(ADAPTED_PREFIX))
        if not tensor.floating:
            raise CheckpointError(
                f"{folder}: {name} has type {tensor.dtype}, expected floating point"
            )
        if match := PAIR.fullmatch(plain):
            embedding = match["side"] is None
            side = match["embedding_side"] if embedding else match["side"]
            sides.setdefault((match["module"], embedding), {})[side] = tensor
        elif "lora_" in plain:
            strange.append(name)
        else:
            replaced[plain] = tensor
    if strange:
        raise CheckpointError(
            f"{folder}: {some_of(sorted(strange))} not supported; LoRA of linear layers and "
            "embeddings is"
        )
    if not sides and not replaced:
        raise CheckpointError(f"{weights}: no tensor in it")
    pairs = {
        f"{module}.weight": _pair(path, fields, module, found, embedding)
        for (module, embedding), found in sides.items()
    }
    return Adapter(folder, fields, pairs, replaced)


def merge_adapter(
    tensors: Mapping[str, StoredTensor],
    adapter: Adapter,
    family: Family,
    config: Any,
    *,
    compare: bool = True,
) -> tuple[dict[str, StoredTensor], Any]:
    """The tensors of a checkpoint with an adapter merged in as they are read.

    As PEFT does, an embedding and a head that were tied are apart once one of them is adapted or
    trained whole: the other keeps the weights of the base.

    Args:
        tensors: all of the checkpoint, by the layout's names.
        adapter: of a model of the same family and sizes.
        family: of the checkpoint.
        config: of the checkpoint, with what scores next tokens by its tensors.
        compare: see whether an embedding and a head that were both saved whole are equal, and so
            still tied; without it they are taken for that.

    Returns:
        The tensors, those that are adapted read as float32, and the configuration with what scores
        next tokens now.

    Raises:
        CheckpointError: names every layer of the adapter that the checkpoint does not have or that
            has another shape, and every layer it should adapt and does not.
    """
    pairs = {family.layout_name(name): pair for name, pair in adapter.pairs.items()}
    whole = {family.layout_name(name): tensor for name, tensor in adapter.replaced.items()}
    held = dict(tensors)
    tied = bool(family.head) and config.has_head and config.tie_word_embeddings
    if family.head and (tied or family.head in whole):
        held.setdefault(family.head, held[family.embedding])
        config = replace(config, has_head=True)
    # What hidden states and scores do not pass, such as a head that classifies, is of no account.
    beside = {name for name in {*pairs, *whole} - {*held} if re.fullmatch(family.ignored, name)}
    pairs = {name: pair for name, pair in pairs.items() if name not in beside}
    whole = {name: tensor for name, tensor in whole.items() if name not in beside}
    shapes = {name: _merged_shape(pair, name, family) for name, pair in pairs.items()}
    shapes |= {name: tensor.shape for name, tensor in whole.items()}
    faults = _misfits(shapes, held)
    if missing := _missing(held, pairs, whole, adapter, family):
        faults.append(f"of its target_modules or modules_to_save, missing: {some_of(missing)}")
    if faults:
        raise CheckpointError(
            f"{adapter.folder}: the adapter does not fit the checkpoint; " + "; ".join(faults)
        )
    if tied:
        ends = _tied_tensors(held[family.embedding], whole, adapter, family, compare)
        whole |= ends
        if len({*ends.values()}) == 1 and not {*ends} & {*pairs}:
            del whole[family.head], held[family.head]
        else:
            config = replace(config, tie_word_embeddings=False)
    held |= whole
    merged = {
        name: held[name]._replace(
            dtype="F32", read=partial(_read_merged, held[name], pair, _flipped(pair, name, family))
        )
        for name, pair in pairs.items()
    }
    return {**held, **merged}, config


def _tied_tensors(
    base: StoredTensor,
    whole: Mapping[str, StoredTensor],
    adapter: Adapter,
    family: Family,
    compare: bool,
) -> dict[str, StoredTensor]:
    """The embedding and the head, which were one tensor, by an adapter; twice one if it still is.

    Saved as a weight of the base a tensor stands for both, trained whole for itself alone.
    """
    names = (family.embedding, family.head)
    trained = {name for name in names if name in whole and _trained_whole(name, adapter, family)}
    shared = next((whole[name] for name in names if name in whole and name not in trained), base)
    shared = for_reads(shared, len(names))
    found = {name: whole[name] if name in trained else shared for name in names}
    both = {*names} <= {*whole}
    if both and (not compare or same_values(whole[family.embedding], whole[family.head])):
        return dict.fromkeys(names, whole[family.embedding])
    return found


def adapted_sha256(weights_sha256: str, adapter: Adapter | None) -> str:
    """The hash that stands for merged weights: of the base, the adapter's factors and scales.

    Without an adapter it is the base's own.
    """
    if adapter is None:
        return weights_sha256
    parts = {
        "base": weights_sha256,
        "adapter": file_sha256(adapter.folder / ADAPTER_WEIGHTS_NAME),
        "scales": {name: pair.scale for name, pair in adapter.pairs.items()},
        "fan_in_fan_out": bool(adapter.fields["fan_in_fan_out"]),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def merged_weight(
    weight: np.ndarray, down: np.ndarray, up: np.ndarray, scale: float, flipped: bool
) -> np.ndarray:
    """W + s B A in float32.

    Args:
        weight: W, (out, in), or (in, out) where ``flipped``.
        down: A, (r, in).
        up: B, (out, r).
        scale: s.
        flipped: true for the Conv1D of GPT-2, and for embeddings.

    Returns:
        Shape of W, float32.
    """
    change = up.astype(np.float32) @ down.astype(np.float32)
    change *= np.float32(scale)
    merged = weight.astype(np.float32)
    merged += change.T if flipped else change
    return merged


def _flipped(pair: LoraPair, name: str, family: Family) -> bool:
    """Whether a weight lies as (in, out)."""
    return pair.embedding or re.fullmatch(family.turned, name) is not None


def _read_merged(tensor: StoredTensor, pair: LoraPair, flipped: bool) -> np.ndarray:
    return merged_weight(tensor.read(), pair.down.read(), pair.up.read(), pair.scale, flipped)


def _supported_fields(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that decide the merge, or one error that names all that are not supported."""
    fields = {name: given.get(name, default) for name, default in DEFAULTS.items()}
    faults = []
    if given.get("peft_type") != "LORA":
        faults.append(f"peft_type={given.get('peft_type')!r} is not supported; 'LORA' is")
    if given.get("bias", "none") != "none":
        faults.append(f"bias={given['bias']!r} is not supported; 'none' is")
    start = given.get("init_lora_weights", True)
    if start not in HARMLESS_STARTS:
        faults.append(
            f"init_lora_weights={start!r} is not supported, it changes the base weights; convert "
            "the adapter to plain LoRA, or merge it with PEFT"
        )
    known = {*DEFAULTS, *IGNORED_FIELDS, "peft_type", "bias", "init_lora_weights"}
    faults += [
        f"{name}={value!r} is not supported"
        for name, value in given.items()
        if value and name not in known
    ]
    faults += _malformed(fields)
    if faults:
        raise CheckpointError(f"{path}: " + "; ".join(faults))
    return fields


def _malformed(fields: dict[str, Any]) -> list[str]:
    """Faults of the fields' own values; a pattern that is null becomes an empty one."""
    faults = []
    for name, pattern in (("r", "rank_pattern"), ("lora_alpha", "alpha_pattern")):
        fields[pattern] = fields[pattern] or {}
        if not isinstance(fields[pattern], dict):
            faults.append(f"{pattern}={fields[pattern]!r} must map layers to numbers")
            continue
        numbers = {name: fields[name], **fields[pattern]}
        faults += [
            f"{key}={value!r} must be a positive number"
            for key, value in numbers.items()
            if not _positive(value)
        ]
    if fields["use_rslora"] not in (True, False, None):
        faults.append(f"use_rslora={fields['use_rslora']!r} must be true or false")
    for name in ("target_modules", "modules_to_save"):
        value = fields[name]
        texts = isinstance(value, list) and all(isinstance(text, str) for text in value)
        if not (value is None or texts or (name == "target_modules" and isinstance(value, str))):
            faults.append(f"{name}={value!r} must be a list of module names")
    return faults


def _positive(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0  # type: ignore[arg-type,operator]


def _pair(
    path: Path,
    fields: Mapping[str, Any],
    module: str,
    sides: Mapping[str, StoredTensor],
    embedding: bool,
) -> LoraPair:
    """Both factors of a layer, whose rank is the one that the settings give it."""
    if missing := [side for side in "AB" if side not in sides]:
        name = f"lora_embedding_{missing[0]}" if embedding else f"lora_{missing[0]}.weight"
        raise CheckpointError(f"{path.parent}: {module}.{name} is missing")
    down, up = sides["A"], sides["B"]
    rank = _by_pattern(path, fields["rank_pattern"], module, fields["r"])
    alpha = _by_pattern(path, fields["alpha_pattern"], module, fields["lora_alpha"])
    matrices = len(down.shape) == len(up.shape) == MATRIX_AXES
    if not matrices or not down.shape[0] == up.shape[1] == rank:
        raise CheckpointError(
            f"{path.parent}: {module}: lora_A is {down.shape} and lora_B {up.shape}, expected "
            f"({rank}, in) and (out, {rank}) by {path.name}"
        )
    scale = alpha / (math.sqrt(rank) if fields["use_rslora"] else rank)
    return LoraPair(down, up, scale, embedding)


def _by_pattern(path: Path, patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """The value of the first pattern that matches a module's name or the end of it, as in PEFT."""
    for pattern, value in patterns.items():
        if _matches(path, rf"(.*\.)?({pattern})", module):
            return value
    return default


def _matches(path: Path, pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error as error:
        raise CheckpointError(f"{path}: {pattern!r} is no regular expression ({error})") from error


def _merged_shape(pair: LoraPair, name: str, family: Family) -> tuple[int, ...]:
    shape = (pair.up.shape[0], pair.down.shape[1])
    return shape[::-1] if _flipped(pair, name, family) else shape


def _misfits(
    shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, StoredTensor]
) -> list[str]:
    """What the adapter would change, by its shapes, and the checkpoint lacks or has otherwise."""
    faults = []
    if unknown := sorted(set(shapes) - set(tensors)):
        faults.append(f"not in the checkpoint: {some_of(unknown)}")
    held = {name: tensors[name].shape for name in sorted(set(shapes) & set(tensors))}
    wrong = {name: shape for name, shape in held.items() if shape != shapes[name]}
    if wrong:
        texts = [f"{name} is {shapes[name]}, expected {shape}" for name, shape in wrong.items()]
        faults.append(some_of(texts, "; "))
    return faults


def _missing(
    tensors: Mapping[str, StoredTensor],
    pairs: Mapping[str, LoraPair],
    whole: Mapping[str, StoredTensor],
    adapter: Adapter,
    family: Family,
) -> list[str]:
    """What the settings promise and the weights do not hold."""
    fields, path = adapter.fields, adapter.folder / ADAPTER_CONFIG_NAME
    saved = [
        name for name in tensors if _trained_whole(name, adapter, family) and name not in whole
    ]
    limits = ("exclude_modules", "layers_to_transform", "layers_pattern")
    targets = fields["target_modules"]
    if targets is None or any(fields[name] not in (None, [], "") for name in limits):
        return saved  # which layers are left out is not worked out here
    return saved + [
        name
        for name, tensor in tensors.items()
        if len(tensor.shape) == MATRIX_AXES
        and name not in {*pairs, *whole}
        and _targeted(path, targets, name, family)
    ]


def _targeted(path: Path, targets: str | Iterable[str], name: str, family: Family) -> bool:
    """Whether PEFT would adapt a weight: by its module's whole name, or the end of it."""
    modules = [one.removesuffix(".weight") for one in (name, family.stored_name(name))]
    if isinstance(targets, str):
        return any(_matches(path, targets, module) for module in modules)
    return any(f".{module}".endswith(f".{target}") for module in modules for target in targets)


def _trained_whole(name: str, adapter: Adapter, family: Family) -> bool:
    """Whether PEFT would copy a weight's module, or one around it: by the end of its name."""
    parts = family.stored_name(name).split(".")
    modules = [".".join(parts[:count]) for count in range(1, len(parts))]
    entries = adapter.fields["modules_to_save"] or ()
    return any(module.endswith(entry) for module in modules for entry in entries)
