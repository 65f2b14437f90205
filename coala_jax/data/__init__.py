"""Preference rows: sources, formats, splits, alternating population. No jax, no models."""

from coala_jax.data._alternating import (
    AlternatingOptions,
    AlternatingPopulation,
    alternating_population,
)
from coala_jax.data._chat import ChatFormat
from coala_jax.data._conversations import (
    Conversation,
    ConversationSet,
    read_conversations,
)
from coala_jax.data._errors import DataError
from coala_jax.data._message import Message, PairMessages
from coala_jax.data._options import RowOptions, SourceOptions
from coala_jax.data._reading import read_rows
from coala_jax.data._responses import ResponseRow, stream_responses
from coala_jax.data._rows import PreferenceRow, RowSet, SetAsideRow, fingerprint_rows
from coala_jax.data._sources import open_source
from coala_jax.data._split import (
    Split,
    eval_mask,
    groups_of,
    joint_keys,
    prompt_sha256,
    read_groups,
    require_no_leak,
    split_by_group,
    split_by_prompt,
)
from coala_jax.data._writing import write_rows, write_set_aside

__all__ = [
    "AlternatingOptions",
    "AlternatingPopulation",
    "ChatFormat",
    "Conversation",
    "ConversationSet",
    "DataError",
    "Message",
    "PairMessages",
    "PreferenceRow",
    "ResponseRow",
    "RowOptions",
    "RowSet",
    "SetAsideRow",
    "SourceOptions",
    "Split",
    "alternating_population",
    "eval_mask",
    "fingerprint_rows",
    "groups_of",
    "joint_keys",
    "open_source",
    "prompt_sha256",
    "read_conversations",
    "read_groups",
    "read_rows",
    "require_no_leak",
    "split_by_group",
    "split_by_prompt",
    "stream_responses",
    "write_rows",
    "write_set_aside",
]
