"""IMDb reviews as sentiment pairs, after the controlled sentiment task of the DPO paper.

There a prompt is the opening of a review, and a continuation of positive sentiment is preferred to
a negative one. Known of the COALA paper's version: positive over negative continuation, both
sentiment prompts for each positive-negative pair, 12 500 x 2. Read here as: the n-th positive
review is paired with the n-th negative one, in the order of the file; the two prompts of a pair are
the openings of its two reviews; behind either, the rest of the positive review is chosen and the
rest of the negative one rejected. So the continuation that really follows is chosen in one row and
rejected in the other, and only the sentiment tells which is better.

Another reading, not taken: prompts that ask for a sentiment, under which the negative review would
be chosen in half of the rows: no preference for positive over negative. DPO's own responses are
samples of a model that a classifier ranks; here they are reviews.

Both rows of a pair are one group: no split parts them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax.data._named._known_set import KnownSet
from coala_jax.data._reasons import LEFT_OVER
from coala_jax.data._rows import RowFault
from coala_jax.data._sources._row import SourceRow, each_row

NEGATIVE, POSITIVE = 0, 1
NAMES = ("neg", "pos")
# Words of a prompt: the DPO paper's prompts are 2 to 8 tokens, and with fewer words than this many
# reviews would share one.
OPENING_WORDS = 8
TOO_SHORT = f"a review of {OPENING_WORDS} words or fewer"
UNKNOWN_LABEL = "label is neither 0 nor 1"
NO_TEXT = "text is not a string"
NO_PARTNER = f"{LEFT_OVER}no review of the other label"
_OPENING = re.compile(rf"\s*(?:\S+\s+){{{OPENING_WORDS - 1}}}\S+(?=\s+\S)")


class _Review(NamedTuple):
    row: SourceRow
    opening: str
    rest: str


def _pairs(rows: Iterator[SourceRow], _: Sequence[str]) -> Iterator[SourceRow]:
    reviews: tuple[list[_Review], list[_Review]] = ([], [])

    def keep(row: SourceRow, fields: Mapping[str, Any]) -> tuple[()]:
        text, label = fields.get("text"), fields.get("label")
        if not isinstance(text, str):
            raise RowFault(NO_TEXT)
        label = NAMES.index(label) if label in NAMES else label
        if label not in (NEGATIVE, POSITIVE):
            raise RowFault(UNKNOWN_LABEL)
        opening = _OPENING.match(text)
        if opening is None:
            raise RowFault(TOO_SHORT)
        rest = text[opening.end() :].lstrip()
        reviews[label].append(_Review(row, opening.group().strip(), rest))
        return ()

    yield from each_row(rows, keep)
    negatives, positives = reviews
    for positive, negative in zip(positives, negatives, strict=False):
        yield from _both_openings(positive, negative)
    paired = min(map(len, reviews))
    for lonely in (*positives[paired:], *negatives[paired:]):
        yield lonely.row.set_aside(NO_PARTNER)


def _both_openings(positive: _Review, negative: _Review) -> Iterator[SourceRow]:
    group = f"{positive.row.number}-{negative.row.number}"
    for name, review in (("positive", positive), ("negative", negative)):
        fields = {
            "id": f"{group}/{name}",
            "prompt": review.opening,
            "chosen": positive.rest,
            "rejected": negative.rest,
            "group": group,
        }
        yield review.row._replace(fields=fields, content=review.row.fields)


IMDB = KnownSet(
    name="imdb",
    hub_id="stanfordnlp/imdb",
    config="plain_text",
    layouts=({"text": "a review", "label": "0 negative, 1 positive"},),
    pairs=25_000,
    rows=_pairs,
)
