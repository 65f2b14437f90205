"""Preference rows: readers, splits by prompt, alternating population. No jax, no models."""

from coala_jax.data.alternating import AlternatingRows, Conversation, Message, alternating_rows
from coala_jax.data.errors import DataError
from coala_jax.data.responses import ResponseRow, ResponseSet, read_responses
from coala_jax.data.rows import PreferenceRow, RowSet, fingerprint_rows, read_rows
from coala_jax.data.split import (
    Split,
    eval_mask,
    groups_of,
    joint_keys,
    prompt_sha256,
    read_groups,
    split_by_group,
    split_by_prompt,
)

__all__ = [
    "AlternatingRows",
    "Conversation",
    "DataError",
    "Message",
    "PreferenceRow",
    "ResponseRow",
    "ResponseSet",
    "RowSet",
    "Split",
    "alternating_rows",
    "eval_mask",
    "fingerprint_rows",
    "groups_of",
    "joint_keys",
    "prompt_sha256",
    "read_groups",
    "read_responses",
    "read_rows",
    "split_by_group",
    "split_by_prompt",
]
