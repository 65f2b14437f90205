"""Rows of OpenAI's files for preference fine-tuning: an input, and two outputs of messages."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from coala_jax.data._options import RowOptions
from coala_jax.data._rows import RowFault
from coala_jax.data._sources._row import SourceRow, each_row

INPUT = "input"
OUTPUTS = {"chosen": "preferred_output", "rejected": "non_preferred_output"}


def openai_rows(rows: Iterable[SourceRow], _: RowOptions) -> Iterator[SourceRow]:
    """The same rows with prompt, chosen and rejected; what else the input holds are columns."""
    return each_row(rows, _pair)


def _pair(row: SourceRow, fields: Mapping[str, Any]) -> Iterator[SourceRow]:
    given = fields.get(INPUT)
    if not isinstance(given, Mapping) or not isinstance(given.get("messages"), list):
        raise RowFault(f"{INPUT} holds no messages")
    for output in OUTPUTS.values():
        if fields.get(output) is None:
            raise RowFault(f"no {output}")
    kept = {name: value for name, value in fields.items() if name not in (INPUT, *OUTPUTS.values())}
    made = {name: value for name, value in given.items() if name != "messages" and value}
    sides = {side: fields[output] for side, output in OUTPUTS.items()}
    yield row._replace(
        fields={**kept, **made, "prompt": given["messages"], **sides}, content=row.kept()
    )
