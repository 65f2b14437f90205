"""HelpSteer: up to four answers to a prompt, rated by people; the best against the worst."""

from collections.abc import Iterator

from coala_jax.data._named._known_set import KnownSet
from coala_jax.data._rows import LEFT_OVER
from coala_jax.data._sources._row import SourceRow
from coala_jax.data._split import normalise_prompt

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
ONE_RESPONSE = f"{LEFT_OVER}the only response to its prompt"


def _by_prompt(rows: Iterator[SourceRow], attribute: str) -> Iterator[SourceRow]:
    """Rows of one rated response to rows of all responses to a prompt."""
    by_prompt: dict[str, list[SourceRow]] = {}
    for row in rows:
        if row.fields is None:
            yield row
        elif not isinstance(row.fields.get("prompt"), str):
            yield row.set_aside("prompt is not a string")
        else:
            by_prompt.setdefault(normalise_prompt(row.fields["prompt"]), []).append(row)
    for same in by_prompt.values():
        if len(same) == 1:
            yield same[0].set_aside(ONE_RESPONSE)
            continue
        fields = [row.fields for row in same if row.fields is not None]
        made = {
            "prompt": fields[0]["prompt"],
            "completions": [each.get("response") for each in fields],
            "scores": [each.get(attribute) for each in fields],
            "attribute": attribute,
        }
        yield same[0]._replace(fields=made)


HELPSTEER = KnownSet(
    name="helpsteer",
    hub_id="nvidia/HelpSteer",
    config=None,
    split="train",
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
