"""Nectar: seven answers to a prompt in GPT-4's order."""

from collections.abc import Iterator, Mapping
from typing import Any

from coala_jax.data._named._known_set import KnownSet
from coala_jax.data._sources._row import SourceRow, each_row


def _with_prompt(row: SourceRow, fields: Mapping[str, Any]) -> Iterator[SourceRow]:
    """Its prompts end in ``Assistant: ``; elsewhere such a prompt ends at the colon."""
    prompt = fields.get("prompt")
    if isinstance(prompt, str):
        fields = {**fields, "prompt": prompt.rstrip()}
    yield row._replace(fields=fields, content=row.kept())


NECTAR = KnownSet(
    name="nectar",
    hub_id="berkeley-nest/Nectar",
    layouts=(
        {
            "prompt": "the dialogue, as Anthropic writes it: \\n\\nHuman: ... \\n\\nAssistant: ",
            "answers": "answer, model and rank of each, 1 the best",
        },
    ),
    pairs=None,
    split=None,
    format="ranked",
    rows=lambda rows, _: each_row(rows, _with_prompt),
)
