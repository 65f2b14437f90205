"""All responses of a source at once."""

from typing import NamedTuple

from coala_jax.data import ResponseRow, RowOptions, SetAsideRow, stream_responses
from coala_jax.data._rows import count_reasons, require_usable


class Responses(NamedTuple):
    """What a source holds."""

    rows: list[ResponseRow]
    set_aside: list[SetAsideRow]
    chat_template: str

    @property
    def set_aside_counts(self):
        """How many rows were set aside for each reason."""
        return count_reasons(self.set_aside)


def read_responses(source, options=RowOptions()):
    """Go through a source to its end; no usable row is an error."""
    stream = stream_responses(source, options)
    entries = list(stream.entries)
    set_aside = [entry for entry in entries if isinstance(entry, SetAsideRow)]
    rows = [row for entry in entries if not isinstance(entry, SetAsideRow) for row in entry]
    require_usable(stream.name, rows, set_aside)
    return Responses(rows, set_aside, stream.chat_template)
