"""UltraFeedback: GPT-4's best of four answers against one of the others, or all four of them.

Pairs are those of the binarized set. It leaves out the prompts of TruthfulQA, which the whole set
has: no figure on that benchmark says anything of a head of these.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from coala_jax.data._named._known_set import KnownSet, mean_score
from coala_jax.data._rows import RowFault, require_texts
from coala_jax.data._sources._row import SourceRow, each_row
from coala_jax.data._sources._values import as_structs

# The same messages as in chosen, for training by imitation.
REPEATED_COLUMN = "messages"
NO_ANSWERS = "completions is not a list of answers with their scores"


def _with_margin(row: SourceRow, columns: Mapping[str, Any]) -> Iterator[SourceRow]:
    fields = {key: value for key, value in columns.items() if key != REPEATED_COLUMN}
    chosen, rejected = fields.get("score_chosen"), fields.get("score_rejected")
    if isinstance(chosen, int | float) and isinstance(rejected, int | float):
        fields["margin"] = chosen - rejected
    yield row._replace(fields=fields)


def _all_answers(rows: Iterator[SourceRow], attributes: Sequence[str]) -> Iterator[SourceRow]:
    """Rows of a prompt as a message, like those of the binarized set, and answers with scores."""

    def scored(row: SourceRow, columns: Mapping[str, Any]) -> Iterator[SourceRow]:
        require_texts(columns, ("instruction",))
        completions = as_structs(columns.get("completions"))
        if not isinstance(completions, list) or not all(
            isinstance(each, Mapping) for each in completions
        ):
            raise RowFault(NO_ANSWERS)
        for each in completions:
            require_texts(each, ("response",))
        made = {
            "prompt": [{"role": "user", "content": columns["instruction"]}],
            "completions": [each["response"] for each in completions],
            "scores": [mean_score(each, attributes) for each in completions],
            "attribute": "+".join(attributes),
        }
        kept = {key: value for key, value in columns.items() if key != "instruction"}
        yield row._replace(fields=kept | made, content=row.kept())

    return each_row(rows, scored)


_WHOLE = KnownSet(
    name="ultrafeedback",
    hub_id="openbmb/UltraFeedback",
    layouts=(
        {
            "instruction": "the question, as text",
            "completions": "response and scores of each answer: overall_score, 1 to 10, and "
            "fine-grained_score, the mean of four aspects",
        },
    ),
    pairs=None,
    split=None,  # its files are called after where the questions come from
    format="scored",
    rows=_all_answers,
    attributes=("overall_score", "fine-grained_score"),
)
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
    whole=_WHOLE,
)
