"""UltraFeedback, binarized: GPT-4's best of four answers against one of the others."""

from collections.abc import Iterator, Mapping
from typing import Any

from coala_jax.data._named._known_set import KnownSet
from coala_jax.data._sources._row import SourceRow, each_row

# The same messages as in chosen, for training by imitation.
REPEATED_COLUMN = "messages"


def _with_margin(row: SourceRow, columns: Mapping[str, Any]) -> Iterator[SourceRow]:
    fields = {key: value for key, value in columns.items() if key != REPEATED_COLUMN}
    chosen, rejected = fields.get("score_chosen"), fields.get("score_rejected")
    if isinstance(chosen, int | float) and isinstance(rejected, int | float):
        fields["margin"] = chosen - rejected
    yield row._replace(fields=fields)


ULTRAFEEDBACK = KnownSet(
    name="ultrafeedback",
    hub_id="HuggingFaceH4/ultrafeedback_binarized",
    split="train_prefs",
    layouts=(
        {
            "prompt": "the question, as text",
            "chosen": "messages: the question and the better answer",
            "rejected": "messages: the question and the other answer",
            "score_chosen": "GPT-4's score; the difference of both is the margin",
            "score_rejected": "GPT-4's score",
        },
    ),
    pairs=60_917,
    rows=lambda rows, _: each_row(rows, _with_margin),
)
