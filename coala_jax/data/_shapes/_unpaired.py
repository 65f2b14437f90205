"""Rows with one response each and whether it is good: paired within a prompt."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from coala_jax.data._options import RowOptions
from coala_jax.data._reasons import LEFT_OVER
from coala_jax.data._rows import RowFault, row_name
from coala_jax.data._shapes._conversation import Conversations
from coala_jax.data._shapes._scored import pairs_by_score
from coala_jax.data._shapes._several import Single, pair_of, single
from coala_jax.data._sources._row import SourceRow, each_row
from coala_jax.data._split import normalise_text

# What good and bad ones are called, in lower case; numbers are 1 and 0.
GOOD = ("true", "yes", "good", "positive", "pos", "chosen", "accepted", "desirable")
BAD = ("false", "no", "bad", "negative", "neg", "rejected", "undesirable")
LABELS: Mapping[Any, bool] = {
    **dict.fromkeys(GOOD, True),
    **dict.fromkeys(BAD, False),
    1: True,
    0: False,
}
KEYS = ("prompt", "completion", "label", "system", "id")
NO_PARTNER = f"{LEFT_OVER}no completion of the other label for its prompt"


def unpaired_rows(
    rows: Iterable[SourceRow], options: RowOptions, conversations: Conversations
) -> Iterator[SourceRow]:
    """Pairs of a good and a bad response to the same (normalised) prompt.

    All rows are read before the first pair is given, prompts in the order they are first seen.
    What found no partner is given last, without fields.
    """
    by_prompt: dict[str, tuple[list[Single], list[Single]]] = {}

    def keep(row: SourceRow, fields: Mapping[str, Any]) -> tuple[()]:
        good, one = _is_good(fields), single(row, fields, options, conversations)
        both = by_prompt.setdefault(normalise_text(one.responses.prompt), ([], []))
        both[0 if good else 1].append(one)
        return ()

    yield from each_row(rows, keep)
    for goods, bads in by_prompt.values():
        if options.pairs == "all":
            yield from (_pair(good, bad) for good in goods for bad in bads)
        elif options.pairs == "groups":
            yield from _group(goods, bads) if goods and bads else ()
        else:
            yield from map(_pair, goods, bads)
    for goods, bads in by_prompt.values():
        # All against all leaves over only what has nothing against it.
        paired = min(len(goods), len(bads))
        every = options.pairs != "one" and paired > 0
        for lonely in () if every else (*goods[paired:], *bads[paired:]):
            yield lonely.row.set_aside(NO_PARTNER)


def _group(goods: Sequence[Single], bads: Sequence[Single]) -> Iterator[SourceRow]:
    """The first good response against each other one, named and with margins as of scores 1, 0."""
    members, scores = (*goods, *bads), [1.0] * len(goods) + [0.0] * len(bads)
    first, name = goods[0].row, row_name(goods[0].fields, goods[0].row.number)

    def pair(better: int, worse: int) -> SourceRow:
        return _pair(members[better], members[worse])

    return pairs_by_score(first, name, scores, "groups", pair)


def _is_good(fields: Mapping[str, Any]) -> bool:
    label: Any = fields.get("label")
    if isinstance(label, str):
        label = label.strip().lower()
        with suppress(ValueError):
            label = float(label)  # "1.0", as tables write it
    if not isinstance(label, bool | int | float | str) or label not in LABELS:
        raise RowFault("no label" if label is None else "label is neither true nor false")
    return LABELS[label]


def _pair(good: Single, bad: Single) -> SourceRow:
    """A row of two: columns of the good one, those of the bad one where it has none."""
    names = [row_name(side.fields, side.row.number) for side in (good, bad)]
    carried = {**bad.fields, **good.fields}
    kept = {key: value for key, value in carried.items() if key not in KEYS}
    return pair_of(good, bad, {**kept, "id": "/".join(names)})
