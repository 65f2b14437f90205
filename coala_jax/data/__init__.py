"""Preference rows: sources, formats, splits, alternating population. No jax, no models."""

from coala_jax.data._alternating import (
    AlternatingOptions,
    AlternatingPopulation,
    alternating_population,
)
from coala_jax.data._chat import ChatFormat
from coala_jax.data._conversations import Conversation, ConversationSet, read_conversations
from coala_jax.data._errors import DataError
from coala_jax.data._message import Message, PairMessages
from coala_jax.data._named import NamedRows, load_named, split_named
from coala_jax.data._options import RowOptions, SourceOptions
from coala_jax.data._prompt_fingerprint import PromptFingerprint
from coala_jax.data._reading import read_rows
from coala_jax.data._responses import ResponseRow, ResponseStream, stream_responses
from coala_jax.data._rows import PreferenceRow, RowSet, SetAsideRow
from coala_jax.data._sources import Source, open_source
from coala_jax.data._split import (
    Split,
    read_groups,
    require_no_leak,
    split_by_group,
    split_by_prompt,
)
from coala_jax.data._writing import write_groups, write_rows, write_set_aside

__all__ = [
    "AlternatingOptions",
    "AlternatingPopulation",
    "ChatFormat",
    "Conversation",
    "ConversationSet",
    "DataError",
    "Message",
    "NamedRows",
    "PairMessages",
    "PreferenceRow",
    "PromptFingerprint",
    "ResponseRow",
    "ResponseStream",
    "RowOptions",
    "RowSet",
    "SetAsideRow",
    "Source",
    "SourceOptions",
    "Split",
    "alternating_population",
    "load_named",
    "open_source",
    "read_conversations",
    "read_groups",
    "read_rows",
    "require_no_leak",
    "split_by_group",
    "split_by_prompt",
    "split_named",
    "stream_responses",
    "write_groups",
    "write_rows",
    "write_set_aside",
]
