"""UltraFeedback, binarized: GPT-4's best of four answers against one of the others."""

from collections.abc import Iterator

from coala_jax.data._named._known_set import KnownSet
from coala_jax.data._sources._row import SourceRow

# The same messages as in chosen, for training by imitation.
REPEATED_COLUMN = "messages"


def _with_margin(rows: Iterator[SourceRow], _: str) -> Iterator[SourceRow]:
    for row in rows:
        if row.fields is None:
            yield row
            continue
        fields = {key: value for key, value in row.fields.items() if key != REPEATED_COLUMN}
        chosen, rejected = fields.get("score_chosen"), fields.get("score_rejected")
        if isinstance(chosen, int | float) and isinstance(rejected, int | float):
            fields["margin"] = chosen - rejected
        yield row._replace(fields=fields)


ULTRAFEEDBACK = KnownSet(
    name="ultrafeedback",
    hub_id="HuggingFaceH4/ultrafeedback_binarized",
    config=None,
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
    format="preference",
    rows=_with_margin,
)
