"""Rows with one response each and whether it is good: paired within a prompt."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from coala_jax.data._message import PairMessages
from coala_jax.data._options import RowOptions
from coala_jax.data._reasons import LEFT_OVER
from coala_jax.data._rows import RowFault, row_name
from coala_jax.data._shapes._conversation import Conversations
from coala_jax.data._shapes._several import Responses, prompt_and_completions
from coala_jax.data._sources._row import SourceRow, each_row
from coala_jax.data._split import normalise_prompt

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


class _Labelled(NamedTuple):
    row: SourceRow
    fields: Mapping[str, Any]
    responses: Responses  # one alone


def unpaired_rows(
    rows: Iterable[SourceRow], options: RowOptions, conversations: Conversations
) -> Iterator[SourceRow]:
    """Pairs of a good and a bad response to the same (normalised) prompt.

    All rows are read before the first pair is given, prompts in the order they are first seen.
    What found no partner is given last, without fields.
    """
    by_prompt: dict[str, tuple[list[_Labelled], list[_Labelled]]] = {}

    def keep(row: SourceRow, fields: Mapping[str, Any]) -> tuple[()]:
        good, completion = _is_good(fields), [fields.get("completion")]
        responses = prompt_and_completions(fields, completion, options, conversations)
        both = by_prompt.setdefault(normalise_prompt(responses.prompt), ([], []))
        both[0 if good else 1].append(_Labelled(row, fields, responses))
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


def _group(goods: Sequence[_Labelled], bads: Sequence[_Labelled]) -> Iterator[SourceRow]:
    """The first good response against each other one, named and with margins as of scores 1, 0."""
    best, name = goods[0], row_name(goods[0].fields, goods[0].row.number)
    for number, other in enumerate((*goods[1:], *bads), 1):
        pair, tied = _pair(best, other), number < len(goods)
        assert pair.fields is not None  # a pair has them
        made = {"id": f"{name}/0{'=' if tied else '>'}{number}", "margin": float(not tied)}
        yield pair._replace(fields={**pair.fields, **made})


def _is_good(fields: Mapping[str, Any]) -> bool:
    label: Any = fields.get("label")
    if isinstance(label, str):
        label = label.strip().lower()
        with suppress(ValueError):
            label = float(label)  # "1.0", as tables write it
    if not isinstance(label, bool | int | float | str) or label not in LABELS:
        raise RowFault("no label" if label is None else "label is neither true nor false")
    return LABELS[label]


def _pair(good: _Labelled, bad: _Labelled) -> SourceRow:
    """A row of two: columns of the good one, those of the bad one where it has none."""
    names = [row_name(side.fields, side.row.number) for side in (good, bad)]
    carried = {**bad.fields, **good.fields}
    fields = {key: value for key, value in carried.items() if key not in KEYS}
    if fields.get("group") is None:
        fields["group"] = good.responses.group
    fields |= {
        "id": "/".join(names),
        "prompt": good.responses.prompt,
        "chosen": good.responses.texts[0],
        "rejected": bad.responses.texts[0],
    }
    kept = [good.row.kept(), bad.row.kept()]
    messages = None
    if good.responses.messages:
        answers = (side.responses.messages[0] for side in (good, bad))
        messages = PairMessages(good.responses.prompt_messages, *answers)
    return good.row._replace(fields=fields, content=kept, messages=messages)
