"""HelpSteer: up to four answers to a prompt, rated by people; the best against the worst."""

from collections.abc import Iterator, Mapping
from typing import Any

from coala_jax.data._named._known_set import KnownSet
from coala_jax.data._reasons import LEFT_OVER
from coala_jax.data._rows import RowFault
from coala_jax.data._sources._row import SourceRow, each_row
from coala_jax.data._split import normalise_prompt

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
ONE_RESPONSE = f"{LEFT_OVER}the only response to its prompt"


def _by_prompt(rows: Iterator[SourceRow], attribute: str) -> Iterator[SourceRow]:
    """Rows of one rated response to rows of all responses to a prompt."""
    by_prompt: dict[str, list[tuple[SourceRow, Mapping[str, Any]]]] = {}

    def keep(row: SourceRow, fields: Mapping[str, Any]) -> tuple[()]:
        if not isinstance(fields.get("prompt"), str):
            raise RowFault("prompt is not a string")
        by_prompt.setdefault(normalise_prompt(fields["prompt"]), []).append((row, fields))
        return ()

    yield from each_row(rows, keep)
    for same in by_prompt.values():
        first, fields = same[0]
        if len(same) == 1:
            yield first.set_aside(ONE_RESPONSE)
            continue
        made = {
            "prompt": fields["prompt"],
            "completions": [each.get("response") for _, each in same],
            "scores": [each.get(attribute) for _, each in same],
            "attribute": attribute,
        }
        yield first._replace(fields=made)


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
    format="scored",
    rows=_by_prompt,
    attributes=ATTRIBUTES,
)
