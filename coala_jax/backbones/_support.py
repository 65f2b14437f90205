"""What is supported: the families, and what of a given folder is not, before a weight is read."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax.backbones._backbone import fitting_tokenizer, read_family
from coala_jax.backbones._checkpoint import checked_tensors, parameter_count, read_config
from coala_jax.backbones._config_fields import unknown_fields
from coala_jax.backbones._errors import CheckpointError
from coala_jax.backbones._families import FAMILIES
from coala_jax.backbones._family import BackboneConfig, Family
from coala_jax.backbones._flax_msgpack import FLAX_NAME
from coala_jax.backbones._lora import merge_adapter, read_adapter
from coala_jax.backbones._weights import weight_files


class Support(NamedTuple):
    """What is known of a checkpoint whose weights were not read.

    Attributes:
        model_type: as its configuration says.
        sizes: ``layers``, ``width``, ``ids``, ``tokens`` (the longest sequence), ``parameters``;
            empty where the configuration is not supported.
        weights: the weight files, and their bytes.
        faults: all that keeps it from being loaded; empty where it can be.
        unknown: fields of ``config.json``, or metadata of a GGUF file, that are set and of which
            nothing is known, with their values.
    """

    model_type: str
    sizes: dict[str, int]
    weights: dict[str, int]
    faults: tuple[str, ...]
    unknown: Mapping[str, Any]


def supported_families() -> dict[str, str]:
    """Model type to the models it covers."""
    return {model_type: family.covers for model_type, family in FAMILIES.items()}


def check_support(folder: Path, adapter: Path | None = None) -> Support:
    """Check a checkpoint as far as that goes without reading a weight.

    Configuration, tokenizer, and the names, shapes and types in the headers of safetensors or GGUF;
    ``flax_model.msgpack`` has no header, so its tensors are not looked at.

    Args:
        folder: a checkpoint folder, or a GGUF file.
        adapter: folder of a LoRA adapter that is to be merged in.

    Returns:
        Its sizes, files and faults.

    Raises:
        CheckpointError: there is no ``config.json``, or it cannot be read; no GGUF file of a
            supported architecture.
    """
    fields = read_config(folder)
    model_type = str(fields.get("model_type"))
    faults: list[str] = []
    weights: tuple[Path, ...] = ()
    try:
        weights = weight_files(folder)
    except CheckpointError as error:
        faults.append(str(error))
    sizes: dict[str, int] = {}
    try:
        _, family, config = read_family(folder)
    except CheckpointError as error:
        known = FAMILIES.get(model_type)
        faults += [str(error)] if known is None else config_faults(known, fields)
    else:
        faults += _tokenizer_faults(folder, config)
        if weights and weights[0].name != FLAX_NAME:
            try:
                config = _settled(folder, family, config, adapter)
            except CheckpointError as error:
                faults.append(str(error))
        sizes = _sizes(family, config)
    bytes_of = {path.name: path.stat().st_size for path in weights}
    known = FAMILIES.get(model_type)
    unknown = {} if known is None else unknown_fields(known.stem, fields, known.fields)
    return Support(model_type, sizes, bytes_of, tuple(faults), unknown)


def config_faults(family: Family, fields: Mapping[str, Any]) -> list[str]:
    """All that a family refuses of a configuration, though it stops at the first.

    The fields that a message names are left out, and the rest is tried again. A message that names
    a field left out before is about its absence, and ends the search.

    Args:
        family: of the configuration.
        fields: the parsed ``config.json``.

    Returns:
        The messages, in the order the family finds them.
    """
    faults: list[str] = []
    left_out: set[str] = set()
    while True:
        kept = {name: value for name, value in fields.items() if name not in left_out}
        try:
            family.read_config(kept)
        except (TypeError, ValueError) as error:
            named = {name for name in fields if re.search(rf"\b{re.escape(name)}\b", str(error))}
            if named & left_out:
                return faults
            faults.append(str(error))
            left_out |= named
            if not named:
                return faults
        else:
            return faults


def _sizes(family: Family, config: BackboneConfig) -> dict[str, int]:
    layers = [slot.layer for slot in family.layout(config).values() if slot.layer is not None]
    return {
        "layers": 1 + max(layers, default=-1),
        "width": config.hidden_size,
        "ids": config.vocab_size,
        "tokens": config.max_length,
        "parameters": parameter_count(family, config),
    }


def _tokenizer_faults(folder: Path, config: BackboneConfig) -> list[str]:
    try:
        fitting_tokenizer(folder, config)
    except CheckpointError as error:
        return [str(error)]
    return []


def _settled(folder: Path, family: Family, config: Any, adapter: Path | None) -> Any:
    """The configuration as the tensors have it, which fit it."""
    tensors, config = checked_tensors(folder, family, config, compare=False)
    if adapter is not None:
        _, config = merge_adapter(tensors, read_adapter(adapter), family, config, compare=False)
    return config
