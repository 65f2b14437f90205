"""Preference rows: readers, splits by prompt, alternating population. No jax, no models."""

from coala_jax.data.alternating import AlternatingPopulation, alternating_population
from coala_jax.data.conversations import (
    Conversation,
    ConversationSet,
    Message,
    read_conversations,
)
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
    "AlternatingPopulation",
    "Conversation",
    "ConversationSet",
    "DataError",
    "Message",
    "PreferenceRow",
    "ResponseRow",
    "ResponseSet",
    "RowSet",
    "Split",
    "alternating_population",
    "eval_mask",
    "fingerprint_rows",
    "groups_of",
    "joint_keys",
    "prompt_sha256",
    "read_conversations",
    "read_groups",
    "read_responses",
    "read_rows",
    "split_by_group",
    "split_by_prompt",
]
