"""Families of transformers, by the ``model_type`` of their ``config.json``.

A family is one file here, an import and a line in ``FAMILIES``: what is read, what is refused, and
what `coala-jax backbones` lists, come from it.
"""

from collections.abc import Mapping

from coala_jax.backbones._families import (
    _encoder,
    _gemma,
    _gpt2,
    _gpt_neox,
    _granite,
    _llama,
    _mistral,
    _olmo,
    _phi,
    _qwen,
    _smollm,
)
from coala_jax.backbones._family import Family

FAMILIES: Mapping[str, Family] = {
    "gpt2": _gpt2.FAMILY,
    "llama": _llama.FAMILY,
    "mistral": _mistral.FAMILY,
    "qwen2": _qwen.QWEN2,
    "qwen3": _qwen.QWEN3,
    "gemma2": _gemma.GEMMA2,
    "gemma3_text": _gemma.GEMMA3_TEXT,
    "gemma3": _gemma.GEMMA3,
    "phi3": _phi.FAMILY,
    "olmo2": _olmo.OLMO2,
    "olmo3": _olmo.OLMO3,
    "smollm3": _smollm.FAMILY,
    "granite": _granite.FAMILY,
    "gpt_neox": _gpt_neox.FAMILY,
    "bert": _encoder.BERT,
    "roberta": _encoder.ROBERTA,
    "xlm-roberta": _encoder.XLM_ROBERTA,
}
