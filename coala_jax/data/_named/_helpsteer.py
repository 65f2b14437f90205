"""HelpSteer: up to four answers to a prompt, each rated by people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from coala_jax.data._named._known_set import KnownSet, mean_score
from coala_jax.data._sources._row import SourceRow, each_row

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def _rated(rows: Iterator[SourceRow], attributes: Sequence[str]) -> Iterator[SourceRow]:
    """Rows with one answer and the mean of these attributes as its score."""

    def rated(row: SourceRow, fields: Mapping[str, Any]) -> tuple[SourceRow]:
        made = {
            "prompt": fields.get("prompt"),
            "completion": fields.get("response"),
            "score": mean_score(fields, attributes),
            "attribute": "+".join(attributes),
        }
        return (row._replace(fields=made, content=fields),)

    return each_row(rows, rated)


HELPSTEER = KnownSet(
    name="helpsteer",
    hub_id="nvidia/HelpSteer",
    layouts=(
        {
            "prompt": "the question",
            "response": "an answer",
            **{name: "0 to 4, higher is more of it" for name in ATTRIBUTES},
        },
    ),
    pairs=7_708,
    format="rated",
    rows=_rated,
    attributes=ATTRIBUTES,
)
