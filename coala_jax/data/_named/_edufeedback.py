"""EduFeedback, the COALA paper's own set: tutoring dialogues, or the pairs that were made of them.

Either layout is taken, told by the columns of each row. Pairs are taken as they are. Of dialogues,
``utterances: [[speaker, text], ...]``, the Alternating Population Strategy makes pairs as the
authors' script does: the last answered turn rejects the first answer, and what the tutor says
before the student is left out. Turns of one speaker in a row are one turn, so that dialogues that
alternate strictly or loosely are read alike. `coala-jax data alternate` has these as options.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from coala_jax.data._alternating import (
    UNKNOWN_ROLE,
    AlternatingOptions,
    alternating_population,
    conversational,
)
from coala_jax.data._conversations import UTTERANCES, conversation_of
from coala_jax.data._named._known_set import KnownSet
from coala_jax.data._reasons import LEFT_OVER
from coala_jax.data._sources._row import SourceRow, each_row

NAMES = ("id", "group")
AS_THE_AUTHORS = AlternatingOptions(last_turn="wrap", opening="drop")


def _pairs(row: SourceRow, fields: Mapping[str, Any]) -> Iterator[SourceRow]:
    """A row of a pair as it is; of a dialogue its pairs, then what made none, without fields."""
    if fields.get(UTTERANCES) is None or fields.get("chosen") is not None:
        yield row
        return
    dialogue = conversation_of({key: fields.get(key) for key in (*NAMES, UTTERANCES)}, row.number)
    made = alternating_population([dialogue], AS_THE_AUTHORS)
    carried = {key: value for key, value in fields.items() if key != UTTERANCES}
    for pair, prompt in zip(made.rows, made.dialogues, strict=True):
        named = {"id": pair.id, "group": pair.group}
        yield row._replace(fields=carried | named | conversational(pair, prompt), content=fields)
    for reason, count in (made.skipped | made.dropped).items():
        # The turns of a dialogue that has made pairs are no fault of the file; its speakers may be.
        reason = reason if reason == UNKNOWN_ROLE else f"{LEFT_OVER}{reason}"
        yield from (row.set_aside(reason) for _ in range(count))


EDUFEEDBACK = KnownSet(
    name="edufeedback",
    hub_id="miria0/EduFeedback",
    layouts=(
        {UTTERANCES: "a dialogue: [speaker, text] of every turn"},
        {
            "prompt": "the dialogue up to a student's turn",
            "chosen": "the tutor's answer to it",
            "rejected": "the tutor's answer to a later turn",
        },
    ),
    pairs=65_606,
    rows=lambda rows, _: each_row(rows, _pairs),
)
